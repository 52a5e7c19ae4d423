"""What the parser of the command line refuses, in hnmine's own words: what is wrong, what was expected, what to do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hnmine.errors import UsageError
from hnmine.spelling import did_you_mean, nearest


def explain(error: Exception, root: Any, arguments: Sequence[str]) -> UsageError:
    """An error of the parser as a `UsageError`; `root` is the command line's root, `arguments` what it was given."""
    command, path = _command(root, arguments)
    kind, called = type(error).__name__, " ".join(["hnmine", *path])
    if kind == "NoSuchOption":
        return _unknown_option(str(getattr(error, "option_name", "")), root, command, called)
    parameter = getattr(error, "param", None)
    if kind == "MissingParameter" and parameter is not None:
        return _missing([parameter], command, called)
    if kind == "BadOptionUsage":
        flag = str(getattr(error, "option_name", ""))
        named = next((p.name.upper() for p in command.params if flag in p.opts), "VALUE")
        return UsageError(f"{flag}: {named} missing", remedy=f"{called} --help")
    if parameter is not None:
        return _bad_value(error, parameter, arguments)
    message = str(getattr(error, "message", error))
    extra = re.search(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", message)
    if extra:
        return _extra(shlex.split(extra[1]), command, called, arguments)
    if hasattr(command, "commands"):
        return _unknown_command(arguments, root, command, path)
    return UsageError(message, remedy=f"{called} --help")


def _command(root: Any, arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """The command that the arguments name, as far as they do, and the words after `hnmine` that call it."""
    command, path = root, list[str]()
    for word in arguments:
        child = getattr(command, "commands", {}).get(word)
        if child is not None:
            command, path = child, [*path, word]
        elif not word.startswith("-"):
            break
    return getattr(command, "loaded", command), path


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command below a group, not loaded yet, with the words that call it."""
    for name in group.list_commands(None):
        child = group.commands[name]
        if hasattr(child, "commands"):
            yield from _commands(child, (*path, name))
        else:
            yield " ".join((*path, name)), child


def _flags(command: Any) -> list[str]:
    """The long options of a command."""
    found = [flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")]
    return [*found, "--help"]


def _example(command: Any) -> str | None:
    """The first example of a command's help."""
    lines = (line.strip() for line in (command.help or "").replace("\\\n", " ").splitlines())
    return next((" ".join(line.split()) for line in lines if line.startswith("hnmine ")), None)


def _unknown_option(flag: str, root: Any, command: Any, called: str) -> UsageError:
    known = _flags(command)
    guess = nearest(flag.replace("_", "-"), known)
    elsewhere = [name for name, other in _commands(root) if flag in _flags(other.loaded)]
    hint = f"; did you mean {guess}?" if guess else ""
    hint = f"; it is one of {', '.join(elsewhere)}" if elsewhere else hint
    return UsageError(f"{called.removeprefix('hnmine ')} has no option {flag}{hint}", remedy=f"{called} --help")


def _missing(parameters: Sequence[Any], command: Any, called: str) -> UsageError:
    def name(parameter: Any) -> str:
        if parameter.param_type_name == "argument":
            return str(parameter.metavar or parameter.name.upper())
        return f"{min(parameter.opts, key=len)} {parameter.name.upper()}"

    example = _example(command)
    return UsageError(
        f"{' and '.join(map(name, parameters))} missing",
        expected=f"such as {example}" if example else None,
        remedy=f"{called} --help",
    )


def _extra(words: Sequence[str], command: Any, called: str, arguments: Sequence[str]) -> UsageError:
    takes = [str(p.metavar or p.name.upper()) for p in command.params if p.param_type_name == "argument"]
    output: list[str] = next((parameter.opts for parameter in command.params if "-o" in parameter.opts), [])
    is_output = output and not any(word.partition("=")[0] in output for word in arguments)
    example, name = _example(command), called.removeprefix("hnmine ")
    return UsageError(
        f"{name} takes {' and '.join(takes) or 'no argument'} alone: what is {shlex.join(words)}?",
        expected=f"such as {example}" if example else None,
        remedy=f"-o {shlex.quote(words[0])}, if that is where the output goes" if is_output else f"{called} --help",
    )


def _unknown_command(arguments: Sequence[str], root: Any, group: Any, path: Sequence[str]) -> UsageError:
    called = " ".join(["hnmine", *path])
    given = list(arguments[len(path) :])
    word, rest = next(((one, given[i + 1 :]) for i, one in enumerate(given) if not one.startswith("-")), ("", []))
    known = group.list_commands(None)
    every = f"one of {', '.join(known)}"
    if not word:
        return UsageError("which command?", expected=every, remedy=f"{called} --help")

    def instead(*words: str) -> str:
        return shlex.join(["hnmine", *words, *rest])

    if word == "stdlib" or Path(word).exists():
        first = "run" if group is root else known[0]
        return UsageError(f"what to do with {word}?", expected=every, remedy=instead(*path, first, word))
    below = [name for name, _ in _commands(root) if name.split()[-1] == word]
    guess = nearest(word, known)
    if below:
        remedy = instead(*below[0].split())
    elif f"--{word}" in _flags(group):
        remedy = f"{called} --{word}"
    else:
        remedy = instead(*path, guess) if guess else f"{called} --help"
    return UsageError(f"no command {word!r}" + did_you_mean(word, known), expected=every, remedy=remedy)


def _bad_value(error: Exception, parameter: Any, arguments: Sequence[str]) -> UsageError:
    flag = max(parameter.opts, key=len) if parameter.param_type_name == "option" else str(parameter.metavar)
    value = _value_of(parameter, arguments, getattr(error, "ctx", None))
    what = f"{flag} {value}" if value else flag
    message = str(getattr(error, "message", error))
    choices = [str(getattr(c, "value", c)) for c in _choices(parameter)]
    if choices:
        return UsageError(
            f"{what}: no such choice" + did_you_mean(value or "", choices), expected=f"one of {', '.join(choices)}"
        )
    if "integer" in message:
        return UsageError(f"{what}: not a whole number", expected="a whole number, such as 5")
    if "number" in message or "float" in message:
        share = re.fullmatch(r"\s*([\d.]+)\s*%\s*", value or "")
        if share:
            return UsageError(f"{what}: not a number", remedy=f"{flag} {float(share[1]) / 100:g}")
        return UsageError(f"{what}: not a number", expected="a number, such as 0.05")
    return UsageError(f"{what}: {message}")


def _choices(parameter: Any) -> Sequence[Any]:
    described = getattr(parameter, "type_descriptor", None) or parameter.type
    return getattr(described, "choices", None) or ()


def _value_of(parameter: Any, arguments: Sequence[str], context: Any) -> str | None:
    """The value of an option as it was written, on the command line or in its environment variable."""
    for here, following in zip(reversed(arguments), [None, *reversed(arguments)], strict=False):
        flag, sign, joined = here.partition("=")
        if here in parameter.opts:
            return following
        if sign and flag in parameter.opts:
            return joined
    found = parameter.resolve_envvar_value(context) if context is not None else None
    return found if isinstance(found, str) else None
