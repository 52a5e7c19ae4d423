"""Documents of the clusters around the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Ints
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker, shuffling_key

NEAREST = 3


class ClusterNeighbours(Picker):
    """Draws alike from the rows of the clusters whose centres are nearest to the query, then from the others.

    LEMON (arXiv 2203.04703; its WN18RR setting takes the 3 nearest clusters): between random and the top k. Rows of
    the random source in those clusters take part, which makes them worth having (`mine --random 50 --clusters 256`);
    those outside do not.
    """

    token = "cluster-neighbours"
    is_random = True
    draws_rows = True
    takes_random_rows = True

    def __init__(self, index: str, nearest: int = NEAREST) -> None:
        self.index = index
        self.nearest = nearest

    def order(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Ints:
        """As every pick; -1 also for random rows outside the clusters around the query."""
        return super().order(evidence, eligible & (self._is_near(evidence) | ~evidence.is_random), draw)

    def _is_near(self, evidence: Evidence) -> Bools:
        rank = evidence.centroid_ranks[self.index]
        return (rank > 0) & (rank <= self.nearest)

    @property
    def is_consistent(self) -> bool:
        """Yes: nearness and number are the row's own."""
        return True

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        return (~self._is_near(evidence), shuffling_key(evidence, draw))
