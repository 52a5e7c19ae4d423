"""TAS-Balanced: evenly over the gap to the positive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Ints, anchor_scores
from hnmine.core.layout import Keys, mix
from hnmine.core.picks.base import Picker, places_by, shuffling_key
from hnmine.options import Anchor

BINS = 10


class MarginBins(Picker):
    """Takes turns over bins of the gap s(p) - s(n) under the judge: a random row of each bin, then a second of each.

    The pair balancing of TAS-Balanced (Hofstätter et al. 2021, arXiv 2104.06967): 10 bins of equal width between a
    query's smallest and largest margin, a random bin, a random pair of it. Here a bin has its turn before any has two,
    bins in keyed random order. The bins of a query do not depend on its positive's score, so a query without one is
    balanced too; rows without a score come last.
    """

    token = "margin-bins"
    is_random = True
    draws_rows = True

    def __init__(self, anchor: Anchor, bins: int = BINS) -> None:
        self.anchor = anchor
        self.bins = bins

    def bin_of(self, evidence: Evidence, eligible: Bools) -> Ints:
        """The bin of each row, 0 (smallest gap) to bins - 1; `bins` for a row without a score."""
        owner, queries = evidence.owner, len(evidence.offsets) - 1
        anchor = anchor_scores(evidence, self.anchor)[owner]
        gap = np.where(np.isfinite(anchor), anchor, 0.0) - evidence.judge
        known = eligible & np.isfinite(gap)
        low, high = np.full(queries, np.inf), np.full(queries, -np.inf)
        np.minimum.at(low, owner[known], gap[known])
        np.maximum.at(high, owner[known], gap[known])
        width = np.where(high > low, high - low, 1.0)[owner]
        place = np.zeros(len(gap))
        np.divide(gap - low[owner], width, out=place, where=known)
        found = np.minimum((place * self.bins).astype(np.int64), self.bins - 1)
        return np.where(known, found, self.bins)

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        owner, found = evidence.owner, self.bin_of(evidence, eligible)
        group = owner * (self.bins + 1) + found
        order = np.argsort(group, kind="stable")
        turn = np.empty(len(owner), np.int64)
        turn[order] = places_by(group[order], eligible[order], (shuffling_key(evidence, draw)[order],))
        # Not the draw itself: the best of a full bin is lower than that of an empty one, and would always go first.
        return (found == self.bins, turn, mix(draw, np.zeros(len(draw), np.int64)))
