"""Ceilings: keep n iff s(n) < C. Most published false-negative filters are one of these.

Names as in NV-Retriever (Moreira et al. 2024, arXiv 2407.15831).
"""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence, anchor_scores
from hnmine.core.rules.base import Rule
from hnmine.options import Anchor


class NoScore(Rule):
    """Drops rows the judge gave no score: what cannot be compared cannot be trusted."""

    reason = "no-score"
    reads_judge = True
    is_guess = False

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return ~np.isfinite(evidence.judge)


class NoAnchor(Rule):
    """Drops the rows of a query none of whose positives has a score: there is nothing to measure a margin from."""

    reason = "no-anchor"
    reads_judge = True
    knob = "give the positives scores, or judge by another score with --judge-by"

    def __init__(self, anchor: Anchor) -> None:
        self.anchor = anchor

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return np.isnan(anchor_scores(evidence, self.anchor))[evidence.owner]


class AbsoluteMargin(Rule):
    """TopK-MarginPos: C = s(p) - margin. For logits of a cross-encoder 3.0 is the MS MARCO recipe."""

    reason = "absolute-margin"
    reads_judge = True
    knob = "lower --absolute-margin, or raise --top-k in mine"

    def __init__(self, margin: float, anchor: Anchor) -> None:
        self.margin = margin
        self.anchor = anchor

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        ceiling = anchor_scores(evidence, self.anchor) - self.margin
        return ~(evidence.judge < ceiling[evidence.owner])


class RelativeMargin(Rule):
    """TopK-PercPos: C = s(p) - margin * |s(p)|, which stays below s(p) for negative scores too."""

    reason = "relative-margin"
    reads_judge = True
    knob = "lower --relative-margin, or raise --top-k in mine"

    def __init__(self, margin: float, anchor: Anchor) -> None:
        self.margin = margin
        self.anchor = anchor

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        positive = anchor_scores(evidence, self.anchor)
        ceiling = positive - self.margin * np.abs(positive)
        return ~(evidence.judge < ceiling[evidence.owner])


class MaxScore(Rule):
    """TopK-Abs: drops s(n) above a fixed score."""

    reason = "max-score"
    reads_judge = True
    knob = "raise --max-score, or raise --top-k in mine"

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return evidence.judge > self.limit


class MinScore(Rule):
    """Drops s(n) below a fixed score: too easy to teach anything. Not a guess at relevance, so it spares nothing."""

    reason = "min-score"
    reads_judge = True
    is_guess = False
    knob = "lower --min-score"

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return evidence.judge < self.limit
