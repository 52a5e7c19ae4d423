"""`n-tuple`: anchor, positive, negative_1, ..., negative_n."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_pair
from hnmine.errors import ProblemLog
from hnmine.files.readers.examples import Example
from hnmine.stages.formats.base import Rows, TrainingFormat
from hnmine.stages.formats.text_columns import SENTENCE_TRANSFORMERS, TextColumns, Trainer
from hnmine.stages.formats.tuples import read_tuples


class NTuple(TrainingFormat):
    """A row for each (query, positive), all of the same width.

    With scores a list column of 1 + n `scores`, with weights one of 1 + n `weights`.
    """

    is_fixed = True
    has_free_columns = True
    reader: ClassVar[Trainer] = SENTENCE_TRANSFORMERS
    anchor: ClassVar[str] = "anchor"
    """What the column of the queries is called."""

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each pair whose query has at least `width` negatives; with `pad`, at least one."""
        return row_per_pair(chosen, keys, width=width, pad=pad)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """anchor, positive, negative_1, ..., negative_n[, scores][, weights]."""
        negatives = {f"negative_{i}": rows.column(i) for i in range(1, width + 1)}
        columns = {self.anchor: rows.queries, "positive": rows.column(0), **negatives}
        if rows.scores is not None:
            columns["scores"] = rows.lists(rows.scores)
        if rows.weights is not None:
            columns["weights"] = rows.lists(rows.weights)
        return pa.table(columns)

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        """One row after the other: see `read_tuples`."""
        expected = f"{self.anchor}, positive, negative_1, ..., negative_n[, scores]"
        yield from read_tuples(TextColumns(place, self.reader, expected=expected, fewest=3), problems)
