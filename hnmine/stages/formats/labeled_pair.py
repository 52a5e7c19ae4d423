"""`labeled-pair`: query, document, label."""

from __future__ import annotations

import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout, row_per_text
from hnmine.stages.formats.base import Rows, TrainingFormat


class LabeledPair(TrainingFormat):
    """A row for each text: each positive once (1), each negative once a query (0). With scores `score`, no `label`."""

    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None) -> tuple[Layout, int]:
        """A row for each positive and each negative."""
        return row_per_text(chosen, keys)

    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """query, document, label or score."""
        name, values = rows.label
        return pa.table({"query": rows.queries, "document": rows.documents, name: values})
