"""Draws from clusters: from these alone, never a banned one, all alike."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.core.neighbourhood import Members


@given(st.data())
def test_draws_what_may_be_drawn(data: st.DataObject) -> None:
    documents = data.draw(st.integers(1, 40))
    cluster = np.array(data.draw(st.lists(st.integers(0, 5), min_size=documents, max_size=documents)))
    rows = st.lists(st.integers(0, documents - 1), max_size=12)
    free = np.unique(np.array(data.draw(rows), np.int64))
    taken = np.array(data.draw(rows), np.int64)
    chosen = np.array(data.draw(st.lists(st.sampled_from(sorted(set(cluster.tolist()))), max_size=4)), np.int64)
    count = data.draw(st.integers(0, 10))
    drawn = Members(cluster, free).draw(data.draw(st.integers(0, 99)), chosen, taken, count)
    may = [row for row in free.tolist() if cluster[row] in chosen and row not in taken]
    assert set(drawn.tolist()) <= set(may)
    assert len(drawn) == len(set(drawn.tolist())) == min(count, len(may))
    assert (np.diff(drawn) > 0).all()


def test_each_is_as_likely_as_any_other() -> None:
    cluster = np.array([0] * 2 + [1] * 10 + [2] * 30)
    members = Members(cluster, np.arange(42))
    counts = np.zeros(42)
    for seed in range(4_000):
        counts[members.draw(seed, np.array([2, 0, 0]), np.array([5, 20]), 3)] += 1
    drawable = np.array([0, 1, *(row for row in range(12, 42) if row != 20)])
    assert counts[drawable].sum() == 12_000
    expected = 12_000 / len(drawable)
    assert (np.abs(counts[drawable] - expected) < 5 * np.sqrt(expected)).all()


def test_the_same_seed_draws_the_same() -> None:
    members = Members(np.arange(100) % 7, np.arange(100))
    first, again = (members.draw(3, np.array([1, 4]), np.array([1]), 8).tolist() for _ in range(2))
    assert first == again
    assert first != members.draw(4, np.array([1, 4]), np.array([1]), 8).tolist()
