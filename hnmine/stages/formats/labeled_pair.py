"""`labeled-pair`: query, document, label."""

from __future__ import annotations

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_text
from hnmine.stages.formats.base import Rows, TrainingFormat


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
