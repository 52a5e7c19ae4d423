"""Rules on ranks."""

from __future__ import annotations

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.grouped import place_within
from hnmine.core.rules.base import Rule
from hnmine.core.rules.same_text import SameTextAsCandidate, SameTextAsPositive, SameTextAsQuery


class SkipTop(Rule):
    """Drops the first `count` documents of the rank-by list, positives counted, before any score rule.

    TopK shifted by N (NV-Retriever, Moreira et al. 2024, arXiv 2407.15831). Ranks are those of the retriever, so the
    rule counts what was retrieved, not what survived other rules.
    """

    reason = "skip-top"
    knob = "lower --skip-top"

    def __init__(self, count: int) -> None:
        self.count = count

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return (evidence.rank > 0) & (evidence.rank <= self.count)


class MaxRank(Rule):
    """Drops what stands behind the first `count` documents of the rank-by list, positives counted.

    With `SkipTop` a range of ranks: 10-210 in BGE's `hn_mine.py`, 30-100 in SFR, 50-100 in KaLM. A row beyond the
    retriever's top k, which another source brought, is behind; rows of the random source alone have no rank and stay.
    """

    reason = "max-rank"
    knob = "raise --max-rank"

    def __init__(self, count: int) -> None:
        self.count = count

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        is_within = (evidence.rank > 0) & (evidence.rank <= self.count)
        return ~(is_within | evidence.is_random)


class RankWindow(Rule):
    """Keeps the rows `low` to `high` (0-based, exclusive; None: all) of the rank-by order, before any score rule.

    Positives and copies of other texts take no place: what is counted is what could be a negative at all.
    """

    reason = "rank-window"
    knob = "widen the window of ranks"

    def __init__(self, low: int, high: int | None) -> None:
        self.low = low
        self.high = high

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        counted = ~evidence.is_positive
        for rule in (SameTextAsPositive(), SameTextAsQuery(), SameTextAsCandidate()):
            counted &= ~rule.drops(evidence, counted)
        place = place_within(evidence.owner, counted)
        beyond = place >= self.high if self.high is not None else False
        return counted & ((place < self.low) | beyond)
