"""Synthetic negatives: points between two vectors of a query's row. Which two, and how much of each, is drawn here.

All start from unit vectors and end on the unit sphere. `share` is the first vector's.

- `mochi` (Kalantidis et al. 2020, arXiv 2010.01028): norm(a n_i + (1 - a) n_j), a uniform in (0, 1); in one of nine, as
  in the paper's s = 1024 and s' = 128, norm(b q + (1 - b) n_j), b uniform in (0, 0.5): never more query than negative.
- `kalm` (KaLM-Embedding-V2, arXiv 2506.20923): norm(l n_i + (1 - l) n_j), l ~ Beta(2, 2), mostly about the middle.
- `geodesic` (Oh et al. 2023, arXiv 2203.03897): sin(l t)/sin t n_i + sin((1 - l) t)/sin t n_j, where t is the angle
  between them and l ~ Beta(0.5, 0.5), mostly near an end: along the great circle, so shares are shares of the angle.

The paper of the last mixes an image with its own text for the others of a batch; here, where a query's negatives are
at hand, two of these are mixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnmine.core.layout import Ints, Keys, mix
from hnmine.options import Mixing

Vectors = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

QUERY = -1
"""The place of the query, beside the places from 0 of its negatives."""
WITH_QUERY = 128 / (1024 + 128)
_DRAWS = 4
_PARALLEL = 1e-4
"""Angles below this have no direction in float32; the straight line and the circle are one there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixtures:
    """Mixtures of rows: `row` ascends; `first` (perhaps `QUERY`) and `second` are places among the row's negatives."""

    row: Ints
    first: Ints
    second: Ints
    share: Vectors


def draw(method: Mixing, keys: Keys, negatives: Ints, count: int) -> Mixtures:
    """`count` mixtures of each row, by its key alone; `negatives` says how many each has to mix.

    Rows with a single negative have mixtures with the query, if the method knows them, else none.
    """
    usable = np.flatnonzero(negatives >= (1 if method is Mixing.MOCHI else 2))
    row = np.repeat(usable, count)
    number = np.tile(np.arange(count), len(usable)) * _DRAWS
    has, key = negatives[row], keys[row]
    which, one, other, how = (_uniform(mix(key, number + step)) for step in range(_DRAWS))
    first = np.floor(one * has).astype(np.int64)
    second = np.floor(other * np.maximum(has - 1, 1)).astype(np.int64)
    second += (second >= first) & (has > 1)
    share = _share(method, how)
    if method is Mixing.MOCHI:
        is_query = (which < WITH_QUERY) | (has == 1)
        first = np.where(is_query, QUERY, first)
        share = np.where(is_query, how / 2, share)
    return Mixtures(row=row, first=first, second=second, share=share.astype(np.float32))


def mixed(method: Mixing, share: Vectors, first: Vectors, second: Vectors) -> Vectors:
    """The mixtures of unit vectors, row by row: unit vectors, float32."""
    x, y, part = first.astype(np.float64), second.astype(np.float64), share.astype(np.float64)[:, None]
    if method is Mixing.GEODESIC:
        angle = np.arccos(np.clip(np.einsum("ij,ij->i", x, y), -1, 1))[:, None]
        is_arc = angle > _PARALLEL
        safe = np.where(is_arc, angle, 1)
        weights = [np.where(is_arc, np.sin(own * safe) / np.sin(safe), own) for own in (part, 1 - part)]
    else:
        weights = [part, 1 - part]
    found = weights[0] * x + weights[1] * y
    length = np.sqrt(np.einsum("ij,ij->i", found, found))[:, None]
    return np.asarray(found / np.where(length > 0, length, 1), np.float32)


def _uniform(numbers: Keys) -> Floats:
    """Numbers in (0, 1) from 64 random bits each."""
    return ((numbers >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def _share(method: Mixing, uniform: Floats) -> Floats:
    """The first's share: the inverse of its distribution function, which has a closed form for each of them."""
    if method is Mixing.KALM:  # Beta(2, 2): the root of 3 x^2 - 2 x^3 = u
        return np.asarray(0.5 - np.sin(np.arcsin(1 - 2 * uniform) / 3))
    if method is Mixing.GEODESIC:  # Beta(1/2, 1/2), the arcsine law
        return np.asarray(np.sin(np.pi * uniform / 2) ** 2)
    return uniform
