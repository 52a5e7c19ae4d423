"""A rule says "keep" or "drop, because": a stable reason token and a pure pass over a block of evidence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from hnmine.core.evidence import Bools, Evidence


class Rule(ABC):
    """One reason to drop a candidate.

    `reason` is the token written into every row it drops: stable, part of the format. A rule that *guesses* at
    relevance sets `is_guess`; the base then spares rows known not to be relevant (judged 0, curated). `knob` tells
    people what to turn when queries starve because of it.
    """

    reason: ClassVar[str]
    is_guess: ClassVar[bool] = True
    knob: ClassVar[str | None] = None

    def drops(self, evidence: Evidence) -> Bools:
        """True for every row this rule drops; positives are never dropped."""
        dropped = self._drops(evidence) & ~evidence.is_positive
        return dropped & ~evidence.is_certain if self.is_guess else dropped

    @abstractmethod
    def _drops(self, evidence: Evidence) -> Bools:
        """True for every row the rule is against, exemptions aside."""
