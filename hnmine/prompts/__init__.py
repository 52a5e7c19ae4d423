"""Prompts for language models, a TOML file each, that can be read, copied and changed (`hnmine prompts`).

A file has `system` and `user`, in which `{name}` stands for what the command fills in, `passage` for how one of several
texts is shown, `passage_tokens` for how much of it, and a table `[request]` that is sent along as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hnmine.errors import UsageError
from hnmine.hashing import digest_bytes
from hnmine.spelling import nearest

BYTES_A_TOKEN = 4
"""Of UTF-8: about a token of English; a token of Chinese or Japanese has three."""
_TEXTS = ("system", "user", "passage")
_OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens")
_OWN = ("model", "messages", "stream", "n")
_PLACE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt file. `digest` is the SHA-256 of its bytes."""

    name: str
    digest: str
    system: str
    user: str
    passage: str = "[{number}] {text}"
    passage_tokens: int = 512
    request: Mapping[str, Any] = field(default_factory=dict)

    def messages(self, **values: str) -> list[dict[str, str]]:
        """The messages of a request, each `{name}` replaced by its value; braces in the values stay as they are."""
        filled = {role: _fill(text, values) for role, text in (("system", self.system), ("user", self.user)) if text}
        return [{"role": role, "content": text.strip()} for role, text in filled.items()]

    def passages(self, texts: Sequence[str]) -> str:
        """Texts one below the other, numbered from 1 and cut to `passage_tokens`."""
        shown = (_fill(self.passage, {"number": str(i), "text": self.cut(text)}) for i, text in enumerate(texts, 1))
        return "\n\n".join(shown)

    def cut(self, text: str) -> str:
        """The text, or as much of it as is shown."""
        most = self.passage_tokens * BYTES_A_TOKEN
        raw = text.encode("utf-8", "replace")
        return text if len(raw) <= most else raw[:most].decode("utf-8", "ignore") + " ..."


def most_output(request: Mapping[str, Any]) -> int:
    """The most tokens that the answer to a request may have, by its own limit; 0 if it has none."""
    return next((int(request[name]) for name in _OUTPUT_LIMITS if name in request), 0)


def names() -> list[str]:
    """The prompts that come with hnmine, in alphabetical order."""
    from importlib.resources import files

    return sorted(entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name[-5:] == ".toml")


def text(name: str) -> str:
    """The file of a prompt, as it is: one that comes with hnmine, or a path. `UsageError` if there is none."""
    return _bytes(name).decode("utf-8")


def _bytes(name: str) -> bytes:
    from importlib.resources import files

    if name in names():
        return files(__name__).joinpath(f"{name}.toml").read_bytes()
    path = Path(name)
    if path.is_file():
        return path.read_bytes()
    guess = nearest(name, names())
    raise UsageError(
        f"--prompt {name}: no such file" + (f"; did you mean {guess!r}?" if guess else ""),
        expected=f"a TOML file, or one of {', '.join(names())}",
        remedy="`hnmine prompts NAME` prints one to copy and change",
    )


def read(name: str, *places: str, optional: Sequence[str] = ()) -> Prompt:
    """A prompt by name or path, whose texts have all the `{places}`, and no others but `optional` ones.

    Raises `UsageError`, every problem at once.
    """
    import tomllib

    raw = _bytes(name)
    try:
        values = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--prompt {name}: {error}", expected="a TOML file, in UTF-8") from None
    problems = [f"no text {key!r}" for key in ("system", "user") if not isinstance(values.get(key), str)]
    known = [*_TEXTS, "passage_tokens", "request"]
    for key, value in values.items():
        if key not in known:
            guess = nearest(key, known)
            problems.append(f"unknown key {key!r}" + (f"; did you mean {guess!r}?" if guess else ""))
        elif key in _TEXTS and not isinstance(value, str):
            problems.append(f"{key} is not a text")
    if not _is_count(values.get("passage_tokens", 512)):
        problems.append("passage_tokens is not a whole number of 1 or more")
    request = values.get("request", {})
    if not isinstance(request, dict) or not any(_is_count(request.get(limit)) for limit in _OUTPUT_LIMITS):
        problems.append(f"[request] does not limit the answer: {' or '.join(_OUTPUT_LIMITS)}")
    problems += [f"[request] {name}: hnmine says that itself" for name in _OWN if name in request]
    if not problems:
        found = set(_PLACE.findall(values["system"] + values["user"]))
        problems += [f"{{{place}}} is nowhere in it" for place in places if place not in found]
        problems += [f"{{{place}}} means nothing here" for place in sorted(found - {*places, *optional})]
        inside = set(_PLACE.findall(values.get("passage", "{number}{text}")))
        if inside != {"number", "text"}:
            problems.append("passage must have {number} and {text}, and nothing else")
    if problems:
        raise UsageError("\n".join(f"--prompt {name}: {problem}" for problem in problems))
    return Prompt(name=Path(name).stem, digest=digest_bytes(raw), **values)


def summary(name: str) -> str:
    """What a prompt is for, in one line: the first of its file."""
    return text(name).partition("\n")[0].removeprefix("#").strip()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _fill(template: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: values.get(match[1], match[0]), template)
