"""`score` asks the reranker about the rows it should, and leaves the others without a score."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.engines.reranker import Reranker
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.options import ScoreOptions
from hnmine.schema import Scale
from hnmine.stages.score import Score
from hnmine.stages.stage import Execution

RUNS = {"one": ["d1", "d2", "d3", "d4", "d5"], "two": ["d5", "d4", "d2", "d6", "d3"]}


class ByNumber(Reranker):
    """The score of a document is the number in its text; remembers what it was asked."""

    scale = Scale.LOGIT  # type: ignore[assignment]

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def describe(self) -> dict[str, Any]:
        return {}

    def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        self.asked += pairs
        return np.array([float(document.split()[-1]) for _, document in pairs], np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates of one query, whose positive is d6, from two runs."""
    root = tmp_path_factory.mktemp("scored")
    data = root / "data"
    (data / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": f"number {i}"} for i in range(1, 7)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (data / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "which"}) + "\n")
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td6\t1\n")
    files = []
    for name, ids in RUNS.items():
        (root / name).write_text("".join(f"q Q0 {d} {i + 1} {9 - i} s\n" for i, d in enumerate(ids)))
        files.append(f"{name}={root / name}")
    hnmine.ingest(data, root / "collection")
    hnmine.mine(root / "collection", root / "candidates", options=hnmine.MineOptions(run=tuple(files)))
    return root


def scored(root: Path, out: Path, candidates: str = "candidates", **options: Any) -> tuple[Score, dict[str, Any]]:
    reranker = ByNumber()
    given = ScoreOptions(name=options.pop("name", "number"), **options)
    collection, table = Collection.open(root / "collection"), Artefact.open(root / candidates)
    stage = Score(collection, table, given, reranker=reranker)
    stage.run(out, Execution())
    rows = pq.read_table(Artefact.open(out).files()[0]).to_pylist()
    return stage, {row["doc_id"]: row[f"score_{given.name}"] for row in rows}


def test_every_row_is_scored(root: Path, tmp_path: Path) -> None:
    stage, found = scored(root, tmp_path / "all")
    assert found == {f"d{i}": float(i) for i in range(1, 7)}
    assert stage.sizes() == {"queries": 1, "pairs": 6}


def test_top_scores_the_positive_and_the_head_of_the_fused_order(root: Path, tmp_path: Path) -> None:
    # Places without the positive: one d1 d2 d3 d4 d5, two d5 d4 d2 d3, d1 behind. 1/(20 + place), both summed:
    fused = {"d1": 1 / 21 + 1 / 25, "d2": 1 / 22 + 1 / 23, "d3": 1 / 23 + 1 / 24}
    fused |= {"d4": 1 / 24 + 1 / 22, "d5": 1 / 25 + 1 / 21}
    stage, found = scored(root, tmp_path / "top", top=3)
    assert sorted(fused, key=lambda d: -fused[d])[3:] == ["d4", "d3"]
    assert {d for d, value in found.items() if value is not None} == {"d1", "d2", "d5", "d6"}
    assert Artefact.open(tmp_path / "top").counts["null_scores"]["number"] == 2
    reranker: Any = stage.reranker
    assert sorted(reranker.asked) == [("which", f"number {i}") for i in (1, 2, 5, 6)]


def test_top_hears_the_rerankers_before_it(root: Path, tmp_path: Path) -> None:
    # ByNumber puts d5 first, d4 second, ...; with it d5 leads by far, and d4 (1/24 + 1/22 + 1/22) is second.
    scored(root, root / "once")
    _, found = scored(root, tmp_path / "twice", "once", name="again", top=2)
    assert {d for d, value in found.items() if value is not None} == {"d4", "d5", "d6"}


def test_a_top_of_nothing_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--top 0"):
        scored(root, tmp_path / "none", top=0)
