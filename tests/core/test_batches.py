"""Batches made before training: rows that must not share one never do, and what belongs together is put together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.core.batches.clusters import clustered, in_clusters, sketches
from hnmine.core.batches.collisions import Held, collisions_within, fill
from hnmine.core.batches.graph import Graph
from hnmine.core.batches.walks import Near, walked

Pairs = list[tuple[int, int]]


def held_of(rows: list[tuple[int, list[int]]], pairs: Pairs, queries: int) -> Held:
    offsets = np.cumsum([0] + [len(documents) for _, documents in rows])
    documents = np.array([d for _, own in rows for d in own], np.int64)
    owner, barred = (np.array([pair[i] for pair in pairs], np.int64) for i in range(2))
    query = np.array([query for query, _ in rows], np.int64)
    return Held.of(query, offsets, documents, pairs=(owner, barred), queries=queries)


@st.composite
def files(draw: st.DrawFn) -> tuple[list[tuple[int, list[int]]], Pairs, Graph, int]:
    """(rows: query and documents, pairs that must not meet, what each query found, rows a batch)."""
    queries = draw(st.integers(1, 8))
    documents = st.integers(0, 12)
    rows = draw(
        st.lists(st.tuples(st.integers(0, queries - 1), st.lists(documents, min_size=1, max_size=3)), max_size=30)
    )
    pairs = draw(st.sets(st.tuples(st.integers(0, queries - 1), documents), max_size=20))
    found = draw(st.lists(st.tuples(st.integers(0, queries - 1), documents), max_size=40))
    owner, keys = (np.array([edge[i] for edge in found], np.int64) for i in range(2))
    return rows, sorted(pairs), Graph.of(owner, keys.astype(np.uint64), queries), draw(st.integers(2, 6))


def collide(a: tuple[int, list[int]], b: tuple[int, list[int]], pairs: Pairs) -> bool:
    return any((a[0], d) in pairs for d in b[1]) or any((b[0], d) in pairs for d in a[1])


@given(files(), st.sampled_from(["fill", "walk", "snowball"]))
def test_every_row_once_and_no_two_that_collide(file: tuple[list, Pairs, Graph, int], how: str) -> None:
    rows, pairs, graph, size = file
    held = held_of(rows, pairs, len(graph))
    if how == "fill":
        batches = list(fill(held, range(len(rows)), size))
    else:
        batches = list(walked(held, Near(graph), size, snowball=how == "snowball"))
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert not any(collide(rows[a], rows[b], pairs) for a in batch for b in batch if a < b)
        assert collisions_within(held, batch) == 0


@given(files())
def test_collisions_are_counted_as_they_are_defined(file: tuple[list, Pairs, Graph, int]) -> None:
    rows, pairs, graph, _ = file
    held = held_of(rows, pairs, len(graph))
    wanted = sum(
        any((a[0], d) in pairs for d in b[1]) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j
    )
    assert collisions_within(held, range(len(rows))) == wanted


def test_without_collisions_the_order_is_cut() -> None:
    held = held_of([(row, [row]) for row in range(7)], [], 7)
    assert list(fill(held, [6, 5, 4, 3, 2, 1, 0], 3)) == [[6, 5, 4], [3, 2, 1], [0]]


def test_a_row_that_collides_comes_first_in_the_next_batch() -> None:
    held = held_of([(row, [row]) for row in range(6)], [(0, 1)], 6)
    assert list(fill(held, range(6), 2)) == [[0, 2], [1, 3], [4, 5]]


def test_rows_that_all_collide_stand_alone_and_do_not_take_forever() -> None:
    """A query with very many rows: each holds its positive."""
    held = held_of([(0, [0])] * 3_000, [(0, 0)], 1)
    assert [len(batch) for batch in fill(held, range(3_000), 8)] == [1] * 3_000


def test_taken_rows_collide_as_before() -> None:
    rows = [(0, [5]), (1, [6]), (2, [0]), (0, [7])]
    held = held_of(rows, [(1, 5), (2, 7), (0, 7)], 3).take(np.array([3, 1, 0]))
    assert [held.of_row(row) for row in range(3)] == [([7], [7]), ([], [5]), ([5], [7])]


def two_topics(size: int, *, order: np.ndarray | None = None) -> Graph:
    """Queries 0, 2, 4, ... found documents below 1,000, the others those above; each some of the topic's forty."""
    draw = np.random.default_rng(5)
    owner = np.repeat(np.arange(size), 20)
    keys = np.concatenate([draw.choice(40, 20, replace=False) + 1_000 * (query % 2) for query in range(size)])
    if order is not None:
        owner = order[owner]
    return Graph.of(owner, keys.astype(np.uint64), size)


def test_clusters_are_of_one_topic_and_of_equal_size() -> None:
    order = clustered(sketches(two_topics(96)), 12)
    assert sorted(order.tolist()) == list(range(96))
    assert all(len(set(part % 2)) == 1 for part in order.reshape(8, 12))


