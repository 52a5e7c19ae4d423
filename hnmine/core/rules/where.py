"""Conditions on the columns of documents and queries: language, date, domain."""

from __future__ import annotations

import numpy as np

from hnmine.core.condition import Condition
from hnmine.core.evidence import Bools, Evidence
from hnmine.core.rules.base import Rule


class Where(Rule):
    """Drops n unless the condition is true for it; where a null leaves it open, it is not true.

    A condition is a wish and no guess, so it spares nothing but the positives.
    """

    reason = "where"
    is_guess = False
    knob = "loosen --where, or raise --top-k in mine"

    def __init__(self, text: str) -> None:
        self.condition = Condition(text)
        self.columns = self.condition.columns

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        size = len(evidence.judge)
        if not set(self.columns) <= set(evidence.columns):
            return np.zeros(size, np.bool_)
        return ~self.condition.holds(evidence.columns, size)
