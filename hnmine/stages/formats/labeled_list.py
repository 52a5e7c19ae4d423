"""`labeled-list`: query, documents, labels."""

from __future__ import annotations

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_pair
from hnmine.stages.formats.base import Rows, TrainingFormat


class LabeledList(TrainingFormat):
    """A row for each (query, positive): the positive, then the query's negatives.

    With scores `scores` and no `labels`; with weights a list of `weights`.
    """

    has_free_columns = True

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """A row for each pair whose query has a negative."""
        return row_per_pair(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query, documents (list), labels or scores (list)[, weights (list)]."""
        name, values = rows.label
        columns = {"query": rows.queries, "documents": rows.lists(rows.documents), f"{name}s": rows.lists(values)}
        if rows.weights is not None:
            columns["weights"] = rows.lists(rows.weights)
        return pa.table(columns)
