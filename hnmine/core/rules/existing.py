"""Nothing but the negatives of the user's own file."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.rules.base import Rule


class NotExisting(Rule):
    """Drops n unless it is one of the negatives that the user's own file gives the query: `--existing only`.

    The others are judged by the rules that follow, and nothing tops them up.
    """

    reason = "not-existing"
    is_guess = False

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return np.asarray(~evidence.is_existing)
