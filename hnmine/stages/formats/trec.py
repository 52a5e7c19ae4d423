"""`trec`: a run of what was picked, and the qrels that say which of it is relevant.

The run holds each query's positives and negatives by falling score of the judge; the qrels hold what is judged: the
positives, and negatives that the user's own qrels call not relevant. A mined negative is a document of the run that
the qrels do not know: nobody judged it, and measures that tell judged from unjudged (bpref, judged@k) must see that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.layout import Chosen, Keys, Layout, apart, row_per_query
from hnmine.errors import ProblemLog
from hnmine.files.encodings import Encoding, Separated
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord
from hnmine.stages.formats.base import FurtherFile, Rows, RowsFile, TrainingFormat
from hnmine.stages.formats.reading import directory_of, file_of, grade_of, number_of, separated_rows

_TAG = "hnmine"
_SPACE = "\\s\0\x0b\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


def _documents(chosen: Chosen, width: int, keys: Keys | None) -> Layout:
    return apart(row_per_query(chosen, None)[0])


def _qrels(rows: Rows) -> pa.Table:
    """Query id, 0, document id, grade."""
    grades = pc.coalesce(rows.grades, pc.if_else(pc.equal(rows.labels, 1), pa.scalar(1, pa.int32()), None))
    table = pa.table({"qid": rows.query_ids, "0": _all("0", rows), "docid": rows.doc_ids, "rel": grades})
    return table.filter(grades.is_valid())


class Trec(TrainingFormat):
    """A row for each query, of as many lines as it has documents."""

    encoding: ClassVar[Encoding] = Separated(separator=" ")
    name = "run.trec"
    beside: ClassVar[tuple[FurtherFile, ...]] = (
        RowsFile(name="qrels.trec", encoding=Separated(separator=" "), lay_out=_documents, table=_qrels),
    )
    needs_scores = True
    has_texts = False
    takes_weights = False
    takes_epochs = False
    ids_without = f"[{_SPACE}]"

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each query with a positive and a negative, in the order of the queries."""
        return row_per_query(chosen, None)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """Query id, Q0, document id, rank, score, tag: a line for each document, by falling score."""
        score = rows.known_scores.to_numpy(zero_copy_only=False)
        order = pa.array(np.lexsort((-score, rows.owners)))
        within = np.arange(len(score)) - np.repeat(rows.layout.offsets[:-1], np.diff(rows.layout.offsets))
        return pa.table(
            {
                "qid": rows.query_ids.take(pa.array(rows.owners)),
                "Q0": _all("Q0", rows),
                "docid": rows.doc_ids.take(order),
                "rank": within + 1,
                "score": rows.known_scores.take(order),
                "tag": _all(_TAG, rows),
            }
        )

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """An example for each query of the run: its documents of grade 1 and more, and the others. Ids, no texts.

        The grades of judged documents are in their `extra`, as `relevance`.
        """
        folder = directory_of(place, self.name)
        grades: dict[tuple[str, str], int] = {}
        for where, (query_id, _, doc_id, grade) in separated_rows(
            file_of(folder, "qrels.trec"), problems, 4, separator=None
        ):
            if (query_id, doc_id) in grades:
                problems.add("judged twice", where, f"{query_id} {doc_id}")
            try:
                grades[query_id, doc_id] = grade_of(grade)
            except BadRecord as bad:
                problems.add(bad.kind, where, bad.value)
        found: dict[str, dict[str, Passage]] = {}
        first: dict[str, str] = {}
        for where, (query_id, _, doc_id, rank, score, _) in separated_rows(
            file_of(folder, self.name), problems, 6, separator=None
        ):
            try:
                if not rank.isdecimal():
                    raise BadRecord("rank not an integer", rank)
                passage = Passage(
                    doc_id=doc_id, score=number_of(score), extra=_judgment(grades.get((query_id, doc_id)))
                )
            except BadRecord as bad:
                problems.add(bad.kind, where, bad.value)
                continue
            if doc_id in found.setdefault(query_id, {}):
                problems.add("retrieved twice", where, f"{query_id} {doc_id}")
            found[query_id].setdefault(doc_id, passage)
            first.setdefault(query_id, where)
        for query_id, own in found.items():
            is_positive = {doc_id: grades.get((query_id, doc_id), 0) > 0 for doc_id in own}
            if not any(is_positive.values()):
                problems.add("no relevant document in the run", first[query_id], query_id)
                continue
            yield Example(
                where=first[query_id],
                query_id=query_id,
                positives=[one for doc_id, one in own.items() if is_positive[doc_id]],
                negatives=[one for doc_id, one in own.items() if not is_positive[doc_id]],
            )


def _judgment(grade: int | None) -> dict[str, int]:
    return {} if grade is None else {"relevance": grade}


def _all(value: str, rows: Rows) -> pa.Array:
    return pa.repeat(pa.scalar(value), len(rows.owners))
