"""How a table becomes the file that a trainer opens: Parquet, JSON lines, one JSON document, or separated columns.

A file is made of parts, each encoded by itself, so that blocks of rows can be written anywhere and put together in
order: `head`, the parts with `between` between them, `tail`.
"""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from hnmine.files.atomic import replacing
from hnmine.files.tables import TEXT_ROWS, write_rows, write_table, writing

_ROWS = 8_192
"""Rows that are Python objects at a time."""


class Encoding(ABC):
    """A way of writing rows. `suffixes` are those that files may have, the usual one first."""

    suffixes: ClassVar[tuple[str, ...]]
    part_suffix: ClassVar[str]

    @property
    def first_line(self) -> int:
        """The line, or the row, on which the first row of a file stands; each of the others has the next one."""
        return 1

    @abstractmethod
    def write(self, path: Path, table: pa.Table) -> int:
        """Write a whole file, all or nothing; returns its rows."""

    @abstractmethod
    def write_part(self, path: Path, table: pa.Table) -> int:
        """Write what `join` puts together, all or nothing; returns its rows."""

    @abstractmethod
    def join(self, parts: Sequence[Path], target: Path) -> None:
        """Write the rows of the parts, in order, as one file, all or nothing."""

    @abstractmethod
    def lines(self, table: pa.Table) -> Iterator[str]:
        """The rows as lines of text, for a pipe."""


class Parquet(Encoding):
    """Parquet; columns of dictionaries are strings to whoever reads it. A pipe gets JSON lines."""

    suffixes = (".parquet",)
    part_suffix = ".arrow"

    def write(self, path: Path, table: pa.Table) -> int:
        """One Parquet file."""
        return write_table(path, table, as_strings=True, row_group=TEXT_ROWS)

    def write_part(self, path: Path, table: pa.Table) -> int:
        """An Arrow file, quick to write and to read, that nobody else reads."""
        return write_rows(path, table)

    def join(self, parts: Sequence[Path], target: Path) -> None:
        """Part by part: no more than one is in memory."""
        with writing(target, as_strings=True, row_group=TEXT_ROWS) as writer:
            for part in parts:
                writer.write(pa.ipc.open_file(pa.memory_map(os.fspath(part))).read_all())

    def lines(self, table: pa.Table) -> Iterator[str]:
        """One JSON object a row, nulls included."""
        for row in _records(table):
            yield json.dumps(row, ensure_ascii=False) + "\n"


class _Text(Encoding):
    part_suffix = ".part"
    head: str = ""
    between: str = ""
    tail: str = ""

    @property
    def first_line(self) -> int:
        return 1 + self.head.count("\n")

    def write(self, path: Path, table: pa.Table) -> int:
        with replacing(path) as pending, open(pending, "w", encoding="utf-8", newline="") as stream:
            stream.write(self.head)
            self._write(stream, table)
            stream.write(self.tail)
        return int(table.num_rows)

    def write_part(self, path: Path, table: pa.Table) -> int:
        with replacing(path) as pending, open(pending, "w", encoding="utf-8", newline="") as stream:
            self._write(stream, table)
        return int(table.num_rows)

    def _write(self, stream: Any, table: pa.Table) -> None:
        for number, line in enumerate(self.lines(table)):
            if number:
                stream.write(self.between)
            stream.write(line)

    def join(self, parts: Sequence[Path], target: Path) -> None:
        filled = [part for part in parts if part.stat().st_size]
        with replacing(target) as pending, open(pending, "wb") as stream:
            stream.write(self.head.encode())
            for number, part in enumerate(filled):
                if number:
                    stream.write(self.between.encode())
                with open(part, "rb") as source:
                    shutil.copyfileobj(source, stream, 1 << 20)
            stream.write(self.tail.encode())


class JsonLines(_Text):
    """One JSON object a line. A key whose value is null is left out: trainers tell a missing key from an empty one."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".json", ".ndjson")

    def lines(self, table: pa.Table) -> Iterator[str]:
        """One object a row, keys in the order of the columns."""
        for row in _records(table):
            yield json.dumps(without_nulls(row), ensure_ascii=False) + "\n"


class JsonDocument(_Text):
    """One JSON document that holds the rows as the objects of an array; `head` opens that array, `tail` closes it."""

    suffixes = (".json",)
    between = ",\n"

    def __init__(self, head: str = "[\n", tail: str = "\n]\n") -> None:
        self.head, self.tail = head, tail

    def lines(self, table: pa.Table) -> Iterator[str]:
        """One object a row, without a line end."""
        for row in _records(table):
            yield json.dumps(without_nulls(row), ensure_ascii=False)


@dataclass(frozen=True)
class Separated(_Text):
    """Columns with a separator between them, one row a line, without quotes: TSV, TREC.

    White space that would end a column or a line becomes a space, and so does NUL. With `header` the column names come
    first.
    """

    separator: str = "\t"
    header: str = ""
    suffixes: ClassVar[tuple[str, ...]] = (".tsv", ".txt", ".trec")

    @property
    def head(self) -> str:  # type: ignore[override]
        """The line of the column names."""
        return self.header

    def lines(self, table: pa.Table) -> Iterator[str]:
        """One row a line."""
        for row in _records(table):
            yield self.separator.join(_one_line(value) for value in row.values()) + "\n"


def without_nulls(value: Any) -> Any:
    """A JSON value without the keys whose value is null, at any depth."""
    if isinstance(value, dict):
        return {key: without_nulls(own) for key, own in value.items() if own is not None}
    return [without_nulls(own) for own in value] if isinstance(value, list) else value


def _records(table: pa.Table) -> Iterator[dict[str, Any]]:
    for start in range(0, table.num_rows, _ROWS):
        yield from table.slice(start, _ROWS).to_pylist()


LINE_ENDS = "\0\t\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
"""What ends a column or, to one reader or another, a line, or makes the file no text."""
_TO_SPACE = str.maketrans(dict.fromkeys(LINE_ENDS, " "))


def _one_line(value: Any) -> str:
    return value.translate(_TO_SPACE) if isinstance(value, str) else str(value)
