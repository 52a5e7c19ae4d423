"""Bugs read in other tools (shared notes, "Bugs read in other tools"), each with a test of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.core.evidence import Evidence
from hnmine.core.rules.ceiling import RelativeMargin
from hnmine.options import Anchor
from tests.conftest import build_encoder
from tests.e2e.harness import Chain, Done, contents, write_beir

Call = Callable[..., Done]


def rows(artefact: Path) -> list[dict[str, Any]]:
    """All rows of a table."""
    return [row for part in sorted(artefact.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def decide(call: Call, folder: Path, documents: dict[str, str], query: str, *flags: object) -> list[dict[str, Any]]:
    """The decisions about one query whose positive is `right`, by BM25, in the table's order."""
    data = write_beir(folder / "data", documents, {"q": query}, [("q", "right", 1)])
    done = call("run", data, "-o", folder / "run", "--no-dense", *flags)
    assert done.code in (0, 3), done.stderr
    return rows(folder / "run" / "decisions")


def verdicts(found: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """(verdict, reason) by document."""
    return {row["doc_id"]: (row["verdict"], row["reason"]) for row in found}


def test_the_querys_own_text_is_not_its_negative(call: Call, tmp_path: Path) -> None:
    documents = {"own": "Horse eating bread.", "right": "the horse eats bread", "wrong": "a horse in the rain"}
    found = verdicts(decide(call, tmp_path, documents, "horse eating bread"))
    assert found["own"] == ("dropped", "same-text-as-query")
    assert found["wrong"] == ("negative", "picked")


@pytest.mark.parametrize(
    "copy", ["the  horse eats bread", "The horse eats bread.", "the horse eats bread\n", "ｔhe horse eats bread"]
)
def test_a_copy_of_the_positive_with_one_more_space_is_not_a_negative(copy: str, call: Call, tmp_path: Path) -> None:
    documents = {"copy": copy, "right": "the horse eats bread", "wrong": "a horse in the rain"}
    found = verdicts(decide(call, tmp_path, documents, "horse bread"))
    assert found["copy"] == ("dropped", "same-text-as-positive")
    assert found["wrong"] == ("negative", "picked")


def test_a_rank_skip_is_counted_before_the_other_rules(call: Call, tmp_path: Path) -> None:
    """Ranks are the retriever's, positives counted: `--skip-top 3` takes ranks 1 to 3, whatever other rules drop."""
    documents = {
        "copy": "horse horse bread",
        "right": "horse, horse bread",
        **{f"n{i}": "horse bread" + " rain" * i for i in range(1, 5)},
    }
    found = decide(call, tmp_path, documents, "horse bread", "--skip-top", 3)
    by_rank = {row["rank_bm25"]: row for row in found}
    assert {by_rank[1]["doc_id"], by_rank[2]["doc_id"]} == {"copy", "right"}
    assert verdicts(found) == {
        "copy": ("dropped", "skip-top"),
        "right": ("positive", "known-positive"),
        "n1": ("dropped", "skip-top"),
        "n2": ("negative", "picked"),
        "n3": ("negative", "picked"),
        "n4": ("negative", "picked"),
    }


def test_a_cross_encoder_that_is_asked_for_runs(
    chain: Chain, call: Call, tiny_cross_encoder: Path, tmp_path: Path
) -> None:
    """Its scores are those of the model itself, and they decide."""
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    flags = ["--reranker", tiny_cross_encoder, "--dtype", "fp32", "--limit", 5, "--no-dense", "-k", 10]
    done = call("run", chain.path("ingest"), "-o", tmp_path / "run", *flags, "--json")
    assert done.code == 0, done.stderr
    assert "judged by: tiny (logit)" in done.stderr
    found = rows(tmp_path / "run" / "decisions")
    documents = pq.read_table(chain.path("ingest") / "documents").to_pylist()
    queries = pq.read_table(chain.path("ingest") / "queries").to_pylist()
    document = {row["doc_id"]: row["text"] for row in documents}
    query = {row["query_id"]: row["text"] for row in queries}
    pairs = [(query[row["query_id"]], document[row["doc_id"]]) for row in found]
    expected = CrossEncoder(str(tiny_cross_encoder), device="cpu").predict(pairs, activation_fn=Identity())
    np.testing.assert_allclose([row["score_tiny"] for row in found], expected, atol=1e-4)
    assert any(row["reason"] == "absolute-margin" for row in found)


def test_two_models_of_one_name_have_vectors_of_their_own(chain: Chain, call: Call, tmp_path: Path) -> None:
    made = []
    for seed in (0, 1):
        model = build_encoder(tmp_path / str(seed) / "model", seed=seed)
        out = tmp_path / f"index{seed}"
        assert call("index", "dense", chain.path("ingest"), "--model", model, "-o", out).code == 0
        made.append(np.load(out / "vectors" / "documents-00000.npy"))
    assert np.abs(made[0].astype(np.float32) - made[1].astype(np.float32)).max() > 0.1


@pytest.mark.parametrize("flag", ["--anchor-column", "--positive-column", "--anchor-id-column"])
def test_a_mistyped_column_is_refused_not_replaced(flag: str, call: Call, tmp_path: Path) -> None:
    table = pa.table({"first": ["x"], "question": ["a horse"], "answer": ["it rides"], "number": ["1"]})
    pq.write_table(table, tmp_path / "pairs.parquet")
    flags = {"--anchor-column": "question", "--positive-column": "answer", "--anchor-id-column": "number"}
    mistyped = {**flags, flag: flags[flag][:-1] + "_"}
    done = call(
        "ingest", tmp_path / "pairs.parquet", "-o", tmp_path / "out", *[x for kv in mistyped.items() for x in kv]
    )
    assert done.code in (2, 3)
    assert mistyped[flag] in done.stderr
    assert flags[flag] in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_relative_margin_does_not_invert_on_negative_scores() -> None:
    """With s(p) = -10 and 5 %, the ceiling is -10.5: `s(p) * 0.95` would be -9.5, above the positive."""
    scores = np.array([-10.0, -9.8, -10.2, -10.6])
    evidence = Evidence(
        offsets=np.array([0, 4]),
        judge=scores,
        rank=np.zeros(4, np.int64),
        is_positive=np.array([True, False, False, False]),
        is_judged=np.array([True, False, False, False]),
        is_low_grade=np.zeros(4, np.bool_),
        text_key=np.arange(4, dtype=np.uint64),
        query_key=np.array([9], np.uint64),
        is_random=np.zeros(4, np.bool_),
        is_curated=np.zeros(4, np.bool_),
        scores={},
        ranks={},
        sim_positive={},
    )
    assert RelativeMargin(0.05, Anchor.MIN).drops(evidence, np.ones(4, np.bool_)).tolist() == [False, True, True, False]


def test_padding_never_becomes_a_negative(call: Call, tiny_encoder: Path, tmp_path: Path) -> None:
    documents = {"right": "horse one", "n1": "horse two", "n2": "baby", "n3": "girl three"}
    data = write_beir(tmp_path / "data", documents, {"q": "horse", "r": "zebra"}, [("q", "right", 1), ("r", "n2", 1)])
    flags = ["--model", tiny_encoder, "-k", 50, "-n", 50, "--no-margin"]
    assert call("run", data, "-o", tmp_path / "run", *flags).code == 0
    negatives = [row for row in rows(tmp_path / "run" / "decisions") if row["verdict"] == "negative"]
    assert len(negatives) == 6
    assert all(np.isfinite(row["score_tiny"]) and row["doc_id"] in documents for row in negatives)


def test_random_texts_are_filled_in_only_when_asked_and_with_a_mark(call: Call, tmp_path: Path) -> None:
    documents = {"right": "horse bread", "n1": "horse rain", **{f"far{i}": f"word{i}" for i in range(20)}}
    kept = decide(call, tmp_path / "kept", documents, "horse", "-n", 4, "--random", 6)
    assert [row["doc_id"] for row in kept if row["verdict"] == "negative"] == ["n1"]
    assert {row["reason"] for row in kept if row["sources"] == ["random"]} == {"random-reserve"}

    filled = decide(call, tmp_path / "filled", documents, "horse", "-n", 4, "--random", 6, "--short", "random")
    negatives = sorted((row for row in filled if row["verdict"] == "negative"), key=lambda row: row["pick_rank"])
    assert [row["step"] for row in negatives] == ["none", "random", "random", "random"]
    assert all(row["sources"] == ["random"] for row in negatives[1:])
    ids = pq.read_table(tmp_path / "filled" / "run" / "triplets.ids.parquet").to_pylist()
    assert sorted(row["steps"][1] for row in ids) == ["none", "random", "random", "random"]


def test_a_trec_run_of_six_columns_is_read(chain: Chain, call: Call, tmp_path: Path) -> None:
    run = tmp_path / "splade.trec"
    run.write_text("q1 Q0 d5 1 3.5 splade\nq1 Q0 d6 2 2.5 splade\nq2 Q0 d7 1 1.5 splade\n", encoding="utf-8")
    done = call("mine", chain.path("ingest"), "--run", run, "-o", tmp_path / "mined")
    assert done.code == 0, done.stderr
    found = {(row["query_id"], row["doc_id"]): row for row in rows(tmp_path / "mined") if row["rank_splade"]}
    assert {pair: (row["rank_splade"], row["score_splade"]) for pair, row in found.items()} == {
        ("q1", "d5"): (1, 3.5),
        ("q1", "d6"): (2, 2.5),
        ("q2", "d7"): (1, 1.5),
    }
    assert all("run:splade" in row["sources"] for row in found.values())


def test_ids_are_never_split_on_spaces(call: Call, tmp_path: Path) -> None:
    documents = {"d 1": "a horse", "d 2": "a horse rides", "d": "a baby", "1": "two"}
    data = write_beir(tmp_path / "data", documents, {"q 1": "horse"}, [("q 1", "d 1", 1)])
    assert call("run", data, "-o", tmp_path / "run", "--no-dense").code == 0
    found = verdicts(rows(tmp_path / "run" / "decisions"))
    assert found == {"d 1": ("positive", "known-positive"), "d 2": ("negative", "picked")}


def test_a_finished_artefact_does_not_answer_for_other_parameters(chain: Chain, call: Call, tmp_path: Path) -> None:
    assert call(*chain.command("mine", tmp_path)).code == 0
    before = contents(tmp_path / "mine")
    assert call(*chain.command("mine", tmp_path, "--seed", "1")).code == 4
    assert contents(tmp_path / "mine") == before


def test_ranks_count_from_one_in_the_order_of_the_scores(chain: Chain) -> None:
    found = rows(chain.path("mine"))
    for query in {row["query_id"] for row in found}:
        for name in ("bm25", "dense"):
            own = [row for row in found if row["query_id"] == query and row[f"rank_{name}"] is not None]
            ordered = sorted(own, key=lambda row: (-row[f"score_{name}"], row["doc_id"]))
            assert [row[f"rank_{name}"] for row in ordered] == list(range(1, len(own) + 1))
            assert len(own) <= 20
            assert own or name == "bm25"  # a query of stop words alone
            assert all(name in row["sources"] for row in own)


def test_a_crash_writes_its_trace_to_stderr(chain: Chain, tmp_path: Path, cache: Path) -> None:
    import subprocess
    import sys

    from tests.e2e.harness import environment

    script = (
        "import sys, hnmine.stages.inspect as i\n"
        "i.overview = lambda path: 1 / 0\n"
        "from hnmine.cli import main\n"
        f"sys.argv = ['hnmine', 'inspect', {str(chain.root)!r}, '--json']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(cache), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "ZeroDivisionError" in done.stderr
