"""What `--dry-run` says a run will take is about what it then takes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

import hnmine
from hnmine.core.estimate import Estimate
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.schema import Kind
from hnmine.stages import forecast, rehearsal
from hnmine.stages.chain import Chain
from hnmine.stages.export import Export
from hnmine.stages.filter import Filter
from hnmine.stages.index_bm25 import IndexBm25
from hnmine.stages.index_dense import IndexDense
from hnmine.stages.indexes import named_index
from hnmine.stages.ingest import Ingest
from hnmine.stages.mine import Mine
from hnmine.stages.score import Score
from hnmine.stages.stage import Stage
from tests.conftest import WORDS

pytest.importorskip("faiss")

DOCUMENTS, QUERIES = 4_000, 800
GENEROUS = 8.0
"""The factor that an estimate may be off by; machines are busy."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(3)
    words = [f"{word}{number}" for word in WORDS.split() for number in range(60)]
    root = tmp_path_factory.mktemp("forecast")
    (root / "data" / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{i}", "text": " ".join(draw.choices(words, k=40))} for i in range(DOCUMENTS)]
    queries = [{"_id": f"q{i}", "text": " ".join(draw.choices(corpus[i]["text"].split(), k=6))} for i in range(QUERIES)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (root / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = "".join(f"q{i}\td{i}\t1\n" for i in range(QUERIES))
    (root / "data" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return root / "data"


@pytest.fixture(scope="module")
def options(tiny_encoder: Path, tiny_cross_encoder: Path) -> hnmine.RunOptions:
    return hnmine.RunOptions(
        dense=hnmine.DenseOptions(model=str(tiny_encoder), dtype="fp32"),  # type: ignore[arg-type]
        mine=hnmine.MineOptions(top_k=20),
        score=hnmine.ScoreOptions(reranker=str(tiny_cross_encoder), dtype="fp32", top=5, name="ce"),  # type: ignore[arg-type]
        filter=hnmine.FilterOptions(num_negatives=3, no_margin=True),
    )


@pytest.mark.alone
@pytest.mark.slow
def test_a_run_takes_about_what_it_was_said_to_take(data: Path, options: hnmine.RunOptions, tmp_path: Path) -> None:
    chain = Chain(str(data), tmp_path / "run", options)
    said = forecast.of_chain(chain, tmp_path / "scratch")
    assert not (tmp_path / "run").exists()

    outcomes = dict(hnmine.run(data, tmp_path / "run", options=options))

    assert list(said) == list(outcomes) == [step.name for step in chain.steps()]
    total = 0.0
    for name, outcome in outcomes.items():
        estimate = said[name]
        assert estimate is not None
        total += estimate.seconds
        slack = 0.5  # seconds: a file that is flushed, a collection that is opened
        assert outcome.seconds < estimate.seconds * GENEROUS + slack, name
        assert estimate.seconds < outcome.seconds * GENEROUS + slack, name
        if name == "export":  # into a training file, beside the artefact
            assert estimate.bytes
            continue
        size = sum(file.stat().st_size for file in outcome.path.rglob("*") if file.is_file())
        assert estimate.bytes / 4 < size < estimate.bytes * 4, name
    took = sum(outcome.seconds for outcome in outcomes.values())
    assert took / GENEROUS < total < took * GENEROUS
    counts = {name: outcome.counts for name, outcome in outcomes.items()}
    rows = {name: estimate.rows for name, estimate in said.items() if estimate is not None}
    assert rows["ingest"] == counts["ingest"]["documents"] + counts["ingest"]["queries"]
    assert rows["index bm25"] == DOCUMENTS
    assert rows["index dense"] == DOCUMENTS + QUERIES
    assert counts["mine"]["candidates"] <= rows["mine"] == rows["filter"] == QUERIES * (2 * 20 + 1)
    assert rows["score"] == QUERIES * 6
    assert rows["export"] == counts["export"]["rows"] == QUERIES * 3


@pytest.fixture(scope="module")
def run(data: Path, options: hnmine.RunOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    pairs = root / "pairs.csv"
    lines = [json.loads(line)["text"] for line in (data / "corpus.jsonl").read_text().splitlines()[:200]]
    pairs.write_text("anchor,positive\n" + "".join(f"{line[:30]},{line}\n" for line in lines))
    hnmine.run(pairs, root, options=options)
    return root


STAGES: dict[str, Callable[[Path, hnmine.RunOptions], Stage]] = {
    "bm25": lambda run, options: IndexBm25(Collection.open(run / "collection"), hnmine.Bm25Options()),
    "dense": lambda run, options: IndexDense(Collection.open(run / "collection"), options.dense),  # type: ignore[arg-type]
    "mine": lambda run, options: Mine(
        Collection.open(run / "collection"), [named_index(str(run / "indexes" / "bm25"))], options.mine
    ),
    "score": lambda run, options: Score(
        Collection.open(run / "collection"),
        Artefact.open(run / "candidates"),
        options.score,  # type: ignore[arg-type]
    ),
    "filter": lambda run, options: Filter(
        Collection.open(run / "collection"), Artefact.open(run / "scored"), options.filter
    ),
    "export": lambda run, options: Export(
        Collection.open(run / "collection"),
        Artefact.open(run / "decisions", Kind.DECISIONS),
        options.export,
        path=run / "elsewhere",
        file=None,
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_alone(
    name: str, run: Path, options: hnmine.RunOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "PASSES", ((8, 4), (40, 8), (160, 16)))
    monkeypatch.setattr(rehearsal, "MODEL_SECONDS", 0.1)
    stage = STAGES[name](run, options)
    found = forecast.of_stage(stage, tmp_path)
    assert isinstance(found, Estimate)
    sizes = stage.sizes()
    rows = {
        "bm25": sizes.get("documents"),
        "dense": sizes.get("documents", 0) + sizes.get("queries", 0),
        "mine": sizes["queries"] * 21 if name == "mine" else None,
        "score": sizes.get("pairs"),
        "filter": sizes.get("candidates"),
        "export": sizes.get("rows"),
    }[name]
    assert found.rows == rows
    assert 0 < found.seconds < 600
    assert found.bytes > 0
    assert found.runs_model == (name in ("dense", "score"))
    assert (found.operations > 0) == found.runs_model, "BM25 counts, and multiplies no matrices"


def test_what_is_left_and_what_could_be_taken_over(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "64")
    hnmine.ingest(data, tmp_path / "collection", options=hnmine.InputOptions(sample=0.05))
    earlier = tmp_path / "earlier"
    hnmine.index_bm25(tmp_path / "collection", earlier)
    stage = IndexBm25(Collection.open(tmp_path / "collection"), hnmine.Bm25Options())
    total = len(stage.blocks())
    assert total >= 4
    stage.run(tmp_path / "index", Execution(shard=(0, 2)))
    preview = stage.preview(tmp_path / "index", earlier)
    done = (total + 1) // 2
    assert (preview.blocks_total, preview.blocks_finished, preview.blocks_taken_over) == (total, done, total - done)
    assert preview.left == 0.0
    alone = stage.preview(tmp_path / "index")
    assert alone.blocks_taken_over is None
    assert alone.left == pytest.approx((total - done) / total)
    assert stage.preview(earlier).left == 0.0
    assert Ingest(str(data), hnmine.InputOptions()).preview(tmp_path / "new").left == 1.0
