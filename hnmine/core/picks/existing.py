"""The negatives of the user's own file before all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Ints
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker, places_by


class ExistingFirst(Picker):
    """Takes the survivors that the user's own file gives as negatives, then the others: `--existing keep`.

    The pick inside orders both; it is asked about all survivors at once, so its pools and quotas count them too.
    """

    token = "existing-first"

    def __init__(self, inner: Picker) -> None:
        self.inner = inner
        self.is_random = inner.is_random
        self.takes_random_rows = inner.takes_random_rows  # type: ignore[misc]

    def order(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Ints:
        """As every pick; -1 also for rows that the pick inside leaves out."""
        place = self.inner.order(evidence, eligible, draw)
        return places_by(evidence.owner, place >= 0, (~evidence.is_existing, place))

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        return (self.order(evidence, eligible, draw),)

    @property
    def fill(self) -> Picker:
        """The inner pick's."""
        return self.inner.fill

    def settings(self) -> dict[str, Any]:
        """As every pick; with the pick inside."""
        return {"token": self.token, "of": self.inner.settings()}
