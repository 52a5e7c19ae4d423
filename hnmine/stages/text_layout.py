"""Text in the columns of a terminal: wide characters (Chinese, Japanese, Korean, emoji) take two, marks none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

CUT = "…"
_TOKENS = re.compile(r"\s+|[^\s\u1100-\U0003ffff]+|.", re.DOTALL)
"""White space, words, and single characters of scripts that may be broken anywhere."""
_NUMBER = re.compile(r"[-+]?[\d.,]+ ?%?|-|")


def width(text: str) -> int:
    """How many columns a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(sign: str) -> int:
    if unicodedata.category(sign) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def plain(text: str) -> str:
    """A text without signs that move the cursor or change the terminal."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in text).expandtabs(4)


def cut(text: str, columns: int) -> str:
    """The text in at most so many columns; what is left out shows as …."""
    if width(text) <= columns:
        return text
    kept, used = [], 1
    for sign in text:
        used += _columns(sign)
        if used > columns:
            break
        kept.append(sign)
    return "".join(kept).rstrip() + CUT


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """The text filled up with spaces to so many columns; `right`: in front of it."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def wrap(text: str, columns: int, *, hanging: int = 0) -> list[str]:
    """A text in lines of so many columns, broken at white space; all lines but the first are indented by `hanging`."""
    lines, line, is_begun = list[str](), "", False
    for token in _TOKENS.findall(text):
        if token.isspace():
            line += token if is_begun or not lines else ""
            continue
        if is_begun and width(line + token) > columns:
            lines.append(line.rstrip())
            line = " " * hanging
        while width(line + token) > columns:  # longer than a line
            fitting = max(1, _fitting(token, columns - width(line)))
            lines.append(line + token[:fitting])
            line, token = " " * hanging, token[fitting:]
        line, is_begun = line + token, True
    return [*lines, line.rstrip()]


def _fitting(text: str, columns: int) -> int:
    """How many characters of a text fit."""
    used = 0
    for count, sign in enumerate(text):
        used += _columns(sign)
        if used > columns:
            return count
    return len(text)


def excerpt(text: str, columns: int, most: int) -> list[str]:
    """At most so many lines of a text, the last with … if there is more: its own lines where they fit (code, verse),
    else its words wrapped. A long text is not read further than that takes.
    """
    begin = plain(text[: columns * (most + 1) * 2])
    own = [line.rstrip() for line in begin.splitlines() if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in own), default=0)
    if len(own) > 1 and all(width(line) - indent <= columns for line in own[:most]):
        lines = [line[indent:] for line in own]
    else:
        lines = wrap(" ".join(begin.split()), columns)
    if len(lines) <= most and len(begin) >= len(text):
        return lines
    return [*lines[: most - 1], cut(f"{lines[min(most, len(lines)) - 1]} {CUT}", columns)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> Iterator[str]:
    """A table at most so many columns wide: numbers to the right, the last column cut to what is left."""
    sizes = [max(map(width, cells)) for cells in zip(header, *rows, strict=True)]
    is_number = [
        all(re.fullmatch(r"[-+]?[\d.,]+[%a-zA-Z/]*|-|", cell) for cell in cells) for cells in zip(*rows, strict=True)
    ]
    left = max(columns - sum(sizes[:-1]) - 2 * (len(sizes) - 1), 10)
    for cells in [header, *rows]:
        shown = [pad(cell, size, right=right) for cell, size, right in zip(cells[:-1], sizes, is_number, strict=False)]
        yield "  ".join([*shown, cut(cells[-1], left)]).rstrip()
