"""Rows of ids, and the texts that they stand for in files beside them: read as the trainer joins them."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.rows import TrainingRows
from hnmine.files.readers.tables import Row
from hnmine.stages.formats.text_columns import BadRow

SUFFIXES = (".parquet", ".jsonl")
ROWS = "train"


class Lookup:
    """The texts of a file by their ids, as they are written there: 1 and "1" are two ids.

    Without `names` (of the id and the text) the columns are told as sentence-transformers tells them: one is `id` or
    ends in `_id`, the other one holds the texts; `InputError` otherwise. An id that is there twice is a problem: the
    trainer would take its last text.
    """

    def __init__(self, folder: Path, part: str, problems: ProblemLog, names: tuple[str, str] | None = None) -> None:
        rows = part_of(folder, part)
        if names is None:
            ids = [name for name in rows.columns if name == "id" or name.endswith("_id")]
            texts = [name for name in rows.columns if name not in ids]
            if len(ids) != 1 or len(texts) != 1:
                raise InputError(
                    f"{rows.files[0].shown}: columns {', '.join(rows.columns)}",
                    expected="one column of ids, called id or ..._id, and one of texts",
                )
            names = (ids[0], texts[0])
        elif missing := [name for name in names if name not in rows.columns]:
            raise InputError(f"{rows.files[0].shown}: no column {', '.join(missing)}", expected=" and ".join(names))
        self.shown = rows.files[0].shown
        self._texts: dict[Any, str] = {}
        for where, row in rows.read(problems):
            own, text = (row.get(name) for name in names)
            if own is None or not isinstance(text, str):
                problems.add("no id or no text", where, f"{own!r}: {text!r}"[:120])
            elif own in self._texts:
                problems.add("repeated id", where, own)
            else:
                self._texts[own] = text

    def __getitem__(self, key: object) -> str:
        if isinstance(key, (str, int)) and key in self._texts:
            return self._texts[key]
        raise BadRow("unknown id", f"{key!r} is not in {self.shown}")


def part_of(folder: Path, part: str) -> TrainingRows:
    """The rows of a part of a directory: a file of that name, or the files of a folder of that name."""
    for place in (folder / part, *(folder / f"{part}{suffix}" for suffix in SUFFIXES)):
        if place.exists():
            return TrainingRows(place, SUFFIXES)
    raise InputError(f"{folder}: no {part}.parquet", expected="train, queries and documents, each a file or a folder")


class Joined:
    """A directory of rows of ids with its texts. `place` is the directory or its file of rows."""

    def __init__(
        self, place: Path, problems: ProblemLog, lookups: Callable[[Path, ProblemLog], tuple[Lookup, Lookup]]
    ) -> None:
        folder = place if place.is_dir() else place.parent
        self._rows = part_of(folder, ROWS) if place.is_dir() else TrainingRows(place, SUFFIXES)
        if missing := [name for name in ("query_id", "document_ids") if name not in self._rows.columns]:
            raise InputError(
                f"{self._rows.files[0].shown}: no column {', '.join(missing)}",
                expected="query_id, document_ids and labels or scores",
            )
        self._problems = problems
        self._queries, self._documents = lookups(folder, problems)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """`file:row` and the values by column."""
        for where, row in self._rows.read(self._problems):
            yield where, {name: as_list(value) for name, value in row.items()}

    def query(self, row: Mapping[str, Any]) -> tuple[Any, str]:
        """The row's query id and its text; `BadRow` if there is none."""
        return row.get("query_id"), self._queries[row.get("query_id")]

    def documents(self, row: Mapping[str, Any]) -> tuple[list[Any], list[str]]:
        """The row's document ids and their texts; `BadRow` if one has none, or if there are fewer than two."""
        ids = row.get("document_ids")
        if not isinstance(ids, list) or len(ids) < 2:
            raise BadRow("no list of ids", f"document_ids: {ids!r}"[:120])
        return ids, [self._documents[one] for one in ids]


def as_list(value: object) -> object:
    """A list that is written as text, as some published data sets have it, as a list; anything else as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            found = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, RecursionError):
            return value
        return list(found) if isinstance(found, (list, tuple)) else value
    return value
