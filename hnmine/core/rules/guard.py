"""The guard as a rule: drop what is probably an unlabelled positive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Floats
from hnmine.core.guard import Signals, fit, probabilities, terms_of
from hnmine.core.rules.base import Rule
from hnmine.hashing import canonical_json


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
    fit_columns: ClassVar[tuple[str, ...] | None] = ("score_", "sim_positive_")

    def __init__(self, most: float) -> None:
        self.most = most
        self._state: dict[str, Any] = {}
        self._key = ""

    def fit(self, blocks: Iterable[Evidence]) -> dict[str, Any]:
        """The state of `hnmine.core.guard.fit`."""
        return fit([terms_of(Signals.of(block)) for block in blocks])

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the state that `fit` returned."""
        self._state = state
        self._key = canonical_json(state)

    @property
    def is_estimated(self) -> bool:
        """Whether the table had queries with a positive enough to estimate its few numbers from."""
        return bool(self._state.get("estimated", False))

    def probability(self, evidence: Evidence) -> Floats:
        """p of every row: NaN for positives, 0 for rows known not to be relevant."""
        known = evidence.is_certain & ~evidence.is_positive
        return np.where(known, 0.0, self._estimate(evidence))

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        # Certain rows count as the others here: that the estimate of them is 0 is knowledge, and the base spares them.
        return self._estimate(evidence) > self.most

    def _estimate(self, evidence: Evidence) -> Floats:
        """p as if nothing were known of a row but that it is no positive; NaN for positives."""

        def estimate() -> Floats:
            terms = evidence.once("terms of the guard", lambda: terms_of(Signals.of(evidence), to_fit=False))
            return probabilities(replace(terms, is_certain=np.zeros(len(evidence.judge), np.bool_)), self._state)

        return evidence.once((self.reason, self._key), estimate)
