"""`tevatron-v2`: query_id, query_text, ids of documents, and a corpus beside. Tevatron since its version 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_query
from hnmine.errors import InputError, ProblemLog
from hnmine.files.encodings import JsonLines
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord, take_id, take_text
from hnmine.files.readers.layout import existing_file
from hnmine.files.readers.rows import TrainingRows
from hnmine.files.readers.strict import take_list
from hnmine.files.readers.tables import read_rows
from hnmine.stages.formats.base import Documents, DocumentsFile, Rows, TrainingFormat

_CORPUS = "corpus.jsonl"
_SIDES = {"positive_document_ids": True, "negative_document_ids": False}
_CHUNK = 65_536


def _corpus(documents: Documents) -> pa.Table:
    return pa.table({"docid": documents.ids, "text": documents.texts})


class TevatronV2(TrainingFormat):
    """A row for each query: the ids of its positives and of its negatives; the corpus has docid and text.

    Titles stand in the text: the trainer reads no other field. It has no place for scores.
    """

    encoding = JsonLines()
    name = "train.jsonl"
    beside = (DocumentsFile(name=_CORPUS, encoding=JsonLines(), table=_corpus),)
    takes_scores: ClassVar[bool] = False
    takes_weights: ClassVar[bool] = False

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each query that has a positive and a negative."""
        return row_per_query(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query_id, query_text, positive_document_ids, negative_document_ids (lists)."""
        sides = {name: rows.lists_of(rows.doc_ids, positive=is_positive) for name, is_positive in _SIDES.items()}
        return pa.table({"query_id": rows.query_ids, "query_text": rows.queries, **sides})

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """One for each row of `train.jsonl`, with the texts of `corpus.jsonl`."""
        rows = TrainingRows(place / self.name, self.encoding.suffixes)
        missing = [name for name in ("query_text", *_SIDES) if name not in rows.columns]
        if missing:
            raise InputError(
                f"{rows.files[0].shown}: no {' or '.join(missing)} among its keys: {', '.join(rows.columns) or 'none'}",
                expected="query_id, query_text, positive_document_ids and negative_document_ids in every row",
            )
        corpus = _Corpus(place / _CORPUS, problems)
        for where, row in rows.read(problems):
            try:
                example = _example(where, row, corpus)
            except BadRecord as bad:
                problems.add(bad.kind, where, bad.value)
                continue
            yield example


class _Corpus:
    """The texts by id; texts in Arrow, since there may be many."""

    def __init__(self, path: Path, problems: ProblemLog) -> None:
        file = existing_file(str(path))
        self._row: dict[object, int] = {}
        chunks: list[pa.Array] = []
        texts: list[str] = []
        for number, row in read_rows(file, problems):
            try:
                identity, text = take_id(row, "docid"), take_text(row, "text", may_be_empty=True)
                if row["docid"] in self._row:
                    raise BadRecord("document id twice", f"{identity}: the trainer reads the last one")
            except BadRecord as bad:
                problems.add(bad.kind, f"{file.shown}:{number}", bad.value)
                continue
            self._row[row["docid"]] = len(self._row)
            texts.append(text)
            if len(texts) == _CHUNK:
                chunks.append(pa.array(texts, pa.string()))
                texts = []
        self._texts = pa.chunked_array([*chunks, pa.array(texts, pa.string())])

    def passage(self, identity: object) -> Passage:
        """The document of this id, which must be of the type that it has in the corpus. Raises `BadRecord`."""
        row = self._row.get(identity) if isinstance(identity, (str, int)) else None
        if row is None:
            raise BadRecord("document id not in the corpus", repr(identity))
        return Passage(doc_id=str(identity), text=self._texts[row].as_py())


def _example(where: str, row: Mapping[str, object], corpus: _Corpus) -> Example:
    positives, negatives = ([corpus.passage(identity) for identity in take_list(row, name)] for name in _SIDES)
    return Example(
        where=where,
        query=take_text(row, "query_text", may_be_empty=True),
        query_id=take_id(row, "query_id"),
        positives=positives,
        negatives=negatives,
    )
