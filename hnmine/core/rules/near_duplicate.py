"""Near-duplicates by the vectors of a dense index; exact copies are the business of `same_text`."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.rules.base import Rule
from hnmine.core.rules.positive_guard import similarity


class NearDuplicateOfPositive(Rule):
    """Drops n whose cosine to a positive of its query is `limit` or more: in effect the positive again."""

    reason = "near-duplicate-of-positive"
    knob = "raise --near-duplicate"

    def __init__(self, limit: float, index: str) -> None:
        self.limit = limit
        self.index = index

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return similarity(evidence, self.index) >= self.limit


class NearDuplicateOfQuery(Rule):
    """Drops n whose cosine to the query is `limit` or more: the query itself, hardly changed."""

    reason = "near-duplicate-of-query"
    knob = "raise --near-duplicate"

    def __init__(self, limit: float, index: str) -> None:
        self.limit = limit
        self.index = index

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return evidence.scores.get(self.index, np.full(len(evidence.judge), np.nan)) >= self.limit


class NearDuplicateOfCandidate(Rule):
    """Drops n whose cosine to a better-placed candidate is `limit` or more, whatever became of that one.

    Better placed in the order of `mine`. It guesses nothing about relevance, it saves a place: of a chain of
    near-duplicates only the first stays.
    """

    reason = "near-duplicate-of-candidate"
    is_guess = False
    knob = "raise --near-duplicate"

    def __init__(self, limit: float, index: str) -> None:
        self.limit = limit
        self.index = index

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        nearest = evidence.sim_better.get(self.index, np.full(len(evidence.judge), np.nan))
        return nearest >= self.limit
