"""Which documents stand in which row, for each format."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from hnmine.core.layout import Chosen, Keys, Layout, apart, end_to_end, mix, repeated, row_per_pair, row_per_query
from hnmine.options import Format
from hnmine.stages.formats import FORMATS

# Query 0: positives 0, 1 and negatives 0, 1, 2. Query 1: positive 2, negative 3. Query 2: positive 3, no negative.
# Query 3: no positive, negative 4.
CHOSEN = Chosen(positive_offsets=np.array([0, 2, 3, 4, 4]), negative_offsets=np.array([0, 3, 4, 4, 5]))
KEYS = np.array([3, 1, 4, 2], np.uint64)

Row = tuple[int, tuple[int, ...]]


def lay_out(chosen: Chosen, form: Format, *, width: int, keys: Keys | None) -> tuple[Layout, int]:
    """The layout of a format."""
    return FORMATS[form].lay_out(chosen, width=width, keys=keys)


def rows(layout: Layout) -> list[Row]:
    """(query, places) of each row."""
    spans = zip(layout.offsets[:-1].tolist(), layout.offsets[1:].tolist(), strict=True)
    places = [tuple(layout.places[start:stop].tolist()) for start, stop in spans]
    return list(zip(layout.query.tolist(), places, strict=True))


def test_triplets_in_order() -> None:
    layout, left_out = lay_out(CHOSEN, Format.TRIPLET, width=3, keys=None)
    first = [(0, (0, -1)), (0, (0, -2)), (0, (0, -3)), (0, (1, -1)), (0, (1, -2)), (0, (1, -3))]
    assert rows(layout) == [*first, (1, (2, -4))]
    assert left_out == 1


@pytest.mark.parametrize(
    ("width", "expected", "left_out"),
    [
        (1, [(0, (0, -1)), (0, (1, -1)), (1, (2, -4))], 1),
        (2, [(0, (0, -1, -2)), (0, (1, -1, -2))], 2),
        (3, [(0, (0, -1, -2, -3)), (0, (1, -1, -2, -3))], 2),
        (4, [], 4),
    ],
)
def test_n_tuples_leave_out_and_count_short_queries(width: int, expected: list[Row], left_out: int) -> None:
    layout, found = lay_out(CHOSEN, Format.N_TUPLE, width=width, keys=None)
    assert rows(layout) == expected
    assert found == left_out


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (1, [(0, (0, -1)), (0, (1, -1)), (1, (2, -4))]),
        (3, [(0, (0, -1, -2, -3)), (0, (1, -1, -2, -3)), (1, (2, -4, -4, -4))]),
        (5, [(0, (0, -1, -2, -3, -1, -1)), (0, (1, -1, -2, -3, -1, -1)), (1, (2, -4, -4, -4, -4, -4))]),
    ],
)
def test_padded_n_tuples_repeat_the_first_negative_at_the_end(width: int, expected: list[Row]) -> None:
    layout, left_out = FORMATS[Format.N_TUPLE].lay_out(CHOSEN, width=width, keys=None, pad=True)
    assert rows(layout) == expected
    assert left_out == 1, "a query without any negative"
    again = repeated(layout).reshape(len(expected), width + 1)
    distinct = {0: 3, 1: 1}  # negatives by query
    for (query, _), row in zip(expected, again.tolist(), strict=True):
        assert row == [place > min(distinct[query], width) for place in range(width + 1)]


def test_lists_are_ragged() -> None:
    layout, left_out = lay_out(CHOSEN, Format.LABELED_LIST, width=1, keys=None)
    assert rows(layout) == [(0, (0, -1, -2, -3)), (0, (1, -1, -2, -3)), (1, (2, -4))]
    assert left_out == 1


def test_a_row_per_query_holds_all_its_positives_then_its_negatives() -> None:
    layout, left_out = row_per_query(CHOSEN, None)
    assert rows(layout) == [(0, (0, 1, -1, -2, -3)), (1, (2, -4))]
    assert left_out == 1, "query 2 has a positive and no negative; query 3 no positive"
    one_more = Chosen(positive_offsets=np.array([0, 2, 5]), negative_offsets=np.array([0, 1, 1]))
    assert row_per_query(one_more, None)[1] == 3, "pairs are counted, not queries"


def test_rows_per_query_stand_by_the_key_of_their_first_positive() -> None:
    for keys, expected in (((3, 1, 4, 2), [0, 1]), ((5, 1, 4, 2), [1, 0])):
        layout, left_out = row_per_query(CHOSEN, np.array(keys, np.uint64))
        assert [query for query, _ in rows(layout)] == expected
        assert Counter(rows(layout)) == Counter(rows(row_per_query(CHOSEN, None)[0]))
        assert left_out == 1


def test_no_row_per_query_without_queries() -> None:
    empty = Chosen(positive_offsets=np.zeros(1, np.int64), negative_offsets=np.zeros(1, np.int64))
    layout, left_out = row_per_query(empty, np.empty(0, np.uint64))
    assert (rows(layout), left_out) == ([], 0)


def test_pairs_hold_each_text_once_and_lone_positives_too() -> None:
    layout, left_out = lay_out(CHOSEN, Format.LABELED_PAIR, width=3, keys=None)
    of_first = [(0, (0,)), (0, (1,)), (0, (-1,)), (0, (-2,)), (0, (-3,))]
    assert rows(layout) == [*of_first, (1, (2,)), (1, (-4,)), (2, (3,))]
    assert left_out == 0


@pytest.mark.parametrize("form", list(Format))
def test_keys_change_the_order_and_nothing_else(form: Format) -> None:
    plain, left_out = lay_out(CHOSEN, form, width=2, keys=None)
    keyed, also_left_out = lay_out(CHOSEN, form, width=2, keys=KEYS)
    assert Counter(rows(keyed)) == Counter(rows(plain))
    assert left_out == also_left_out
    again, _ = lay_out(CHOSEN, form, width=2, keys=KEYS)
    assert rows(again) == rows(keyed)


def test_rows_stand_by_key() -> None:
    layout, _ = lay_out(CHOSEN, Format.LABELED_LIST, width=3, keys=KEYS)
    assert [places[0] for _, places in rows(layout)] == [1, 0, 2]


def test_the_order_does_not_depend_on_other_queries() -> None:
    """A row's place among the others of its own query stays when a query is added."""
    alone = Chosen(positive_offsets=np.array([0, 2]), negative_offsets=np.array([0, 3]))
    few, _ = lay_out(alone, Format.TRIPLET, width=3, keys=KEYS[:2])
    many, _ = lay_out(CHOSEN, Format.TRIPLET, width=3, keys=KEYS)
    assert rows(few) == [row for row in rows(many) if row[0] == 0]


