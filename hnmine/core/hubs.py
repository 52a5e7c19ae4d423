"""Hubs: documents that are among the first of far more queries than the other documents let one expect.

In how many queries' first k a document stands (its k-occurrence) is skewed in any collection: some documents are near
everything (Radovanovic et al., JMLR 2010). A passage planted to be found by everybody (GASLITE: Ben-Tov and Sharif,
2412.20953) is beyond that skew, so the skew has to be a part of what is expected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hnmine.core.evidence import Bools, Floats, Ints

LEVEL = 0.01
"""A count is a hub's if fewer than this many of a collection's documents are expected to reach it."""
LEAST_QUERIES = 5
"""Fewer queries than this make no hub, however few the others have."""
LEAST_DOCUMENTS = 30
"""With fewer documents that were found nothing is expected."""

_TRUSTED = 0.9
_VERY_STRONG = 5.0
"""The logarithm of the likelihood ratio from which Kass and Raftery (1995) call evidence very strong."""
_GRID = 800
_STEPS, _ROUNDS = 25, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """How often documents are found, as the ordinary ones tell it."""

    typical: float
    """The median count of the documents that were found at all."""
    most: int
    """The least count that fewer than `LEVEL` documents are expected to reach; at least `LEAST_QUERIES`."""


def hubs(counts: Ints) -> tuple[Bools, Expected | None]:
    """Which documents are hubs by their counts, and what was expected of them; None if too few were found to say.

    `counts` are whole numbers, one a document, in any order. Those that are zero are left out, so how large the corpus
    is plays no part. Each of the others is taken for a Poisson draw at the document's own rate, given that it is not
    zero. Rates are spread as a gamma distribution (counts are then negative binomial), or, where the counts very
    strongly speak for that heavier tail, as a log-normal one (Bulmer, Biometrics 1974). The parameters are those of the
    largest likelihood, all counts above the ninth decile taken together: what is suspected does not tell what is usual.
    """
    found = counts[counts > 0]
    if len(found) < LEAST_DOCUMENTS:
        return np.zeros(len(counts), np.bool_), None
    cut = max(int(np.quantile(found, _TRUSTED)) + 1, 3)
    classes = np.bincount(np.minimum(found, cut), minlength=cut + 1)[1:]
    rates = np.linspace(-12.0, np.log(cut) + 10.0, _GRID)
    end = float(np.log(cut)) + 3.0
    light, weight = _fitted(classes, rates, _gamma, (-5.0, 5.0), (-5.0, end))
    heavy, other = _fitted(classes, rates, _log_normal, (-6.0, end), (-3.0, 1.25))
    if heavy - light > _VERY_STRONG:
        weight = other
    most = max(_too_many(weight, rates, LEVEL / len(found), int(found.max())), LEAST_QUERIES)
    return counts >= most, Expected(typical=float(np.median(found)), most=most)


def _gamma(rates: Floats, shape: Floats, scale: Floats) -> Floats:
    """Densities of logarithmic rates, one row for each pair of logarithms of a gamma's shape and scale."""
    return np.asarray(np.exp(shape)[:, None] * rates - np.exp(rates - scale[:, None]))


def _log_normal(rates: Floats, mean: Floats, spread: Floats) -> Floats:
    """Densities of logarithmic rates, one row for each pair of a mean and the logarithm of a standard deviation."""
    return np.asarray(-0.5 * ((rates - mean[:, None]) / np.exp(spread)[:, None]) ** 2)


def _fitted(
    classes: Ints,
    rates: Floats,
    logarithms: Callable[[Floats, Floats, Floats], Floats],
    first: tuple[float, float],
    second: tuple[float, float],
) -> tuple[float, Floats]:
    """(logarithm of the likelihood, weights of the rates) of the likeliest parameters, on a grid that is narrowed.

    `classes` are how many documents have the count 1, 2, ..., and in the last place that count or more; `first` and
    `second` between what the two parameters are looked for.
    """
    table = _poisson(np.arange(len(classes), dtype=np.float64), rates)
    (a_low, a_high), (b_low, b_high) = first, second
    best = (-np.inf, np.zeros(len(rates)))
    for _ in range(_ROUNDS):
        a, b = (
            axis.ravel() for axis in np.meshgrid(np.linspace(a_low, a_high, _STEPS), np.linspace(b_low, b_high, _STEPS))
        )
        logs = logarithms(rates, a, b)
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        chances = table @ weights.T  # of 0, 1, 2, ..., one row a count
        known = np.concatenate([chances[1:], 1.0 - chances.sum(axis=0, keepdims=True)])
        likelihood = classes @ np.log(np.maximum(known / np.maximum(1.0 - chances[:1], 1e-300), 1e-300))
        place = int(np.argmax(likelihood))
        best = max(best, (float(likelihood[place]), weights[place]), key=lambda one: one[0])
        a_step, b_step = (a_high - a_low) / (_STEPS - 1), (b_high - b_low) / (_STEPS - 1)
        a_low, a_high = max(a[place] - a_step, first[0]), min(a[place] + a_step, first[1])
        b_low, b_high = max(b[place] - b_step, second[0]), min(b[place] + b_step, second[1])
    return best


def _too_many(weight: Floats, rates: Floats, allowed: float, largest: int) -> int:
    """The first count that is reached with a probability below `allowed`, looked for up to ten times `largest`."""
    left = 1.0 - float((_poisson(np.zeros(1), rates) @ weight)[0])
    allowed *= left  # given that the count is not zero
    step = 512
    for start in range(1, 10 * largest, step):
        chances = _poisson(np.arange(start, start + step, dtype=np.float64), rates) @ weight
        reached = left - np.concatenate([[0.0], np.cumsum(chances)])  # start, start + 1, ... and the first beyond
        if (below := np.flatnonzero(reached[:-1] < allowed)).size:
            return start + int(below[0])
        left = float(reached[-1])
    return 10 * largest


def _poisson(counts: Floats, rates: Floats) -> Floats:
    """The probability of each count (rows) at each logarithmic rate (columns)."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, int(counts.max()) + 1)))])
    return np.asarray(np.exp(counts[:, None] * rates - np.exp(rates) - logs[counts.astype(np.int64)][:, None]))
