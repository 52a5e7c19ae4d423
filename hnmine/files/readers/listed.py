"""Reads a list of queries or documents that somebody named: a held-out set, things to leave out.

What lists them may be plain lines (an id or a text each), qrels, `id<TAB>text`, or any table with an id or text column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.layout import existing_file
from hnmine.files.readers.qrels import read_qrels
from hnmine.files.readers.streams import InputFile, read_head, text_lines
from hnmine.files.readers.tables import TABLE_SUFFIXES, columns, read_rows
from hnmine.files.readers.texts import ID_COLUMNS, TEXT_COLUMNS, TITLE_COLUMN
from hnmine.hashing import digest_file, text_key
from hnmine.schema import Side

LISTED_IDS = {
    Side.QUERY: (*ID_COLUMNS[Side.QUERY], "query-id"),
    Side.DOCUMENT: (*ID_COLUMNS[Side.DOCUMENT], "corpus-id"),
}
LISTED_TEXTS = {
    Side.QUERY: ("anchor", "query", "question", *TEXT_COLUMNS),
    Side.DOCUMENT: ("positive", "document", "passage", *TEXT_COLUMNS),
}
_QRELS_NAMES = (".qrels", ".qrel", ".trec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The items of a list: ids, and the `text_key`s of texts (ascending). A plain line counts as either."""

    ids: frozenset[str]
    keys: npt.NDArray[np.uint64]
    digest: str
    """SHA-256 of the file."""

    def has_keys(self, keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Which of the given text keys are listed."""
        return np.isin(keys, self.keys)


def read_listed(given: str, side: Side) -> Listed:
    """The queries or documents that the file `given` lists. Raises `InputError` for bad lines, and for an empty list.

    Of qrels, every query or document named is listed, whatever its grade.
    """
    file = existing_file(given)
    problems = ProblemLog()
    ids: set[str] = set()
    keys: set[int] = set()
    for identity, text in _items(file, side, problems):
        if identity:
            ids.add(identity)
        if text and text.strip():
            keys.add(text_key(text))
    problems.raise_if_any(remedy="correct the list")
    if not ids and not keys:
        raise InputError(f"{given}: nothing is listed", expected="an id or a text a line, qrels, or a table of texts")
    array = np.fromiter(keys, np.uint64, len(keys))
    array.sort()
    return Listed(ids=frozenset(ids), keys=array, digest=digest_file(file.path))


def _items(file: InputFile, side: Side, problems: ProblemLog) -> Iterator[tuple[str | None, str | None]]:
    """(id, text) of each item; a plain line is both."""
    name = file.plain_name
    if name.endswith(_QRELS_NAMES):
        yield from _judged(file, side, problems)
        return
    known = (*LISTED_IDS[side], *LISTED_TEXTS[side])
    is_table = name.endswith(tuple(TABLE_SUFFIXES)) or read_head(file).startswith(b"PAR1")
    if name.endswith(".tsv"):
        first = next((line for _, line in text_lines(file, ProblemLog()) if line.strip()), "")
        fields = first.split("\t")
        if not any(field in known for field in fields):
            if len(fields) > 2:
                yield from _judged(file, side, problems)
            else:
                yield from _pairs(file, problems)
            return
    if not is_table:
        for _, line in text_lines(file, problems):
            if line.strip():
                yield line.strip(), line
        return
    names = columns(file)
    identity = next((column for column in LISTED_IDS[side] if column in names), None)
    text = next((column for column in LISTED_TEXTS[side] if column in names), None)
    if identity is None and text is None:
        if names:
            raise InputError(
                f"{file.shown}: neither an id nor a text column among: {', '.join(names)}",
                expected=f"one of {', '.join(known)}",
            )
        return
    wanted = [c for c in (identity, text, TITLE_COLUMN) if c in names]
    for _, row in read_rows(file, problems, wanted):
        found = row.get(identity) if identity else None
        words = row.get(text) if text else None
        title = row.get(TITLE_COLUMN) if side is Side.DOCUMENT else None
        both = "\n".join(part for part in (title, words) if isinstance(part, str) and part)
        yield (str(found) if found is not None else None), both or None


def _judged(file: InputFile, side: Side, problems: ProblemLog) -> Iterator[tuple[str, None]]:
    for judgment in read_qrels(file, problems):
        yield (judgment.query_id if side is Side.QUERY else judgment.doc_id), None


def _pairs(file: InputFile, problems: ProblemLog) -> Iterator[tuple[str, str]]:
    for _, line in text_lines(file, problems):
        if line.strip():
            identity, tab, text = line.partition("\t")
            yield identity, text if tab else line
