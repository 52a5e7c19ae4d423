"""`n-tuple`: anchor, positive, negative_1, ..., negative_n."""

from __future__ import annotations

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_pair
from hnmine.stages.formats.base import Rows, TrainingFormat


class NTuple(TrainingFormat):
    """A row for each (query, positive), all of the same width. With scores a list column of 1 + n `scores`."""

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None) -> tuple[Layout, int]:
        """A row for each pair whose query has at least `width` negatives."""
        return row_per_pair(chosen, keys, width=width)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """anchor, positive, negative_1, ..., negative_n[, scores]."""
        negatives = {f"negative_{i}": rows.column(i) for i in range(1, width + 1)}
        columns = {"anchor": rows.queries, "positive": rows.column(0), **negatives}
        return pa.table({**columns, **({"scores": rows.lists(rows.scores)} if rows.scores is not None else {})})
