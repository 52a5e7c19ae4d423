"""What all options have in common: fields with their help, plain values taken, wrong ones refused by name."""

from __future__ import annotations

import dataclasses
import numbers
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from hnmine.errors import UsageError
from hnmine.spelling import did_you_mean

T = TypeVar("T")


def option(default: Any, help: str, *, flags: tuple[str, ...] = (), cli: bool = True) -> Any:
    """A field with its help text; `flags` replaces the flag made from the field's name, `cli=False` hides it."""
    return field(default=default, metadata={"help": help, "flags": flags, "cli": cli})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The base of every options record: plain values are accepted (`dtype="fp32"`), wrong ones refused by name."""

    def __post_init__(self) -> None:
        """Turn plain values into the field's type; raises `UsageError` with every value that does not fit."""
        problems = []
        for name, hint in _hints(type(self)).items():
            try:
                object.__setattr__(self, name, _coerce(getattr(self, name), hint))
            except (TypeError, ValueError) as error:
                problems.append(f"{type(self).__name__}: {name} = {getattr(self, name)!r}: {error}")
        if problems:
            raise UsageError("\n".join(problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions(Options):
    """What every stage that works on queries takes: the seed of keyed draws, and a keyed sample."""

    seed: int = option(0, "Seed of every keyed draw: equal seeds give equal picks whatever the order of work.")
    limit: int | None = option(None, "Only a keyed sample of N queries.")


def option_fields(kind: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of an options record by name, in order."""
    return {item.name: item for item in dataclasses.fields(kind)}


def as_plain(options: Any) -> dict[str, Any]:
    """An options record as JSON values: what a plan records."""
    plain: dict[str, Any] = {}
    for name in option_fields(type(options)):
        value = getattr(options, name)
        plain[name] = value.value if isinstance(value, StrEnum) else list(value) if isinstance(value, tuple) else value
    return plain


def from_mapping(kind: type[T], values: Mapping[str, Any], *, where: str) -> T:
    """Build an options record from plain values; unknown keys and wrong values are refused by name.

    `where` names the origin (a file and table) in error messages. Raises `UsageError` with every problem at once.
    """
    hints = _hints(kind)
    known = option_fields(kind)
    problems: list[str] = []
    unknown = False
    clean: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in known:
            unknown = True
            spelled = known if "_" in key else [one.replace("_", "-") for one in known]
            problems.append(f"{where}: unknown key {key!r}" + did_you_mean(key, spelled))
            continue
        try:
            clean[name] = _coerce(value, hints[name])
        except (TypeError, ValueError) as error:
            is_flag = where == "options"
            problems.append(
                f"--{key.replace('_', '-')}: {error}" if is_flag else f"{where}: {key} = {value!r}: {error}"
            )
    if problems:
        keys = ", ".join(name.replace("_", "-") for name in known)
        raise UsageError("\n".join(problems), expected=f"keys {keys}" if unknown else None)
    return kind(**clean)


OFF = "none"
"""How a list of thresholds names the setting without one."""


def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _number(value: Any, hint: Any) -> Any:
    """A number of a list, which may come as text; None for `none` if the list takes it."""
    optional = isinstance(hint, types.UnionType)
    kind = next(item for item in typing.get_args(hint) if item is not type(None)) if optional else hint
    if isinstance(value, str):
        if optional and value.strip().lower() == OFF:
            return None
        try:
            value = kind(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a {'whole ' if kind is int else ''}number") from None
    return _coerce(value, hint)


def _coerce(value: Any, hint: Any) -> Any:
    arguments = typing.get_args(hint)
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        if value is None:
            return None
        return _coerce(value, next(item for item in arguments if item is not type(None)))
    if typing.get_origin(hint) is tuple:
        items = [value] if isinstance(value, (str, os.PathLike, numbers.Number)) else list(value)
        if arguments[0] is not str:  # numbers are written one by one or with commas: 0,0.05,0.1
            items = [part for item in items for part in (item.split(",") if isinstance(item, str) else [item])]
            return tuple(_number(item, arguments[0]) for item in items)
        return tuple(_coerce(item, arguments[0]) for item in items)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        try:
            return hint(value)
        except ValueError:
            raise ValueError(f"not one of {', '.join(hint)}" + did_you_mean(str(value), hint)) from None
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if not isinstance(value, hint):
            raise TypeError(f"not a {hint.__name__}")
        return value
    if hint is bool:
        if not isinstance(value, bool):
            raise TypeError("not true or false")
        return value
    if hint is int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise TypeError("not a whole number")
        return int(value)
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError("not a number")
        return float(value)
    if hint is str:
        if not isinstance(value, (str, os.PathLike)):
            raise TypeError("not a text")
        return os.fspath(value)
    return value
