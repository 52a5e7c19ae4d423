"""The guard as a rule: drop what is probably an unlabelled positive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from hnmine.core.evidence import Bools, Evidence, Floats
from hnmine.core.guard import Signals, fit, probabilities, terms_of
from hnmine.core.rules.base import Rule


class MaxFnProbability(Rule):
    """Drops rows whose estimated probability of being a false negative is above `most`.

    The estimate is that of `hnmine.core.guard` (positive-unlabelled learning; Elkan and Noto, KDD 2008). It depends on
    the evidence alone and not on what other rules dropped.
    """

    reason = "max-fn-probability"
    knob = "raise --max-fn-probability"
    needs_fit = True
    fit_queries: ClassVar[int | None] = 1_000
    """The estimate of the table's few numbers gains nothing from more."""

    def __init__(self, most: float) -> None:
        self.most = most
        self._state: dict[str, Any] = {}

    def fit(self, blocks: Iterable[Evidence]) -> dict[str, Any]:
        """The state of `hnmine.core.guard.fit`."""
        return fit([terms_of(Signals.of(block)) for block in blocks])

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the state that `fit` returned."""
        self._state = state

    def probability(self, evidence: Evidence) -> Floats:
        """p of every row: NaN for positives, 0 for rows known not to be relevant."""
        return probabilities(terms_of(Signals.of(evidence)), self._state)

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return self.probability(evidence) > self.most
