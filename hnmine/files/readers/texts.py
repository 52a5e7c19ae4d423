"""Reads documents and queries from one file each: JSONL, CSV, Parquet, or TSV of id and text without a header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.fields import BadRecord, Place, checked_id, checked_text, take_id, take_metadata, take_text
from hnmine.files.readers.identity import digest16, hashed_id
from hnmine.files.readers.records import Document, Query
from hnmine.files.readers.streams import InputFile, text_lines
from hnmine.files.readers.tables import columns, read_rows
from hnmine.schema import Side
from hnmine.spelling import nearest

ID_COLUMNS = {
    Side.DOCUMENT: ("_id", "id", "doc_id", "docid"),
    Side.QUERY: ("_id", "id", "query_id", "qid"),
}
TEXT_COLUMNS = ("text", "contents")
TITLE_COLUMN = "title"
_LIKE_AN_ID = re.compile(r"(^|[\W_])(doc|document|passage|corpus|[cdp])?idx?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """A file of documents or queries and its columns.

    `id_column` None means `id<TAB>text` lines without a header; "" that the file has no ids, and a document's is made
    from its text.
    """

    file: InputFile
    id_column: str | None
    text_column: str


def text_columns(names: list[str], side: Side) -> tuple[str, str] | None:
    """The id and text columns among `names` (BEIR's own names first), or None when one is missing."""
    identity = next((name for name in ID_COLUMNS[side] if name in names), None)
    text = next((name for name in TEXT_COLUMNS if name in names), None)
    return (identity, text) if identity and text else None


def open_text_file(file: InputFile, side: Side, *, made_ids: bool = False) -> TextFile:
    """The file with its columns found, once per file and never per record.

    With `made_ids` a file of documents may do without ids. Raises `InputError` when there is no id or text column,
    naming the columns there are.
    """
    if file.plain_name.endswith(".tsv"):
        first = next((line for _, line in text_lines(file, ProblemLog()) if line), "")
        if text_columns(first.split("\t"), side) is None:
            return TextFile(file=file, id_column=None, text_column="")
    names = columns(file)
    found = text_columns(names, side)
    if found is None and made_ids and not any(map(_LIKE_AN_ID.search, names)):
        for name in TEXT_COLUMNS:
            if name in names:
                return TextFile(file=file, id_column="", text_column=name)
    if found is None and names:
        known = [*ID_COLUMNS[side], *TEXT_COLUMNS]
        guesses = [
            f"{name!r} looks like {guess!r}" for name in names if (guess := nearest(name, known)) and guess != name
        ]
        raise InputError(
            f"{file.shown}: no id or no text column among: {', '.join(names)}",
            expected=f"one of {', '.join(ID_COLUMNS[side])} and one of {', '.join(TEXT_COLUMNS)}",
            remedy="rename the column" + (f" ({'; '.join(guesses)})" if guesses else ""),
        )
    identity, text = found or (ID_COLUMNS[side][0], TEXT_COLUMNS[0])
    return TextFile(file=file, id_column=identity, text_column=text)


def read_documents(part: TextFile, problems: ProblemLog) -> Iterator[Document]:
    """Each document in file order; records that are none go to `problems`. Without ids equal texts are one."""
    document = partial(Document, file=part.file.shown)
    if part.id_column is None:
        for line, doc_id, text in _tsv_texts(part.file, problems):
            yield document(doc_id=doc_id, title="", text=text, metadata={}, line=line)
        return
    taken = {part.id_column, part.text_column, TITLE_COLUMN}
    seen: set[bytes] = set()
    for line, row in read_rows(part.file, problems):
        try:
            doc_id = take_id(row, part.id_column) if part.id_column else ""
            titled = row.get(TITLE_COLUMN) is not None
            title = take_text(row, TITLE_COLUMN, may_be_empty=True, owner=doc_id) if titled else ""
            text = take_text(row, part.text_column, may_be_empty=bool(title.strip()), owner=doc_id)
        except BadRecord as bad:
            Place(part.file, line).report(problems, bad)
            continue
        if not part.id_column:
            content = f"{title} {text}" if title.strip() else text
            doc_id = hashed_id("d-", content)
            if (digest := digest16(content)) in seen:
                continue
            seen.add(digest)
        yield document(doc_id=doc_id, title=title, text=text, metadata=take_metadata(row, taken), line=line)


def read_queries(part: TextFile, problems: ProblemLog) -> Iterator[Query]:
    """Each query in file order; records that are none go to `problems`."""
    query = partial(Query, file=part.file.shown)
    if part.id_column is None:
        for line, query_id, text in _tsv_texts(part.file, problems):
            yield query(query_id=query_id, text=text, metadata={}, line=line)
        return
    taken = {part.id_column, part.text_column}
    for line, row in read_rows(part.file, problems):
        try:
            query_id = take_id(row, part.id_column)
            text = take_text(row, part.text_column, owner=query_id)
        except BadRecord as bad:
            Place(part.file, line).report(problems, bad)
            continue
        yield query(query_id=query_id, text=text, metadata=take_metadata(row, taken), line=line)


def _tsv_texts(file: InputFile, problems: ProblemLog) -> Iterator[tuple[int, str, str]]:
    for line, content in text_lines(file, problems):
        if not content:
            continue
        fields = content.split("\t")
        try:
            if len(fields) != 2:
                raise BadRecord("wrong number of columns", f"{len(fields)} instead of id and text: {content[:80]}")
            identity = checked_id(fields[0])
            text = checked_text(fields[1], owner=identity)
        except BadRecord as bad:
            Place(file, line).report(problems, bad)
            continue
        yield line, identity, text
