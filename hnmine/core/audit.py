"""Arithmetic of an audit: hashes of pairs, membership in sorted arrays, what a query got."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_ODD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)


def pair_hashes(one: Hashes, other: Hashes) -> Hashes:
    """64 bits that stand for each ordered pair of hashes; 0 if either is 0, which means unknown."""
    with np.errstate(over="ignore"):
        mixed = (one ^ (one >> np.uint64(31))) * _ODD + other
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIX
        mixed = mixed ^ (mixed >> np.uint64(32))
    mixed[mixed == 0] = 1
    return np.where((one == 0) | (other == 0), np.uint64(0), mixed)


def is_among(values: Hashes, ascending: Hashes) -> Bools:
    """Which values occur in an ascending array; 0, the unknown, never does."""
    if not len(ascending):
        return np.zeros(len(values), np.bool_)
    place = np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)
    return np.asarray((ascending[place] == values) & (values != 0), np.bool_)


def lowest_by(owner: Hashes, scores: Floats) -> tuple[Hashes, Floats]:
    """Each distinct owner, ascending, and its lowest finite score (NaN if it has none)."""
    if not len(owner):
        return owner, scores
    order = np.argsort(owner, kind="stable")
    owners, first = np.unique(owner[order], return_index=True)
    found = np.minimum.reduceat(np.where(np.isfinite(scores), scores, np.inf)[order], first)
    return owners, np.where(np.isfinite(found), found, np.nan)


def counts_by(owners: Hashes, owner: Hashes, values: Hashes) -> npt.NDArray[np.int64]:
    """How many distinct values each of the given (ascending) owners has among the pairs (owner, value)."""
    pairs = np.unique(np.rec.fromarrays([owner, values])) if len(owner) else None
    if pairs is None:
        return np.zeros(len(owners), np.int64)
    place = np.searchsorted(owners, np.asarray(pairs["f0"], np.uint64))
    return np.bincount(place, minlength=len(owners)).astype(np.int64)
