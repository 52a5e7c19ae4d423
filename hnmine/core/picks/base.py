"""A pick puts the survivors of each query in an order of preference: the first n are taken, the next are in reserve."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Floats, Ints
from hnmine.core.grouped import Groups, place_within
from hnmine.core.layout import Keys

LEAST_TRUST = 1e-12
"""A row that is surely relevant is drawn last, and not never: what may not be drawn at all is for rules to say."""


class Picker(ABC):
    """One way to choose negatives, as an order in which they are taken.

    An order of *all* eligible rows, not a set of n: so n, the slices of epochs and the reserve are cut from one list.
    A random pick draws without replacement, and its first n are a draw of n for every n. `token` is stable, part of
    the plan. The order of a query depends on its own rows and their keyed numbers alone.
    """

    token: ClassVar[str]
    is_random: bool = False
    """Whether the order depends on the keyed numbers."""
    draws_rows: ClassVar[bool] = False
    """Whether rows are drawn, each with some chance, so that `Evidence.trust` has a say in it."""
    takes_random_rows: bool = False
    """Whether rows of the random source are eligible, and not only a fill for short queries."""

    def order(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Ints:
        """0-based place of every eligible row within its query, -1 for the others.

        `draw` holds a uniform 64-bit number for each row, keyed by (seed, query, document).
        """
        return places_by(evidence.groups, eligible, self._keys(evidence, eligible, draw))

    @abstractmethod
    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        """Sort keys, one entry a row, the most significant first; lowest first, NaN last, ties in rank-by order.

        Only those of eligible rows are read.
        """

    @property
    def is_consistent(self) -> bool:
        """Whether rows that are not picked may leave without a change in what is picked, in whatever order.

        So for every n: the n picked of a set are picked of any part of it that still holds them.
        """
        return False

    @property
    def fill(self) -> Picker:
        """What orders the rows that `--short` adds."""
        return self

    def settings(self) -> dict[str, Any]:
        """Token and parameters as JSON values, for the plan."""
        return {"token": self.token, **vars(self)}


def places_by(owner: Ints | Groups, eligible: Bools, keys: Sequence[npt.NDArray[Any]]) -> Ints:
    """0-based place of each eligible row among those of its owner, by keys (most significant first), then by row."""
    if not keys:
        return place_within(owner, eligible)
    rows = np.flatnonzero(eligible)
    own = Groups.of(owner).owner[rows]
    order = np.lexsort((*(key[rows] for key in reversed(keys)), own))
    places = np.full(len(eligible), -1, np.int64)
    places[rows[order]] = place_within(own, np.ones(len(own), np.bool_))
    return places


def uniform_numbers(draw: Keys) -> Floats:
    """Keyed 64-bit numbers as floats, uniform on the open interval (0, 1)."""
    return np.asarray(((draw >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52, np.float64)


def sampling_key(log_weight: Floats, draw: Keys) -> Floats:
    """A key by which the lowest-first order is a draw without replacement with probability proportional to the weight.

    The Gumbel top-k trick (Kool et al. 2019, "Stochastic Beams and Where to Find Them", arXiv 1903.06059), exact for
    every prefix and free of underflow: weights come as logarithms, up to a constant per query. NaN goes last.
    """
    gumbel = -np.log(-np.log(uniform_numbers(draw)))
    return np.asarray(-(log_weight + gumbel), np.float64)


def weighted_key(evidence: Evidence, log_weight: Floats, draw: Keys) -> Floats:
    """`sampling_key`; each row's weight is multiplied by its `Evidence.trust`, if there is any.

    After CET (arXiv 2209.05072), which weights unlabelled rows while training by how likely they are no unlabelled
    positives; its formulas could not be verified, so this is the idea and not the formula.
    """
    if evidence.trust is not None:
        log_weight = log_weight + np.log(np.maximum(evidence.trust, LEAST_TRUST))
    return sampling_key(log_weight, draw)


def shuffling_key(evidence: Evidence, draw: Keys) -> npt.NDArray[Any]:
    """A key of a draw from all rows alike: the keyed numbers themselves, unless there is trust to weight them by."""
    return draw if evidence.trust is None else weighted_key(evidence, np.zeros(len(draw)), draw)


def spread(owner: Ints, values: Floats, among: Bools, queries: int) -> Floats:
    """Population standard deviation of the finite values of each query's rows of `among`; 1 where 0 or unknown."""
    known = among & np.isfinite(values)
    own, found = owner[known], values[known]
    count = np.maximum(np.bincount(own, minlength=queries), 1)
    mean = np.bincount(own, weights=found, minlength=queries) / count
    variance = np.bincount(own, weights=(found - mean[own]) ** 2, minlength=queries) / count
    deviation = np.sqrt(variance)
    # Equal scores differ by rounding at most; dividing by that would make noise of it.
    least = 1e-9 * np.maximum(np.abs(mean), 1.0)
    return np.asarray(np.where(deviation > least, deviation, 1.0), np.float64)
