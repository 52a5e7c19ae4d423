"""Surface against meaning: rows that share the query's words and not its sense."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Floats
from hnmine.core.grouped import order_among
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker, weighted_key


class Debiased(Picker):
    """Draws row n with probability proportional to surface(n) x (1 - meaning(n)), without replacement.

    The idea of DebCSE (Miao et al. 2023, arXiv 2309.07396), which samples by inverse propensity over surface and
    semantic similarity; its exact propensities could not be verified, so this is the idea and not the formula. Surface
    is BM25's score, meaning the dense one's, each as its rank among the query's eligible rows: the r-th of m has
    1 - (r - 1/2) / m. A row without a score is last in that rank.
    """

    token = "debiased"
    is_random = True
    draws_rows = True

    def __init__(self, surface: str, meaning: str) -> None:
        self.surface = surface
        self.meaning = meaning

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        surface = _standing(evidence, self.surface, eligible)
        meaning = _standing(evidence, self.meaning, eligible)
        return (weighted_key(evidence, np.log(surface) + np.log(1.0 - meaning), draw),)


def _standing(evidence: Evidence, score: str, among: Bools) -> Floats:
    """1 - (r - 1/2) / m for the row of rank r among the m rows of its query; 1/2 for rows that are not among them."""
    owner = evidence.owner
    rank = order_among(owner, evidence.scores[score], among)
    size = np.bincount(owner[among], minlength=len(evidence.offsets) - 1)[owner]
    return np.where(among, 1.0 - (rank - 0.5) / np.maximum(size, 1), 0.5)
