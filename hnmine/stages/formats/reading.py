"""Reads training files back as strictly as a trainer does: where they lie, their rows, and the parts of a row."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord, checked_id, checked_text
from hnmine.files.readers.rows import TrainingRows
from hnmine.files.readers.streams import InputFile, text_lines
from hnmine.files.readers.tables import read_rows

_GRADE = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
Placed = Iterator[tuple[str, Any]]
"""Rows with their places, `file:line`."""


def directory_of(place: Path, name: str) -> Path:
    """The directory of a format of several files, named itself or by its file of rows, which is `name` there."""
    return place if place.is_dir() or not place.as_posix().endswith(name) else place.parents[name.count("/")]


def file_of(folder: Path, *names: str) -> InputFile:
    """The first file of these names in a directory. Raises `InputError` if there is none."""
    found = optional_file(folder, *names)
    if found is None:
        what = "is not there" if not folder.exists() else "has no such file"
        raise InputError(f"{folder}: {what}: {' or '.join(names)}", expected="all files of the format")
    return found


def optional_file(folder: Path, *names: str) -> InputFile | None:
    """As `file_of`; None if there is none."""
    return next((InputFile(path=folder / n, shown=str(folder / n)) for n in names if (folder / n).is_file()), None)


def require_columns(rows: TrainingRows, *names: str) -> None:
    """Raise `InputError` unless a file has these columns (of JSON lines, keys in one of the first 100)."""
    missing = [name for name in names if name not in rows.columns]
    if missing:
        raise InputError(
            f"{rows.files[0].shown}: no {' or '.join(missing)} among its keys: {', '.join(rows.columns) or 'none'}",
            expected=f"{', '.join(names[:-1])} and {names[-1]}",
        )


def table_rows(files: Iterable[InputFile], problems: ProblemLog) -> Placed:
    """The rows of files of JSON lines (or Parquet, CSV, TSV), one file after the other."""
    for file in files:
        for line, row in read_rows(file, problems):
            yield f"{file.shown}:{line}", row


def separated_rows(
    file: InputFile, problems: ProblemLog, columns: int, *, separator: str | None = "\t", header: bool = False
) -> Placed:
    """The fields of each line; one with another number of `columns`, and an empty one, is a problem.

    With `header` the first line is passed over, whatever it says.
    """
    for line, content in text_lines(file, problems):
        if header and line == 1:
            continue
        fields = content.split(separator)
        if len(fields) != columns:
            problems.add(
                "wrong number of columns", f"{file.shown}:{line}", f"{len(fields)} instead of {columns}: {content[:80]}"
            )
            continue
        yield f"{file.shown}:{line}", fields


def parsed(rows: Placed, problems: ProblemLog, parse: Callable[[str, Any], Example]) -> Iterator[Example]:
    """Each row as an example; one for which `parse` raises `BadRecord` goes to `problems`."""
    for where, row in rows:
        try:
            yield parse(where, row)
        except BadRecord as bad:
            problems.add(bad.kind, where, bad.value)


def take(row: Any, key: str) -> Any:
    """What an object has under `key`; raises `BadRecord` where there is no object, no such key, or null."""
    if not isinstance(row, Mapping):
        raise BadRecord("not an object", str(row)[:80])
    if row.get(key) is None:
        raise BadRecord(f"no {key}", ", ".join(map(str, row))[:120])
    return row[key]


def text_in(row: Any, key: str) -> str:
    """The text under `key`; an empty one, and what is no text, raises `BadRecord`."""
    value = take(row, key)
    if not isinstance(value, str):
        raise BadRecord("not a text", f"{key}: {value!r}"[:120])
    return checked_text(value, owner=key)


def texts_in(row: Any, key: str) -> list[str]:
    """The list of texts under `key`; raises `BadRecord` for an empty one, and for a text that is empty or is none."""
    values = list_in(row, key)
    if (odd := next((one for one in values if not isinstance(one, str)), "")) != "":
        raise BadRecord("not a text", f"{key}: {odd!r}"[:120])
    return [checked_text(value, owner=key) for value in values]


def optional_text_in(row: Mapping[str, Any], key: str) -> str | None:
    """The text under `key`, which may be empty; None if there is none. Raises `BadRecord`."""
    value = row.get(key)
    return None if value is None else "" if value == "" else text_in(row, key)


def titled_in(row: Any) -> tuple[str | None, str]:
    """The `title` of a document, None where it is empty or missing, and its `text`, which behind a title may be empty.

    Raises `BadRecord`.
    """
    title, text = (row.get(key) if isinstance(row, Mapping) else None for key in ("title", "text"))
    if not isinstance(title, (str, type(None))):
        raise BadRecord("not a text", f"title: {title!r}"[:120])
    title = checked_text(title or "", may_be_empty=True, owner="title") or None
    if title and title.strip() and isinstance(text, str) and not text.strip():
        return title, text
    return title, text_in(row, "text")


def id_in(row: Any, key: str, *, number: bool = False) -> str:
    """The id under `key`, a string; with `number` an integer too, which becomes one. Raises `BadRecord`."""
    value = take(row, key)
    if isinstance(value, bool) or not isinstance(value, (str, int) if number else str):
        raise BadRecord("id not a string", f"{key}: {value!r}"[:120])
    return checked_id(str(value))


def list_in(row: Any, key: str, *, empty: bool = False) -> list[Any]:
    """The list under `key`; raises `BadRecord` for what is none, and, unless `empty` is allowed, for an empty one."""
    value = take(row, key)
    if not isinstance(value, (list, tuple)):
        raise BadRecord("not a list", f"{key}: {value!r}"[:120])
    if not value and not empty:
        raise BadRecord(f"no document in {key}")
    return list(value)


def score_in(row: Mapping[str, Any], key: str = "score") -> float | None:
    """The number under `key`, None if there is none; raises `BadRecord` for what is no finite number."""
    value = row.get(key)
    if value is None:
        return None
    try:
        found = math.nan if isinstance(value, bool) or not isinstance(value, (int, float)) else float(value)
    except OverflowError:  # JSON has whole numbers of any length
        found = math.inf
    if not math.isfinite(found):
        raise BadRecord("score not a finite number", f"{value!r}"[:120])
    return found


def scores_in(row: Mapping[str, Any], key: str, size: int) -> list[float] | None:
    """The list of `size` finite numbers under `key`, None if there is none. Raises `BadRecord`."""
    if row.get(key) is None:
        return None
    values = list_in(row, key)
    if len(values) != size:
        raise BadRecord("wrong number of scores", f"{key}: {len(values)} for {size} texts")
    scores = [score_in({key: value}, key) for value in values]
    if None in scores:
        raise BadRecord("score not a finite number", f"{key}: None")
    return [score for score in scores if score is not None]


def number_of(text: str) -> float:
    """A field of a line as a finite number; raises `BadRecord`."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise BadRecord("not a finite number", text)
    return value


