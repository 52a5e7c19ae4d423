"""All survivors alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker, shuffling_key


class Uniform(Picker):
    """Draws from the survivors with equal probability, without replacement.

    ANCE (Xiong et al. 2021, arXiv 2007.00808) and STAR (Zhan et al. 2021, arXiv 2104.08051) draw so from the top 200,
    BGE's `hn_mine.py` (Xiao et al. 2023, C-Pack, arXiv 2309.07597) from a range of ranks.
    """

    token = "random"
    is_random = True
    draws_rows = True

    @property
    def is_consistent(self) -> bool:
        """Yes: a row's number is its own."""
        return True

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        return (shuffling_key(evidence, draw),)
