"""The pool is a set union that remembers who brought what."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hnmine.core.pool import Pairs, best_first, draw_documents, ranks_of, unite


def pairs(*items: tuple[int, int]) -> Pairs:
    return Pairs(owner=np.array([o for o, _ in items], np.int64), rows=np.array([r for _, r in items], np.int64))


def test_union_of_sources_with_places() -> None:
    pool = unite({"a": pairs((0, 5), (0, 2), (1, 1)), "b": pairs((0, 2), (2, 9))}, queries=3, documents=10)
    assert list(zip(pool.owner.tolist(), pool.rows.tolist(), strict=True)) == [(0, 2), (0, 5), (1, 1), (2, 9)]
    assert pool.offsets.tolist() == [0, 2, 3, 4]
    assert pool.place["a"].tolist() == [1, 0, 2, -1]
    assert pool.brought("b").tolist() == [True, False, False, True]
    assert pool.gather("a", np.array([10.0, 20.0, 30.0]), -1.0).tolist() == [20.0, 10.0, 30.0, -1.0]


def test_a_pair_that_a_source_repeats_keeps_its_first_place() -> None:
    pool = unite({"a": pairs((0, 3), (0, 3))}, queries=1, documents=4)
    assert pool.place["a"].tolist() == [0]


def test_queries_without_pairs_have_empty_slices() -> None:
    pool = unite({"a": pairs((2, 0))}, queries=4, documents=1)
    assert pool.offsets.tolist() == [0, 0, 0, 1, 1]


def test_ranks_count_from_one_within_each_owner() -> None:
    assert ranks_of(np.array([0, 0, 3, 3, 3, 7])).tolist() == [1, 2, 1, 2, 3, 1]
    assert ranks_of(np.empty(0, np.int64)).tolist() == []


def test_random_documents_are_distinct_free_and_keyed() -> None:
    taken = np.array([0, 1, 2])
    drawn = draw_documents(7, taken, 1_000, 20)
    assert len(set(drawn.tolist())) == 20
    assert not set(drawn.tolist()) & {0, 1, 2}
    assert draw_documents(7, taken, 1_000, 20).tolist() == drawn.tolist()
    assert draw_documents(8, taken, 1_000, 20).tolist() != drawn.tolist()


def test_random_documents_of_a_small_corpus_are_what_there_is() -> None:
    assert draw_documents(1, np.array([0, 4]), 5, 10).tolist() == [1, 2, 3]
    assert draw_documents(1, np.array([0]), 1, 3).tolist() == []


def test_random_documents_are_spread_evenly() -> None:
    counts = np.zeros(50)
    for seed in range(4_000):
        counts[draw_documents(seed, np.array([0]), 50, 5)] += 1
    assert counts[0] == 0
    assert np.abs(counts[1:] / 4_000 - 5 / 49).max() < 0.025


@given(st.data())
def test_best_first_is_a_sort_by_owner_score_and_tie(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 60))
    owner = np.sort(np.array(data.draw(st.lists(st.integers(0, 70_000), min_size=size, max_size=size)), np.int64))
    values = st.sampled_from([0.0, -0.0, 1.5, -1.5, np.inf, -np.inf, 1e-45, -1e-45, 3e38])
    scores = np.array(data.draw(st.lists(values, min_size=size, max_size=size)), np.float32)
    ties = np.array(data.draw(st.permutations(range(2**31 - 61, 2**31 - 61 + size))), np.int64)
    expected = np.lexsort((ties, -scores.astype(np.float64), owner))
    assert best_first(owner, scores, ties).tolist() == expected.tolist()
