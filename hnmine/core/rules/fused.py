"""The fused guard: drop the head of a list fused from all ranks and similarity to the positive."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Floats, Ints
from hnmine.core.fusion import reciprocal
from hnmine.core.grouped import order_among
from hnmine.core.rules.base import Rule

RRF_K = 20
"""The constant of reciprocal-rank fusion."""


def fuse(owner: Ints, signals: Iterable[Floats], among: Bools) -> Floats:
    """Reciprocal-rank fusion (Cormack et al., SIGIR 2009): the sum of 1 / (k + place) over the signals.

    A place is that of the row among the rows of `among` of its owner, the highest value first; rows without a value
    (NaN) share the place behind all that have one.
    """
    total = np.zeros(len(owner))
    for signal in signals:
        total += reciprocal(RRF_K, order_among(owner, signal, among))
    return total


def places(ranks: Iterable[Ints]) -> list[Floats]:
    """Ranks as signals: a row beyond a retriever's top k has no value."""
    return [np.where(rank > 0, -rank.astype(np.float64), np.nan) for rank in ranks]


def fused_score(evidence: Evidence, among: Bools) -> Floats:
    """The fusion of every retriever's rank and of the similarity to the positive.

    Rerankers have no vote: a weak one's, equal to the others, let in more false negatives (0.58 of the peer's instead
    of 0.48 in an exploration on the collections of `scripts/bench_false_negatives.py`). The guard weighs them.
    """
    return fuse(evidence.owner, [*places(evidence.ranks.values()), *evidence.sim_positive.values()], among)


class SkipFused(Rule):
    """Drops the first `count` survivors of the score rules in the fused order.

    Rows that several signals place high are the likely unlabelled positives; what only one signal likes is hard and
    true. Measured by `scripts/bench_false_negatives.py`.
    """

    reason = "skip-fused"
    counts_rows = True
    knob = "lower --skip-fused, or raise --top-k in mine"

    def __init__(self, count: int) -> None:
        self.count = count

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        counted = alive & ~evidence.is_random
        place = order_among(evidence.owner, fused_score(evidence, counted), counted)
        return counted & (place <= self.count)
