"""`labeled-pair`: query, document, label."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_text
from hnmine.errors import ProblemLog
from hnmine.files.readers.examples import Example, Passage
from hnmine.stages.formats.base import Rows, TrainingFormat
from hnmine.stages.formats.text_columns import SENTENCE_TRANSFORMERS, BadRow, TextColumns, number, text


class LabeledPair(TrainingFormat):
    """A row for each text: each positive once (1), each negative once a query (0).

    With scores `score` and no `label`; with weights `weight`.
    """

    has_free_columns = True

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each positive and each negative."""
        return row_per_text(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query, document, label or score[, weight]."""
        name, values = rows.label
        columns = {"query": rows.queries, "document": rows.documents, name: values}
        if rows.weights is not None:
            columns["weight"] = rows.weights
        return pa.table(columns)

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """A row for each (query, document): a positive if its label is above 0.5, else a negative.

        A score does not tell which: then the document is `extra["document"]`. To `problems`: a value that is no text, a
        label that is no finite number.
        """
        expected = "query, document, label or score"
        columns = TextColumns(place, SENTENCE_TRANSFORMERS, expected=expected, fewest=2, most=2, needs_label=True)
        for row in columns.rows(problems):
            try:
                query, document = [text(value, name) for name, value in zip(columns.inputs, row.inputs, strict=True)]
                value = number(row.label, str(columns.label))
            except BadRow as bad:
                problems.add(bad.kind, row.where, bad.value)
                continue
            if columns.is_score:
                extra = {**row.extra, "document": Passage(text=document, score=value)}
                yield Example(where=row.where, query=query, extra=extra)
                continue
            passages = [Passage(text=document)]
            extra = {**row.extra, **({} if value in (0, 1) else {"label": value})}
            yield Example(
                where=row.where,
                query=query,
                positives=passages if value > 0.5 else [],
                negatives=[] if value > 0.5 else passages,
                extra=extra,
            )
