"""Harder survivors likelier: softmax of the rank-by score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Floats
from hnmine.core.grouped import place_within
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker, spread, weighted_key


class Softmax(Picker):
    """Draws row n with probability proportional to exp(s(n)/T), without replacement; s is the rank-by score.

    "Sampled Top-k" of NV-Retriever (Moreira et al. 2024, arXiv 2407.15831), which draws from the 10 best survivors
    (`Pool`) with softmax(s), that is T = 1. T is in the score's own units; None means the standard deviation of the
    query's own eligible scores, which makes draws on cosines, logits and BM25 equally sharp: one deviation better is
    e times likelier. Rows without a score come last.
    """

    token = "softmax"
    is_random = True
    draws_rows = True

    def __init__(self, score: str, temperature: float | None = None) -> None:
        self.score = score
        self.temperature = temperature

    @property
    def is_consistent(self) -> bool:
        """With a temperature; the deviation of the eligible scores changes with every row."""
        return self.temperature is not None

    def _sampling_key(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Floats:
        values, owner = evidence.scores[self.score], evidence.owner
        if self.temperature is not None:
            return weighted_key(evidence, values / self.temperature, draw)
        deviation = spread(owner, values, eligible, len(evidence.offsets) - 1)
        return weighted_key(evidence, values / deviation[owner], draw)

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        return (self._sampling_key(evidence, eligible, draw),)


class TopThenSoftmax(Softmax):
    """Takes the best-placed survivor, then draws the others as `Softmax` does.

    "Top-1 + sampled" of NV-Retriever (Moreira et al. 2024, arXiv 2407.15831).
    """

    token = "top1-softmax"

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        is_first = place_within(evidence.owner, eligible) == 0
        return (~is_first, self._sampling_key(evidence, eligible, draw))
