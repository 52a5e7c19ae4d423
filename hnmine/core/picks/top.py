"""The hardest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker


class Top(Picker):
    """Takes the survivors in rank-by order, the best-placed first.

    What TopK-Abs, TopK-MarginPos and TopK-PercPos do with what their ceilings leave (NV-Retriever, Moreira et al.
    2024, arXiv 2407.15831).
    """

    token = "top"

    @property
    def is_consistent(self) -> bool:
        """Yes: a row's place is that of the table."""
        return True

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        return ()
