"""Locality-centric batches: walks over the graph of queries and the documents that they found.

BiDR (Xiao et al., WWW 2022, arXiv 2201.05409) joins each query with its hard negatives. A batch begins at a random
query; whatever else has found one of its hard negatives is noted, and the batch goes on with what was noted last (a
walk) or first (a snowball), at random where nothing is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hnmine.core.batches.collisions import LOOK_AHEAD, Batch, Held
from hnmine.core.batches.graph import Graph
from hnmine.core.layout import mix

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def walked(held: Held, near: Near, size: int, *, snowball: bool) -> Iterator[list[int]]:
    """All rows in batches of at most `size`, each a walk (or a snowball); none holds two rows that collide.

    Rows count as shuffled: a batch begins at the first that is left, and a query gives its rows in order.
    """
    rows = _Left(held.query, len(near))
    for first in range(len(held)):
        if rows.is_taken[first]:
            continue
        batch, noted, looked, restart = Batch(held, size), deque[int](), set[int](), first
        for _ in range(LOOK_AHEAD * size):
            if batch.is_full:
                break
            if not noted:
                restart = rows.next(restart, looked)
                if restart == len(held):
                    break
                noted.append(int(held.query[restart]))
            query = noted.popleft() if snowball else noted.pop()
            if query not in looked and rows.has[query]:
                looked.add(query)
                if batch.takes(rows.of(query)):
                    rows.take(query)
                    noted.extend(near.beyond(query, rows.has, size))
        yield batch.rows


class Near:
    """The queries that found what a query found."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        order = np.argsort(graph.documents, kind="stable")
        self._offsets = np.concatenate([[0], np.cumsum(np.bincount(graph.documents, minlength=len(graph.keys)))])
        self._finders = graph.owner[order]
        self._turn = mix(np.arange(len(graph), dtype=np.uint64), np.zeros(len(graph), np.int64))

    def __len__(self) -> int:
        return len(self._graph)

    def beyond(self, query: int, has: Bools, most: int) -> list[int]:
        """The finders, of those that `has` allows, of the first of a query's documents, from a drawn one on, with any.

        Of each document the `most` finders after the query, and the `most` first ones: a text that everybody finds is
        no reason to look at everybody.
        """
        graph = self._graph
        documents = graph.documents[graph.offsets[query] : graph.offsets[query + 1]]
        turn = int(self._turn[query]) % max(len(documents), 1)
        for document in np.roll(documents, -turn).tolist():
            finders = self._finders[self._offsets[document] : self._offsets[document + 1]]
            place = int(np.searchsorted(finders, query))
            nearby = np.concatenate([finders[place + 1 : place + 1 + most], finders[: min(place, most)]])
            found: list[int] = nearby[has[nearby]].tolist()
            if found:
                return found
        return []


class _Left:
    """The rows of each query that are not yet in a batch."""

    def __init__(self, query: Ints, queries: int) -> None:
        self._query = query
        self._rows = np.argsort(query, kind="stable")
        counts = np.bincount(query, minlength=queries)
        self._end = np.cumsum(counts)
        self._next = self._end - counts
        self.has: Bools = counts > 0
        self.is_taken = np.zeros(len(query), np.bool_)

    def of(self, query: int) -> int:
        """The first row of a query that is left."""
        return int(self._rows[self._next[query]])

    def take(self, query: int) -> None:
        """Note that this row is in a batch."""
        self.is_taken[self.of(query)] = True
        self._next[query] += 1
        self.has[query] = self._next[query] < self._end[query]

    def next(self, start: int, looked: set[int]) -> int:
        """The first row from `start` on that is left and of none of these queries; the number of rows if none is."""
        while start < len(self._query) and (self.is_taken[start] or int(self._query[start]) in looked):
            start += 1
        return start
