"""Arrays whose rows are grouped by an owner (a query): order, places and repeats within each group.

Owners are whole numbers in ascending order. Who asks several things of the same rows asks them of `Groups`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

_MIX_KEY, _MIX_OWNER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_TABLE_BITS = 16
_FEW_KEYS = 4
"""Up to so many keys of an owner are compared one by one."""
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
    width: int
    is_row: Bools
    """Which cells are rows, line by line."""

    @classmethod
    def of(cls, starts: Ints, lengths: Ints) -> _Lines | None:
        """The groups of such lengths; None if there are none, or if a long one would leave most cells empty."""
        width = int(lengths.max(initial=0))
        if not width or width * len(starts) > _MOST_CELLS * int(lengths.sum()):
            return None
        return cls(starts=starts, width=width, is_row=np.arange(width) < lengths[:, None])

    def ascending(self, values: npt.NDArray[W]) -> npt.NDArray[W]:
        """The values of the rows, sorted within each group; none may be the largest number of its kind."""
        cells = self._cells(values)
        cells.sort(axis=1)
        return cells[self.is_row]

    def order(self, values: npt.NDArray[W]) -> Ints:
        """The rows in the order of their values within each group, equal ones in any; see `ascending`."""
        return np.asarray((self.starts[:, None] + np.argsort(self._cells(values), axis=1))[self.is_row], np.int64)

    def _cells(self, values: npt.NDArray[W]) -> npt.NDArray[W]:
        cells = np.full(self.is_row.shape, np.iinfo(values.dtype).max, values.dtype)
        cells[self.is_row] = values
        return cells


class Groups:
    """The groups of an `owner`, an entry a row; what is found of them is found once."""

    def __init__(self, owner: Ints) -> None:
        self.owner = owner

    @classmethod
    def of(cls, owner: Ints | Groups) -> Groups:
        """The groups of an array of owners, or those that are given."""
        return owner if isinstance(owner, Groups) else cls(owner)

    def __len__(self) -> int:
        return len(self.owner)

    @cached_property
    def starts(self) -> Ints:
        """The first row of each group."""
        return run_starts(self.owner)

    @cached_property
    def lengths(self) -> Ints:
        """How many rows each group has."""
        return np.diff(self.starts, append=len(self.owner))

    @cached_property
    def place(self) -> Ints:
        """0-based position of each row within its group."""
        return np.asarray(np.arange(len(self.owner)) - np.repeat(self.starts, self.lengths), np.int64)

    @cached_property
    def lines(self) -> _Lines | None:
        """The groups as the lines of a matrix, if it would not be mostly empty."""
        return _Lines.of(self.starts, self.lengths)


def run_starts(owner: Ints) -> Ints:
    """The first row of each group."""
    if not len(owner):
        return np.zeros(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(owner[1:] != owner[:-1]) + 1])


def positions(owner: Ints) -> Ints:
    """0-based position of each row within its group."""
    return Groups(owner).place


def totals(offsets: Ints, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The sum of each group's values, 0 for an empty one; of truth values, whether any is true.

    Group i owns the rows offsets[i]..offsets[i + 1].
    """
    found = np.zeros(len(offsets) - 1, values.dtype)
    has_rows = offsets[1:] > offsets[:-1]
    if has_rows.any():
        found[has_rows] = np.add.reduceat(values, offsets[:-1][has_rows])
    return found


def place_within(owner: Ints | Groups, chosen: Bools) -> Ints:
    """0-based position of each chosen row among the chosen rows of its owner; -1 for the others."""
    groups = Groups.of(owner)
    running: Ints = np.cumsum(chosen) - chosen
    first = np.repeat(running[groups.starts], groups.lengths)
    return np.where(chosen, running - first, -1)


def order_among(owner: Ints | Groups, values: Floats, among: Bools) -> Ints:
    """1-based rank of each row of `among` within its owner, highest value first; 0 for the other rows.

    Equal values share the better rank; rows without a value (NaN) share the place behind all that have one.
    """
    groups = Groups.of(owner)
    if among.all():
        return _ranks(groups, values)
    rows = np.flatnonzero(among)
    ranked = np.zeros(len(among), np.int64)
    ranked[rows] = _ranks(Groups(groups.owner[rows]), values[rows])
    return ranked


