"""The evidence table, cell by cell, against brute force over the collection."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import ArtefactError, InputError, UsageError
from hnmine.files.artefact import Artefact
from hnmine.hashing import text_key

DOCS = {
    "d1": "a man is eating food",
    "d2": "a man is eating a piece of bread",
    "d3": "the girl carries a baby",
    "d4": "a man rides a horse",
    "d5": "A man is eating food!",
    "d6": "one two three four",
}
QUERIES = {"q1": "man eating food", "q2": "girl carries baby", "q3": "horse"}
QRELS = [("q1", "d1", 2), ("q1", "d4", 0), ("q1", "d2", 1), ("q2", "d3", 1)]


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """A run directory with both indexes over the collection above."""
    root = tmp_path_factory.mktemp("mined")
    data = root / "data"
    (data / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": i, "title": "", "text": t}) for i, t in DOCS.items()]
    (data / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    lines = [json.dumps({"_id": i, "text": t}) for i, t in QUERIES.items()]
    (data / "queries.jsonl").write_text("\n".join(lines) + "\n")
    rows = "\n".join(f"{q}\t{d}\t{g}" for q, d, g in QRELS)
    (data / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}\n")
    (root / "run.trec").write_text("q1 Q0 d6 1 9.5 sys\nq1 Q0 d3 2 8.5 sys\nq9 Q0 d1 1 1.0 sys\n")
    hnmine.ingest(data, root / "collection")
    hnmine.index_bm25(root / "collection", root / "indexes" / "bm25", options=hnmine.Bm25Options(language="none"))
    options = hnmine.DenseOptions(model=str(tiny_encoder), dtype="fp32", store="fp32")  # type: ignore[arg-type]
    hnmine.index_dense(root / "collection", root / "indexes" / "tiny", options=options)
    return root


def table(root: Path, out: Path, **options: object) -> list[dict[str, object]]:
    indexes = [root / "indexes" / "bm25", root / "indexes" / "tiny"]
    hnmine.mine(root / "collection", out, indexes=indexes, options=hnmine.MineOptions(**options))  # type: ignore[arg-type]
    rows: list[dict[str, object]] = pq.read_table(Artefact.open(out).files()[0]).to_pylist()
    return rows


def bm25(query: str, doc: str) -> float:
    """Lucene's BM25 in plain Python: k1 1.5, b 0.75."""
    docs = [t.lower().replace("!", "").split() for t in DOCS.values()]
    words = doc.lower().replace("!", "").split()
    mean = sum(map(len, docs)) / len(docs)
    total = 0.0
    for word in query.split():
        frequency = sum(word in d for d in docs)
        idf = math.log(1 + (len(docs) - frequency + 0.5) / (frequency + 0.5))
        tf = words.count(word)
        total += idf * tf / (tf + 1.5 * (0.25 + 0.75 * len(words) / mean))
    return total


def test_every_cell(mined: Path, tmp_path: Path) -> None:
    rows = table(mined, tmp_path / "c", top_k=3, run=(f"sys={mined / 'run.trec'}",), min_relevance=2)
    documents = dict(zip(DOCS, np.load(mined / "indexes/tiny/vectors/documents-00000.npy"), strict=True))
    # q3 is not judged, so it is not in the collection; q2's only grade is below the minimum, so it is not mined.
    assert {r["query_id"] for r in rows} == {"q1"}
    query = np.load(mined / "indexes/tiny/vectors/queries-00000.npy")[0]
    cosine = {d: float(v @ query) for d, v in documents.items()}
    lexical = {d: bm25(QUERIES["q1"], t) for d, t in DOCS.items()}
    by_cosine = sorted(DOCS, key=lambda d: (-cosine[d], d))
    by_bm25 = sorted((d for d in DOCS if lexical[d] > 0), key=lambda d: (-lexical[d], d))
    found = {d for order in (by_cosine[:3], by_bm25[:3], ["d6", "d3"], ["d1", "d2", "d4"]) for d in order}
    assert [r["doc_id"] for r in rows] == [d for d in by_cosine if d in found]
    assert {r["doc_id"] for r in rows} == found
    for row in rows:
        d = str(row["doc_id"])
        assert row["score_tiny"] == pytest.approx(cosine[d], abs=1e-5)
        assert row["score_bm25"] == pytest.approx(lexical[d], abs=1e-5)
        assert row["rank_tiny"] == (by_cosine.index(d) + 1 if d in by_cosine[:3] else None)
        assert row["rank_bm25"] == (by_bm25.index(d) + 1 if d in by_bm25[:3] else None)
        assert row["rank_sys"] == {"d6": 1, "d3": 2}.get(d)
        assert row["score_sys"] == {"d6": 9.5, "d3": 8.5}.get(d)
        assert row["relevance"] == {"d1": 2, "d2": 1, "d4": 0}.get(d)
        assert row["is_positive"] is (d == "d1")
        assert row["text_key"] == text_key(DOCS[d])
        nearest = None if d == "d1" else pytest.approx(float(documents[d] @ documents["d1"]), abs=1e-5)
        assert row["sim_positive_tiny"] == nearest
        above = [str(r["doc_id"]) for r in rows[: rows.index(row)] if r["doc_id"] != "d1"]
        highest = max((float(documents[d] @ documents[other]) for other in above), default=None)
        assert row["sim_better_tiny"] == (None if highest is None else pytest.approx(highest, abs=1e-5))
        assert row["has_answer"] is None
        sources = [n for n, brought in (("bm25", by_bm25[:3]), ("tiny", by_cosine[:3])) if d in brought]
        assert row["sources"] == sources + (["run:sys"] if d in ("d6", "d3") else [])


