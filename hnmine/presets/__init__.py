"""Presets: published recipes as configuration files, one TOML file each, that state their paper and may be copied.

A preset is a `run` configuration like any other. What a recipe does at training time, or with a model that is not
here, is said in the file's comments and not done.
"""

from __future__ import annotations

from typing import Any

from hnmine.errors import UsageError
from hnmine.spelling import nearest

ALIASES = {"nv-embed": "nv-retriever", "qwen3": "unime"}
"""Names of recipes that are equal to another one: one file, two names."""


def names() -> list[str]:
    """Every preset's name, those of equal recipes too, in alphabetical order."""
    from importlib.resources import files

    own = [entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name.endswith(".toml")]
    return sorted([*own, *ALIASES])


def text(name: str) -> str:
    """The file of a preset, as it is; `UsageError` if there is none of that name."""
    from importlib.resources import files

    if name not in names():
        guess = nearest(name, names())
        raise UsageError(
            f"--preset {name}: no such preset" + (f"; did you mean {guess!r}?" if guess else ""),
            expected=f"one of {', '.join(names())}",
            remedy="`hnmine presets` says what each is",
        )
    return files(__name__).joinpath(f"{ALIASES.get(name, name)}.toml").read_text(encoding="utf-8")


def read(name: str) -> dict[str, Any]:
    """The tables of a preset."""
    import tomllib

    return tomllib.loads(text(name))


def summary(name: str) -> str:
    """What a preset is, in one line: the first of its file."""
    first = text(name).partition("\n")[0].removeprefix("#").strip()
    return f"{first} (as {ALIASES[name]})" if name in ALIASES else first


__all__ = ["ALIASES", "names", "read", "summary", "text"]
