"""What every kind of index promises (`engines/retriever.py`), told from outside, whatever computes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hnmine.engines.retriever import Queries, Ragged, Retriever
from hnmine.options import Ann
from tests.engines import test_approximate, test_bm25, test_dense, test_late, test_sparse

DOCUMENTS, QUERIES, WORDS = 90, 12, 20

Builder = Callable[[Path, list[str], list[str], np.ndarray], Retriever]


def _bags(texts: list[str], width: int) -> np.ndarray:
    """A row a text: how often it has each word."""
    bags = np.zeros((len(texts), width), np.float32)
    for row, text in enumerate(texts):
        np.add.at(bags[row], [int(word[1:]) for word in text.split()], 1)
    return bags


def _tokens(texts: list[str]) -> list[np.ndarray]:
    """A vector a word, with small whole numbers."""
    table = np.random.default_rng(3).integers(-2, 3, (WORDS, test_late.DIMENSION)).astype(np.float16)
    return [table[[int(word[1:]) for word in text.split()]] for text in texts]


def bm25(folder: Path, documents: list[str], queries: list[str], tie_order: np.ndarray) -> Retriever:
    return test_bm25.build(folder, documents, tie_order=tie_order)


def dense(folder: Path, documents: list[str], queries: list[str], tie_order: np.ndarray) -> Retriever:
    pytest.importorskip("faiss")
    return test_dense.open_index(
        folder, _bags(documents, WORDS), _bags(queries, WORDS), shards=3, tie_order=tie_order, dtype=np.float32
    )


def approximate(kind: Ann, folder: Path, documents: list[str], queries: list[str], tie_order: np.ndarray) -> Retriever:
    """An approximate search that is told to look at everything: it has to find what an exact one finds."""
    pytest.importorskip("faiss")
    bags = [_bags(texts, WORDS) for texts in (documents, queries)]
    return test_approximate.open_index(folder, kind, *bags, tie_order=tie_order, dtype=np.float32)


def sparse(folder: Path, documents: list[str], queries: list[str], tie_order: np.ndarray) -> Retriever:
    bags = [_bags(texts, test_sparse.TERMS) for texts in (documents, queries)]
    return test_sparse.build(folder, *bags, tie_order=tie_order)


def late(folder: Path, documents: list[str], queries: list[str], tie_order: np.ndarray) -> Retriever:
    return test_late.build(folder, _tokens(documents), _tokens(queries), tie_order=tie_order, cuts=(4, 60))


BUILDERS: dict[str, Builder] = {
    "bm25": bm25,
    "dense": dense,
    "dense-torch": dense,
    "sparse": sparse,
    "late": late,
    **{f"dense-{kind}": partial(approximate, kind) for kind in test_approximate.KINDS},
}


@pytest.fixture(params=BUILDERS)
def case(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Retriever, list[str]]:
    """An index over short texts with many copies, doc_ids in another order than rows, and its queries' texts."""
    if request.param == "dense-torch":
        test_dense.search_with_torch(monkeypatch)
    draw = np.random.default_rng(8)

    def texts(count: int) -> list[str]:
        return [" ".join(f"w{w}" for w in draw.integers(0, WORDS, draw.integers(1, 5))) for _ in range(count)]

    documents = texts(DOCUMENTS // 3) * 3
    queries = texts(QUERIES)
    return BUILDERS[request.param](tmp_path / "index", documents, queries, draw.permutation(DOCUMENTS)), queries


def block(texts: list[str], rows: list[int]) -> Queries:
    return Queries(rows=np.array(rows, np.int64), texts=[texts[row] for row in rows])


def every_pair(index: Retriever, texts: list[str], rows: list[int]) -> np.ndarray:
    offsets, documents = np.arange(len(rows) + 1) * index.size, np.tile(np.arange(index.size), len(rows))
    return index.pair_scores(block(texts, rows), offsets, documents).reshape(len(rows), index.size)


def of_query(found: Ragged, place: int) -> tuple[np.ndarray, np.ndarray]:
    part = slice(found.offsets[place], found.offsets[place + 1])
    return found.rows[part], found.scores[part]


@pytest.mark.parametrize("k", [1, 7, DOCUMENTS, 10 * DOCUMENTS])
def test_search_gives_the_best_by_score_then_doc_id_with_the_pairs_scores(case, k):
    index, texts = case
    rows = list(range(QUERIES))[::-1]
    found, scores = index.search(block(texts, rows), k), every_pair(index, texts, rows)
    assert len(found.offsets) == QUERIES + 1
    for place, own in enumerate(scores):
        documents, values = of_query(found, place)
        hits = np.flatnonzero(index._is_hit(own) & np.isfinite(own))
        wanted = hits[np.lexsort((index.tie_order[hits], -own[hits]))][:k]
        assert documents.tolist() == wanted.tolist()
        assert values.tobytes() == own[wanted].tobytes()


def test_the_company_changes_no_bit(case):
    index, texts = case
    together = index.search(block(texts, list(range(QUERIES))), 9)
    scores = every_pair(index, texts, list(range(QUERIES)))
    for row in (0, 5, QUERIES - 1):
        alone = index.search(block(texts, [row]), 9)
        documents, values = of_query(together, row)
        assert alone.rows.tolist() == documents.tolist()
        assert alone.scores.tobytes() == values.tobytes()
        some = np.array([3, 80, 3, 0])
        few = index.pair_scores(block(texts, [row]), np.array([0, 4]), some)
        assert few.dtype == np.float32
        assert few.tobytes() == scores[row][some].tobytes()


def test_nothing_in_nothing_out(case):
    index, texts = case
    empty = index.search(block(texts, []), 5)
    assert (empty.offsets.tolist(), empty.rows.tolist()) == ([0], [])
    assert index.search(block(texts, [0]), 0).lengths().tolist() == [0]
    nobody = index.pair_scores(block(texts, [1, 2]), np.array([0, 0, 1]), np.array([4]))
    assert nobody.tobytes() == every_pair(index, texts, [2])[0][4:5].tobytes()
