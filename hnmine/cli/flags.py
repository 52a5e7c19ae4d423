"""From options records to flags and back: every flag, its type, default and help come from `hnmine.options`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import typer

from hnmine.cli import completion
from hnmine.cli.guard import guarded
from hnmine.options import from_mapping, option, option_fields

T = TypeVar("T")

LONG_CHOICES = 40
"""Characters of choices that still stand beside their flag."""

SAMPLING = "Sampling"
_SAMPLING = ("seed", "limit", "sample")

EXPLICIT = ("COMMANDLINE", "ENVIRONMENT")
"""Sources of a flag's value that count as given by the user."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CommonFlags:
    """What every command takes."""

    dry_run: bool = option(False, "Show what would be done; write nothing.")
    json: bool = option(False, "Print the summary as JSON on standard output.")
    quiet: bool = option(False, "Say nothing but errors.", flags=("--quiet", "-q"))
    verbose: bool = option(False, "Show the plan too: everything that decides the result.", flags=("--verbose", "-v"))
    overwrite: bool = option(False, "Start anew if the output was made with another plan.")
    fail_if: tuple[str, ...] = option((), "Exit 6 if METRIC>VALUE (or <, >=, <=) holds for the summary's counts.")
    cache_dir: str | None = option(None, "Where ingested DATA is kept [default: HNMINE_CACHE, else ~/.cache/hnmine].")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShardFlags:
    """What every command takes whose stage can be split over workers."""

    shard: str | None = option(
        None,
        "Do only the blocks of worker i of n: i/n, i from 0; then `hnmine merge` [default: the task of a Slurm, SGE,"
        " LSF or Kubernetes job array].",
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EstimateFlags:
    """What every command takes that says with --dry-run what its work will take."""

    price_per_hour: float | None = option(None, "--dry-run: what an hour of this machine costs; shown with the time.")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorFlags:
    """What every command takes that works block by block."""

    executor: str = option(
        "local", "Where blocks run: local (one process, or one for each GPU of a model), local:N, ray, ray:ADDRESS."
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AppendFlags:
    """What every command takes whose blocks can come from an earlier artefact."""

    append: str | None = option(
        None,
        "An earlier output of this command (of run: its directory or file): take over the blocks whose inputs are the "
        "same, and make the others.",
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ModelFlags:
    """What every command takes that runs a model."""

    strict_plan: bool = option(
        False, "If memory runs out or reduced arithmetic is poor: fail, and start over with no other plan."
    )


def parameter(name: str, hint: Any, field: dataclasses.Field[Any], panel: str) -> inspect.Parameter:
    """One flag of a command, from one field of an options record."""
    default: Any = field.default
    flags = field.metadata.get("flags") or ("--" + name.replace("_", "-"),)
    is_tuple = typing.get_origin(hint) is tuple
    metavar = None
    if is_tuple:
        kind = typing.get_args(hint)[0]
        number = next((n for n in (float, int) if n is kind or n in typing.get_args(kind)), None)
        metavar = f"<{number.__name__},...>" if number else "<str>"
        hint, default = list[str], list(default)
    said = field.metadata["help"]
    choices = _choices(hint)
    if len("|".join(choices)) > LONG_CHOICES:  # beside the flag they would not fit, and cannot be broken
        metavar, said = "<choice>", f"{said} One of {', '.join(choices)}."
    info = typer.Option(
        default,
        *flags,
        help=said,
        rich_help_panel=panel,
        show_default=_shown(default),
        show_envvar=False,
        metavar=metavar,
        autocompletion=completion.OF_OPTIONS.get(name),
    )
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=info, annotation=hint)


def _choices(hint: Any) -> list[str]:
    """The values of an option that takes one of a few."""
    kinds = [kind for kind in (hint, *typing.get_args(hint)) if isinstance(kind, type) and issubclass(kind, StrEnum)]
    return [str(choice) for kind in kinds for choice in kind]


def _shown(default: Any) -> bool | str:
    if isinstance(default, str) and default.isspace():
        return "a space"
    return default is not None and default is not False and default != []


def with_flags(
    *records: tuple[type, str], skip: frozenset[str] = frozenset()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of the given options records (record, help panel), and guard it.

    The command receives its own positional parameters, then `given`: a `Given` with the values of all flags.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "given"]
        added: dict[str, inspect.Parameter] = {}
        for record, panel in records:
            hints = typing.get_type_hints(record)
            own_first = sorted(option_fields(record).items(), key=lambda item: item[0] not in record.__annotations__)
            for name, field in own_first:
                if name in skip or name in added or not field.metadata.get("cli", True):
                    continue
                added[name] = parameter(name, hints[name], field, SAMPLING if name in _SAMPLING else panel)

        @functools.wraps(function)
        @guarded
        def command(context: typer.Context, **values: Any) -> None:
            explicit = {n for n in added if getattr(context.get_parameter_source(n), "name", "") in EXPLICIT}
            flags = {n: values.pop(n) for n in added}
            function(**_with_urls(values), given=Given(flags, explicit, context))

        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        signature = [context, *own, *added.values()]
        command.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in signature}
        del command.__wrapped__
        return command

    return decorate


def _with_urls(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, where a path may be one of an object store: typer has made a `Path` of its URL."""
    from hnmine.files.remote import as_path

    def of(value: Any) -> Any:
        if isinstance(value, list):
            return [of(one) for one in value]
        return as_path(value) if isinstance(value, Path) else value

    return {name: of(value) for name, value in values.items()}


class Given:
    """The flags of one call: their values, and which of them the user gave (command line or environment).

    `context` is typer's; resources held by it are given back when the command ends.
    """

    def __init__(self, values: Mapping[str, Any], explicit: set[str], context: typer.Context) -> None:
        self.values = dict(values)
        self.explicit = explicit
        self.context = context

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def record(self, kind: type[T], base: Mapping[str, Any] | None = None, *, where: str = "options") -> T:
        """The options record made of a configuration's values (`base`), overridden by the flags that were given."""
        known = option_fields(kind)
        chosen = {name: self.values[name] for name in known if name in self.values}
        if base is not None:
            chosen = {**base, **{name: value for name, value in chosen.items() if name in self.explicit}}
        return from_mapping(kind, chosen, where=where)
