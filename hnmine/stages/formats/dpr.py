"""`dpr`: the JSON array of DPR (Karpukhin et al. 2020, arXiv 2004.04906), which many retrieval libraries read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_query
from hnmine.errors import ProblemLog
from hnmine.files.encodings import Encoding, JsonDocument
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.fields import BadRecord
from hnmine.files.readers.json_documents import read_json_rows
from hnmine.files.readers.rows import shards
from hnmine.stages.formats.base import Rows, TrainingFormat
from hnmine.stages.formats.reading import id_in, list_in, parsed, score_in, text_in, titled_in


class Dpr(TrainingFormat):
    """A row for each query. With scores each passage has a `score`."""

    encoding: ClassVar[Encoding] = JsonDocument()
    takes_weights = False

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each query with a positive and a negative."""
        return row_per_query(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """question, answers, positive_ctxs, negative_ctxs (empty), hard_negative_ctxs."""
        passages = {"title": rows.of_documents.titles, "text": rows.of_documents.bodies}
        if rows.scores is not None:
            passages["score"] = rows.scores
        passages["passage_id"] = rows.doc_ids
        found = pa.StructArray.from_arrays(list(passages.values()), names=list(passages))
        positives = rows.lists_of(found, positive=True)
        return pa.table(
            {
                "question": rows.queries,
                "answers": rows.of_queries.answers,
                "positive_ctxs": positives,
                "negative_ctxs": pa.array([[]] * len(rows.layout), positives.type),
                "hard_negative_ctxs": rows.lists_of(found, positive=False),
            }
        )

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """A question with a positive; its hard negatives, then its other negatives.

        DPR leaves out a question without positives and says nothing: a problem here. `answers`, if there are any, are
        in `extra`.
        """
        for file in shards(place, self.encoding.suffixes):
            rows = ((f"{file.shown}:{line}", row) for line, row in read_json_rows(file, problems).rows)
            yield from parsed(rows, problems, _example)


def _example(where: str, row: Any) -> Example:
    question = text_in(row, "question")
    answers = row.get("answers")
    if answers is not None and not (isinstance(answers, list) and all(isinstance(one, str) for one in answers)):
        raise BadRecord("answers not a list of texts", repr(answers)[:120])
    hard, other = ([] if row.get(key) is None else list_in(row, key, empty=True) for key in _NEGATIVES)
    return Example(
        where=where,
        query=question,
        positives=[_passage(one) for one in list_in(row, "positive_ctxs")],
        negatives=[_passage(one) for one in (*hard, *other)],
        extra={"answers": answers} if answers else {},
    )


_NEGATIVES = ("hard_negative_ctxs", "negative_ctxs")
_IDS = ("passage_id", "psg_id")


def _passage(passage: Any) -> Passage:
    title, text = titled_in(passage)
    named = next((key for key in _IDS if passage.get(key) is not None), None)
    return Passage(
        text=text,
        title=title,
        doc_id=id_in(passage, named, number=True) if named else None,
        score=score_in(passage),
    )
