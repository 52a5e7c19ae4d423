"""A search among some documents is the search of everything with the others struck from its list: every engine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from hnmine.core.pool import Pairs
from hnmine.engines import dense, late
from hnmine.engines.dense import DenseIndex
from hnmine.engines.late import LateIndex
from hnmine.engines.retriever import Queries, Retriever
from hnmine.engines.sparse import SparseIndex
from tests.engines import test_bm25, test_dense, test_late, test_sparse

SIZE = 300
ENGINES = [
    "dense",
    "late",
    "dense-torch",
    "sparse",
    "maxscore-lucene",
    "maxscore-bm25+",
    "bm25s-lucene",
    "bm25s-robertson",
    "bm25s-bm25l",
    "rank-bm25-bm25l",
]


@pytest.fixture(params=ENGINES)
def opened(request, tmp_path, monkeypatch):
    """An index over 300 documents, many of which tie, with 60 queries."""
    rng = np.random.default_rng(5)
    order = rng.permutation(SIZE)
    rows, texts = np.arange(60), [""] * 60
    if request.param.startswith("dense"):
        pytest.importorskip("faiss")
        if request.param == "dense-torch":
            test_dense.search_with_torch(monkeypatch)
        monkeypatch.setattr(dense, "SEARCH_CHUNK", 64)
        documents, queries = test_dense.unit(rng, SIZE, 12), test_dense.unit(rng, 60, 12)
        documents[rng.choice(SIZE, 120, replace=False)] = queries[0]  # more copies than are over-fetched
        index = test_dense.open_index(tmp_path / "i", documents, queries, shards=3, tie_order=order)
    elif request.param == "late":
        monkeypatch.setattr(late, "CHUNK_TEXTS", 64)
        documents, queries = (test_late.draw_texts(rng, count, values=[0, 1, 2]) for count in (SIZE, 60))
        index = test_late.build(tmp_path / "i", documents, queries, tie_order=order)
    elif request.param == "sparse":
        documents, queries = test_sparse.matrix(rng, SIZE, values=[0.5, 1.0]), test_sparse.matrix(rng, 60, values=[1.0])
        index = test_sparse.build(tmp_path / "i", documents, queries, tie_order=order)
    else:
        engine, _, method = request.param.rpartition("-")
        index = test_bm25.build(tmp_path / "i", test_bm25.corpus(), engine=engine, method=method, tie_order=order)
        texts = ["w0", "w1 w2", "unknown", *test_bm25.corpus(seed=2, documents=57)]
    return index, Queries(rows=rows, texts=texts)


def listed(found):
    return [
        list(zip(found.rows[low:high].tolist(), found.scores[low:high].tolist(), strict=True))
        for low, high in pairwise(found.offsets)
    ]


def struck(index, queries, k, among, always=()):
    """The first k of each query's list of everything, when all but `among` and `always` are struck from it."""
    everything = listed(index.search(queries, SIZE))
    return [
        [(row, score) for row, score in own if among[row] or (query, row) in always][:k]
        for query, own in enumerate(everything)
    ]


@pytest.mark.parametrize("way", ["its own", "the base's"])
@pytest.mark.parametrize("share", [0.0, 0.004, 0.03, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("k", [1, 7, 100])
def test_it_is_the_full_list_with_the_others_struck(opened, way, share, k, monkeypatch):
    index, queries = opened
    if way == "the base's":
        monkeypatch.setattr(type(index), "_search_among", Retriever._search_among)
    among = np.random.default_rng(int(1000 * share) + k).random(SIZE) < share
    assert listed(index.search(queries, k, among)) == struck(index, queries, k, among)


@pytest.mark.parametrize("k", [1, 5, 400])
def test_some_pairs_are_let_in_whatever_the_others(opened, k):
    index, queries = opened
    rng = np.random.default_rng(k)
    among = rng.random(SIZE) < 0.05
    owner, rows = rng.integers(0, 60, 90), rng.integers(0, SIZE, 90)  # some of them allowed anyway, some twice
    owner, rows = np.append(owner, owner[:3]), np.append(rows, rows[:3])
    always = set(zip(owner.tolist(), rows.tolist(), strict=True))
    found = listed(index.search(queries, k, among, Pairs(owner=owner, rows=rows)))
    assert found == struck(index, queries, k, among, always)
    assert any((query, row) in always and not among[row] for query, own in enumerate(found) for row, _ in own)


def test_nothing_is_searched_where_nothing_is_let_in(opened):
    index, queries = opened
    none = np.zeros(SIZE, np.bool_)
    assert index.search(queries, 5, none).lengths().tolist() == [0] * 60
    only = index.search(queries, 5, none, Pairs(owner=np.array([9]), rows=np.array([4])))
    assert set(only.rows.tolist()) <= {4}
    empty = Queries(rows=np.empty(0, np.int64), texts=[])
    assert index.search(empty, 5, none).offsets.tolist() == [0]


def test_every_engine_leaves_the_others_out_from_the_start():
    """The base's way searches everything deeper and deeper: right, and slow where a condition is selective."""
    for kind in (DenseIndex, LateIndex, SparseIndex, test_bm25.Bm25sIndex, test_bm25.RankBm25Index):
        assert kind._search_among is not Retriever._search_among
