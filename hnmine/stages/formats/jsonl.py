"""`jsonl`: one object a query that explains itself; nothing that is known about a document is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.decide import STEP_NONE
from hnmine.core.layout import Chosen, Keys, Layout, row_per_query
from hnmine.errors import ProblemLog
from hnmine.files.encodings import Encoding, JsonLines
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.rows import shards
from hnmine.stages.formats.base import Rows, TrainingFormat
from hnmine.stages.formats.reading import (
    checked_grade,
    id_in,
    list_in,
    parsed,
    score_in,
    table_rows,
    text_in,
    titled_in,
)

_KNOWN = ("rank", "relevance", "sources", "step", "weight")
"""What stands in a document beside its id, texts and score."""


class PlainJsonl(TrainingFormat):
    """A row for each query: its positives, its negatives, and all that is known about each of them."""

    encoding: ClassVar[Encoding] = JsonLines()
    has_instruction = True
    has_free_columns = True

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each query with a positive and a negative."""
        return row_per_query(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query_id, query[, instruction][, epoch], positives, negatives; documents are structs without nulls."""
        titles, ranks = rows.of_documents.titles, rows.ranks
        documents = {
            "doc_id": rows.doc_ids,
            "title": pc.if_else(pc.equal(titles, ""), None, titles),
            "text": rows.of_documents.bodies,
            "score": rows.known_scores,
            "rank": pc.if_else(pc.equal(ranks, 0), None, ranks),
            "relevance": rows.grades,
            "sources": rows.sources,
            "step": pc.if_else(pc.equal(rows.steps, STEP_NONE), None, rows.steps),
        }
        if rows.weights is not None:
            documents["weight"] = rows.weights
        found = pa.StructArray.from_arrays(list(documents.values()), names=list(documents))
        columns = {"query_id": rows.query_ids, "query": rows.queries}
        if rows.instructions is not None:
            columns["instruction"] = rows.instructions
        if rows.epochs is not None:
            columns["epoch"] = rows.epochs
        lists = {name: rows.lists_of(found, positive=name == "positives") for name in ("positives", "negatives")}
        return pa.table({**columns, **lists})

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """A query with at least one positive and one negative; texts may be missing where there are ids."""
        return parsed(table_rows(shards(place, self.encoding.suffixes), problems), problems, _example)


def _example(where: str, row: Any) -> Example:
    return Example(
        where=where,
        query_id=id_in(row, "query_id"),
        query=text_in(row, "query"),
        positives=[_passage(one) for one in list_in(row, "positives")],
        negatives=[_passage(one) for one in list_in(row, "negatives")],
        instruction=text_in(row, "instruction") if row.get("instruction") is not None else None,
        extra={"epoch": row["epoch"]} if row.get("epoch") is not None else {},
    )


def _passage(document: Any) -> Passage:
    title, text = titled_in(document)
    if document.get("relevance") is not None:
        checked_grade(document["relevance"])
    return Passage(
        doc_id=id_in(document, "doc_id"),
        title=title,
        text=text,
        score=score_in(document),
        extra={name: document[name] for name in _KNOWN if document.get(name) is not None},
    )
