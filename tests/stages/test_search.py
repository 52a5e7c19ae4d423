"""`search`, slice by slice, then `mine --hits`: the bytes of a mine that searches everything itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hnmine
from hnmine.engines.bm25 import MaxScoreIndex
from hnmine.engines.dense import DenseIndex
from hnmine.engines.retriever import Bools, Queries
from hnmine.engines.sparse import SparseIndex
from hnmine.errors import ArtefactError, UsageError
from hnmine.execute.local import Execution
from tests.conftest import WORDS
from tests.e2e.harness import contents, write_beir

DOCUMENTS, QUERIES, K = 130, 40, 12
NAMES = ("bm25", "dense", "sparse")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tiny_sparse_encoder: Path) -> Path:
    """Ready-made vectors of few values and texts of few words, so that many documents tie across slices."""
    pytest.importorskip("faiss")
    root = tmp_path_factory.mktemp("search")
    draw = np.random.default_rng(7)
    words = WORDS.replace(":", "").split()
    texts = {f"d{n:03}": " ".join(draw.choice(words[:8], 3)) for n in draw.permutation(DOCUMENTS)}
    queries = {f"q{n:02}": " ".join(draw.choice(words, 3)) for n in range(QUERIES)}
    judged = [(query, list(texts)[3 * n], 1 if n % 5 else 0) for n, query in enumerate(queries)]
    hnmine.ingest(write_beir(root / "data", texts, queries, judged), root / "collection")
    for side, count in (("documents", DOCUMENTS), ("queries", QUERIES)):
        np.save(root / f"{side}.npy", draw.integers(0, 3, (count, 4)).astype(np.float16))
    dense = hnmine.DenseOptions(vectors=str(root / "documents.npy"), query_vectors=str(root / "queries.npy"))
    hnmine.index_bm25(root / "collection", root / "bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.index_dense(root / "collection", root / "dense", options=dense)
    sparse = hnmine.SparseOptions(model=str(tiny_sparse_encoder), dtype="fp32")  # type: ignore[arg-type]
    hnmine.index_sparse(root / "collection", root / "sparse", options=sparse)
    mine(root, root / "whole")
    return root


def mine(root: Path, out: Path, hits: Path | None = None, **options: object) -> None:
    indexes = [root / name for name in NAMES]
    settings = hnmine.MineOptions(**{"top_k": K, "random": 2, **options})  # type: ignore[arg-type]
    hnmine.mine(root / "collection", out, indexes=indexes, options=settings, hits=hits)


def search(root: Path, out: Path, names: tuple[str, ...] = NAMES, how: Execution | None = None, **options: int) -> None:
    settings = hnmine.SearchOptions(**{"top_k": K, **options})
    hnmine.search(root / "collection", out, indexes=[root / name for name in names], options=settings, how=how)


@pytest.mark.parametrize("slices", [1, 3, 50, 1000])
def test_mine_makes_the_same_bytes_from_hits(
    root: Path, tmp_path: Path, slices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "9")
    mine(root, tmp_path / "whole")
    search(root, tmp_path / "hits", slices=slices)
    for engine in (DenseIndex, MaxScoreIndex, SparseIndex):
        monkeypatch.setattr(engine, "search", None)  # nothing is searched any more
    mine(root, tmp_path / "mined", hits=tmp_path / "hits")
    assert contents(tmp_path / "mined") == contents(tmp_path / "whole")


def test_hits_of_some_indexes_in_deeper_lists_and_for_fewer_queries(root: Path, tmp_path: Path) -> None:
    search(root, tmp_path / "hits", ("dense",), slices=4, top_k=2 * K)
    for number, options in enumerate(({}, {"limit": 11, "top_k": 5}, {"exclude_documents": "a file"})):
        if "exclude_documents" in options:
            (tmp_path / "out.txt").write_text("d001\nd002\nd003\n")
            options = {"exclude_documents": str(tmp_path / "out.txt")}
        mine(root, tmp_path / f"mined-{number}", hits=tmp_path / "hits", **options)
        mine(root, tmp_path / f"whole-{number}", **options)
        assert contents(tmp_path / f"mined-{number}") == contents(tmp_path / f"whole-{number}")


def test_as_many_shards_as_slices_keep_to_one_slice_each(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "9")
    looked: list[list[int]] = []
    among_search = DenseIndex._search_among

    def some(self: DenseIndex, queries: Queries, k: int, among: Bools) -> object:
        rows = np.flatnonzero(among)
        looked.append([int(rows[0]), int(rows[-1]) + 1])
        return among_search(self, queries, k, among)

    monkeypatch.setattr(DenseIndex, "_search_among", some)
    for shard in (2, 0, 3, 1):
        looked.clear()
        search(root, tmp_path / "hits", ("dense",), Execution(shard=(shard, 4)), slices=4)
        assert len(looked) == 4  # of 32 queries with a positive, nine a block
        assert looked == [[DOCUMENTS * shard // 4, DOCUMENTS * (shard + 1) // 4]] * 4
    hnmine.merge(tmp_path / "hits")
    search(root, tmp_path / "at-once", ("dense",), slices=4)
    assert contents(tmp_path / "hits") == contents(tmp_path / "at-once")


def test_hits_that_do_not_fit_are_refused(root: Path, tmp_path: Path) -> None:
    search(root, tmp_path / "hits", ("dense",), slices=2)
    with pytest.raises(ArtefactError, match="first 12 of each query; 13 are needed") as error:
        mine(root, tmp_path / "mined", hits=tmp_path / "hits", top_k=13)
    assert error.value.remedy == "hnmine search ... --top-k 13"
    with pytest.raises(ArtefactError, match="no hits for 8 of the queries, the first of them 'q00'"):
        mine(root, tmp_path / "mined", hits=tmp_path / "hits", min_relevance=0)
    with pytest.raises(UsageError, match="of the whole corpus: --where narrows it"):
        mine(root, tmp_path / "mined", hits=tmp_path / "hits", where="document.doc_id != 'd001'")
    with pytest.raises(ArtefactError, match="hits of none of these indexes"):
        hnmine.mine(root / "collection", tmp_path / "mined", indexes=[root / "bm25"], hits=tmp_path / "hits")
    with pytest.raises(ArtefactError, match="another index called dense"):
        hnmine.mine(root / "collection", tmp_path / "mined", indexes=[f"dense={root / 'bm25'}"], hits=tmp_path / "hits")


def test_an_approximate_index_is_not_searched_in_slices(root: Path, tmp_path: Path) -> None:
    vectors = [str(root / f"{side}.npy") for side in ("documents", "queries")]
    options = hnmine.DenseOptions(vectors=vectors[0], query_vectors=vectors[1], ann="ivf")  # type: ignore[arg-type]
    hnmine.index_dense(root / "collection", tmp_path / "ivf", options=options)
    with pytest.raises(UsageError, match="searched approximately"):
        hnmine.search(root / "collection", tmp_path / "hits", indexes=[tmp_path / "ivf"])
    with pytest.raises(UsageError, match="--slices 0: at least 1"):
        search(root, tmp_path / "hits", slices=0)
