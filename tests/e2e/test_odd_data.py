"""Odd data: a defined result, or a clear error with file, line and value."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import build_cross_encoder
from tests.e2e.harness import Chain, Done, write_beir, write_jsonl

Call = Callable[..., Done]


def rows(artefact: Path) -> list[dict[str, Any]]:
    """All rows of a table."""
    return [row for part in sorted(artefact.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def decided(run: Path) -> dict[str, tuple[str, str]]:
    """(verdict, reason) of each document of a run with one query."""
    return {row["doc_id"]: (row["verdict"], row["reason"]) for row in rows(run / "decisions")}


def test_a_query_with_ten_thousand_positives(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HNMINE_TEST_BLOCK_SIZE")
    count = 10_000
    documents = {f"p{i}": f"horse food number {i}" for i in range(count)}
    documents |= {f"n{i}": f"horse bread number {count + i}" for i in range(50)}
    qrels = [("q", f"p{i}", 1) for i in range(count)]
    data = write_beir(tmp_path / "data", documents, {"q": "horse bread"}, qrels)
    draw = np.random.default_rng(0)
    for name, size in (("documents", len(documents)), ("queries", 1)):
        vectors = draw.normal(size=(size, 384)).astype(np.float32)
        np.save(tmp_path / f"{name}.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    given = ["--vectors", tmp_path / "documents.npy", "--query-vectors", tmp_path / "queries.npy"]

    began = time.process_time()
    done = call(
        "run", data, "-o", tmp_path / "run", *given, "-n", 5, "--judge-by", "bm25", "--rank-by", "bm25", "--json"
    )
    seconds = time.process_time() - began

    assert done.code == 0, done.stderr
    assert seconds < 60
    verdicts = done.json["filter"]["counts"]["verdicts"]
    assert verdicts["positive"] == count
    assert verdicts["negative"] == 5
    assert done.json["export"]["counts"]["rows"] == 5 * count
    table = pq.read_table(tmp_path / "run" / "triplets.parquet")
    assert len(set(table["positive"].to_pylist())) == count
    assert all("bread" in text for text in table["negative"].to_pylist())


def test_a_query_without_positives_is_left_out_and_counted(call: Call, tmp_path: Path) -> None:
    documents = {f"d{i}": f"horse {word}" for i, word in enumerate(["one", "two", "three", "four"])}
    queries = {"q1": "horse one", "q2": "horse two", "q3": "horse three"}
    data = write_beir(tmp_path / "data", documents, queries, [("q1", "d0", 1), ("q2", "d1", 0)])
    done = call("run", data, "-o", tmp_path / "run", "--no-dense", "--json")
    assert done.code == 0, done.stderr
    assert done.json["ingest"]["counts"]["queries"] == 2
    assert done.json["ingest"]["counts"]["left_out"] == {"queries_not_judged": 1}
    assert {row["query_id"] for row in rows(tmp_path / "run" / "candidates")} == {"q1"}


def test_a_corpus_of_one_document(call: Call, tiny_encoder: Path, tmp_path: Path) -> None:
    data = write_beir(tmp_path / "data", {"d": "a horse"}, {"q": "horse"}, [("q", "d", 1)])
    done = call("run", data, "-o", tmp_path / "run", "--model", tiny_encoder)
    assert done.code == 3
    assert "nothing to export" in done.stderr
    assert decided(tmp_path / "run") == {"d": ("positive", "known-positive")}
    assert not (tmp_path / "run" / "triplets.parquet").exists()


def test_k_larger_than_the_corpus(call: Call, tiny_encoder: Path, tmp_path: Path) -> None:
    """No padding leaks out: every row is a document of the corpus, once, with finite scores and ranks 1 to n."""
    documents = {f"d{i}": text for i, text in enumerate(["horse one", "horse two", "baby three", "girl four", "food"])}
    data = write_beir(tmp_path / "data", documents, {"q": "horse"}, [("q", "d0", 1)])
    done = call("run", data, "-o", tmp_path / "run", "--model", tiny_encoder, "-k", 1000, "-n", 50, "--no-margin")
    assert done.code == 0, done.stderr
    found = rows(tmp_path / "run" / "candidates")
    assert sorted(row["doc_id"] for row in found) == sorted(documents)
    assert sorted(row["rank_tiny"] for row in found) == [1, 2, 3, 4, 5]
    assert all(np.isfinite(row["score_tiny"]) and np.isfinite(row["score_bm25"]) for row in found)
    assert {row["doc_id"]: row["rank_bm25"] for row in found if row["rank_bm25"]}.keys() == {"d0", "d1"}


def test_identical_documents(call: Call, tmp_path: Path) -> None:
    documents = {f"d{i}": "a horse eating bread" for i in range(5)} | {f"e{i}": "a horse eating food" for i in range(3)}
    data = write_beir(tmp_path / "data", documents, {"q": "horse eating"}, [("q", "d3", 1)])
    done = call("run", data, "-o", tmp_path / "run", "--no-dense")
    assert done.code == 0, done.stderr
    assert decided(tmp_path / "run") == {
        "d3": ("positive", "known-positive"),
        **{f"d{i}": ("dropped", "same-text-as-positive") for i in (0, 1, 2, 4)},
        "e0": ("negative", "picked"),
        "e1": ("dropped", "same-text-as-candidate"),
        "e2": ("dropped", "same-text-as-candidate"),
    }


@pytest.mark.parametrize("text", ["", "query-id\tcorpus-id\tscore\n", "q\td\t0\n"])
def test_qrels_without_a_positive(text: str, call: Call, tmp_path: Path) -> None:
    data = write_beir(tmp_path / "data", {"d": "a horse", "e": "food"}, {"q": "horse"}, [])
    (data / "qrels" / "train.tsv").write_text(text, encoding="utf-8")
    done = call("run", data, "-o", tmp_path / "run", "--no-dense")
    assert done.code == 3
    assert "no positives" in done.stderr
    assert not (tmp_path / "run" / "collection").exists()


def test_ids_of_every_kind_survive(call: Call, tmp_path: Path) -> None:
    """Blanks, tabs, line ends, quotes, emoji, a path: an id is whatever the user wrote, from input to export."""
    odd = [" a b ", "tab\tid", "line\nend", '"quoted"', "🐎 horse", "../../etc/passwd", "ü/ö", "-", "0"]
    pairs = [
        {"anchor": f"horse number {i}", "positive": f"a horse of number {i}", "qid": f"q{one}", "pid": one}
        for i, one in enumerate(odd)
    ]
    write_jsonl(tmp_path / "pairs.jsonl", pairs)
    columns = ["--anchor-id-column", "qid", "--positive-id-column", "pid"]
    done = call("run", tmp_path / "pairs.jsonl", "-o", tmp_path / "run", "--no-dense", *columns, "-n", 3)
    assert done.code == 0, done.stderr
    found = rows(tmp_path / "run" / "decisions")
    assert {row["query_id"] for row in found} == {f"q{one}" for one in odd}
    assert {row["doc_id"] for row in found} == set(odd)
    assert {row["doc_id"] for row in found if row["query_id"] == "qtab\tid" and row["is_positive"]} == {"tab\tid"}
    ids = pq.read_table(tmp_path / "run" / "triplets.ids.parquet").to_pylist()
    texts = pq.read_table(tmp_path / "run" / "triplets.parquet").to_pylist()
    by_id = {pair["pid"]: pair["positive"] for pair in pairs}
    for row, text in zip(ids, texts, strict=True):
        assert [by_id[one] for one in row["doc_ids"]] == [text["positive"], text["negative"]]
    one = call("inspect", tmp_path / "run", "--query", "qline\nend", "--json")
    assert one.json["query"] == "horse number 2"


def test_a_run_with_odd_ids_is_kept_or_refused_never_split(call: Call, tmp_path: Path) -> None:
    documents = {"d 1": "a horse", "d 2": "a baby", "d": "a girl"}
    data = write_beir(tmp_path / "data", documents, {"q 1": "horse"}, [("q 1", "d 1", 1)])
    run = tmp_path / "other.trec"
    run.write_text("q 1\tQ0\td 1\t1\t9.5\ttag\nq 1\tQ0\td 2\t2\t8.5\ttag\n", encoding="utf-8")
    done = call("mine", data, "--run", run, "-o", tmp_path / "kept")
    assert done.code == 0, done.stderr
    assert {row["doc_id"]: row["score_other"] for row in rows(tmp_path / "kept")} == {"d 1": 9.5, "d 2": 8.5}
    run.write_text("q 1 Q0 d 1 1 9.5 tag\n", encoding="utf-8")
    refused = call("mine", data, "--run", run, "-o", tmp_path / "split")
    assert refused.code == 3
    assert f"{run}:1" in refused.stderr
    run.write_text("q 1\td 9\t1.0\n", encoding="utf-8")
    unknown = call("mine", data, "--run", run, "-o", tmp_path / "split")
    assert unknown.code == 3
    assert f"{run}:1: d 9" in unknown.stderr


def test_a_document_of_five_megabytes(call: Call, tiny_encoder: Path, tmp_path: Path) -> None:
    documents = {"big": "horse bread " * 420_000, "d1": "a horse", "d2": "a horse eating"}
    data = write_beir(tmp_path / "data", documents, {"q": "horse"}, [("q", "d1", 1)])
    began = time.process_time()
    done = call("run", data, "-o", tmp_path / "run", "--model", tiny_encoder, "--no-margin", "--json")
    assert done.code == 0, done.stderr
    assert time.process_time() - began < 60
    assert done.json["index dense"]["counts"]["truncated_documents"] == 1
    assert done.json["index bm25"]["counts"]["tokens"] > 840_000
    negatives = pq.read_table(tmp_path / "run" / "triplets.parquet")["negative"].to_pylist()
    assert documents["big"].strip() in [text.strip() for text in negatives]


def test_a_query_equal_to_a_document(call: Call, tmp_path: Path) -> None:
    documents = {"same": "A horse, eating bread!", "right": "a horse eating food", "wrong": "a horse eating two"}
    data = write_beir(tmp_path / "data", documents, {"q": "a horse eating bread"}, [("q", "right", 1)])
    assert call("run", data, "-o", tmp_path / "run", "--no-dense").code == 0
    assert decided(tmp_path / "run")["same"] == ("dropped", "same-text-as-query")
    assert decided(tmp_path / "run")["wrong"] == ("negative", "picked")


@pytest.fixture(scope="module")
def broken_reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder that gives NaN for every text with the word `baby`."""
    import torch
    import transformers

    folder = build_cross_encoder(tmp_path_factory.mktemp("broken") / "nanny")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    row = transformers.AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids("baby")
    with torch.no_grad():
        model.get_input_embeddings().weight[row] = float("nan")
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("more", [[], ["--no-margin"], ["--min-score", "-100"], ["--short", "relax"]])
def test_nan_from_a_reranker(more: list[str], broken_reranker: Path, chain: Chain, call: Call, tmp_path: Path) -> None:
    scored = tmp_path / "scored"
    command = ["score", chain.path("ingest"), chain.path("mine"), "--reranker", broken_reranker, "-o", scored]
    done = call(*command, "--limit", 30, "--json")
    assert done.code == 0, done.stderr
    table = rows(scored)
    missing = {(row["query_id"], row["doc_id"]) for row in table if row["score_nanny"] is None}
    assert 0 < len(missing) < len(table)
    assert done.json["counts"]["null_scores"] == {"bm25": 0, "dense": 0, "nanny": len(missing)}

    judged = call("filter", scored, "-o", tmp_path / "decided", "--judge-by", "nanny", *more)

    assert judged.code == 0, judged.stderr
    for row in rows(tmp_path / "decided"):
        assert not (row["verdict"] == "negative" and row["score_nanny"] is None)
        if row["reason"] == "no-score":
            assert (row["query_id"], row["doc_id"]) in missing
    reasons = {row["reason"] for row in rows(tmp_path / "decided") if (row["query_id"], row["doc_id"]) in missing}
    assert "no-score" in reasons
    assert reasons <= {"no-score", "known-positive", "same-text-as-positive", "same-text-as-candidate"} | {
        "same-text-as-query"
    }


