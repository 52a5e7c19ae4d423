"""The negatives of the user's own file first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Ints
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker


class ExistingFirst(Picker):
    """Takes the negatives that the user's own file brought, in rank-by order; another pick tops up."""

    token = "existing-first"

    def __init__(self, inner: Picker) -> None:
        self.inner = inner
        self.is_random = inner.is_random
        self.takes_random_rows = inner.takes_random_rows

    def order(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Ints:
        """As every pick; -1 also for rows that the inner pick does not take."""
        existing = _existing(evidence)
        topped_up = self.inner.order(evidence, eligible & ~existing, draw) >= 0
        return super().order(evidence, eligible & (topped_up | existing), draw)

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        existing = _existing(evidence)
        return (~existing, np.where(existing, 0, self.inner.order(evidence, eligible & ~existing, draw)))

    @property
    def is_consistent(self) -> bool:
        """As the pick that tops up."""
        return self.inner.is_consistent

    @property
    def fill(self) -> Picker:
        """As the pick that tops up."""
        return self.inner.fill

    def settings(self) -> dict[str, Any]:
        """As every pick; with the pick inside."""
        return {"token": self.token, "of": self.inner.settings()}


def _existing(evidence: Evidence) -> Bools:
    return np.zeros(len(evidence.judge), np.bool_) if evidence.is_existing is None else evidence.is_existing
