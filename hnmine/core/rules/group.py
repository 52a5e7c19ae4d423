"""Groups of documents: the chunks of one parent, the answers of one thread, the versions of one page."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.grouped import keys_in
from hnmine.core.rules.base import Rule
from hnmine.core.rules.relevant import NOBODY, Voices


class SameGroup(Rule):
    """Drops n that has the same value of a document column as one of the query's positives; null is no group.

    Chunks of the positive's own parent are the commonest false negatives of a corpus that was cut into passages.
    """

    reason = "same-group"
    knob = "leave out --group-by"

    def __init__(self, name: str, voices: Voices | None = None) -> None:
        """`voices` call further rows relevant, whose group counts as a positive's does."""
        self._voices = voices
        self.name = f"document.{name}"
        self.columns = (self.name,)

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        if self.name not in evidence.columns:
            return np.zeros(len(evidence.judge), np.bool_)
        group = evidence.columns[self.name]
        known = ~group.is_null
        _, codes = np.unique(group.values[known], return_inverse=True)
        keys = np.zeros(len(known), np.uint64)
        keys[known] = codes.astype(np.uint64)
        positive = evidence.is_positive
        if self._voices is not None:
            positive = positive | (self._voices.called(evidence) != NOBODY)
        owner, positive = evidence.owner, positive & known
        return known & keys_in(owner, keys, owner[positive], keys[positive])
