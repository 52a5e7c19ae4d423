"""The positive-document guard: what is close to the positive may answer the query as well as it does."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Floats
from hnmine.core.rules.base import Rule


def similarity(evidence: Evidence, index: str) -> Floats:
    """Similarity of each row to the nearest other positive under a dense index; NaN where there is none."""
    return evidence.sim_positive.get(index, np.full(len(evidence.judge), np.nan))


class TooCloseToPositive(Rule):
    """Drops n whose similarity to a positive of its query is `limit` or more under the dense index `index`.

    The second condition of Meghwani et al. 2025 (Oracle, arXiv 2505.18366) as a threshold.
    """

    reason = "close-to-positive"
    knob = "raise --max-positive-similarity"

    def __init__(self, limit: float, index: str) -> None:
        self.limit = limit
        self.index = index

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return similarity(evidence, self.index) >= self.limit


class CloserToPositive(Rule):
    """Drops n unless it is nearer to the query than to the positive: s(q, n) > s(p, n), both cosines of one index.

    d(q, n) < d(p, n), the second condition of Meghwani et al. 2025 (Oracle, arXiv 2505.18366). A row without one of
    the two values stays.
    """

    reason = "closer-to-positive"
    knob = "leave out --closer-to-query"

    def __init__(self, index: str) -> None:
        self.index = index

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        to_positive = similarity(evidence, self.index)
        return evidence.scores.get(self.index, np.full(len(to_positive), np.nan)) <= to_positive