@pytest.mark.parametrize(("queries", "size"), [(1, 4), (4, 4), (5, 4), (97, 12), (30, 100)])
def test_only_the_last_cluster_may_be_smaller(queries: int, size: int) -> None:
    """96 + 1 queries of two topics in clusters of twelve: all but the odd one out fit."""
    order = clustered(sketches(two_topics(queries)), size)
    assert sorted(order.tolist()) == list(range(queries))


def test_the_places_of_rows_do_not_matter() -> None:
    """Queries in another order, that is: the same sketches, row by row."""
    order = np.random.default_rng(1).permutation(40)
    assert (sketches(two_topics(40, order=order))[order] == sketches(two_topics(40))).all()


def test_sketches_are_near_for_queries_that_found_the_same_and_for_their_neighbours() -> None:
    """0 and 1 share no document, but 2 shares some with each; 3 shares nothing with anybody."""
    found = {0: range(10), 1: range(20, 30), 2: [*range(5, 10), *range(20, 25)], 3: range(50, 60)}
    owner = np.concatenate([np.full(len(own), query) for query, own in found.items()])
    keys = np.concatenate([np.array(own) for own in found.values()]).astype(np.uint64)
    vectors = sketches(Graph.of(owner, keys, 4)).astype(np.float64)
    cosines = vectors @ vectors.T / 512**2
    assert np.diag(cosines) == pytest.approx(1, abs=0.02)
    assert cosines[0, 2] > 0.5
    assert cosines[0, 1] > cosines[0, 3] + 0.1
    assert np.abs(cosines[3, :3]).max() < 0.3


def test_a_query_that_found_nothing_has_a_sketch_of_zeros() -> None:
    vectors = sketches(Graph.of(np.array([1]), np.array([7], np.uint64), 2))
    assert not vectors[0].any()
    assert vectors[1].any()


def test_how_clusters_become_batches() -> None:
    place = np.array([3, 0, 2, 1, 5, 4])
    turn = np.zeros(6, np.int64)
    assert in_clusters(place, turn, cluster=4, batch=4).tolist() == [1, 3, 2, 0, 5, 4]
    # Small clusters, (1 3), (2 0) and (5 4), come by the first row of each.
    assert in_clusters(place, turn, cluster=2, batch=4).tolist() == [0, 2, 1, 3, 4, 5]
    # What is in large ones, (1 3 2 0) and (5 4), comes in the order of the rows.
    assert in_clusters(place, turn, cluster=4, batch=2).tolist() == [0, 1, 2, 3, 4, 5]
    # Second rows of a query come behind all first ones.
    assert in_clusters(np.array([1, 0, 1, 0]), np.array([1, 0, 0, 1]), cluster=2, batch=2).tolist() == [1, 2, 3, 0]


def chain(length: int) -> Graph:
    """Query i found documents i and i + 1: each shares one with the next."""
    owner = np.repeat(np.arange(length), 2)
    return Graph.of(owner, (owner + np.tile([0, 1], length)).astype(np.uint64), length)


@pytest.mark.parametrize("snowball", [False, True])
def test_a_walk_goes_along_shared_documents(snowball: bool) -> None:
    held = held_of([(query, [query]) for query in range(12)], [], 12)
    batches = list(walked(held, Near(chain(12)), 4, snowball=snowball))
    assert Counter(map(len, batches)) == {4: 3}
    assert batches[0][0] == 0
    assert sorted(batches[0]) == [0, 1, 2, 3]


def test_a_walk_takes_what_was_noted_last_a_snowball_what_was_noted_first() -> None:
    """0 shares a document with 1 and 2; 2 with 3 and 4."""
    found = [(0, 0), (1, 0), (2, 0), (2, 1), (3, 1), (4, 1)]
    graph = Graph.of(np.array([q for q, _ in found]), np.array([d for _, d in found], np.uint64), 5)
    held = held_of([(query, [query]) for query in range(5)], [], 5)
    assert next(walked(held, Near(graph), 5, snowball=False))[:2] == [0, 2]
    assert next(walked(held, Near(graph), 5, snowball=True))[:3] == [0, 1, 2]


def test_a_walk_begins_anew_where_nothing_is_left() -> None:
    graph = Graph.of(np.array([0, 1, 2]), np.array([7, 8, 9], np.uint64), 3)
    held = held_of([(query, [query]) for query in range(3)], [], 3)
    assert list(walked(held, Near(graph), 2, snowball=False)) == [[0, 1], [2]]


def test_equal_texts_are_one_document_of_the_graph() -> None:
    graph = Graph.of(np.array([1, 0, 0, 1, 1]), np.array([9, 3, 9, 9, 5], np.uint64), 3)
    assert graph.offsets.tolist() == [0, 2, 4, 4]
    assert [int(graph.keys[d]) for d in graph.documents] == [3, 9, 5, 9]
