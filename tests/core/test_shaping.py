"""Selections and orders of the rows of a training file."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hnmine.core.layout import Chosen, Layout, row_per_negative, row_per_pair, row_per_text
from hnmine.core.shaping import arranged, difficulties, held_out, whole_groups

COUNTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8)


def chosen_of(counts: list[tuple[int, int]]) -> Chosen:
    positives, negatives = np.array(counts, np.int64).T
    starts = [np.concatenate([[0], np.cumsum(own)]) for own in (positives, negatives)]
    return Chosen(positive_offsets=starts[0], negative_offsets=starts[1])


def rows(layout: Layout) -> list[tuple[int, list[int]]]:
    spans = zip(layout.query.tolist(), layout.offsets[:-1].tolist(), layout.offsets[1:].tolist(), strict=True)
    return [(query, layout.places[start:stop].tolist()) for query, start, stop in spans]


@given(COUNTS, st.data())
def test_taken_rows_are_those_rows_in_that_order(counts: list[tuple[int, int]], data: st.DataObject) -> None:
    layout, _ = row_per_pair(chosen_of(counts), None)
    picks = data.draw(st.lists(st.integers(0, len(layout) - 1), max_size=12)) if len(layout) else []
    assert rows(layout.take(np.array(picks, np.int64))) == [rows(layout)[pick] for pick in picks]


@given(arrays.arrays(np.uint64, 50), st.floats(0.01, 0.99))
def test_held_out_looks_at_one_key_alone(keys: np.ndarray, share: float) -> None:
    found = held_out(keys, share)
    assert found.tolist() == [int(key) / 2**64 < share for key in keys.tolist()]
    assert (found <= held_out(keys, min(share * 1.5, 1.0))).all()  # a larger share holds out these too


@given(st.lists(st.integers(0, 5), max_size=40), arrays.arrays(np.uint64, 6, unique=True), st.integers(0, 45))
def test_whole_groups_are_the_first_by_key_that_fit(group: list[int], keys: np.ndarray, most: int) -> None:
    kept = whole_groups(np.array(group, np.int64), keys, most)
    sizes = [group.count(one) for one in range(6)]
    order = np.argsort(keys).tolist()
    assert sum(size for size, keep in zip(sizes, kept, strict=True) if keep) <= most
    number = int(kept.sum())
    assert sorted(order[:number]) == np.flatnonzero(kept).tolist()  # the first of them, none left out between
    assert number == 6 or sum(sizes[one] for one in order[: number + 1]) > most  # and no more would fit


@given(COUNTS, st.data())
@pytest.mark.parametrize("lay_out", [row_per_negative, row_per_pair, row_per_text])
def test_difficulty_is_the_mean_of_negatives_less_that_of_positives(
    lay_out: object, counts: list[tuple[int, int]], data: st.DataObject
) -> None:
    chosen = chosen_of(counts)
    layout, _ = lay_out(chosen, None)  # type: ignore[operator]
    scores = st.floats(-4, 4, width=32) | st.just(math.nan)
    near, far = (
        np.array(data.draw(st.lists(scores, min_size=int(n), max_size=int(n))), np.float32)
        for n in (chosen.positive_offsets[-1], chosen.negative_offsets[-1])
    )

    def mean(values: np.ndarray) -> float:
        return sum(map(float, values)) / len(values) if len(values) else math.nan

    wanted = []
    for query, places in rows(layout):
        own = [near[p] for p in places if p >= 0] or near[slice(*chosen.positive_offsets[query : query + 2])]
        others = [far[-1 - p] for p in places if p < 0] or far[slice(*chosen.negative_offsets[query : query + 2])]
        wanted.append(mean(others) - mean(own))
    np.testing.assert_allclose(difficulties(chosen, layout, near, far), np.array(wanted), rtol=1e-6, atol=1e-6)


def test_rows_are_arranged_by_part_and_from_easy_to_hard() -> None:
    part = np.array([1, 0, 0, 1, 0, 0])
    difficulty = np.array([0.5, 0.2, -3.0, np.nan, 0.2, np.nan], np.float32)
    assert arranged(part, None).tolist() == [1, 2, 4, 5, 0, 3]
    assert arranged(part, difficulty).tolist() == [5, 2, 1, 4, 3, 0]
