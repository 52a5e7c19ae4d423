"""Arrays whose rows are grouped by an owner (a query): order, places and repeats within each group.

Owners are whole numbers in ascending order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

_MIX_KEY, _MIX_OWNER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_TABLE_BITS = 16
_MOST_CELLS = 4
"""A matrix with a line for each group may have so many cells a row; beyond that it would be mostly empty."""

N = TypeVar("N", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """Groups as the lines of a matrix, each followed by empty cells.

    NumPy sorts many short lines several times as fast as one long array of as many numbers.
    """

    starts: Ints
    lengths: Ints
    width: int

    @classmethod
    def of(cls, owner: Ints) -> _Lines | None:
        """The groups of `owner`; None if there are none, or if a long one would leave most cells empty."""
        starts = run_starts(owner)
        lengths = np.diff(starts, append=len(owner))
        width = int(lengths.max(initial=0))
        if not width or width * len(starts) > _MOST_CELLS * len(owner):
            return None
        return cls(starts=starts, lengths=lengths, width=width)

    @classmethod
    def single(cls, size: int) -> _Lines:
        """All rows as one line."""
        return cls(starts=np.zeros(1, np.int64), lengths=np.array([size]), width=size)

    @property
    def is_row(self) -> Bools:
        """Which cells hold a row."""
        return np.arange(self.width) < self.lengths[:, None]

    def cells(self, values: npt.NDArray[N], empty: Any) -> npt.NDArray[N]:
        """The values of the rows, and `empty` behind them."""
        found = np.full((len(self.starts), self.width), empty, values.dtype)
        found[self.is_row] = values
        return found


def run_starts(owner: Ints) -> Ints:
    """The first row of each group."""
    if not len(owner):
        return np.zeros(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(owner[1:] != owner[:-1]) + 1])


def positions(owner: Ints) -> Ints:
    """0-based position of each row within its group."""
    starts = run_starts(owner)
    lengths = np.diff(starts, append=len(owner))
    return np.asarray(np.arange(len(owner)) - np.repeat(starts, lengths), np.int64)


def totals(offsets: Ints, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The sum of each group's values, 0 for an empty one; of truth values, whether any is true.

    Group i owns the rows offsets[i]..offsets[i + 1].
    """
    found = np.zeros(len(offsets) - 1, values.dtype)
    has_rows = offsets[1:] > offsets[:-1]
    if has_rows.any():
        found[has_rows] = np.add.reduceat(values, offsets[:-1][has_rows])
    return found


def place_within(owner: Ints, chosen: Bools) -> Ints:
    """0-based position of each chosen row among the chosen rows of its owner; -1 for the others."""
    running: Ints = np.cumsum(chosen) - chosen
    starts = run_starts(owner)
    first = np.repeat(running[starts], np.diff(starts, append=len(owner)))
    return np.where(chosen, running - first, -1)


def order_among(owner: Ints, values: Floats, among: Bools) -> Ints:
    """1-based rank of each row of `among` within its owner, highest value first; 0 for the other rows.

    Equal values share the better rank; rows without a value (NaN) share the place behind all that have one.
    """
    if among.all():
        return _ranks(owner, values)
    rows = np.flatnonzero(among)
    ranked = np.zeros(len(owner), np.int64)
    ranked[rows] = _ranks(owner[rows], values[rows])
    return ranked


def _ranks(owner: Ints, values: Floats) -> Ints:
    keys = np.where(np.isnan(values), np.inf, -values)
    place = positions(owner)
    is_first = place == 0
    in_order = bool(((keys[1:] >= keys[:-1]) | is_first[1:]).all())
    order = None if in_order else ascending_by_owner(owner, keys)
    key = keys if order is None else keys[order]
    # Sorted, owners stand as before. The place of the first of equals is carried on to the others.
    is_new = is_first
    is_new[1:] |= key[1:] != key[:-1]
    if not is_new.all():
        place = place[np.maximum.accumulate(np.where(is_new, np.arange(len(owner)), 0))]
    if order is None:
        return place + 1
    ranked = np.empty(len(owner), np.int64)
    ranked[order] = place + 1
    return ranked


def ascending_by_owner(owner: Ints, keys: Floats | Keys) -> Ints:
    """The rows by (owner, key), equal ones in any order; no key is NaN, none of uint64 the highest number."""
    lines = _Lines.of(owner)
    if lines is None:
        order = np.argsort(keys)
        kind = np.min_scalar_type(owner.max(initial=0))  # 16 bits, which are sorted by radix, of a block
        return np.asarray(order[np.argsort(owner[order].astype(kind), kind="stable")], np.int64)
    if keys.dtype == np.float64:  # infinite keys are capped, to stay before the empty cells
        cells: npt.NDArray[Any] = lines.cells(np.minimum(keys, np.finfo(np.float64).max), np.inf)
    else:
        cells = lines.cells(keys, np.iinfo(np.uint64).max)
    return np.asarray((lines.starts[:, None] + np.argsort(cells, axis=1))[lines.is_row], np.int64)


def keys_in(owner: Ints, keys: Keys, other_owner: Ints, other_keys: Keys) -> Bools:
    """Which (owner, key) pairs also occur among the other pairs."""
    # A table of the others' hashes clears nearly all pairs; the few that are left are compared exactly.
    seen = np.zeros(1 << _TABLE_BITS, np.bool_)
    shift = np.uint64(64 - _TABLE_BITS)
    seen[_mixed(other_owner, other_keys) >> shift] = True
    found: Bools = seen[_mixed(owner, keys) >> shift]
    rows = np.flatnonzero(found)
    pairs = np.rec.fromarrays([owner[rows], keys[rows]])
    found[rows] = np.isin(pairs, np.unique(np.rec.fromarrays([other_owner, other_keys])))
    return found


def repeats(owner: Ints, keys: Keys) -> Bools:
    """Which rows repeat the key of an earlier row of the same owner; the first of each key is not a repeat."""
    # Sorted by a hash, with the place in its low bits: only rows that share a hash can share owner and key.
    lines = _Lines.of(owner) or _Lines.single(len(owner))
    place = np.arange(len(owner)) - np.repeat(lines.starts, lines.lengths)
    bits, empty = np.uint64(lines.width.bit_length()), np.iinfo(np.uint64).max
    cells = lines.cells(_mixed(owner, keys) >> bits << bits | place.astype(np.uint64), empty)
    cells.sort(axis=1)
    shared = np.zeros((len(lines.starts), lines.width + 1), np.bool_)
    shared[:, 1:-1] = cells[:, 1:] >> bits == cells[:, :-1] >> bits
    found = (shared[:, 1:] | shared[:, :-1]) & (cells != empty)
    low = np.uint64((1 << int(bits)) - 1)
    rows = (lines.starts[:, None] + (cells & low).astype(np.int64))[found]
    order = rows[np.lexsort((rows, keys[rows], owner[rows]))]
    same = np.zeros(len(keys), np.bool_)
    a, b = order[:-1], order[1:]
    same[b] = (owner[a] == owner[b]) & (keys[a] == keys[b])
    return same


def _mixed(owner: Ints, keys: Keys) -> Keys:
    """A number for each (owner, key): equal for equal pairs, and hardly ever for others."""
    with np.errstate(over="ignore"):
        mixed = (keys ^ (owner.astype(np.uint64) * _MIX_OWNER)) * _MIX_KEY
        return np.asarray((mixed ^ (mixed >> np.uint64(32))) * _MIX_KEY, np.uint64)
