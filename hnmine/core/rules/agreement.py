"""Agreement of retrievers: what independent retrievers all put at their head is probably relevant."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Ints
from hnmine.core.rules.base import Rule


def agreement(evidence: Evidence, depth: int) -> Ints:
    """How many retrievers have each row among their first `depth` ranks, positives counted."""
    votes = np.zeros(len(evidence.judge), np.int64)
    for rank in evidence.ranks.values():
        votes += (rank > 0) & (rank <= depth)
    return votes


class Agreement(Rule):
    """Drops n that more than `most` retrievers have among their first `depth` ranks, positives counted.

    NV-Retriever (Moreira et al. 2024, arXiv 2407.15831) reports that the top lists of different teachers share little;
    what they do share is relevant far more often than what one of them finds alone.
    """

    reason = "agreement"
    knob = "raise --max-agreement, or lower --agreement-depth"

    def __init__(self, most: int, depth: int) -> None:
        self.most = most
        self.depth = depth

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return agreement(evidence, self.depth) > self.most
