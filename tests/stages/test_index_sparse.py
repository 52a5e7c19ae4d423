"""A sparse index through the chain: equal bytes however it was cut, and its scores in the candidates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import ArtefactError
from hnmine.files.artefact import Artefact
from hnmine.stages.inspect import overview

DOCS = {
    f"d{i}": text for i, text in enumerate(["a man is eating food", "the girl carries a baby", "zzz", "horse rides"])
}
QUERIES = {"q1": "man eating food", "q2": "girl carries baby"}


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("sparse") / "data"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in DOCS.items()))
    (data / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in QUERIES.items()))
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td0\t1\nq2\td1\t1\n")
    hnmine.ingest(data, data.parent / "collection")
    return data.parent / "collection"


def options(model: Path) -> hnmine.SparseOptions:
    return hnmine.SparseOptions(model=str(model), dtype="fp32")  # type: ignore[arg-type]


def test_shards_and_a_merge_give_the_same_bytes(
    collection: Path, tmp_path: Path, tiny_sparse_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "3")
    one = hnmine.index_sparse(collection, tmp_path / "one", options=options(tiny_sparse_encoder))
    for part in (1, 0):
        how = hnmine.Execution(shard=(part, 2))
        outcome = hnmine.index_sparse(collection, tmp_path / "two", options=options(tiny_sparse_encoder), how=how)
        assert outcome.artefact is None
    merged = hnmine.merge(tmp_path / "two")
    assert (merged.path / "manifest.json").read_bytes() == (one.path / "manifest.json").read_bytes()
    assert sorted(p.name for p in merged.path.iterdir()) == [
        "manifest.json",
        "plan.json",
        "postings",
        "queries",
        "run.json",
    ]
    assert one.counts["documents"] == 4
    assert one.counts["queries"] == 2
    assert overview(tmp_path / "one")["kind"] == "index-sparse"


def test_candidates_have_its_scores_and_ranks(collection: Path, tmp_path: Path, tiny_sparse_encoder: Path) -> None:
    from sentence_transformers import SparseEncoder

    hnmine.index_bm25(collection, tmp_path / "bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.index_sparse(collection, tmp_path / "splade", options=options(tiny_sparse_encoder))
    mined = hnmine.mine(
        collection,
        tmp_path / "c",
        indexes=[tmp_path / "bm25", tmp_path / "splade"],
        options=hnmine.MineOptions(top_k=3),
    )
    assert mined.artefact is not None
    assert mined.artefact.plan["rank_by"] == "splade"
    assert mined.artefact.plan["scores"][1] == {"name": "splade", "scale": "dot", "origin": "sparse"}
    rows = pq.read_table(Artefact.open(tmp_path / "c").files()[0]).to_pylist()
    model = SparseEncoder(str(tiny_sparse_encoder), device="cpu")
    for query_id, text in QUERIES.items():
        own = [row for row in rows if row["query_id"] == query_id]
        query = model.encode_query(text).to_dense().numpy().astype(np.float64)
        documents = {i: model.encode_document(t).to_dense().numpy().astype(np.float64) for i, t in DOCS.items()}
        scores = {i: float(vector @ query) for i, vector in documents.items()}
        for row in own:
            assert row["score_splade"] == pytest.approx(scores[row["doc_id"]], rel=1e-4)
        by_score = sorted(scores, key=lambda i: -scores[i])[:3]
        assert [r["doc_id"] for r in own if r["rank_splade"]] == by_score
        assert [r["rank_splade"] for r in own if r["rank_splade"]] == [1, 2, 3]
    found = hnmine.filter(tmp_path / "c", tmp_path / "d", options=hnmine.FilterOptions(num_negatives=1))
    assert found.counts["verdicts"]["negative"] == 2


def test_a_damaged_index_is_refused(collection: Path, tmp_path: Path, tiny_sparse_encoder: Path) -> None:
    hnmine.index_sparse(collection, tmp_path / "splade", options=options(tiny_sparse_encoder))
    (tmp_path / "splade/queries/weights.npy").write_bytes(b"")
    with pytest.raises(ArtefactError):
        hnmine.mine(collection, tmp_path / "c", indexes=[tmp_path / "splade"])
