"""Where the sentences of a text are, in any language that ends them with a mark or a line."""

from __future__ import annotations

import re

_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+(?=[^\W_]|[\"'“‘«(\[])|(?<=[。！？｡])[”’」』）]*|\s*\n\s*")
_CLOSING = "\"'”’»)]」』）"


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence in order, white space around it left out; empty for a text of white space.

    A sentence ends with a full stop, question or exclamation mark, or with its line. A mark before a small letter ends
    none (`e.g. this`), unless there are no capitals at all. An abbreviation before a capital does (`Dr. Watson`): no
    list of a language's own is consulted.
    """
    found = []
    has_capitals = text != text.lower()
    start = 0
    ends = [(match.start(), match.end(), match[0]) for match in _END.finditer(text)]
    for low, high, between in [*ends, (len(text), len(text), "")]:
        if has_capitals and text[high : high + 1].islower() and "\n" not in between:
            continue
        stop = low + len(between) - len(between.lstrip(_CLOSING))
        begin, end = _stripped(text, start, stop)
        if begin < end:
            found.append((begin, end))
        start = high
    return found


def _stripped(text: str, start: int, stop: int) -> tuple[int, int]:
    while start < stop and text[start].isspace():
        start += 1
    while stop > start and text[stop - 1].isspace():
        stop -= 1
    return start, stop
