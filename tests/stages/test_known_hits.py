"""`mine --append` after documents came, went and changed: the bytes of a search of everything, without one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hnmine
from hnmine.engines.dense import DenseIndex
from hnmine.engines.retriever import Bools, Queries
from hnmine.execute.local import Execution
from hnmine.stages.stage import Outcome
from tests.e2e.harness import contents, write_beir

OLD, NEW, QUERIES = 120, 20, 30
Looked = list[tuple[str, int, int]]


class World:
    """A collection with ready-made vectors of few values, so that many documents tie."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        draw = np.random.default_rng(seed)
        self.ids = [f"d{i:03d}" for i in draw.permutation(OLD + NEW)]
        self.documents = draw.integers(0, 3, (OLD + NEW, 4)).astype(np.float16)
        self.queries = draw.integers(0, 3, (QUERIES, 4)).astype(np.float16)

    def index(self, name: str, rows: np.ndarray, documents: np.ndarray, queries: np.ndarray) -> Path:
        """A run directory with the given documents and all queries."""
        place = self.root / name
        texts = {self.ids[row]: f"text {self.ids[row]}" for row in rows}
        asked = {f"q{i:02d}": f"query {i}" for i in range(QUERIES)}
        positives = [(query, self.ids[row], 1) for query, row in zip(asked, rows, strict=False)]
        hnmine.ingest(write_beir(self.root / f"{name}-data", texts, asked, positives), place / "collection")
        for side, vectors in (("documents", documents), ("queries", queries)):
            np.save(self.root / f"{name}-{side}.npy", vectors)
        given = [str(self.root / f"{name}-{side}.npy") for side in ("documents", "queries")]
        options = hnmine.DenseOptions(vectors=given[0], query_vectors=given[1])
        hnmine.index_dense(place, place / "indexes" / "dense", options=options)
        return place

    def mine(self, place: Path, output: str, k: int, how: Execution | None = None, **options: str) -> Outcome:
        return hnmine.mine(place, self.root / output, options=hnmine.MineOptions(top_k=k, **options), how=how)  # type: ignore[arg-type]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    """(how, queries, documents) of every search by a kernel."""
    calls: Looked = []
    search, among_search = DenseIndex._search, DenseIndex._search_among

    def everything(self: DenseIndex, queries: Queries, k: int) -> object:
        calls.append(("all", len(queries), self.size))
        return search(self, queries, k)

    def some(self: DenseIndex, queries: Queries, k: int, among: Bools) -> object:
        calls.append(("new", len(queries), int(among.sum())))
        return among_search(self, queries, k, among)

    monkeypatch.setattr(DenseIndex, "_search", everything)
    monkeypatch.setattr(DenseIndex, "_search_among", some)
    return calls


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("k", [1, 7, 130])
@pytest.mark.parametrize("change", ["added", "changed", "removed", "renamed", "all queries changed"])
def test_the_result_is_that_of_a_search_of_everything(
    tmp_path: Path, looked: Looked, seed: int, k: int, change: str
) -> None:
    pytest.importorskip("faiss")
    world = World(tmp_path, seed)
    old, now = np.arange(OLD), np.arange(OLD + NEW)
    place = world.index("old", old, world.documents[:OLD], world.queries)
    world.mine(place, "old-candidates", k)
    if change == "changed":
        world.documents[:OLD:6] = 0  # whatever of these was a hit falls behind
    if change == "removed":
        now = np.delete(now, np.arange(OLD - 10, OLD, 2))
    if change == "renamed":
        world.ids[:OLD:6] = [f"e{i}" for i in range(OLD // 6)]
    queries = world.queries * 2 if change == "all queries changed" else world.queries
    place = world.index("now", now, world.documents[now], queries)
    plain = world.mine(place, "plain", k)
    looked.clear()
    how = Execution(append=tmp_path / "old-candidates")
    appended = world.mine(place, "appended", k, how)
    assert contents(appended.path) == contents(plain.path)
    assert appended.blocks_taken_over == 0
    if change == "all queries changed":
        assert [call for call in looked if call[0] == "new" and call[1]] == []
    else:
        assert looked[0][:2] == ("new", QUERIES)
        assert "queries that are the same in" in appended.notes["dense searched"]
    if change == "added":
        assert looked == [("new", QUERIES, NEW)]


def test_ready_made_vectors_are_not_taken_over(tmp_path: Path) -> None:
    world = World(tmp_path, 0)
    place = world.index("old", np.arange(OLD), world.documents[:OLD], world.queries)
    files = [str(tmp_path / f"old-{side}.npy") for side in ("documents", "queries")]
    again = hnmine.index_dense(
        place,
        tmp_path / "again",
        options=hnmine.DenseOptions(vectors=files[0], query_vectors=files[1]),
        how=Execution(append=place / "indexes" / "dense"),
    )
    assert again.blocks_taken_over == 0
    assert again.notes["taken over"] == "nothing: the vectors are there already"


def test_a_moved_index_is_told_and_everything_is_searched(tmp_path: Path, looked: Looked) -> None:
    pytest.importorskip("faiss")
    world = World(tmp_path, 0)
    old = world.index("old", np.arange(OLD), world.documents[:OLD], world.queries)
    world.mine(old, "old-candidates", 5)
    place = world.index("now", np.arange(OLD + NEW), world.documents, world.queries)
    (old / "indexes").rename(old / "elsewhere")
    looked.clear()
    found = world.mine(place, "appended", 5, Execution(append=tmp_path / "old-candidates"))
    assert looked == [("all", QUERIES, OLD + NEW)]
    assert found.notes["dense searched"].startswith("every query in all documents: cannot find the index:dense")


def test_documents_that_were_excluded_then_are_found_now(tmp_path: Path, looked: Looked) -> None:
    pytest.importorskip("faiss")
    world = World(tmp_path, 0)
    old = world.index("old", np.arange(OLD), world.documents[:OLD], world.queries)
    (tmp_path / "out.txt").write_text("".join(f"{name}\n" for name in world.ids[:OLD:2]))
    world.mine(old, "old-candidates", 5, exclude_documents=str(tmp_path / "out.txt"))
    place = world.index("now", np.arange(OLD + NEW), world.documents, world.queries)
    plain = world.mine(place, "plain", 5)
    looked.clear()
    found = world.mine(place, "appended", 5, Execution(append=tmp_path / "old-candidates"))
    assert contents(found.path) == contents(plain.path)
    assert looked == [("all", QUERIES, OLD + NEW)]
