"""A TOML file for `run`: one table a stage, keys as the flags; unknown keys are refused with the nearest known name.

Flags and environment variables win over the file, the file over the preset, the preset over the defaults.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hnmine import options as opt
from hnmine.cli.flags import Given
from hnmine.errors import UsageError
from hnmine.spelling import did_you_mean, nearest_file

if TYPE_CHECKING:
    from hnmine.stages.chain import RunOptions

T = TypeVar("T")

TABLES = ("input", "bm25", "dense", "mine", "score", "filter", "export")
TOP = ("data", "output", "indexes", "seed", "limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What `run` was asked to do, from flags and file."""

    data: str
    output: Path
    options: RunOptions


def read_config(path: Path) -> dict[str, Any]:
    """The tables of a configuration file; `UsageError` names the file, the line or the key."""
    try:
        with open(path, "rb") as stream:
            config = tomllib.load(stream)
    except FileNotFoundError:
        beside = [item.name for item in path.parent.iterdir() if item.suffix == ".toml"] if path.parent.is_dir() else []
        guess = nearest_file(path.name, beside)
        remedy = str(path.parent / guess) if guess else None
        raise UsageError(f"{path} does not exist", expected="a TOML file", remedy=remedy) from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a directory", expected="a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}", expected="TOML") from None
    problems = []
    if isinstance(config.get("indexes", []), str):
        problems.append(f"{path}: indexes = {config['indexes']!r}: not a list")
    for key, value in config.items():
        if key in TABLES and (isinstance(value, dict) or (value is False and key in ("bm25", "dense"))):
            continue
        if key in TOP and not isinstance(value, dict):
            continue
        problems.append(f"{path}: unknown key {key!r}" + did_you_mean(key, [*TABLES, *TOP]))
    if problems:
        judge = (
            "a judge is a step of its own: hnmine score DIR --judge URL, then filter and export"
            if "judge" in config
            else None
        )
        expected = f"tables {', '.join(TABLES)}; keys {', '.join(TOP)}"
        raise UsageError("\n".join(problems), expected=expected, remedy=judge)
    return config


MARGINS = frozenset({"relative_margin", "absolute_margin", "no_margin"})
"""Options that replace each other: who asks for one of them asks for none of those below."""


def layered(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two configurations as one, table by table and key by key; what stands `above` wins."""
    merged = dict(below)
    for name, value in above.items():
        lower = below.get(name)
        merged[name] = _table(lower, value) if isinstance(value, dict) and isinstance(lower, dict) else value
    return merged


def _table(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    replaced = {key.replace("-", "_") for key in above}
    if replaced & MARGINS:
        replaced |= MARGINS
    return {**{key: value for key, value in below.items() if key.replace("-", "_") not in replaced}, **above}


def filter_options(given: Given, table: Mapping[str, Any], *, where: str) -> opt.FilterOptions:
    """The rules of a configuration's table, overridden by the flags that were given."""
    flags = {name: given.values[name] for name in given.explicit}
    below = {name: value for name, value in _table(table, flags).items() if name not in flags}
    return given.record(opt.FilterOptions, below, where=where)


def named_filter_options(given: Given, preset: str | None, rules: str | None) -> opt.FilterOptions:
    """The rules of a preset or of a file, overridden by the flags that were given; those of the flags alone without."""
    from hnmine import presets

    if preset is not None:
        return filter_options(given, presets.read(preset).get("filter", {}), where=f"preset {preset} [filter]")
    if rules is not None:
        return filter_options(given, rules_of(rules), where=f"{rules} [filter]")
    return filter_options(given, {}, where="options")


def rules_of(name: str) -> dict[str, Any]:
    """The [filter] table of a TOML file, or of the preset of that name; `UsageError` if there is neither."""
    from hnmine import presets
    from hnmine.files.remote import as_path

    path = as_path(name)
    if not path.exists() and path.suffix != ".toml" and name in presets.names():
        tables = presets.read(name)
    else:
        if not path.exists() and path.suffix != ".toml":
            raise UsageError(
                f"--rules {name}: no such file, and no such preset" + did_you_mean(name, presets.names()),
                expected="a TOML file, or a preset of `hnmine presets`",
            )
        tables = read_config(path)
        if "filter" not in tables:
            raise UsageError(f"{path} has no [filter] table", expected="the rules, as `filter` has them for flags")
    return {key.replace("-", "_"): value for key, value in tables.get("filter", {}).items()}


def run_settings(
    given: Given,
    config_path: Path | None,
    *,
    preset: str | None,
    data: str | None,
    output: Path | None,
    flags: Mapping[str, Any],
) -> RunSettings:
    """Merge the flags of a call with its configuration file, and that with the preset."""
    from hnmine import presets
    from hnmine.files.readers.source import Findings
    from hnmine.files.remote import as_path
    from hnmine.stages.chain import RunOptions

    config = read_config(config_path) if config_path is not None else {}
    where = str(config_path or "options")
    if preset is not None:
        config = layered(presets.read(preset), config)
        where = f"{config_path}, preset {preset}" if config_path else f"preset {preset}"
    keyed: dict[str, Any] = {key: config[key] for key in ("seed", "limit") if key in config}

    def table(name: str, *, sampled: bool = False) -> dict[str, Any]:
        values = config.get(name, {})
        own = dict(values) if isinstance(values, dict) else {}
        return {**keyed, **own} if sampled else own

    data = data or config.get("data")
    output = output or (as_path(config["output"]) if "output" in config else None)
    if data is None or output is None:
        missing = " and ".join(n for n, v in (("DATA", data), ("-o OUTPUT", output)) if v is None)
        raise UsageError(f"{missing} missing", expected="hnmine run DATA -o OUTPUT, or both in the --config file")
    findings = Findings()

    def record(kind: type[T], name: str, *, sampled: bool = False) -> T:
        with findings.collect():
            return given.record(kind, table(name, sampled=sampled), where=f"{where} [{name}]")
        return kind()  # which nobody sees: the finding is raised

    score = None
    reranker = flags["reranker"] or config.get("score", {}).get("reranker")
    if reranker or "score" in config:
        base = table("score", sampled=True) | ({"reranker": reranker} if reranker else {})
        shared = ("dtype", "backend", "device", "trust_remote_code", "batch_tokens", "seed", "limit")
        base |= {name: given.values[name] for name in shared if name in given.explicit}
        with findings.collect():
            score = opt.from_mapping(opt.ScoreOptions, base, where=f"{where} [score]")
    rules = opt.FilterOptions()
    with findings.collect():
        rules = filter_options(given, table("filter", sampled=True), where=f"{where} [filter]")
    has_bm25 = not (flags["no_bm25"] or config.get("bm25") is False)
    has_dense = not (flags["no_dense"] or config.get("dense") is False)
    options = RunOptions(
        input=record(opt.InputOptions, "input"),
        bm25=record(opt.Bm25Options, "bm25") if has_bm25 else None,
        dense=record(opt.DenseOptions, "dense") if has_dense else None,
        mine=record(opt.MineOptions, "mine", sampled=True),
        score=score,
        filter=rules,
        export=record(opt.ExportOptions, "export", sampled=True),
        indexes=tuple(flags["index"] or config.get("indexes", ())),
    )
    findings.raise_if_any()
    return RunSettings(data=data, output=output, options=options)
