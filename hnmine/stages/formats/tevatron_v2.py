"""`tevatron-v2`: query_id, query_text, ids of documents, and a corpus beside. Tevatron since its version 2."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_query
from hnmine.errors import ProblemLog
from hnmine.files.encodings import JsonLines
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord
from hnmine.files.readers.rows import TrainingRows
from hnmine.stages.formats.base import Documents, DocumentsFile, Rows, TrainingFormat
from hnmine.stages.formats.reading import (
    Known,
    directory_of,
    file_of,
    id_in,
    list_in,
    parsed,
    require_columns,
    table_rows,
    text_in,
)

_CORPUS = "corpus.jsonl"
_SIDES = {"positive_document_ids": True, "negative_document_ids": False}


def _corpus(documents: Documents) -> pa.Table:
    return pa.table({"docid": documents.ids, "text": documents.texts})


class TevatronV2(TrainingFormat):
    """A row for each query: the ids of its positives and of its negatives; the corpus has docid and text.

    Titles stand in the text: the trainer reads no other field. It has no place for scores.
    """

    encoding = JsonLines()
    name = "train.jsonl"
    beside = (DocumentsFile(name=_CORPUS, encoding=JsonLines(), table=_corpus),)
    takes_scores = False
    takes_weights = False

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each query that has a positive and a negative."""
        return row_per_query(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query_id, query_text, positive_document_ids, negative_document_ids (lists)."""
        sides = {name: rows.lists_of(rows.doc_ids, positive=is_positive) for name, is_positive in _SIDES.items()}
        return pa.table({"query_id": rows.query_ids, "query_text": rows.queries, **sides})

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """One for each row of `train.jsonl`, with the texts of `corpus.jsonl`."""
        folder = directory_of(place, self.name)
        rows = TrainingRows(file_of(folder, self.name).path, self.encoding.suffixes)
        require_columns(rows, "query_id", "query_text", *_SIDES)
        corpus = file_of(folder, _CORPUS)
        lists = (row.get(name) for _, row in rows.read(ProblemLog()) for name in _SIDES)
        known = Known("document", {_key(one) for own in lists if isinstance(own, list) for one in own})
        for where, row in table_rows([corpus], problems):
            try:
                id_in(row, "docid", number=True)
                known.add(where, _key(row["docid"]), text_in(row, "text"), None, problems)
            except BadRecord as bad:
                problems.add(bad.kind, where, bad.value)
        return parsed(rows.read(problems), problems, lambda where, row: _example(where, row, known))


def _key(identity: object) -> str:
    """An id as it is written: to the trainer 1 and "1" are two."""
    return json.dumps(identity)


def _example(where: str, row: Mapping[str, Any], known: Known) -> Example:
    positives, negatives = (
        [Passage(doc_id=str(one), text=known.text(_key(one))) for one in list_in(row, name)] for name in _SIDES
    )
    return Example(
        where=where,
        query=text_in(row, "query_text"),
        query_id=id_in(row, "query_id", number=True),
        positives=positives,
        negatives=negatives,
    )