def mean_ranks(owner: Ints, values: Floats, among: Bools) -> Floats:
    """1-based rank of each row of `among` within its owner, highest value first; 0 for the other rows.

    Equal values share the mean of the places that they take (fractional ranks); none may be NaN.
    """
    best = order_among(owner, values, among)
    from_behind = order_among(owner, -values, among)
    last = np.bincount(owner[among], minlength=int(owner.max(initial=-1)) + 1)[owner] + 1 - from_behind
    return np.where(among, (best + last) / 2, 0.0)


def _ranks(groups: Groups, values: Floats) -> Ints:
    place, code = groups.place, _descending(values)
    is_new = place == 0
    in_order = bool(((code[1:] >= code[:-1]) | is_new[1:]).all())
    order, code = (None, code) if in_order else _sorted_by_owner(groups, code)
    # Sorted, owners stand as before.
    is_new[1:] |= code[1:] != code[:-1]
    rank = place + 1
    if not is_new.all():
        rank = rank[is_new][np.cumsum(is_new) - 1]
    if order is None:
        return rank
    ranked = np.empty(len(groups), np.int64)
    ranked[order] = rank
    return ranked


def ascending_by_owner(owner: Ints, keys: Keys) -> Ints:
    """The rows by (owner, key), equal ones in any order; no key is the highest number."""
    lines = Groups(owner).lines
    if lines is not None:
        return lines.order(keys)
    order = np.argsort(keys)
    kind = np.min_scalar_type(owner.max(initial=0))  # 16 bits, which are sorted by radix, of a block
    return np.asarray(order[np.argsort(owner[order].astype(kind), kind="stable")], np.int64)


def _sorted_by_owner(groups: Groups, code: Ints) -> tuple[Ints, Ints]:
    """The rows by (owner, code, place), and their codes."""
    lines, place = groups.lines, groups.place
    if lines is None:
        order = np.lexsort((code, groups.owner))
        return order, code[order]
    both = lines.ascending(code << _PLACE_BITS | place)  # numbers alone sort sooner than an order of numbers
    return np.arange(len(place)) - place + (both & ((1 << _PLACE_BITS) - 1)), both >> _PLACE_BITS


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
    """Which (owner, key) pairs also occur among the other pairs, whose owners ascend too."""
    if not len(owner) or not len(other_owner):
        return np.zeros(len(owner), np.bool_)
    others = Groups(other_owner)
    if others.lengths.max() <= _FEW_KEYS:
        return _among_few(owner, keys, others, other_keys)
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


def _among_few(owner: Ints, keys: Keys, others: Groups, other_keys: Keys) -> Bools:
    """As `keys_in`, of owners with few other keys: compared with the first of each owner, the second, and so on."""
    group = np.zeros(int(max(owner[-1], others.owner[-1])) + 1, np.int64)
    has_any = np.zeros(len(group), np.bool_)
    present = others.owner[others.starts]
    group[present], has_any[present] = np.arange(len(present)), True
    own = group[owner]
    found: Bools = np.zeros(len(owner), np.bool_)
    for place in range(int(others.lengths.max())):
        own_keys = other_keys[others.starts + np.minimum(place, others.lengths - 1)]
        found |= keys == own_keys[own]
    return found & has_any[owner]


def repeats(owner: Ints | Groups, keys: Keys) -> Bools:
    """Which rows repeat the key of an earlier row of the same owner; the first of each key is not a repeat."""
    # Sorted by a hash, with the place in its low bits: only rows that share a hash can share owner and key.
    groups = Groups.of(owner)
    owner = groups.owner
    if groups.lines is None:
        groups = Groups(np.zeros(len(owner), np.int64))  # all rows as one line
    lines = groups.lines
    if lines is None:
        return np.zeros(0, np.bool_)
    first, place = np.repeat(groups.starts, groups.lengths), groups.place.astype(np.uint64)
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
