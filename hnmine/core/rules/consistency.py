"""Ranking consistency: a positive that the teacher itself does not find makes the query doubtful."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.rules.base import Rule


class Inconsistent(Rule):
    """Drops every row of a query whose best positive stands beyond rank `top` of the rank-by retriever.

    KaLM (Hu et al. 2025, arXiv 2501.01028) and nomic-embed (Nussbaum et al. 2024, arXiv 2402.01613; top 2) drop such
    pairs as noise. The doubt is about the query and not about the candidate, so rows that are certain go too.
    """

    reason = "inconsistent-query"
    is_guess = False
    knob = "raise --consistency-top"

    def __init__(self, top: int) -> None:
        self.top = top

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        found = evidence.is_positive & (evidence.rank > 0) & (evidence.rank <= self.top)
        hits = np.bincount(evidence.owner[found], minlength=len(evidence.offsets) - 1)
        return np.asarray((hits == 0)[evidence.owner])
