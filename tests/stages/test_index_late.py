"""A late-interaction index through the chain: equal bytes however it was cut, and its scores in the candidates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import hnmine
from hnmine.cli.app import app
from hnmine.engines.late_encoder import LateTextEncoder
from hnmine.engines.models import resolve_model
from hnmine.errors import ArtefactError
from hnmine.files.artefact import Artefact
from hnmine.schema import Side
from hnmine.stages.inspect import overview

DOCS = {
    f"d{i}": text
    for i, text in enumerate(
        [
            "a man is eating food",
            "the girl carries a baby",
            ": :",
            "horse rides",
            "a man rides a horse",
            "one two three",
        ]
    )
}
QUERIES = {"q1": "man eating food", "q2": "girl carries baby"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("late") / "data"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in DOCS.items()))
    (data / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in QUERIES.items()))
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td0\t1\nq2\td1\t1\n")
    return data


@pytest.fixture(scope="module")
def collection(data: Path) -> Path:
    hnmine.ingest(data, data.parent / "collection")
    return data.parent / "collection"


def options(model: Path) -> hnmine.LateOptions:
    return hnmine.LateOptions(model=str(model), dtype="fp32")  # type: ignore[arg-type]


def expected_scores(model: Path) -> dict[str, dict[str, float]]:
    """MaxSim of every pair, from its definition over the encoder's vectors."""
    own = LateTextEncoder(resolve_model(str(model), revision=None), options(model))

    def vectors(texts: dict[str, str], side: Side) -> dict[str, np.ndarray]:
        found = own.encode(list(texts.values()), side)
        parts = np.split(found.vectors.astype(np.float64), np.cumsum(found.lengths)[:-1])
        return dict(zip(texts, parts, strict=True))

    documents = vectors(DOCS, Side.DOCUMENT)
    return {
        query_id: {doc_id: float((query @ document.T).max(axis=1).sum()) for doc_id, document in documents.items()}
        for query_id, query in vectors(QUERIES, Side.QUERY).items()
    }


def check_scores(candidates: Path, name: str, model: Path, *, k: int) -> None:
    """Every row has its score, and the k best have the ranks 1 to k."""
    rows = pq.read_table(Artefact.open(candidates).files()[0]).to_pylist()
    for query_id, scores in expected_scores(model).items():
        own = [row for row in rows if row["query_id"] == query_id]
        assert {row["doc_id"]: row[f"score_{name}"] for row in own} == {
            row["doc_id"]: pytest.approx(scores[row["doc_id"]], rel=1e-5) for row in own
        }
        by_score = sorted(scores, key=lambda i: -scores[i])[:k]
        ranked = {row[f"rank_{name}"]: row["doc_id"] for row in own if row[f"rank_{name}"]}
        assert [ranked[rank] for rank in sorted(ranked)] == by_score


def test_shards_and_a_merge_give_the_same_bytes(
    collection: Path, tmp_path: Path, tiny_late_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "4")
    one = hnmine.index_late(collection, tmp_path / "one", options=options(tiny_late_encoder))
    for part in (1, 0):
        how = hnmine.Execution(shard=(part, 2))
        outcome = hnmine.index_late(collection, tmp_path / "two", options=options(tiny_late_encoder), how=how)
        assert outcome.artefact is None
    merged = hnmine.merge(tmp_path / "two")
    assert (merged.path / "manifest.json").read_bytes() == (one.path / "manifest.json").read_bytes()
    assert [len(list(merged.path.glob(f"{part}/*.npy"))) for part in ("vectors", "lengths")] == [3, 3]
    assert one.counts == {
        "documents": 6,
        "queries": 2,
        "truncated_documents": 0,
        "truncated_queries": 0,
        "empty_documents": 0,
        "empty_queries": 0,
        # [CLS], the marker and [SEP] around 5, 5, 0 (punctuation is skipped), 2, 5 and 3 words.
        "tokens_documents": 38,
        "tokens_queries": 24,
        "dimension": 10,
    }
    assert overview(tmp_path / "one")["kind"] == "index-late"
    again = hnmine.index_late(collection, tmp_path / "one", options=options(tiny_late_encoder))
    assert again.blocks_done_now == 0


def test_candidates_have_its_scores_and_ranks(collection: Path, tmp_path: Path, tiny_late_encoder: Path) -> None:
    hnmine.index_bm25(collection, tmp_path / "bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.index_late(collection, tmp_path / "colbert", options=options(tiny_late_encoder))
    mined = hnmine.mine(
        collection,
        tmp_path / "c",
        indexes=[tmp_path / "bm25", tmp_path / "colbert"],
        options=hnmine.MineOptions(top_k=3),
    )
    assert mined.artefact is not None
    assert mined.artefact.plan["rank_by"] == "colbert"
    assert mined.artefact.plan["block"] == 512
    assert mined.artefact.plan["scores"][1] == {"name": "colbert", "scale": "dot", "origin": "late"}
    check_scores(tmp_path / "c", "colbert", tiny_late_encoder, k=3)
    found = hnmine.filter(
        tmp_path / "c", tmp_path / "d", options=hnmine.FilterOptions(num_negatives=2, quota="late=1,bm25=1")
    )
    assert found.counts["verdicts"]["negative"] >= 2


def test_from_the_shell_to_a_training_file(data: Path, tmp_path: Path, tiny_late_encoder: Path) -> None:
    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, [*arguments, "--cache-dir", str(tmp_path / "cache")])
        assert done.exit_code == 0, done.output
        return done.output

    index = str(tmp_path / "index")
    call("index", "late", str(data), "-o", index, "--model", str(tiny_late_encoder), "--dtype", "fp32")
    # The collection is the cache's, found again by its content: an index made beforehand fits the run.
    (collection,) = (tmp_path / "cache" / "collections").glob("*/manifest.json")
    run = tmp_path / "run"
    call("run", str(collection.parent), "-o", str(run), "--no-dense", "--index", f"li={index}", "-n", "2", "-k", "4")
    check_scores(run / "candidates", "li", tiny_late_encoder, k=4)
    rows = pq.read_table(run / "triplets.parquet").to_pylist()
    assert len(rows) == 4
    # Without a dense index the late one orders the negatives.
    scores = expected_scores(tiny_late_encoder)["q1"]
    best = sorted((i for i in DOCS if i != "d0"), key=lambda i: -scores[i])[:2]
    assert {row["negative"] for row in rows if row["anchor"] == QUERIES["q1"]} == {DOCS[i] for i in best}
    assert "li" in call("inspect", str(run), "--query", "q1").partition("a man is eating food")[0]


def test_a_damaged_index_is_refused(collection: Path, tmp_path: Path, tiny_late_encoder: Path) -> None:
    hnmine.index_late(collection, tmp_path / "colbert", options=options(tiny_late_encoder))
    (tmp_path / "colbert/lengths/queries-00000.npy").write_bytes(b"")
    with pytest.raises(ArtefactError):
        hnmine.mine(collection, tmp_path / "c", indexes=[tmp_path / "colbert"])
