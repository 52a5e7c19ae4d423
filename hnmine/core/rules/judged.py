"""What the qrels know: a document with some relevance is no negative."""

from __future__ import annotations

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.rules.base import Rule


class JudgedGrade(Rule):
    """Drops rows judged between 0 and `--min-relevance`, or above 0 in `--labels`: relevant, and yet no positive."""

    reason = "judged-grade"
    is_guess = False

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return evidence.is_low_grade
