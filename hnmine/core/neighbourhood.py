"""Draws from the clusters around a point: between random documents and the nearest ones, for less than a search.

LEMON (arXiv 2203.04703) corrupts a triple so: with entities out of the clusters whose centres are nearest to the one
that is replaced, all alike.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnmine.core.pool import draw_documents

Ints = npt.NDArray[np.int64]

NEAREST = 3
"""Clusters around a document: the setting of LEMON for WN18RR (of 15 in all)."""


class Members:
    """The documents of each cluster, of those that may be drawn."""

    def __init__(self, cluster: Ints, free: Ints) -> None:
        """`cluster[row]` is the cluster of a document, from 0; `free` are the rows that may be drawn, ascending."""
        own = cluster[free]
        self._rows = free[np.argsort(own, kind="stable")]
        self._bounds = np.concatenate([[0], np.cumsum(np.bincount(own, minlength=int(cluster.max(initial=-1)) + 1))])
        self._place = np.full(len(cluster), -1, np.int64)
        self._place[self._rows] = np.arange(len(self._rows))

    def draw(self, seed: int, clusters: Ints, taken: Ints, count: int) -> Ints:
        """`count` distinct rows of the given clusters that are not in `taken` (fewer if there are no more), ascending.

        Each is as likely as any other, whatever the size of its cluster.
        """
        chosen = np.unique(clusters)
        starts, stops = self._bounds[chosen], self._bounds[chosen + 1]
        before = np.concatenate([[0], np.cumsum(stops - starts)])
        place = self._place[np.unique(taken)]
        which = np.searchsorted(stops, place, side="right")
        inside = (place >= 0) & (which < len(chosen))
        inside[inside] = place[inside] >= starts[which[inside]]
        banned = place[inside] - starts[which[inside]] + before[which[inside]]
        drawn = draw_documents(seed, banned, int(before[-1]), count)
        of = np.searchsorted(before, drawn, side="right") - 1
        return np.sort(self._rows[starts[of] + drawn - before[of]])
