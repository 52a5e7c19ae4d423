"""Answer strings: a document that contains the answer is no negative."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.rules.base import Rule


class HasAnswer(Rule):
    """Drops n that contains one of the query's answers (DPR: Karpukhin et al. 2020, arXiv 2004.04906)."""

    reason = "has-answer"
    knob = "leave out --no-answers"

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return np.zeros(len(evidence.judge), np.bool_) if evidence.has_answer is None else evidence.has_answer
