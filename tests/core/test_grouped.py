"""Order, places and repeats within groups: against a plain loop over the groups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.core.grouped import keys_in, order_among, place_within, positions, repeats, run_starts, totals

Owners = npt.NDArray[np.int64]


@st.composite
def grouped(draw: st.DrawFn) -> Owners:
    """Ascending owners with gaps, now and then further apart than 16 bits."""
    lengths = draw(st.lists(st.integers(1, 6) | st.just(40), max_size=6))
    step = draw(st.sampled_from([1, 3, 40_000]))
    return np.repeat(np.arange(len(lengths)) * step, lengths).astype(np.int64)


def test_groups_begin_where_the_owner_changes() -> None:
    owner = np.array([3, 3, 5, 9, 9, 9])
    assert run_starts(owner).tolist() == [0, 2, 3]
    assert positions(owner).tolist() == [0, 1, 0, 0, 1, 2]
    assert place_within(owner, np.array([0, 1, 0, 1, 0, 1], bool)).tolist() == [-1, 0, -1, 0, -1, 1]


def test_totals_of_groups_empty_ones_too() -> None:
    offsets = np.array([0, 0, 2, 2, 5, 5])
    assert totals(offsets, np.array([1.0, 2.0, 3.0, 4.0, 5.0])).tolist() == [0.0, 3.0, 0.0, 12.0, 0.0]
    assert totals(offsets, np.array([0, 1, 0, 0, 0], bool)).tolist() == [False, True, False, False, False]
    assert totals(np.zeros(1, np.int64), np.zeros(0)).tolist() == []


@given(st.data())
def test_ranks_count_from_the_highest_and_equals_share_the_better_one(data: st.DataObject) -> None:
    owner = data.draw(grouped())
    number = st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 0.1, np.float32(0.1).item(), 2.0, 1e300, np.inf, np.nan])
    values = np.array(data.draw(st.lists(number, min_size=len(owner), max_size=len(owner))), np.float64)
    among = np.array(data.draw(st.lists(st.booleans(), min_size=len(owner), max_size=len(owner))), np.bool_)
    expected = []
    for row in range(len(owner)):
        rivals = [r for r in range(len(owner)) if owner[r] == owner[row] and among[r]]
        own = -np.inf if np.isnan(values[row]) else values[row]
        better = sum((-np.inf if np.isnan(values[r]) else values[r]) > own for r in rivals)
        expected.append(better + 1 if among[row] else 0)
    assert order_among(owner, values, among).tolist() == expected


KEYS = st.sampled_from([0, 1, 2, 2**16, 2**63, 2**64 - 1])


@given(st.data())
def test_repeats_are_later_rows_with_a_key_of_their_own_group(data: st.DataObject) -> None:
    owner = data.draw(grouped())
    keys = np.array(data.draw(st.lists(KEYS, min_size=len(owner), max_size=len(owner))), np.uint64)
    pairs = list(zip(owner.tolist(), keys.tolist(), strict=True))
    assert repeats(owner, keys).tolist() == [pair in pairs[:row] for row, pair in enumerate(pairs)]


@given(st.data())
def test_keys_are_looked_up_with_their_owner(data: st.DataObject) -> None:
    owner, other = data.draw(grouped()), data.draw(grouped())
    keys = np.array(data.draw(st.lists(KEYS, min_size=len(owner), max_size=len(owner))), np.uint64)
    others = np.array(data.draw(st.lists(KEYS, min_size=len(other), max_size=len(other))), np.uint64)
    known = set(zip(other.tolist(), others.tolist(), strict=True))
    found = [pair in known for pair in zip(owner.tolist(), keys.tolist(), strict=True)]
    assert keys_in(owner, keys, other, others).tolist() == found


@pytest.mark.parametrize("module", [np.zeros_like, np.ones_like])
def test_rows_that_only_share_a_hash_are_no_repeats(monkeypatch: pytest.MonkeyPatch, module: object) -> None:
    monkeypatch.setattr("hnmine.core.grouped._mixed", lambda owner, keys: module(keys))  # type: ignore[operator]
    owner, keys = np.array([0, 0, 0, 4, 4]), np.array([7, 8, 7, 7, 8], np.uint64)
    assert repeats(owner, keys).tolist() == [False, False, True, False, False]
    many = np.array([7, 1, 2, 3, 4], np.uint64)
    assert keys_in(owner, keys, np.full(5, 4), many).tolist() == [False, False, False, True, False]
