"""`triplet`: anchor, positive, negative."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_negative
from hnmine.errors import ProblemLog
from hnmine.files.readers.examples import Example
from hnmine.stages.formats.base import Rows, TrainingFormat
from hnmine.stages.formats.text_columns import SENTENCE_TRANSFORMERS, TextColumns
from hnmine.stages.formats.tuples import read_tuples


class Triplet(TrainingFormat):
    """A row for each negative. With scores a list column `scores`: the positive's, the negative's.

    With weights `weight`: the negative's.
    """

    has_free_columns = True

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each (query, positive, negative)."""
        return row_per_negative(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """anchor, positive, negative[, scores][, weight]."""
        columns = {"anchor": rows.queries, "positive": rows.column(0), "negative": rows.column(1)}
        if rows.scores is not None:
            columns["scores"] = rows.lists(rows.scores)
        if rows.weights is not None:
            columns["weight"] = rows.at(1, rows.weights)
        return pa.table(columns)

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """One row after the other: see `read_tuples`."""
        expected = "anchor, positive, negative[, scores]"
        yield from read_tuples(TextColumns(place, SENTENCE_TRANSFORMERS, expected=expected, fewest=3, most=3), problems)
