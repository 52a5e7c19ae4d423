"""What every approximate search is: built from stored vectors, then asked for the best by its own measure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hnmine.engines.retriever import OVERFETCH, Rows, Scores
from hnmine.engines.vectors import Vectors, VectorStore

CHUNK = 50_000
"""Vectors in memory at a time while building."""


class Approximate(ABC):
    """A structure in a directory of its own, its files memory-mapped."""

    deepest: ClassVar[int] = 1
    """How many times k candidates are worth to be scored exactly, to make up for coarse scores."""

    is_exact: ClassVar[bool] = False
    """Whether its scores are the documents' own, but for rounding, and which documents it sees is no matter of them."""

    def __init__(self, facts: dict[str, Any], folder: Path) -> None:
        """Open what `build` wrote by the same `facts`."""
        self.facts = facts
        self.folder = folder

    @classmethod
    @abstractmethod
    def facts_of(cls, documents: int, dimension: int) -> dict[str, Any]:
        """All that decides what is built from given vectors, as JSON values for the plan, with `kind` among them."""

    @classmethod
    @abstractmethod
    def build(cls, facts: dict[str, Any], vectors: VectorStore, folder: Path) -> list[str]:
        """Write the structure into `folder`; returns the files' names. Equal input gives equal bytes, whatever the
        number of threads.
        """

    @abstractmethod
    def breadths(self) -> Sequence[int]:
        """How far a search can look, ascending; each about twice the one before."""

    @abstractmethod
    def search(self, wanted: Vectors, depth: int, breadth: int) -> tuple[Rows, Scores]:
        """The best `depth` documents of each query by the structure's own scores, best first: (rows, scores).

        Both [queries, depth]; row -1 where there is nothing. What a query gets does not depend on the others.
        """

    def worth(self, k: int, breadth: int) -> int:
        """How many of the documents found at a breadth are worth to be scored exactly for the best k."""
        return self.deepest * k + OVERFETCH

    def seen(self, wanted: Vectors, breadth: int) -> Rows:
        """All rows that `search` compares with the one query [1, dimension], where `is_exact`."""
        raise NotImplementedError

    def words(self, breadth: int, depth: int) -> str:
        """What a search of this effort does, for people."""
        return f"{self.facts['kind']}, {depth:,} scored exactly"


def best_first(rows: Rows, scores: Scores) -> tuple[Rows, Scores]:
    """Each query's rows by (score descending, row); both [queries, any]."""
    order = np.lexsort((rows, -scores))
    return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
