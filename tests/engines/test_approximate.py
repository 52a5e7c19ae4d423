"""Approximate searches: what they promise at any effort, and that the effort is told rightly."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hnmine.core.recall import Effort
from hnmine.engines.approximate import kind_of, open_approximate
from hnmine.engines.approximate.base import Approximate
from hnmine.engines.dense import DenseIndex
from hnmine.engines.retriever import OVERFETCH, Queries
from hnmine.engines.vectors import VectorStore
from hnmine.errors import ArtefactError
from hnmine.options import Ann
from hnmine.schema import Scale
from hnmine.stages.searching import measure
from tests.engines import test_dense

KINDS = [ann for ann in Ann if ann not in (Ann.AUTO, Ann.FLAT)]
SIZE, DIMENSION, QUERIES = 2_000, 16, 300


def open_index(
    folder: Path,
    kind: Ann,
    documents: np.ndarray,
    queries: np.ndarray,
    *,
    effort: Effort | None = None,
    dtype: Any = np.float16,
    tie_order: np.ndarray | None = None,
) -> DenseIndex:
    """An index with an approximate search, by default one that looks at everything."""
    folder.mkdir(exist_ok=True)
    places = test_dense.save(folder, "documents", documents, shards=3, dtype=dtype)
    asked = test_dense.save(folder, "queries", queries, dtype=dtype)
    return DenseIndex(
        places,
        asked,
        name="tiny",
        tie_order=np.arange(len(documents)) if tie_order is None else tie_order,
        scale=Scale.COSINE,
        approximate=build(folder / "ann", kind, places),
        efforts=[effort or everything(kind, len(documents))],
    )


def build(folder: Path, kind: Ann, documents: Sequence[Path]) -> Approximate:
    store = VectorStore(documents)
    facts = kind_of(kind).facts_of(len(store), store.dimension)
    folder.mkdir()
    names = kind_of(kind).build(facts, store, folder)
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    return open_approximate(facts, folder)


def everything(kind: Ann, size: int) -> Effort:
    """IVF scores exactly as it goes, and looks at no more than it is asked for; the others' scores are coarse."""
    return Effort(k=10**9, breadth=size, depth=0 if kind is Ann.IVF else size, recall=1.0)


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """Documents in heaps, and queries near some of them."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(1)
    heaps = rng.standard_normal((40, DIMENSION))
    found = [
        (heaps[rng.integers(0, 40, count)] + 0.5 * rng.standard_normal((count, DIMENSION))).astype(np.float32)
        for count in (SIZE, QUERIES)
    ]
    documents, queries = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in found]
    return documents, queries


def exact_rows(vectors: tuple[np.ndarray, np.ndarray], rows: np.ndarray, k: int) -> np.ndarray:
    documents, queries = (part.astype(np.float16).astype(np.float64) for part in vectors)
    return np.argsort(-(queries[rows] @ documents.T), axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("kind", KINDS)
def test_the_recall_that_is_told_is_the_recall_of_those_queries(kind, vectors, tmp_path):
    index = open_index(tmp_path, kind, *vectors)
    exact = test_dense.open_index(tmp_path / "exact", *vectors)
    efforts, sample = measure(exact, index._approximate, index._queries)
    rows = np.unique(np.linspace(0, QUERIES, 256, endpoint=False).astype(np.int64))
    assert sample == len(rows) == 256
    told = [effort for effort in efforts if effort.k in (10, 100)]
    assert len(told) == 2
    assert all(effort.suffices for effort in told)
    if kind in (Ann.IVF, Ann.IVF_PQ):
        assert min(effort.breadth for effort in told) < 100  # of 178 lists
    for effort in told:
        k = effort.k
        wanted = exact_rows(vectors, rows, k)
        again = DenseIndex(
            sorted(tmp_path.glob("documents-*.npy")),
            sorted(tmp_path.glob("queries-*.npy")),
            name="tiny",
            tie_order=np.arange(SIZE),
            scale=Scale.COSINE,
            approximate=index._approximate,
            efforts=[effort],
        )
        found = again.search(test_dense.block(rows), k)
        assert found.lengths().tolist() == [k] * len(rows)
        hits = [len(set(own) & set(true)) for own, true in zip(found.rows.reshape(-1, k), wanted, strict=True)]
        # The graph's queue grows with what is asked for, and what lists leave short is looked for more broadly.
        assert np.mean(hits) / k >= effort.recall - 1e-6
        if kind not in (Ann.HNSW, Ann.IVF, Ann.IVF_PQ):
            assert np.mean(hits) / k == pytest.approx(effort.recall, abs=1e-6)
        pairs = exact.pair_scores(test_dense.block(rows), found.offsets, found.rows)
        assert found.scores.tobytes() == pairs.tobytes()


def low(kind: Ann) -> Effort:
    return Effort(k=1_000, breadth=64 if kind is Ann.HNSW else 3, depth=60, recall=1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_query_finds_the_same_in_any_company(kind, vectors, tmp_path):
    index = open_index(tmp_path, kind, *vectors, effort=low(kind))
    together = index.search(test_dense.block(range(QUERIES)), 20)
    starts = together.offsets
    for rows in ([0], [299, 3], list(range(40, 90))):
        found = index.search(test_dense.block(rows), 20)
        for place, row in enumerate(rows):
            own = slice(found.offsets[place], found.offsets[place + 1])
            same = slice(starts[row], starts[row + 1])
            assert found.rows[own].tolist() == together.rows[same].tolist()
            assert found.scores[own].tobytes() == together.scores[same].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_equal_vectors_give_equal_bytes_whatever_the_threads(kind, vectors, tmp_path):
    faiss = pytest.importorskip("faiss")
    threads = faiss.omp_get_max_threads()
    places = test_dense.save(tmp_path, "documents", vectors[0], shards=2)
    whole = test_dense.save(tmp_path, "whole", vectors[0])
    try:
        for count, shards in ((1, places), (2, whole), (3, places)):
            faiss.omp_set_num_threads(count)
            build(tmp_path / str(count), kind, shards)
            assert faiss.omp_get_max_threads() == count
    finally:
        faiss.omp_set_num_threads(threads)
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()
        assert path.read_bytes() == (tmp_path / "3" / path.name).read_bytes()


def test_lists_hold_every_document_once_with_its_nearest_centre(vectors, tmp_path):
    index = open_index(tmp_path, Ann.IVF, *vectors)
    folder = tmp_path / "ann"
    centres, offsets, rows, codes = (
        np.load(folder / f"{name}.npy") for name in ("centres", "offsets", "rows", "codes")
    )
    assert len(centres) == 178
    assert sorted(rows.tolist()) == list(range(SIZE))
    stored = vectors[0].astype(np.float16)
    assert codes.tobytes() == stored[rows].tobytes()
    distances = ((stored[rows].astype(np.float32)[:, None] - centres[None]) ** 2).sum(axis=2)
    owner = np.repeat(np.arange(len(centres)), np.diff(offsets))
    assert (distances[np.arange(SIZE), owner] <= distances.min(axis=1) + 1e-5).all()
    assert all(np.diff(rows[low:high]).min(initial=1) > 0 for low, high in pairwise(offsets))
    # A search of three lists is brute force over them.
    query = vectors[1][:1].astype(np.float16).astype(np.float32)
    near = np.argsort(-(query @ centres.T)[0])
    near = near[np.diff(offsets)[near] > 0][:3]
    inside = np.concatenate([rows[offsets[i] : offsets[i + 1]] for i in near])
    found, scores = index._approximate.search(query, 5, 3)
    order = np.argsort(-(stored[inside].astype(np.float32) @ query[0]))[:5]
    assert found[0].tolist() == inside[order].tolist()
    np.testing.assert_allclose(scores[0], np.sort(stored[inside].astype(np.float32) @ query[0])[::-1][:5], atol=1e-6)


def test_copies_beyond_the_overfetch_come_by_doc_id(vectors, tmp_path):
    rng = np.random.default_rng(2)
    documents, queries = (part.copy() for part in vectors)
    copies = rng.choice(SIZE, 200, replace=False)
    documents[copies] = queries[7]
    tie_order = rng.permutation(SIZE)
    effort = Effort(k=1_000, breadth=3, depth=0, recall=1.0)
    index = open_index(tmp_path, Ann.IVF, documents, queries, effort=effort, tie_order=tie_order)
    for rows in ([7], list(range(20))):
        found = index.search(test_dense.block(rows), 12)
        place = rows.index(7)
        wanted = copies[np.argsort(tie_order[copies])][:12]
        assert found.rows[found.offsets[place] : found.offsets[place + 1]].tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", [Ann.IVF, Ann.IVF_PQ, Ann.HNSW])
def test_no_query_gets_less_than_it_asks_for(kind, vectors, tmp_path):
    index = open_index(tmp_path, kind, *vectors, effort=Effort(k=10**9, breadth=1, depth=0, recall=1.0))
    k = 400  # a list has about 11 documents
    found = index.search(test_dense.block(range(30)), k)
    assert found.lengths().tolist() == [k] * 30
    for low_, high in pairwise(found.offsets):
        assert len(set(found.rows[low_:high].tolist())) == k


def test_without_an_effort_that_suffices_the_search_is_exact(vectors, tmp_path):
    poor = [Effort(k=10, breadth=1, depth=42, recall=0.99), Effort(k=100, breadth=1, depth=132, recall=0.97)]
    index = open_index(tmp_path, Ann.IVF, *vectors)
    index._efforts = tuple(poor)
    rows = np.arange(40)
    for k in (11, 100, 101):
        found = index.search(test_dense.block(rows), k).rows.reshape(-1, k)
        assert found.tolist() == exact_rows(vectors, rows, k).tolist()
    found = index.search(test_dense.block(rows), 10).rows.reshape(-1, 10)
    assert found.tolist() != exact_rows(vectors, rows, 10).tolist()  # one list does not have them all


def test_a_search_among_some_is_exact(vectors, tmp_path):
    index = open_index(tmp_path, Ann.BINARY, *vectors, effort=Effort(k=1_000, breadth=1, depth=0, recall=1.0))
    exact = test_dense.open_index(tmp_path / "exact", *vectors)
    among = np.arange(SIZE) % 3 == 0
    block = test_dense.block(range(30))
    assert index.search(block, 20, among).rows.tolist() == exact.search(block, 20, among).rows.tolist()
    assert index.search(block, 20).rows.tolist() != exact.search(block, 20).rows.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("size", "dimension"), [(1, 1), (3, 5), (50, 7)])
def test_a_few_documents_of_few_dimensions(kind, size, dimension, tmp_path):
    pytest.importorskip("faiss")
    rng = np.random.default_rng(size)
    documents, queries = test_dense.unit(rng, size, dimension), test_dense.unit(rng, 4, dimension)
    index = open_index(tmp_path, kind, documents, queries)
    exact = test_dense.open_index(tmp_path / "exact", documents, queries)
    block = test_dense.block(range(4))
    assert index.search(block, 10).rows.tolist() == exact.search(block, 10).rows.tolist()


def test_a_file_of_another_kind_is_refused(vectors, tmp_path):
    places = test_dense.save(tmp_path, "documents", vectors[0])
    facts = build(tmp_path / "ann", Ann.BINARY, places).facts
    np.save(tmp_path / "ann" / "codes.npy", np.zeros((3, 2), np.int64))
    with pytest.raises(ArtefactError, match=r"codes\.npy: int64 of shape \(3, 2\)"):
        open_approximate(facts, tmp_path / "ann")


def test_nothing_is_calibrated_without_queries(vectors, tmp_path):
    index = open_index(tmp_path, Ann.INT8, vectors[0], np.empty((0, DIMENSION)))
    assert measure(index, index._approximate, index._queries) == ([], 0)
    assert OVERFETCH < SIZE
    assert index.search(Queries(rows=np.empty(0, np.int64), texts=[]), 3).rows.tolist() == []
