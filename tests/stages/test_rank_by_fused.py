"""`filter --rank-by fused`: the order of hand-written runs, from files to verdicts."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.core.fusion import reciprocal_rank_fusion
from hnmine.core.rules.fused import fuse
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact
from hnmine.stages import inspect

# 1/61 + 1/64 > 1/62 + 1/63 = 1/63 + 1/62 > 1/61 > 1/64: c; b and p, equal, by id; a; d. e is judged and in no run.
RUNS = {"one": ["a", "p", "b", "c"], "two": ["c", "b", "p", "d"]}
FUSED = {"c": 1, "b": 2, "p": 3, "a": 4, "d": 5, "e": None}


@pytest.fixture(scope="module")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fused")
    (root / "data" / "qrels").mkdir(parents=True)
    corpus = [{"_id": d, "title": "", "text": f"text {d}"} for d in "abcdep"]
    for name, rows in (("corpus", corpus), ("queries", [{"_id": "q", "text": "one"}, {"_id": "r", "text": "two"}])):
        (root / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = "q\tp\t1\nq\te\t0\nr\ta\t1\n"
    (root / "data" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    for name, order in RUNS.items():
        ranked = [f"q Q0 {d} {i} {10 - i} x\n" for i, d in enumerate(order, 1)]
        (root / f"{name}.trec").write_text("".join([*ranked, "r Q0 a 1 3 x\n", "r Q0 b 2 2 x\n"]))
    hnmine.ingest(root / "data", root / "collection")
    runs = tuple(f"{name}={root / name}.trec" for name in RUNS)
    hnmine.mine(root / "collection", root / "candidates", options=hnmine.MineOptions(run=runs))
    return root / "candidates"


def decided(candidates: Path, out: Path, **options: Any) -> list[dict[str, Any]]:
    """The rows of q, in the table's order."""
    asked = hnmine.FilterOptions(**{"rank_by": "fused", "no_margin": True, **options})
    hnmine.filter(candidates, out, options=asked)
    return [r for r in pq.read_table(out / "part-00000.parquet").to_pylist() if r["query_id"] == "q"]


def test_the_sum_of_reciprocal_ranks() -> None:
    found = reciprocal_rank_fusion([np.array([1, 2, 0, 0]), np.array([4, 0, 9, 0])], 4)
    assert found.tolist() == pytest.approx([1 / 61 + 1 / 64, 1 / 62, 1 / 69, 0.0])
    assert reciprocal_rank_fusion([], 2).tolist() == [0.0, 0.0]


def test_the_same_ranks_in_another_order_have_the_same_sum() -> None:
    for ranks in itertools.combinations(range(1, 12), 3):
        columns = np.array(list(itertools.permutations(ranks))).T
        assert len(set(reciprocal_rank_fusion(columns, 6).tolist())) == 1, ranks
    places = np.array([[2, 5, 3, 1, 4, 6], [3, 2, 5, 1, 4, 6], [5, 3, 2, 1, 4, 6]])
    assert len(set(fuse(np.zeros(6, np.int64), -places.astype(np.float64), np.ones(6, np.bool_))[:3].tolist())) == 1


def test_rows_stand_and_are_picked_in_the_fused_order(candidates: Path, tmp_path: Path) -> None:
    rows = decided(candidates, tmp_path / "d", num_negatives=2)
    assert {row["doc_id"]: row["rank_fused"] for row in rows} == FUSED
    assert [row["doc_id"] for row in rows] == ["c", "b", "p", "a", "d", "e"]
    assert {row["doc_id"]: row["pick_rank"] for row in rows} == {"c": 1, "b": 2, "p": None, "a": 3, "d": 4, "e": 5}
    artefact = Artefact.open(tmp_path / "d")
    assert artefact.plan["rank_by"] == "fused"
    assert [score["name"] for score in artefact.plan["scores"]] == ["one", "two"], "an order is no score"
    hnmine.export(tmp_path / "d", tmp_path / "t.parquet")
    ids = pq.read_table(tmp_path / "t.ids.parquet").to_pylist()
    ranks = {row["doc_ids"][1]: row["ranks"] for row in ids if row["query_id"] == "q"}
    assert ranks == {"c": [3, 1], "b": [3, 2]}
    shown = "\n".join(inspect.render(inspect.query(tmp_path / "d", "q"), 100))
    assert "[c] one 6.000 #4 two 9.000 #1 fused #1" in shown


def test_ranges_of_ranks_count_in_the_fused_order(candidates: Path, tmp_path: Path) -> None:
    rows = decided(candidates, tmp_path / "d", num_negatives=5, skip_top=1, max_rank=4)
    reasons = {row["doc_id"]: row["reason"] for row in rows}
    # e is judged not relevant, so no rule that guesses drops it.
    assert reasons == {
        "c": "skip-top",
        "b": "picked",
        "p": "known-positive",
        "a": "picked",
        "d": "max-rank",
        "e": "picked",
    }
    rows = decided(candidates, tmp_path / "f", consistency_top=2)
    assert {row["reason"] for row in rows} == {"inconsistent-query", "known-positive"}
    rows = decided(candidates, tmp_path / "g", consistency_top=3)
    assert "inconsistent-query" not in {row["reason"] for row in rows}


def test_the_estimate_knows_nothing_of_the_order(candidates: Path, tmp_path: Path) -> None:
    plain, fused = (decided(candidates, tmp_path / name, rank_by=name) for name in ("one", "fused"))
    assert {r["doc_id"]: r["p_false_negative"] for r in plain} == {r["doc_id"]: r["p_false_negative"] for r in fused}


def test_an_order_without_scores_and_of_one_list_is_refused(candidates: Path, tmp_path: Path) -> None:
    for pick in ("softmax", "simans"):
        with pytest.raises(UsageError, match=f"--pick {pick} reads a score"):
            decided(candidates, tmp_path / "d", pick=pick)
    options = hnmine.MineOptions(run=(f"one={candidates.parent / 'one.trec'}",))
    hnmine.mine(candidates.parent / "collection", tmp_path / "c", options=options)
    with pytest.raises(UsageError, match="--rank-by fused: the candidates are of one"):
        decided(tmp_path / "c", tmp_path / "d")
    assert not (tmp_path / "d").exists()
