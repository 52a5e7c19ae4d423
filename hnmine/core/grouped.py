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
_PLACE_BITS = 31
"""For the place of a row in its group, below a code of 32 bits."""
_MOST_CELLS = 4
"""A matrix with a line for each group may have so many cells a row; beyond that it would be mostly empty."""

W = TypeVar("W", np.int64, np.uint64)


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

    def ascending(self, values: npt.NDArray[W]) -> npt.NDArray[W]:
        """The values of the rows, sorted within each group; none may be the largest number of its kind."""
        is_row, cells = self._cells(values)
        cells.sort(axis=1)
        return cells[is_row]

    def order(self, values: npt.NDArray[W]) -> Ints:
        """The rows in the order of their values within each group, equal ones in any; see `ascending`."""
        is_row, cells = self._cells(values)
        return np.asarray((self.starts[:, None] + np.argsort(cells, axis=1))[is_row], np.int64)

    def _cells(self, values: npt.NDArray[W]) -> tuple[Bools, npt.NDArray[W]]:
        is_row = np.arange(self.width) < self.lengths[:, None]
        cells = np.full(is_row.shape, np.iinfo(values.dtype).max, values.dtype)
        cells[is_row] = values
        return is_row, cells


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


def mean_ranks(owner: Ints, values: Floats, among: Bools) -> Floats:
    """1-based rank of each row of `among` within its owner, highest value first; 0 for the other rows.

    Equal values share the mean of the places that they take (fractional ranks); none may be NaN.
    """
    best = order_among(owner, values, among)
    from_behind = order_among(owner, -values, among)
    last = np.bincount(owner[among], minlength=int(owner.max(initial=-1)) + 1)[owner] + 1 - from_behind
    return np.where(among, (best + last) / 2, 0.0)


def _ranks(owner: Ints, values: Floats) -> Ints:
    place, code = positions(owner), _descending(values)
    is_new = place == 0
    in_order = bool(((code[1:] >= code[:-1]) | is_new[1:]).all())
    order, code = (None, code) if in_order else _sorted_by_owner(owner, place, code)
    # Sorted, owners stand as before.
    is_new[1:] |= code[1:] != code[:-1]
    rank = place + 1
    if not is_new.all():
        rank = rank[is_new][np.cumsum(is_new) - 1]
    if order is None:
        return rank
    ranked = np.empty(len(owner), np.int64)
    ranked[order] = rank
    return ranked


def ascending_by_owner(owner: Ints, keys: Keys) -> Ints:
    """The rows by (owner, key), equal ones in any order; no key is the highest number."""
    lines = _Lines.of(owner)
    if lines is not None:
        return lines.order(keys)
    order = np.argsort(keys)
    kind = np.min_scalar_type(owner.max(initial=0))  # 16 bits, which are sorted by radix, of a block
    return np.asarray(order[np.argsort(owner[order].astype(kind), kind="stable")], np.int64)


def _sorted_by_owner(owner: Ints, place: Ints, code: Ints) -> tuple[Ints, Ints]:
    """The rows by (owner, code, place), and their codes."""
    lines = _Lines.of(owner)
    if lines is None:
        order = np.lexsort((code, owner))
        return order, code[order]
    both = lines.ascending(code << _PLACE_BITS | place)  # numbers alone sort sooner than an order of numbers
    return np.arange(len(owner)) - place + (both & ((1 << _PLACE_BITS) - 1)), both >> _PLACE_BITS


def _descending(values: Floats) -> Ints:
    """Whole numbers of 32 bits that stand as the values do, the highest lowest; NaN is as -inf."""
    keys = np.where(np.isnan(values), np.inf, -values)
    with np.errstate(over="ignore"):
        single = keys.astype(np.float32)
    if not (single == keys).all():  # more digits than a table keeps
        return np.unique(keys, return_inverse=True)[1].astype(np.int64)
    bits = (single + np.float32(0)).view(np.int32)  # of the two zeros the positive one
    return np.asarray(bits ^ (bits >> 31 & np.int32(0x7FFFFFFF)), np.int64)


def keys_in(owner: Ints, keys: Keys, other_owner: Ints, other_keys: Keys) -> Bools:
    """Which (owner, key) pairs also occur among the other pairs."""
    # A table of the others' hashes clears nearly all pairs; the few that are left are compared exactly.
    seen = np.zeros(1 << _TABLE_BITS, np.bool_)
    shift = np.uint64(64 - _TABLE_BITS)
    seen[_mixed(other_owner, other_keys) >> shift] = True
    found: Bools = seen[_mixed(owner, keys) >> shift]
    rows = np.flatnonzero(found)
    _, code = np.unique(np.concatenate([keys[rows], other_keys]), return_inverse=True)
    pairs = np.concatenate([owner[rows], other_owner]) * len(code) + code
    found[rows] = np.isin(pairs[: len(rows)], pairs[len(rows) :])
    return found


def repeats(owner: Ints, keys: Keys) -> Bools:
    """Which rows repeat the key of an earlier row of the same owner; the first of each key is not a repeat."""
    # Sorted by a hash, with the place in its low bits: only rows that share a hash can share owner and key.
    lines = _Lines.of(owner) or _Lines.single(len(owner))
    first = np.repeat(lines.starts, lines.lengths)
    place = (np.arange(len(owner)) - first).astype(np.uint64)
    bits = np.uint64(lines.width.bit_length())
    # Half of the numbers: the largest of all stands for no row.
    both = lines.ascending((_mixed(owner, keys) >> np.uint64(1)) >> bits << bits | place)
    shared = np.zeros(len(owner) + 1, np.bool_)
    shared[1:-1] = both[1:] >> bits == both[:-1] >> bits
    found = np.flatnonzero(shared[1:] | shared[:-1])
    rows = first[found] + (both[found] & np.uint64((1 << int(bits)) - 1)).astype(np.int64)
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
