"""A guide model: a second opinion on each candidate, measured from its own opinion of the positive."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Floats, anchor_scores
from hnmine.core.rules.base import Rule
from hnmine.options import Anchor


def _scores(evidence: Evidence, name: str) -> Floats:
    return evidence.scores.get(name, np.full(len(evidence.judge), np.nan))


class NoGuideScore(Rule):
    """Drops rows that the guide did not score, and the rows of a query none of whose positives it scored."""

    reason = "no-guide-score"
    knob = "give every row the guide's score, or leave out --guide"

    def __init__(self, name: str) -> None:
        self.name = name

    def reads(self, score: str, *, judge: str | None) -> bool:
        """Whether it is the guide's."""
        return score == self.name

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        guide = _scores(evidence, self.name)
        return ~np.isfinite(guide) | np.isnan(anchor_scores(evidence, Anchor.MIN, guide))[evidence.owner]


class Guide(Rule):
    """Drops n with g(n) > g(p) - margin under the guide's scores g: what the guide puts above the positive.

    GISTEmbed (Solatorio 2024, arXiv 2402.16829), offline: there the guide masks the batch, with margin 0.
    """

    reason = "guide"
    knob = "lower --guide-margin, or leave out --guide"

    def __init__(self, name: str, margin: float, anchor: Anchor) -> None:
        self.name = name
        self.margin = margin
        self.anchor = anchor

    def reads(self, score: str, *, judge: str | None) -> bool:
        """Whether it is the guide's."""
        return score == self.name

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        guide = _scores(evidence, self.name)
        return guide > (anchor_scores(evidence, self.anchor, guide) - self.margin)[evidence.owner]
