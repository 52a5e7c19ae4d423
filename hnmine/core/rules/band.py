"""The band of a cross-encoder: negatives that are neither surely irrelevant nor likely relevant."""

from __future__ import annotations

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Floats
from hnmine.core.rules.base import Rule
from hnmine.errors import UsageError
from hnmine.schema import Scale


def parse_band(text: str) -> tuple[float, float]:
    """`0.1:0.6` as (0.1, 0.6): two probabilities, the lower one first; raises `UsageError`."""
    low_text, colon, high_text = text.partition(":")
    try:
        low, high = float(low_text or 0), float(high_text or 1)
    except ValueError:
        low, high = np.nan, np.nan
    if not colon or not 0 <= low < high <= 1:
        raise UsageError(f"--band {text}: not a band", expected="LOW:HIGH, probabilities from 0 to 1, such as 0.1:0.6")
    return low, high


def probabilities(scores: Floats, scale: Scale) -> Floats:
    """Scores as probabilities: logits go through the sigmoid; raises `UsageError` for a scale that is neither.

    Whether a cross-encoder ends in a sigmoid differs from model to model, so the scale is what the table says of the
    score and never a guess from the values.
    """
    if scale is Scale.PROBABILITY:
        return scores
    if scale is not Scale.LOGIT:
        raise UsageError(
            f"--band compares probabilities, and the judge's scores are of the scale {scale}",
            expected="a judge with logits or probabilities: a reranker",
            remedy="add a reranker's scores with hnmine score, or use --min-score and --max-score",
        )
    # The stable form: no exponent of a large positive number.
    small = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1.0, small) / (1.0 + small)


class AboveBand(Rule):
    """Drops n whose probability of being relevant is above `limit`.

    RocketQA (Qu et al. 2021, arXiv 2010.08191) takes negatives below 0.1; InDi (Amazon, ECIR 2024) from 0.1 to 0.6.
    """

    reason = "above-band"
    reads_judge = True
    knob = "raise the upper end of --band, or raise --top-k in mine"

    def __init__(self, limit: float, scale: Scale) -> None:
        probabilities(np.zeros(0), scale)
        self.limit = limit
        self.scale = scale

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return probabilities(evidence.judge, self.scale) > self.limit


class BelowBand(Rule):
    """Drops n whose probability of being relevant is below `limit`: too easy, so it spares nothing (InDi)."""

    reason = "below-band"
    reads_judge = True
    is_guess = False
    knob = "lower the lower end of --band"

    def __init__(self, limit: float, scale: Scale) -> None:
        probabilities(np.zeros(0), scale)
        self.limit = limit
        self.scale = scale

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        return probabilities(evidence.judge, self.scale) < self.limit
