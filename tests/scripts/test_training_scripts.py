"""Both training scripts from start to end, on generated data and models made from nothing; and their arithmetic."""

from __future__ import annotations

import importlib.util
import io
import json
import random
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from tests.e2e.harness import in_this_process

pytest.importorskip("sentence_transformers")
pytest.importorskip("datasets")
pytest.importorskip("ir_measures")

ROOT = Path(__file__).parents[2]
WORDS = ["man", "eating", "food", "piece", "bread", "girl", "carries", "baby", "horse", "rides", "one", "two", "three"]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def call(name: str, *arguments: object) -> str:
    """Run a script, and the commands of hnmine that it starts, in this process; returns what it prints."""
    printed = io.StringIO()
    with (
        patch.object(sys, "argv", [name, *map(str, arguments)]),
        patch.object(sys, "path", [str(ROOT / "scripts"), *sys.path]),  # some import another script
        patch("subprocess.run", in_this_process),
        redirect_stdout(printed),
    ):
        script(name).main()
    return printed.getvalue()


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 documents of three words; a query has the words of its positive: 40 to train, 10 to test."""
    folder = tmp_path_factory.mktemp("beir") / "generated"
    (folder / "qrels").mkdir(parents=True)
    draw, triples = random.Random(2), dict[tuple[str, ...], None]()
    while len(triples) < 60:
        triples[tuple(sorted(draw.sample(WORDS, 3)))] = None
    documents = [{"_id": f"d{row}", "text": " ".join(words)} for row, words in enumerate(triples)]
    queries = [{"_id": f"q{row}", "text": " ".join(reversed(words))} for row, words in enumerate(list(triples)[:50])]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name, low, high in (("train", 0, 40), ("test", 40, 50)):
        lines = "".join(f"q{row}\td{row}\t1\n" for row in range(low, high))
        (folder / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines, encoding="utf-8")
    return folder


def test_sign_flips_are_an_exact_count_when_they_can_be() -> None:
    # Of the 8 sign patterns of three equal differences, two are as extreme as the observed one: p = 1/4.
    assert script("bench_training").sign_flips(np.array([1.0, 1.0, 1.0])) == pytest.approx(0.25, abs=0.02)
    assert script("bench_training").sign_flips(np.array([1.0, -1.0])) == 1.0
    assert script("bench_training").sign_flips(np.full(30, 0.2)) < 0.001


def test_comparison_averages_seeds_before_queries() -> None:
    ours = [{"queries": {"a": {"m": 1.0}, "b": {"m": 0.5}}}, {"queries": {"a": {"m": 0.0}, "b": {"m": 0.5}}}]
    other = [{"queries": {"b": {"m": 0.0}, "a": {"m": 0.5}}}]
    found = script("bench_training").compare({"hnmine": ours, "other": other})
    assert found["hnmine"]["m"] == {"mean": 0.5, "sd_over_seeds": pytest.approx(0.5 / 2**0.5)}
    assert found["other"]["m"]["sd_over_seeds"] is None
    assert found["other"]["m"]["mean"] == 0.25
    assert found["other"]["m"]["hnmine_minus_this"] == 0.25


def test_split_by_hash_keeps_texts_apart(beir: Path, tmp_path: Path) -> None:
    module = script("bench_training")
    (tmp_path / "qrels").mkdir()
    queries = {f"q{row}": f"text {row}" for row in range(200)} | {f"copy{row}": f"Text {row}!" for row in range(200)}
    lines = "".join(f"{query}\td0\t1\n" for query in queries)
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines, encoding="utf-8")
    train, test = module.split(tmp_path, queries)
    numbers = [{query.lstrip("copyq") for query in part} for part in (train, test)]
    assert not numbers[0] & numbers[1]
    assert 50 < len(test) < 110
    assert module.split(beir, {f"q{row}": str(row) for row in range(50)})[1].keys() == {f"q{r}" for r in range(40, 50)}


def test_quality_of_each_order_and_of_their_fusion() -> None:
    def row(
        doc_id: str, ranks: tuple[int | None, int | None], reranker: float, relevance: int | None
    ) -> dict[str, Any]:
        scores = {"score_bm25": 9.0 - (ranks[0] or 9), "score_dense": 0.9 - (ranks[1] or 9) / 10}
        known = {"query_id": "q", "doc_id": doc_id, "relevance": relevance, "is_positive": relevance is not None}
        return {**known, "rank_bm25": ranks[0], "rank_dense": ranks[1], **scores, "score_reranker": reranker}

    rows = [row("a", (1, 3), 3.0, None), row("p", (2, 1), 2.0, 1), row("b", (3, 2), -1.0, None)]
    # Nobody brought the other positive, so it counts as missed, whatever its score.
    found = script("train_reranker").quality([*rows, row("far", (None, None), 9.0, 1)])
    ideal = 1 + 1 / np.log2(3)
    first = {"nDCG@10": round(1 / ideal, 4), "RR@10": 1.0}
    second = {"nDCG@10": round(1 / np.log2(3) / ideal, 4), "RR@10": 0.5}
    # Fused, k = 20: p = 1/22 + 1/21 before a = 1/21 + 1/23; with the reranker a = 2/21 + 1/23 before p = 2/22 + 1/21.
    assert found == {
        "queries": 1,
        "bm25": second,
        "dense": first,
        "reranker": second,
        "bm25 + dense": first,
        "bm25 + dense + reranker": second,
    }


def test_logits_become_probabilities_at_the_odds_that_were_asked_for() -> None:
    # One of five and three of four are relevant; the five others count as four, one to each that is relevant.
    logits, relevant = [0.0] * 5 + [1.0] * 4, [1, 0, 0, 0, 0, 1, 1, 1, 0]
    scale, shift = script("train_reranker").calibration(np.array(logits), relevant, 1)
    assert shift == pytest.approx(np.log(1 / (4 * 0.8)))
    assert scale + shift == pytest.approx(np.log(3 / 0.8))
    with pytest.raises(ValueError, match="learned nothing"):
        script("train_reranker").calibration(-np.array(logits), relevant, 1)


def test_titles_are_queries_for_their_own_documents_but_not_those_of_the_test(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    documents = [("d1", "One", "a"), ("d2", "", "b"), ("d3", "Three", "c")]
    lines = [json.dumps({"_id": i, "title": title, "text": text}) for i, title, text in documents]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td3\t1\n", encoding="utf-8")
    found = script("train_reranker").titles(tmp_path, tmp_path / "titles")
    assert [json.loads(line) for line in (found / "queries.jsonl").read_text().splitlines()] == [
        {"_id": "d1", "text": "One"}
    ]
    assert [json.loads(line)["text"] for line in (found / "corpus.jsonl").read_text().splitlines()] == ["a", "b", "c"]
    assert (found / "qrels" / "train.tsv").read_text() == "query-id\tcorpus-id\tscore\nd1\td1\t1\n"
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td1\t1\nq\td3\t1\n")
    assert script("train_reranker").titles(tmp_path, tmp_path / "none") is None


@pytest.mark.slow
def test_reranker_is_trained_and_judges(beir: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    options = ("--steps", 4, "--limit", 20, "--test-queries", 5, "--max-length", 32)
    outputs = [
        json.loads(call("train_reranker", tmp_path / name, "--data", beir, "--model", tiny_encoder, *options))
        for name in ("one", "two")
    ]
    held_out = outputs[0]["held_out"]["generated"]
    assert held_out["queries"] == 5
    assert outputs[0]["lists"]["generated"] == 20
    assert 0 < held_out["bm25 + dense + reranker"]["nDCG@10"] <= 1
    assert outputs[0]["calibration"]["candidates"] >= 5
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_training_bench_goes_on_where_it_was(beir: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    options = ("--model", tiny_encoder, "--steps", 2, "--batch", 4, "--negatives", 2, "--seeds", 1, "--limit", 30)
    arms = ("--arm", "loose=--no-margin")
    page = call("bench_training", tmp_path / "out", f"tiny={beir}", *options, *arms)
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    found = results["collections"]["tiny"]
    assert (found["documents"], found["training_queries"], found["test_queries"]) == (60, 30, 10)
    assert list(found["arms"]) == ["untrained", "hnmine", "sentence-transformers", "bm25", "random", "loose"]
    assert found["arms"]["random"]["rows"] == found["arms"]["loose"]["rows"] == 30
    assert all(0 <= arm["R@100"]["mean"] <= 1 for arm in found["arms"].values())
    assert page.count("| tiny |") == 6
    cells = tmp_path / "out" / "tiny" / "cells"
    before = {path.name: path.read_bytes() for path in cells.iterdir()}
    (cells / "bm25-0.json").unlink()
    call("bench_training", tmp_path / "out", f"tiny={beir}", *options, *arms)
    after = {path.name: path.read_bytes() for path in cells.iterdir()}
    assert before.keys() == after.keys()
    again = json.loads(after.pop("bm25-0.json"))
    assert again["queries"] == json.loads(before.pop("bm25-0.json"))["queries"]
    assert before == after


@pytest.mark.slow
def test_relabelling_bench_counts_and_trains(
    beir: Path, tiny_encoder: Path, tiny_cross_encoder: Path, tmp_path: Path
) -> None:
    """Every other query's positive is known to be relevant to its neighbour too, which the miner is not told."""
    folder = tmp_path / "judged"
    (folder / "qrels").mkdir(parents=True)
    for name in ("corpus", "queries"):
        (folder / f"{name}.jsonl").write_bytes((beir / f"{name}.jsonl").read_bytes())
    head, known = "query-id\tcorpus-id\tscore\n", [f"q{row}\td{row}\t1\n" for row in range(40)]
    (folder / "qrels" / "sparse1.tsv").write_text(head + "".join(known))
    further = [f"q{row}\td{row + 1}\t1\n" for row in range(0, 40, 2)]
    (folder / "qrels" / "test.tsv").write_text(head + "".join(known + further))
    options = (
        "--reranker",
        tiny_cross_encoder,
        "--model",
        tiny_encoder,
        "--pair-length",
        32,
        "--steps",
        1,
        "--seeds",
        1,
    )
    arms = ("--arms", "none-off", "none-right")
    page = call("bench_relabel", tmp_path / "out", f"tiny={folder}", *options, *arms)
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    found = results["collections"]["tiny"]
    assert list(found) == [
        f"{rules}-{mode}" for rules in ("none", "default") for mode in ("off", "drop", "positive", "right")
    ]
    off, drop, new, right = (found[f"none-{mode}"] for mode in ("off", "drop", "positive", "right"))
    assert 40 * 25 <= off["scored"] < 40 * 26, "25 of each query, and what ties with the last"
    assert 0 < off["scored_relevant"] <= 20
    assert off["negatives"] == 40 * 7
    assert (drop["called"], drop["negatives_relevant"]) == (new["called"], new["negatives_relevant"])
    assert right["called_relevant"] == right["called"] == right["new"] == off["scored_relevant"]
    students = results["students"]
    assert list(students) == ["untrained", "none-off", "none-right"]
    assert sum(students["none-off"]["rows"]) == 40
    assert sum(students["none-right"]["rows"]) == 40 + right["new"]
    assert page.count("| tiny |") == 8 + 1, "a line for each setting, and a column of the students"
