"""What a training format is: a shape of rows, and the columns that they become."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from hnmine.core.layout import Chosen, Keys, Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The texts of some rows. Row i has `queries[i]` and `documents[offsets[i]:offsets[i + 1]]`, the positive first.

    `labels` (1 for a positive, 0 for a negative), `scores` (the judge's) and `weights` (1 for a positive, 1 less the
    estimated probability of being a false one for a negative) are parallel to `documents`; scores and weights that
    were not asked for are None.
    """

    queries: pa.Array
    documents: pa.Array
    offsets: pa.Array
    labels: pa.Array
    scores: pa.Array | None
    weights: pa.Array | None

    @property
    def label(self) -> tuple[str, pa.Array]:
        """What the trainer is to learn from: ("score", scores) if they were asked for, else ("label", labels)."""
        return ("score", self.scores) if self.scores is not None else ("label", self.labels)

    def lists(self, values: pa.Array) -> pa.Array:
        """Values that are parallel to the documents, as one list a row."""
        return pa.ListArray.from_arrays(self.offsets, values)

    def column(self, place: int) -> pa.Array:
        """The document at `place` of every row; all rows must have it."""
        return self.at(place, self.documents)

    def at(self, place: int, values: pa.Array) -> pa.Array:
        """Of values that are parallel to the documents, that of the document at `place` of every row."""
        return values.take(pa.array(self.offsets.to_numpy()[:-1].astype(np.int64) + place))


class TrainingFormat(ABC):
    """A layout of training files. The table holds exactly what the trainer reads: texts, then at most one label column.

    sentence-transformers takes every other column for a text. Only weights, if they are asked for, come behind.
    """

    is_fixed: ClassVar[bool] = False
    """Whether every row has as many negatives as any other, so that a query with too few can be padded."""

    @abstractmethod
    def lay_out(self, chosen: Chosen, *, width: int, keys: Keys | None, pad: bool = False) -> tuple[Layout, int]:
        """Which documents stand in a row, and how many (query, positive) pairs had too few negatives for one.

        `width` is the number of negatives that were asked for; `pad`, for a format of fixed width, repeats the first
        negative of a query with fewer.
        """

    @abstractmethod
    def table(self, rows: Rows, *, width: int) -> pa.Table:
        """The columns of the training file."""
