"""The same text again: copies of a positive, of the query, or of a better-placed candidate.

Equality is that of `hnmine.hashing.text_key`: after NFKC, case folding, and removal of white space and punctuation.
"""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.grouped import keys_in, repeats
from hnmine.core.rules.base import Rule


class SameTextAsPositive(Rule):
    """Drops a copy of one of the query's positives under another id: a false negative for certain."""

    reason = "same-text-as-positive"
    is_guess = False

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        owner, positive = evidence.owner, evidence.is_positive
        return keys_in(owner, evidence.text_key, owner[positive], evidence.text_key[positive])


class SameTextAsQuery(Rule):
    """Drops a document that is the query's own text."""

    reason = "same-text-as-query"
    is_guess = False

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return np.asarray(evidence.text_key == evidence.query_key[evidence.owner])


class SameTextAsCandidate(Rule):
    """Drops a copy of a better-placed candidate of the same query, whatever became of that one."""

    reason = "same-text-as-candidate"
    is_guess = False

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return np.asarray(repeats(evidence.groups, evidence.text_key))
