"""What a training format is: a shape of rows, and the columns that they become."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The texts of some rows. Row i has `queries[i]` and `documents[offsets[i]:offsets[i + 1]]`, the positive first.

    `labels` (1 for a positive, 0 for a negative) and `scores` (the judge's; None where they were not asked for) are
    parallel to `documents`.
    """

    queries: pa.Array
    documents: pa.Array
    offsets: pa.Array
    labels: pa.Array
    scores: pa.Array | None

    @property
    def label(self) -> tuple[str, pa.Array]:
        """What the trainer is to learn from: ("score", scores) if they were asked for, else ("label", labels)."""
        return ("score", self.scores) if self.scores is not None else ("label", self.labels)

    def lists(self, values: pa.Array) -> pa.Array:
        """Values that are parallel to the documents, as one list a row."""
        return pa.ListArray.from_arrays(self.offsets, values)

    def column(self, place: int) -> pa.Array:
        """The document at `place` of every row; all rows must have it."""
        return self.documents.take(pa.array(self.offsets.to_numpy()[:-1].astype(np.int64) + place))


class TrainingFormat(ABC):
    """A layout of training files. The table holds exactly what the trainer reads: texts, then at most one label column.

    sentence-transformers takes every other column for a text.
    """

    @abstractmethod
    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None) -> tuple[Layout, int]:
        """Which documents stand in a row, and how many (query, positive) pairs had too few negatives for one.

        `width` is the number of negatives that were asked for.
        """

    @abstractmethod
    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """The columns of the training file."""
