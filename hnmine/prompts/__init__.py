"""Prompts for language models, a TOML file each, that can be read, copied and changed (`hnmine prompts`).

A file has `system` and `user`, in which `{name}` stands for what the command fills in, `passage` for how one of several
texts is shown, `passage_tokens` for how much of it, and a table `[request]` that is sent along as it is. One that a
model goes on from, in place of answering it, has `prompt` instead of `system` and `user`.
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
_CHAT = ("system", "user")
_COMPLETION = ("prompt",)
_OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens")
_OWN = ("model", "messages", "prompt", "stream", "n")
_OWN_OF_COMPLETIONS = (*_OWN, *_OUTPUT_LIMITS, "echo", "logprobs")
_QUERY = "{query}"
_PLACE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt file. `digest` is the SHA-256 of its bytes."""

    name: str
    digest: str
    system: str = ""
    user: str = ""
    prompt: str = ""
    passage: str = "[{number}] {text}"
    passage_tokens: int = 512
    request: Mapping[str, Any] = field(default_factory=dict)

    def messages(self, **values: str) -> list[dict[str, str]]:
        """The messages of a request, each `{name}` replaced by its value; braces in the values stay as they are."""
        filled = {role: _fill(text, values) for role, text in (("system", self.system), ("user", self.user)) if text}
        return [{"role": role, "content": text.strip()} for role, text in filled.items()]

    def before_query(self, document: str) -> str:
        """What a completion goes on from, up to the query at its end."""
        return _fill(self.prompt.strip().removesuffix(_QUERY), {"document": document})

    @property
    def between(self) -> str:
        """The words between the document and the query."""
        return self.prompt.strip().removesuffix(_QUERY).rpartition("{document}")[2]

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
    return _bytes(name, "--prompt").decode("utf-8")


def _bytes(name: str, flag: str) -> bytes:
    from importlib.resources import files

    if name in names():
        return files(__name__).joinpath(f"{name}.toml").read_bytes()
    path = Path(name)
    if path.is_file():
        return path.read_bytes()
    guess = nearest(name, names())
    raise UsageError(
        f"{flag} {name}: no such file" + (f"; did you mean {guess!r}?" if guess else ""),
        expected=f"a TOML file, or one of {', '.join(names())}",
        remedy="`hnmine prompts NAME` prints one to copy and change",
    )


def read(name: str, *places: str, optional: Sequence[str] = ()) -> Prompt:
    """A prompt by name or path, whose texts have all the `{places}`, and no others but `optional` ones.

    Raises `UsageError`, every problem at once.
    """
    return _read(name, "--prompt", _CHAT, places, optional)


def read_likelihood(name: str) -> Prompt:
    """A prompt by name or path that shows a `{document}` and ends with the `{query}`, whose likelihood is asked for.

    Raises `UsageError`, every problem at once.
    """
    return _read(name, "--judge-likelihood", _COMPLETION, ("document", "query"), ())


def _read(name: str, flag: str, texts: Sequence[str], places: Sequence[str], optional: Sequence[str]) -> Prompt:
    import tomllib

    raw = _bytes(name, flag)
    try:
        values = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag} {name}: {error}", expected="a TOML file, in UTF-8") from None
    problems = [f"no text {key!r}" for key in texts if not isinstance(values.get(key), str)]
    known = [*texts, "passage", "passage_tokens", "request"]
    for key, value in values.items():
        if key not in known:
            guess = nearest(key, known)
            problems.append(f"unknown key {key!r}" + (f"; did you mean {guess!r}?" if guess else ""))
        elif key in (*texts, "passage") and not isinstance(value, str):
            problems.append(f"{key} is not a text")
    if not _is_count(values.get("passage_tokens", 512)):
        problems.append("passage_tokens is not a whole number of 1 or more")
    problems += _of_request(values.get("request", {}), is_chat=texts is _CHAT)
    if not problems:
        found = set(_PLACE.findall("".join(values[key] for key in texts)))
        problems += [f"{{{place}}} is nowhere in it" for place in places if place not in found]
        problems += [f"{{{place}}} means nothing here" for place in sorted(found - {*places, *optional})]
        inside = set(_PLACE.findall(values.get("passage", "{number}{text}")))
        if inside != {"number", "text"}:
            problems.append("passage must have {number} and {text}, and nothing else")
    if not problems and texts is _COMPLETION and not _ends_with_query(values["prompt"]):
        problems.append("prompt must end with {query}, behind white space: its tokens are those at the end")
    if problems:
        raise UsageError("\n".join(f"{flag} {name}: {problem}" for problem in problems))
    return Prompt(name=Path(name).stem, digest=digest_bytes(raw), **values)


def _of_request(request: Any, *, is_chat: bool) -> list[str]:
    """What is wrong with the table `[request]`."""
    if not isinstance(request, dict):
        return ["request is not a table"]
    own = _OWN if is_chat else _OWN_OF_COMPLETIONS
    problems = [f"[request] {name}: hnmine says that itself" for name in own if name in request]
    if is_chat and not any(_is_count(request.get(limit)) for limit in _OUTPUT_LIMITS):
        problems.insert(0, f"[request] does not limit the answer: {' or '.join(_OUTPUT_LIMITS)}")
    return problems


def _ends_with_query(prompt: str) -> bool:
    before = prompt.strip().removesuffix(_QUERY)
    return prompt.strip().endswith(_QUERY) and before[-1:].isspace() and _QUERY not in before


def summary(name: str) -> str:
    """What a prompt is for, in one line: the first of its file."""
    return text(name).partition("\n")[0].removeprefix("#").strip()


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _fill(template: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: values.get(match[1], match[0]), template)