def grade_of(text: str) -> int:
    """A field of a line as a grade; raises `BadRecord`."""
    if not _GRADE.fullmatch(text):
        raise BadRecord("grade not an integer", text)
    return checked_grade(int(text))


def checked_grade(grade: Any) -> int:
    """A grade, which is an integer of 32 bits; raises `BadRecord`."""
    if isinstance(grade, bool) or not isinstance(grade, int):
        raise BadRecord("grade not an integer", repr(grade)[:120])
    if not -(2**31) <= grade < 2**31:
        raise BadRecord("grade out of range", grade)
    return grade


class SameKeys:
    """Keys that must stand in every object or in none, as in the first.

    Where one lacks a key, `datasets` puts a null, which a trainer reads as a value.
    """

    def __init__(self, *names: str) -> None:
        self._names = names
        self._first: set[str] | None = None

    def check(self, row: Mapping[str, Any]) -> None:
        """Raises `BadRecord` for an object that has other keys of these than the first had; a null is no value."""
        own = {name for name in self._names if row.get(name) is not None}
        if self._first is None:
            self._first = own
        if odd := own ^ self._first:
            raise BadRecord("key in some rows only", ", ".join(sorted(odd)))


class Known:
    """Texts of a format that names them by id: those that its rows want, and nothing else, in memory."""

    def __init__(self, noun: str, wanted: Iterable[str]) -> None:
        self.noun = noun
        self._found: dict[str, tuple[str | None, str] | None] = dict.fromkeys(wanted)

    def add(self, where: str, identity: str, text: str, title: str | None, problems: ProblemLog) -> None:
        """Keep a text if it is wanted; an id that comes twice is a problem."""
        if self._found.get(identity) is not None:
            problems.add(f"{self.noun} id twice", where, identity)
        elif identity in self._found:
            self._found[identity] = (title, text)

    def text(self, identity: str) -> str:
        """The text of an id; raises `BadRecord` if there is none."""
        return self._of(identity)[1]

    def passage(self, identity: str, **more: Any) -> Passage:
        """The document of an id; raises `BadRecord` if there is none."""
        title, text = self._of(identity)
        return Passage(doc_id=identity, title=title, text=text, **more)

    def _of(self, identity: str) -> tuple[str | None, str]:
        found = self._found.get(identity)
        if found is None:
            raise BadRecord(f"unknown {self.noun}", identity)
        return found