@pytest.mark.parametrize("form", [form for form in Format if form is not Format.BEIR])  # qrels stand by query
def test_rows_of_a_query_do_not_clump(form: Format) -> None:
    queries, each = 50, 6
    chosen = Chosen(positive_offsets=np.arange(queries + 1) * each, negative_offsets=np.arange(queries + 1) * each)
    keys = np.random.default_rng(1).integers(0, 2**63, queries * each).astype(np.uint64)
    layout, _ = lay_out(chosen, form, width=each, keys=keys)
    neighbours = np.mean(layout.query[1:] == layout.query[:-1])
    assert neighbours < 3 / queries  # 1/50 by chance; 5/6 and more if they stood by query


def test_between_is_a_slice() -> None:
    layout, _ = lay_out(CHOSEN, Format.LABELED_LIST, width=3, keys=KEYS)
    assert rows(layout.between(1, 3)) == rows(layout)[1:3]
    assert rows(layout.between(0, 1)) == rows(layout)[:1]
    assert layout.between(1, 3).offsets[0] == 0


@pytest.mark.parametrize("form", list(Format))
def test_no_queries_at_all(form: Format) -> None:
    empty = Chosen(positive_offsets=np.zeros(1, np.int64), negative_offsets=np.zeros(1, np.int64))
    layout, left_out = lay_out(empty, form, width=2, keys=np.empty(0, np.uint64))
    assert (len(layout), left_out, rows(layout)) == (0, 0, [])


def test_mix_is_splitmix64() -> None:
    """The first outputs of the reference implementation for the seed 1234567 (rosettacode.org/wiki/SplitMix64)."""
    found = mix(np.full(5, 1234567, np.uint64), np.arange(5))
    assert found.tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_end_to_end_shifts_places_into_the_joined_lists() -> None:
    one = Chosen(positive_offsets=np.array([0, 1, 2]), negative_offsets=np.array([0, 1, 3]))
    two = Chosen(positive_offsets=np.array([0, 1]), negative_offsets=np.array([0, 2]))
    found = end_to_end([(chosen, row_per_pair(chosen, None)[0]) for chosen in (one, two)])
    assert found.query.tolist() == [0, 1, 2]
    # Positives 0, 1 | 2; negatives 0 | 1, 2 | 3, 4, written as -1 - p.
    assert [found.places[a:b].tolist() for a, b in itertools.pairwise(found.offsets)] == [
        [0, -1],
        [1, -2, -3],
        [2, -4, -5],
    ]


def test_rows_taken_apart_have_one_document_each_in_their_order() -> None:
    layout, _ = row_per_query(CHOSEN, None)
    assert rows(layout) == [(0, (0, 1, -1, -2, -3)), (1, (2, -4))]
    whole = [(0, (0,)), (0, (1,)), (0, (-1,)), (0, (-2,)), (0, (-3,)), (1, (2,)), (1, (-4,))]
    assert rows(apart(layout)) == whole
    assert rows(apart(layout, positives_only=True)) == [(0, (0,)), (0, (1,)), (1, (2,))]
