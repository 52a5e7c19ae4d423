"""SimANS: ambiguous negatives, neither the hardest nor the easiest."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Floats, anchor_scores
from hnmine.core.grouped import place_within
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker, spread, weighted_key
from hnmine.options import Anchor


class SimansKernel(Picker):
    """Draws rows whose score lies around s(p) + offset, without replacement.

    SimANS (Zhou et al. 2022, arXiv 2210.11773).

    With z = (s(n) - s(p)) / d, where s is the rank-by score and d the standard deviation of the query's eligible
    scores, a row's weight falls with |z - offset| / width. `offset` is named by its meaning, because the paper and its
    code disagree about the sign of their b; and z, because the paper's parameters fit raw dot products with a spread
    of several units and mean nothing for a cosine. A query whose positive has no score is taken from the easiest
    upwards, as in the paper's code; rows without a score come last.
    """

    is_random = True
    draws_rows = True
    default_width: ClassVar[float]

    def __init__(self, score: str, anchor: Anchor, offset: float = 0.0, width: float | None = None) -> None:
        self.score = score
        self.anchor = anchor
        self.offset = offset
        self.width = self.default_width if width is None else width

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        values, owner = evidence.scores[self.score], evidence.owner
        positive = anchor_scores(evidence, self.anchor, values)[owner]
        z = (values - positive) / spread(owner, values, eligible, len(evidence.offsets) - 1)[owner]
        drawn = weighted_key(evidence, self._log_weight((z - self.offset) / self.width), draw)
        from_the_end = np.where(np.isfinite(values), -place_within(owner, eligible), np.nan)
        return (np.where(np.isfinite(positive), drawn, from_the_end),)

    @abstractmethod
    def _log_weight(self, distance: Floats) -> Floats:
        """Logarithm of the weight at a distance from the mode, in widths."""


class SimansGaussian(SimansKernel):
    """Weight exp(-((z - offset) / width)^2 / 2): the paper's exp(-a (s(n) - s(p) - b)^2) with a = 1 / (2 width^2).

    Width 1 is the paper's a = 0.5.
    """

    token = "simans"
    default_width = 1.0

    def _log_weight(self, distance: Floats) -> Floats:
        return np.asarray(-0.5 * distance**2, np.float64)


class SimansLaplace(SimansKernel):
    """Weight exp(-|z - offset| / width): the kernel of the released MS MARCO code, exp(-3 |s(n) - s(p)|).

    Width 1/3 is the code's 3.
    """

    token = "simans-laplace"
    default_width = 1.0 / 3.0

    def _log_weight(self, distance: Floats) -> Floats:
        return np.asarray(-np.abs(distance), np.float64)
