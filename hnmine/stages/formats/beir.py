"""`beir`: a BEIR data set (Thakur et al. 2021, arXiv 2104.08663) whose train split judges the negatives too, as 0.

As any BEIR directory it can be DATA again: what was mined here is then known as not relevant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.layout import Chosen, Keys, Layout, row_per_text
from hnmine.errors import ProblemLog
from hnmine.files.encodings import LINE_ENDS, Encoding, JsonLines, Separated
from hnmine.files.readers.examples import Example
from hnmine.files.readers.fields import BadRecord, checked_id
from hnmine.files.readers.streams import InputFile
from hnmine.stages.formats.base import (
    Documents,
    DocumentsFile,
    FurtherFile,
    Queries,
    QueriesFile,
    Rows,
    TrainingFormat,
)
from hnmine.stages.formats.reading import (
    Known,
    directory_of,
    file_of,
    grade_of,
    id_in,
    separated_rows,
    table_rows,
    take,
    text_in,
    titled_in,
)

QRELS = Separated(header="query-id\tcorpus-id\tscore\n")
IDS_WITHOUT = rf'[{LINE_ENDS}]|^[\s"]|\s$'
"""Its loaders read qrels as CSV with tabs, in which a quotation mark at the start is one, and strip lines."""


def documents(documents: Documents) -> pa.Table:
    """_id, title, text."""
    return pa.table({"_id": documents.ids, "title": documents.titles, "text": documents.bodies})


def queries(queries: Queries) -> pa.Table:
    """_id, text."""
    return pa.table({"_id": queries.ids, "text": queries.texts})


def qrels(rows: Rows) -> pa.Table:
    """query-id, corpus-id, score: the user's own grade, else 1 for a positive and 0 for a negative."""
    grades = pc.coalesce(rows.grades, rows.labels.cast(pa.int32()))
    return pa.table({"query-id": rows.query_ids, "corpus-id": rows.doc_ids, "score": grades})


class Beir(TrainingFormat):
    """A row for each judgment, query by query: its positives with their grades, then its negatives."""

    encoding: ClassVar[Encoding] = QRELS
    name = "qrels/train.tsv"
    beside: ClassVar[tuple[FurtherFile, ...]] = (
        DocumentsFile(name="corpus.jsonl", encoding=JsonLines(), table=documents, whole=True),
        QueriesFile(name="queries.jsonl", encoding=JsonLines(), table=queries),
    )
    takes_scores = False
    takes_weights = False
    takes_epochs = False
    ids_without = IDS_WITHOUT

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each positive and each negative; qrels are in the order of the queries, not shuffled."""
        return row_per_text(chosen, None)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query-id, corpus-id, score."""
        return qrels(rows)

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """An example for each query of the train split; grades are in `extra`, by document id."""
        folder = directory_of(place, self.name)
        judged = read_qrels(file_of(folder, self.name), problems)
        known = known_documents(file_of(folder, "corpus.jsonl"), (one.doc_id for one in judged), problems)
        asked = known_queries(file_of(folder, "queries.jsonl"), (one.query_id for one in judged), problems)
        by_query: dict[str, list[Judged]] = {}
        for one in judged:
            try:
                asked.text(one.query_id)
                known.passage(one.doc_id)
            except BadRecord as bad:
                problems.add(bad.kind, one.where, bad.value)
            else:
                by_query.setdefault(one.query_id, []).append(one)
        for query_id, own in by_query.items():
            yield Example(
                where=own[0].where,
                query_id=query_id,
                query=asked.text(query_id),
                positives=[known.passage(one.doc_id) for one in own if one.grade > 0],
                negatives=[known.passage(one.doc_id) for one in own if one.grade <= 0],
                extra={"grades": {one.doc_id: one.grade for one in own}},
            )


@dataclass(frozen=True, slots=True)
class Judged:
    """A line of qrels."""

    where: str
    query_id: str
    doc_id: str
    grade: int


def read_qrels(file: InputFile, problems: ProblemLog) -> list[Judged]:
    """The judgments of a file in BEIR's form; its first line is a header, and a pair that comes twice a problem."""
    found: dict[tuple[str, str], Judged] = {}
    for where, (query_id, doc_id, grade) in separated_rows(file, problems, 3, header=True):
        try:
            one = Judged(where, checked_id(query_id), checked_id(doc_id), grade_of(grade))
        except BadRecord as bad:
            problems.add(bad.kind, where, bad.value)
            continue
        if (query_id, doc_id) in found:
            problems.add("judged twice", where, f"{query_id} {doc_id}")
        found.setdefault((query_id, doc_id), one)
    return list(found.values())


def known_documents(file: InputFile, wanted: Iterable[str], problems: ProblemLog) -> Known:
    """The wanted documents of a corpus.jsonl. Ids are strings, titles too: its readers add them to the texts."""
    known = Known("document", wanted)

    def add(where: str, row: Any) -> None:
        take(row, "title")
        title, text = titled_in(row)
        known.add(where, id_in(row, "_id"), text, title, problems)

    _each(file, problems, add)
    return known


def known_queries(file: InputFile, wanted: Iterable[str], problems: ProblemLog) -> Known:
    """The wanted queries of a queries.jsonl."""
    known = Known("query", wanted)
    _each(file, problems, lambda where, row: known.add(where, id_in(row, "_id"), text_in(row, "text"), None, problems))
    return known


def _each(file: InputFile, problems: ProblemLog, add: Any) -> None:
    for where, row in table_rows([file], problems):
        try:
            add(where, row)
        except BadRecord as bad:
            problems.add(bad.kind, where, bad.value)
