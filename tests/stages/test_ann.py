"""`index dense --ann`: the search is built when the index is closed, calibrated, and `mine` uses it and says so."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.cli.app import app
from hnmine.core.recall import TARGET
from hnmine.errors import ArtefactError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.stages import searching
from tests.e2e.harness import contents, invoke, write_beir
from tests.engines.test_approximate import KINDS

SIZE, QUERIES, DIMENSION = 900, 150, 12

assert app


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with ready-made vectors in heaps, and what an exact search mines from it."""
    pytest.importorskip("faiss")
    root = tmp_path_factory.mktemp("ann")
    rng = np.random.default_rng(4)
    heaps = rng.standard_normal((30, DIMENSION))
    positives = rng.choice(SIZE, QUERIES, replace=False).tolist()
    vectors = {}
    for name, count in (("documents", SIZE), ("queries", QUERIES)):
        own = heaps[rng.integers(0, 30, count)] + 0.6 * rng.standard_normal((count, DIMENSION))
        vectors[name] = (own / np.linalg.norm(own, axis=1, keepdims=True)).astype(np.float32)
        np.save(root / f"{name}.npy", vectors[name])
    documents = {f"d{i:03}": f"document {i}" for i in range(SIZE)}
    queries = {f"q{i:03}": f"query {i}" for i in range(QUERIES)}
    write_beir(root / "data", documents, queries, [(f"q{i:03}", f"d{row:03}", 1) for i, row in enumerate(positives)])
    hnmine.ingest(root / "data", root / "collection")
    index(root, root / "flat", "auto")
    mine(root, root / "exact", root / "flat")
    return root


def index(root: Path, out: Path, ann: str, **how: Any) -> hnmine.Outcome:
    options = hnmine.DenseOptions(
        vectors=str(root / "documents.npy"),
        query_vectors=str(root / "queries.npy"),
        ann=ann,  # type: ignore[arg-type]
        name="own",
    )
    return hnmine.index_dense(root / "collection", out, options=options, how=Execution(**how))


def mine(root: Path, out: Path, place: Path, **how: Any) -> hnmine.Outcome:
    options = hnmine.MineOptions(top_k=20)
    return hnmine.mine(root / "collection", out, indexes=[place], options=options, how=Execution(**how))


def scores(candidates: Path) -> dict[tuple[str, str], tuple[int | None, float]]:
    """(rank, score) of every candidate."""
    rows = [row for file in Artefact.open(candidates).files() for row in pq.read_table(file).to_pylist()]
    return {(row["query_id"], row["doc_id"]): (row["rank_own"], row["score_own"]) for row in rows}


@pytest.mark.parametrize("ann", KINDS)
def test_mine_finds_what_is_promised_with_the_exact_scores(root: Path, tmp_path: Path, ann: str) -> None:
    made = index(root, tmp_path / "index", ann)
    record = json.loads((tmp_path / "index/ann/calibration.json").read_text())
    assert record["queries"] == QUERIES
    recall = {effort["k"]: effort["recall"] for effort in record["efforts"]}
    assert made.counts["recall"] == {"@10": recall[10], "@100": recall[100]}
    assert recall[20] >= TARGET
    mined = mine(root, tmp_path / "mined", tmp_path / "index")
    assert mined.counts["recall"] == {"own": recall[20]}
    assert mined.artefact is not None
    assert mined.artefact.plan["recall"] == {"own": recall[20]}
    assert mined.notes["search of own"].startswith(str(ann))
    assert f"recall@20 {recall[20]:.3f}" in mined.notes["search of own"]
    exact, found = scores(root / "exact"), scores(tmp_path / "mined")
    true = {pair for pair, (rank, _) in exact.items() if rank is not None}
    got = {pair for pair, (rank, _) in found.items() if rank is not None}
    assert len(got) == len(true) == 20 * QUERIES
    # All queries are in the sample, so the recall that is told is the recall (what lists leave short is made up for).
    assert len(got & true) / len(true) >= recall[20] - 1e-6
    assert all(found[pair][1] == exact[pair][1] for pair in found.keys() & exact.keys())


def test_flat_is_what_auto_takes_for_a_small_collection(root: Path, tmp_path: Path) -> None:
    assert Artefact.open(root / "flat").plan["ann"] == {"kind": "flat"}
    assert not (root / "flat" / "ann").exists()
    assert index(root, root / "flat", "flat").blocks_done_now == 0
    assert "recall" not in Artefact.open(root / "exact").plan
    assert not mine(root, root / "exact", root / "flat").notes


