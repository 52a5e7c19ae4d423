"""Reads one JSON document that holds rows in an array, and says on which line each row begins."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hnmine.errors import ProblemLog
from hnmine.files.readers.streams import (
    WRONG_ENCODING,
    InputFile,
    byte_value,
    decompression_errors,
    open_binary,
    refuse_other_than_text,
    translated,
)
from hnmine.files.readers.tables import refuse_constant

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_constant=refuse_constant)


@dataclass(slots=True, kw_only=True)
class JsonRows:
    """The rows of a document, each with the line (from 1) on which it begins, and what stands beside their array."""

    rows: list[tuple[int, Any]] = field(default_factory=list)
    beside: dict[str, Any] = field(default_factory=dict)


def read_json_rows(file: InputFile, problems: ProblemLog, key: str | None = None) -> JsonRows:
    """The items of the array that the document is, or that its object has under `key`.

    The document is in memory as a whole, as it is for the trainers that read such a file. What breaks it goes to
    `problems` with its line and ends it: what comes after, nobody can read.
    """
    found = JsonRows()
    try:
        with open_binary(file) as stream:
            raw = stream.read().removeprefix(b"\xef\xbb\xbf")
    except decompression_errors() as error:
        raise translated(file, error) from error
    refuse_other_than_text(file, raw[:4096])
    try:
        document = _Document(raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problems.add(WRONG_ENCODING, f"{file.shown}:{line}", byte_value(raw, error))
        return found
    try:
        if key is None:
            document.rows(found)
        else:
            for _ in document.items("{", "}"):
                name = document.value()
                document.take(":")
                if name == key:
                    document.rows(found)
                else:
                    found.beside[str(name)] = document.value()
        if document.next():
            raise _Broken("more after the end of the document")
    except _Broken as broken:
        problems.add("broken JSON", f"{file.shown}:{document.line}", f"{broken}: {document.shown}")
    return found


class _Broken(Exception):
    """Why the document cannot be read on."""


class _Document:
    """The text of a document, and how far it has been read."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._line, self._counted = 1, 0

    @property
    def line(self) -> int:
        """The line that has been reached, from 1."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    @property
    def shown(self) -> str:
        """What comes next, for a message."""
        return self._text[self._at : self._at + 80].partition("\n")[0] or "the end"

    def next(self) -> str:
        """The next character that is no white space; "" at the end."""
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        return self._text[self._at : self._at + 1]

    def take(self, wanted: str) -> None:
        """Pass over a character that must come next."""
        if self.next() != wanted:
            raise _Broken(f"expected {wanted}")
        self._at += 1

    def value(self) -> Any:
        """Any value."""
        self.next()
        try:
            value, self._at = _DECODER.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._at = error.pos
            raise _Broken(error.msg) from None
        except (ValueError, RecursionError) as error:
            raise _Broken(str(error)) from None
        return value

    def items(self, start: str, end: str) -> Iterator[None]:
        """Stops before each item of an array or an object, which the caller reads."""
        self.take(start)
        if self.next() != end:
            yield
            while self.next() != end:
                self.take(",")
                yield
        self.take(end)

    def rows(self, found: JsonRows) -> None:
        """Read an array, item by item."""
        for _ in self.items("[", "]"):
            self.next()
            line = self.line
            found.rows.append((line, self.value()))
