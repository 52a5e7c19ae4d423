"""A pick confined to the best-placed survivors."""

from __future__ import annotations

from typing import Any

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Ints
from hnmine.core.grouped import place_within
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker


class Pool(Picker):
    """Lets a pick choose among the first `size` survivors in rank-by order; the others follow in that order.

    "Sampled Top-k" (NV-Retriever, Moreira et al. 2024, arXiv 2407.15831): k = 10 was best, more was worse.
    """

    token = "pool"

    def __init__(self, inner: Picker, size: int) -> None:
        self.inner = inner
        self.size = size
        self.is_random = inner.is_random

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> tuple[Ints, ...]:
        inside = eligible & (place_within(evidence.owner, eligible) < self.size)
        place = self.inner.order(evidence, inside, draw)
        return (np.where(inside, place, self.size),)

    def settings(self) -> dict[str, Any]:
        """As every pick; with the pick inside."""
        return {"token": self.token, "size": self.size, "of": self.inner.settings()}
