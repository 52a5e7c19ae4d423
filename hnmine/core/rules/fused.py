"""The fused guard: drop the head of a list fused from every retriever's rank and the similarity to the positive."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Floats, order_among
from hnmine.core.rules.base import Rule

RRF_K = 20
"""The constant of reciprocal-rank fusion."""


def fused_score(evidence: Evidence, among: Bools) -> Floats:
    """Reciprocal-rank fusion (Cormack et al., SIGIR 2009) with k = 20 of every retriever's rank and of the similarity
    to the positive, each counted among the given rows; a row beyond a retriever's top k is behind all that are not.
    """
    owner = evidence.owner
    signals = [np.where(rank > 0, -rank.astype(np.float64), np.nan) for rank in evidence.ranks.values()]
    signals += list(evidence.sim_positive.values())
    total = np.zeros(len(owner))
    for signal in signals:
        total += 1.0 / (RRF_K + order_among(owner, signal, among))
    return total


class SkipFused(Rule):
    """Drops the first `count` survivors of the score rules in the fused order.

    Rows that several signals place high are the likely unlabelled positives; what only one signal likes is hard and
    true. Measured by `scripts/bench_false_negatives.py`.
    """

    reason = "skip-fused"
    knob = "lower --skip-fused, or raise --top-k in mine"

    def __init__(self, count: int) -> None:
        self.count = count

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        counted = alive & ~evidence.is_random
        place = order_among(evidence.owner, fused_score(evidence, counted), counted)
        return counted & (place <= self.count)
