"""`tevatron`: query_id, query, positive_passages, negative_passages. Tevatron, the format with the texts in it."""

from __future__ import annotations

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
from hnmine.stages.formats.base import Rows, TrainingFormat
from hnmine.stages.formats.reading import (
    SameKeys,
    id_in,
    list_in,
    parsed,
    require_columns,
    score_in,
    text_in,
    titled_in,
)

_SIDES = {"positive_passages": True, "negative_passages": False}


class Tevatron(TrainingFormat):
    """A row for each query: its positives, of which the trainer takes one an epoch, and its negatives.

    Each is docid, title, text, and with scores `score`, which it distils. The title stands there even if it is empty:
    rerankers cannot do without.
    """

    encoding = JsonLines()
    takes_weights = False

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each query that has a positive and a negative."""
        return row_per_query(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query_id, query, positive_passages, negative_passages (lists of structs)."""
        documents = rows.of_documents
        fields = {"docid": documents.ids, "title": documents.titles, "text": documents.bodies}
        if rows.scores is not None:
            fields["score"] = rows.scores
        passages = pa.StructArray.from_arrays(list(fields.values()), list(fields))
        sides = {name: rows.lists_of(passages, positive=is_positive) for name, is_positive in _SIDES.items()}
        return pa.table({"query_id": rows.query_ids, "query": rows.queries, **sides})

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """One for each row. A title, or a score, that only some passages have is a problem."""
        rows = TrainingRows(place, self.encoding.suffixes)
        require_columns(rows, "query_id", "query", *_SIDES)
        same = SameKeys("title", "score")
        return parsed(rows.read(problems), problems, lambda where, row: _example(where, row, same))


def _example(where: str, row: Mapping[str, Any], same: SameKeys) -> Example:
    positives, negatives = ([_passage(one, name, same) for one in list_in(row, name)] for name in _SIDES)
    return Example(
        where=where,
        query=text_in(row, "query"),
        query_id=id_in(row, "query_id", number=True),
        positives=positives,
        negatives=negatives,
        extra={"answers": row["answers"]} if row.get("answers") is not None else {},
    )


def _passage(passage: Any, column: str, same: SameKeys) -> Passage:
    if not isinstance(passage, Mapping):
        raise BadRecord("passage not an object", f"{column}: {passage!r}"[:120])
    same.check(passage)
    title, text = titled_in(passage)
    return Passage(
        doc_id=id_in(passage, "docid", number=True) if passage.get("docid") is not None else None,
        title=title,
        text=text,
        score=score_in(passage),
    )