def test_a_reranker_that_is_passed_over_is_named(
    broken_reranker: Path, chain: Chain, call: Call, tmp_path: Path
) -> None:
    """Not every row has its score, so the dense index judges: the summary says so, and how to change it."""
    scored = tmp_path / "scored"
    command = ["score", chain.path("ingest"), chain.path("mine"), "--reranker", broken_reranker, "-o", scored]
    assert call(*command, "--limit", 10).code == 0
    done = call("filter", scored, "-o", tmp_path / "decided")
    assert done.code == 0
    assert "judged by: dense (cosine)" in done.stderr
    assert "not judged by nanny" in done.stderr
    assert "--judge-by nanny" in done.stderr


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A BEIR directory with something of everything."""
    data = write_beir(
        tmp_path / "data",
        {f"d{i}": f"horse {i}" for i in range(20)},
        {"q1": "horse", "q2": "baby"},
        [("q1", "d1", 1), ("q1", "nowhere", 1), ("nobody", "d2", 1), ("q2", "d3", 1), ("q2", "d3", 2)],
    )
    with open(data / "corpus.jsonl", "a", encoding="utf-8") as corpus:
        for number in range(12):
            corpus.write(json.dumps({"_id": f"d{number}", "title": "", "text": "again"}) + "\n")
        corpus.write('{"_id": "broken", "text": "no end\n')
        corpus.write(json.dumps({"_id": "empty", "title": "", "text": "  "}) + "\n")
    with open(data / "qrels" / "train.tsv", "a", encoding="utf-8") as qrels:
        qrels.write("q1\td4\tmuch\n")
    return data


def test_all_problems_are_shown_together(bad: Path, call: Call, tmp_path: Path) -> None:
    done = call("ingest", bad, "-o", tmp_path / "out")
    assert done.code == 3
    corpus, qrels = bad / "corpus.jsonl", bad / "qrels" / "train.tsv"
    for part in (
        "duplicate document id (12)",
        f"{corpus}:21: d0",
        f"{corpus}:30: d9",
        "... and 2 more",
        "broken JSON (1)",
        f"{corpus}:33: ",
        "empty text (1)",
        f"{corpus}:34: empty",
        "grade not an integer (1)",
        f"{qrels}:7: much",
        "judgment of an unknown document (1)",
        f"{qrels}:3: nowhere",
        "judgment of an unknown query (1)",
        f"{qrels}:4: nobody",
        "two different grades for one pair (1)",
        f"{qrels}:6: q2 d3",
        "18 problems",
    ):
        assert part in done.stderr
    assert f"{corpus}:31: d10" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_skipped_problems_are_counted_in_the_manifest(bad: Path, call: Call, tmp_path: Path) -> None:
    done = call("ingest", bad, "-o", tmp_path / "out", "--on-error", "skip")
    assert done.code == 0, done.stderr
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["counts"]
    assert counts["skipped"] == {
        "broken JSON": 1,
        "duplicate document id": 12,
        "empty text": 1,
        "grade not an integer": 1,
        "judgment of an unknown document": 1,
        "judgment of an unknown query": 1,
        "two different grades for one pair": 1,
    }
    assert (counts["documents"], counts["queries"], counts["judgments"]) == (20, 2, 2)
    texts = pq.read_table(tmp_path / "out" / "documents")["text"].to_pylist()
    assert "again" not in texts


def test_bad_input_leaves_nothing_behind_on_a_resumed_run_either(bad: Path, call: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("ingest", bad, "-o", out, "--on-error", "skip").code == 0
    assert call("ingest", bad, "-o", out, "--overwrite").code == 3
    assert list(out.iterdir()) == []