def test_copies_share_a_text_key_and_a_bm25_score(mined: Path, tmp_path: Path) -> None:
    rows = {r["doc_id"]: r for r in table(mined, tmp_path / "c") if r["query_id"] == "q1"}
    assert rows["d1"]["text_key"] == rows["d5"]["text_key"]
    assert rows["d1"]["score_bm25"] == rows["d5"]["score_bm25"]
    assert rows["d1"]["rank_bm25"] + 1 == rows["d5"]["rank_bm25"], "equal scores are ordered by doc_id"  # type: ignore[operator]


def test_k_beyond_the_corpus_brings_every_match_once(mined: Path, tmp_path: Path) -> None:
    rows = [r for r in table(mined, tmp_path / "c", top_k=1_000) if r["query_id"] == "q2"]
    assert sorted(str(r["doc_id"]) for r in rows) == sorted(DOCS)
    assert sorted(r["rank_tiny"] for r in rows) == [1, 2, 3, 4, 5, 6]  # type: ignore[type-var]
    unmatched = [r for r in rows if r["score_bm25"] == 0]
    assert unmatched
    assert all(r["rank_bm25"] is None and "bm25" not in r["sources"] for r in unmatched)  # type: ignore[operator]


def test_random_documents_are_keyed_evidence_and_never_judged(mined: Path, tmp_path: Path) -> None:
    rows = table(mined, tmp_path / "a", top_k=1, random=2, seed=5)
    again = table(mined, tmp_path / "b", top_k=1, random=2, seed=5)
    assert rows == again
    for query in ("q1", "q2"):
        drawn = [r for r in rows if r["query_id"] == query and "random" in r["sources"]]  # type: ignore[operator]
        assert len(drawn) == 2
        assert all(r["relevance"] is None and r["score_tiny"] is not None for r in drawn)
    picks = {
        tuple(
            str(r["doc_id"])
            for r in table(mined, tmp_path / str(s), top_k=1, random=1, seed=s)
            if r["sources"] == ["random"]
        )
        for s in range(6)
    }
    assert len(picks) > 1


def test_limit_is_a_keyed_sample_of_queries(mined: Path, tmp_path: Path) -> None:
    one = {r["query_id"] for r in table(mined, tmp_path / "a", limit=1)}
    assert len(one) == 1
    assert one <= {r["query_id"] for r in table(mined, tmp_path / "b", limit=2)} == {"q1", "q2"}


def test_a_run_with_an_unknown_document_is_refused(mined: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.trec").write_text("q1 Q0 d1 1 2.0 s\nq1 Q0 nope 2 1.0 s\n")
    with pytest.raises(InputError, match=r"bad.trec:2: nope"):
        table(mined, tmp_path / "c", run=(str(tmp_path / "bad.trec"),))


def test_two_sources_of_one_name_and_no_source_are_refused(mined: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two sources are called 'bm25'"):
        table(mined, tmp_path / "c", run=(f"bm25={mined / 'run.trec'}",))
    with pytest.raises(UsageError, match="nothing to mine from"):
        hnmine.mine(mined / "collection", tmp_path / "c")


def test_an_index_of_another_collection_is_refused(mined: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"anchor": "man", "positive": "food"}) + "\n")
    hnmine.ingest(tmp_path / "pairs.jsonl", tmp_path / "other")
    with pytest.raises(ArtefactError, match="another collection"):
        hnmine.mine(tmp_path / "other", tmp_path / "c", indexes=[mined / "indexes" / "bm25"])
