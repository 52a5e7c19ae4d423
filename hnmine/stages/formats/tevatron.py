"""`tevatron`: query_id, query, positive_passages, negative_passages. Tevatron, the format with the texts in it."""

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
from hnmine.files.readers.rows import TrainingRows
from hnmine.files.readers.strict import SameKeys, take_list, take_number
from hnmine.stages.formats.base import Rows, TrainingFormat

_SIDES = {"positive_passages": True, "negative_passages": False}


class Tevatron(TrainingFormat):
    """A row for each query: its positives, of which the trainer takes one an epoch, and its negatives.

    Each is docid, title, text, and with scores `score`, which it distils. The title stands there even if it is empty:
    rerankers cannot do without.
    """

    encoding = JsonLines()
    takes_weights: ClassVar[bool] = False

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
        """One for each row of a file, or of the files of a directory."""
        rows = TrainingRows(place, self.encoding.suffixes)
        missing = [name for name in ("query", *_SIDES) if name not in rows.columns]
        if missing:
            raise InputError(
                f"{rows.files[0].shown}: no {' or '.join(missing)} among its keys: {', '.join(rows.columns) or 'none'}",
                expected="query_id, query, positive_passages and negative_passages in every row",
            )
        same = SameKeys(("title", "score"))
        for where, row in rows.read(problems):
            try:
                example = _example(where, row, same)
            except BadRecord as bad:
                problems.add(bad.kind, where, bad.value)
                continue
            yield example


def _example(where: str, row: Mapping[str, object], same: SameKeys) -> Example:
    positives, negatives = ([_passage(value, name, same) for value in take_list(row, name)] for name in _SIDES)
    return Example(
        where=where,
        query=take_text(row, "query", may_be_empty=True),
        query_id=take_id(row, "query_id"),
        positives=positives,
        negatives=negatives,
        extra={"answers": row["answers"]} if row.get("answers") is not None else {},
    )


def _passage(value: object, column: str, same: SameKeys) -> Passage:
    if not isinstance(value, Mapping):
        raise BadRecord("passage not an object", f"{column}: {value!r}"[:120])
    same.check(value)
    return Passage(
        doc_id=take_id(value, "docid") if value.get("docid") is not None else None,
        title=take_text(value, "title", may_be_empty=True) if value.get("title") is not None else None,
        text=take_text(value, "text", may_be_empty=True),
        score=take_number(value, "score"),
    )