@pytest.mark.parametrize("ann", ["ivf", "hnsw"])
def test_shards_kills_and_leftovers_change_no_byte(
    root: Path, tmp_path: Path, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "64")
    index(root, tmp_path / "whole", ann)
    for shard in (2, 0, 1):
        assert index(root, tmp_path / "parts", ann, shard=(shard, 3)).artefact is None
    # As a kill while the search is built leaves it.
    (tmp_path / "parts/ann").mkdir()
    (tmp_path / "parts/ann/.pending-0123-codes.npy").write_bytes(b"half")
    (tmp_path / "parts/ann/centres.npy").write_bytes(b"of another try")
    if ann == "hnsw":
        (tmp_path / "parts/ann/centres.npy").unlink()
    hnmine.merge(tmp_path / "parts")
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
    mine(root, tmp_path / "mined", tmp_path / "whole")
    for shard in (1, 0):
        mine(root, tmp_path / "by-two", tmp_path / "parts", shard=(shard, 2))
    hnmine.merge(tmp_path / "by-two")
    assert contents(tmp_path / "by-two") == contents(tmp_path / "mined")


def test_a_build_that_is_broken_off_is_done_again(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks_off(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(searching, "measure", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            index(root, tmp_path / "index", "ivf")
    assert not (tmp_path / "index/manifest.json").exists()
    again = index(root, tmp_path / "index", "ivf")
    assert again.blocks_done_now == 0
    assert again.artefact is not None
    index(root, tmp_path / "calm", "ivf")
    assert contents(tmp_path / "index") == contents(tmp_path / "calm")


def test_what_does_not_suffice_is_searched_exactly_and_said_so(root: Path, tmp_path: Path) -> None:
    index(root, tmp_path / "index", "ivf")
    options = hnmine.MineOptions(top_k=400)  # half of the lists do not have so many of the nearest
    mined = hnmine.mine(root / "collection", tmp_path / "mined", indexes=[tmp_path / "index"], options=options)
    assert mined.notes["search of own"] == "exact: ivf does not find 98% of the 400 nearest"
    assert mined.counts["recall"] == {"own": 1.0}
    hnmine.mine(root / "collection", tmp_path / "exact", indexes=[root / "flat"], options=options)
    assert scores(tmp_path / "mined") == scores(tmp_path / "exact")


def test_a_damaged_search_is_refused(root: Path, tmp_path: Path) -> None:
    index(root, tmp_path / "index", "int8")
    path = tmp_path / "index/ann/codes.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(ArtefactError, match=r"ann/codes\.npy is corrupt"):
        mine(root, tmp_path / "mined", tmp_path / "index")


def test_the_command_says_what_it_found(root: Path, tmp_path: Path) -> None:
    vectors = ["--vectors", root / "documents.npy", "--query-vectors", root / "queries.npy"]
    done = invoke("index", "dense", root / "collection", "-o", tmp_path / "i", "--ann", "ivf", *vectors, "--json")
    assert done.code == 0, done.stderr
    assert done.json["counts"]["recall"]["@10"] >= TARGET
    assert "recall: @10" in done.stderr
    done = invoke("mine", root / "collection", "--index", tmp_path / "i", "-o", tmp_path / "m", "-k", 10, "--json")
    assert done.code == 0, done.stderr
    assert "search of i: ivf, " in done.stderr
    assert invoke("index", "dense", root / "collection", "-o", tmp_path / "j", "--ann", "best", *vectors).code == 2


def test_options_that_were_asked_for_reach_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def choose(*sizes: int, **more: Any) -> str:
        asked["sizes"], asked["more"] = sizes, more
        return "ivf"

    monkeypatch.setattr(searching, "choose", choose)
    facts = searching.facts_of(hnmine.DenseOptions().ann, 1_000, 50, 8)
    assert asked["sizes"] == (1_000, 50, 8)
    assert asked["more"]["memory"] > 2**28
    assert facts["kind"] == "ivf"
    assert facts["lists"] == 126
    assert dataclasses.replace(hnmine.DenseOptions(), ann="hnsw").ann == "hnsw"  # type: ignore[arg-type]
