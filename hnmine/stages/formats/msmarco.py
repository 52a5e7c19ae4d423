"""`msmarco`: the files of MS MARCO's passage ranking, in which triples are ids, and once more texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.layout import Chosen, Keys, Layout, apart, row_per_negative, row_per_query
from hnmine.errors import ProblemLog
from hnmine.files.encodings import LINE_ENDS, Encoding, Separated
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord, checked_id, checked_text
from hnmine.files.readers.rows import shards
from hnmine.files.readers.streams import InputFile
from hnmine.stages.formats.base import (
    Documents,
    DocumentsFile,
    FurtherFile,
    Queries,
    QueriesFile,
    Rows,
    RowsFile,
    TrainingFormat,
)
from hnmine.stages.formats.reading import Known, file_of, grade_of, parsed, separated_rows

_IDS = "triples.train.ids.tsv"
_TEXTS = "triples.train.small.tsv"
_IS_IDS = ("ids", "qidpidtriples")
"""What tells a file of ids, among those of the real MS MARCO and those made after it, from one of texts."""


def _documents(documents: Documents) -> pa.Table:
    return pa.table({"pid": documents.ids, "text": documents.texts})


def _queries(queries: Queries) -> pa.Table:
    return pa.table({"qid": queries.ids, "text": queries.texts})


def _positives(chosen: Chosen, width: int, keys: Keys | None) -> Layout:
    return apart(row_per_query(chosen, None)[0], positives_only=True)


def _qrels(rows: Rows) -> pa.Table:
    """Query id, 0, passage id, grade."""
    zeros = pa.repeat(pa.scalar("0"), len(rows.layout))
    grades = pc.fill_null(rows.grades, 1)
    return pa.table({"qid": rows.query_ids, "0": zeros, "pid": rows.doc_ids, "rel": grades})


def _texts(rows: Rows) -> pa.Table:
    """Query, positive, negative."""
    return pa.table({"query": rows.queries, "positive": rows.column(0), "negative": rows.column(1)})


class MsMarco(TrainingFormat):
    """A row for each (query, positive, negative): ids in one file, texts in another, in the same order."""

    encoding: ClassVar[Encoding] = Separated()
    name = _IDS
    beside: ClassVar[tuple[FurtherFile, ...]] = (
        RowsFile(
            name=_TEXTS,
            encoding=Separated(),
            lay_out=lambda chosen, width, keys: row_per_negative(chosen, keys)[0],
            table=_texts,
        ),
        DocumentsFile(name="collection.tsv", encoding=Separated(), table=_documents, whole=True),
        QueriesFile(name="queries.train.tsv", encoding=Separated(), table=_queries),
        RowsFile(name="qrels.train.tsv", encoding=Separated(), lay_out=_positives, table=_qrels),
    )
    takes_scores = False
    takes_weights = False
    takes_epochs = False
    ids_without = rf"[{LINE_ENDS}]|^\s|\s$"

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each (query, positive, negative)."""
        return row_per_negative(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """Query id, positive id, negative id."""
        return pa.table({"qid": rows.query_ids, "pos": rows.at(0, rows.doc_ids), "neg": rows.at(1, rows.doc_ids)})

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """An example for each triple: of a directory, or of the ids in one, with its texts; of a file of texts, those.

        A file of ids counts as one by its name, and what it names must be in the files beside it.
        """
        file = file_of(place, _IDS, "qidpidtriples.train.full.2.tsv") if place.is_dir() else shards(place, ())[0]
        rows = separated_rows(file, problems, 3)
        if not any(mark in file.name.lower() for mark in _IS_IDS):
            yield from parsed(rows, problems, _of_texts)
            return
        triples = list(rows)
        folder = file.path.parent
        known = _known("document", file_of(folder, "collection.tsv"), _ids(triples, 1, 2), problems)
        asked = _known("query", file_of(folder, "queries.train.tsv"), _ids(triples, 0), problems)
        for where, (query_id, _, doc_id, grade) in separated_rows(file_of(folder, "qrels.train.tsv"), problems, 4):
            try:
                checked_id(query_id), checked_id(doc_id), grade_of(grade)
            except BadRecord as bad:
                problems.add(bad.kind, where, bad.value)

        def by_id(where: str, row: list[str]) -> Example:
            query_id, positive, negative = row
            return Example(
                where=where,
                query_id=query_id,
                query=asked.text(query_id),
                positives=[known.passage(positive)],
                negatives=[known.passage(negative)],
            )

        yield from parsed(iter(triples), problems, by_id)


def _of_texts(where: str, row: list[str]) -> Example:
    query, positive, negative = (checked_text(text, owner="a column") for text in row)
    return Example(where=where, query=query, positives=[Passage(text=positive)], negatives=[Passage(text=negative)])


def _ids(triples: list[tuple[str, list[str]]], *columns: int) -> set[str]:
    return {row[column] for _, row in triples for column in columns}


def _known(noun: str, file: InputFile, wanted: Iterable[str], problems: ProblemLog) -> Known:
    known = Known(noun, wanted)
    for where, (identity, text) in separated_rows(file, problems, 2):
        try:
            known.add(where, checked_id(identity), checked_text(text, owner=identity), None, problems)
        except BadRecord as bad:
            problems.add(bad.kind, where, bad.value)
    return known
