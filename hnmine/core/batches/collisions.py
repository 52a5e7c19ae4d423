"""Rows that must not share a batch, and batches that respect it.

With in-batch negatives a row's query is pushed away from all that the other rows hold. Where that is one of its own
positives, or a text that may be relevant to it, the batch teaches an error; GISTEmbed (Solatorio 2024,
arXiv 2402.16829) masks such pairs while it trains, here they are kept apart beforehand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

LOOK_AHEAD = 16
"""A batch looks for rows that fit among so many times its size; then it is closed as it is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """What each row holds, and what its query must not see; queries and documents are numbered from 0.

    Row i is of query `query[i]` and holds the documents `documents[offsets[i]:offsets[i + 1]]`. Query q must not share
    a batch with a row that holds one of `barred[barred_offsets[q]:barred_offsets[q + 1]]`, but for the row itself.
    """

    query: Ints
    offsets: Ints
    documents: Ints
    barred_offsets: Ints
    barred: Ints

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def of(cls, query: Ints, offsets: Ints, documents: Ints, *, pairs: tuple[Ints, Ints], queries: int) -> Held:
        """Rows, and the (query, document) pairs that must not share a batch, in any order.

        Of the documents only those are kept that some query must not see.
        """
        owner, barred = pairs
        order = np.lexsort((barred, owner))
        counts = np.bincount(owner, minlength=queries)
        matters = np.isin(documents, barred)
        row = np.repeat(np.arange(len(query)), np.diff(offsets))
        return cls(
            query=np.asarray(query, np.int64),
            offsets=_starts(np.bincount(row[matters], minlength=len(query))),
            documents=documents[matters],
            barred_offsets=_starts(counts),
            barred=barred[order],
        )

    def take(self, rows: Ints) -> Held:
        """The given rows alone, numbered in the given order."""
        low = self.offsets[rows]
        lengths = self.offsets[rows + 1] - low
        offsets = _starts(lengths)
        entries = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - low, lengths)
        return Held(
            query=self.query[rows],
            offsets=offsets,
            documents=self.documents[entries],
            barred_offsets=self.barred_offsets,
            barred=self.barred,
        )

    def of_row(self, row: int) -> tuple[list[int], list[int]]:
        """The documents that a row holds, and those that its query must not see."""
        query = self.query[row]
        held = self.documents[self.offsets[row] : self.offsets[row + 1]]
        barred = self.barred[self.barred_offsets[query] : self.barred_offsets[query + 1]]
        return held.tolist(), barred.tolist()


class Batch:
    """Rows that are put together one by one, as long as they do not collide."""

    def __init__(self, held: Held, size: int) -> None:
        self.rows: list[int] = []
        self._all, self._size = held, size
        self._holds: set[int] = set()
        self._bars: set[int] = set()

    @property
    def is_full(self) -> bool:
        """Whether no further row has a place."""
        return len(self.rows) >= self._size

    def takes(self, row: int) -> bool:
        """Put a row in, if it collides with none that is there; whether it was."""
        held, barred = self._all.of_row(row)
        if not (self._bars.isdisjoint(held) and self._holds.isdisjoint(barred)):
            return False
        self.rows.append(row)
        self._holds.update(held)
        self._bars.update(barred)
        return True


def fill(held: Held, order: Iterable[int], size: int) -> Iterator[list[int]]:
    """All rows of `order` in batches of at most `size`, none with two rows that collide.

    A row that collides waits for the next batch, where it comes first; so rows stay close to their place in the order,
    and batches are full but where too many of the rows that are left collide with each other.
    """
    coming, waiting = iter(order), deque[int]()
    while True:
        batch, later = Batch(held, size), deque[int]()
        for _ in range(LOOK_AHEAD * size):
            if batch.is_full:
                break
            row = waiting.popleft() if waiting else next(coming, None)
            if row is None:
                break
            if not batch.takes(row):
                later.append(row)
        if not batch.rows:
            return
        later.extend(waiting)
        waiting = later
        yield batch.rows


def collisions_within(held: Held, batch: Iterable[int]) -> int:
    """How many ordered pairs of a batch's rows collide: the first row's query must not see what the second holds."""
    rows = [held.of_row(row) for row in batch]
    return sum(
        not set(barred).isdisjoint(documents)
        for i, (_, barred) in enumerate(rows)
        for j, (documents, _) in enumerate(rows)
        if i != j
    )


def _starts(lengths: npt.NDArray[np.integer]) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
