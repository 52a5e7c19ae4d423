"""Reads TREC runs: `qid Q0 docid rank score tag`, or `qid docid score`.

Where the first line has a tab, tabs alone separate, so ids with spaces survive; otherwise white space does. A line with
another number of fields is refused: an id is never split.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from hnmine.errors import ProblemLog
from hnmine.files.readers.fields import BadRecord, Place, checked_id
from hnmine.files.readers.records import RunRow
from hnmine.files.readers.streams import InputFile, text_lines
from hnmine.files.remote import as_path

_SECOND = {"q0", "qo", "0"}


def read_trec_run(path: str | Path, problems: ProblemLog) -> Iterator[RunRow]:
    """Each row of a run in file order, any compression; lines that are none go to `problems`.

    The first line decides for the whole file what separates the columns, the first line of three or six columns how
    many there are. Raises `InputError` when the file is missing or is no text.
    """
    file = InputFile(path=as_path(path), shown=str(path))
    separator: str | None = None
    widths: tuple[int, ...] = (3, 6)
    first = True
    for line, content in text_lines(file, problems):
        if not content.strip(" "):
            continue
        if first:
            separator = "\t" if "\t" in content else None
            first = False
        widths = tuple(width for width in widths if width == len(content.split(separator))) or widths
        try:
            yield _row(content, separator, widths, file, line)
        except BadRecord as bad:
            Place(file, line).report(problems, bad)


def _row(content: str, separator: str | None, widths: tuple[int, ...], file: InputFile, line: int) -> RunRow:
    fields = content.split(separator)
    # A tab in a file separated by white space would split an id with a space, or join two columns.
    if len(fields) not in widths or (separator is None and "\t" in content):
        raise BadRecord(
            "wrong number of columns: an id with a space? use tabs",
            f"{len(fields)} instead of {' or '.join(map(str, widths))}: {content[:80]}",
        )
    rank: int | None = None
    tag = ""
    if len(fields) == 6:
        query_id, second, doc_id, place, value, tag = fields
        if separator is None and second.lower() not in _SECOND:
            raise BadRecord("second column is not Q0: an id with a space? use tabs", content[:80])
        rank = _rank(place)
    else:
        query_id, doc_id, value = fields
    return RunRow(
        query_id=checked_id(query_id),
        doc_id=checked_id(doc_id),
        rank=rank,
        score=_score(value),
        tag=tag,
        file=file.shown,
        line=line,
    )


def _rank(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadRecord("rank not an integer", text) from None


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score) or "_" in text:
        raise BadRecord("score not a finite number", text)
    return score
