"""`mine --previous`: what an earlier round chose is a candidate again, and what changed is told."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.api import prepare_mine
from hnmine.cli import summary
from hnmine.errors import ArtefactError, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.stages.inspect import query, render

OLD, NEW = {"q1": 0, "q2": 90}, {"q1": 40, "q2": 100}
"""Where the queries point, in degrees, under the model of each round; document dXX points to XX degrees."""
ANGLES = range(0, 180, 10)


def unit(degrees: Any) -> np.ndarray:
    turned = np.radians(np.asarray(list(degrees), np.float64))
    return np.stack([np.cos(turned), np.sin(turned)], axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two queries among documents on a half circle, mined with the old model: one negative each, one in reserve."""
    root = tmp_path_factory.mktemp("previous")
    write_data(root / "data", positives={"q1": "d000", "q2": "d090"})
    hnmine.ingest(root / "data", root / "collection")
    index(root, "old", OLD)
    index(root, "new", NEW)
    mine(root, root / "one", "old", top_k=3)
    decide(root / "one", root / "first")
    return root


def write_data(folder: Path, positives: dict[str, str]) -> None:
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{angle:03}", "text": f"document number {angle}"} for angle in ANGLES]
    asked = [{"_id": name, "text": f"which is it, {name}"} for name in OLD]
    for name, rows in (("corpus", corpus), ("queries", asked)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    lines = "".join(f"{query}\t{document}\t1\n" for query, document in positives.items())
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines, encoding="utf-8")


def index(root: Path, name: str, queries: dict[str, int]) -> None:
    for side, angles in (("documents", ANGLES), ("queries", queries.values())):
        np.save(root / f"{name}-{side}.npy", unit(angles))
    given = {"vectors": str(root / f"{name}-documents.npy"), "query_vectors": str(root / f"{name}-queries.npy")}
    hnmine.index_dense(root / "collection", root / name, options=hnmine.DenseOptions(**given, name="dense"))


def mine(root: Path, output: Path, name: str, **options: Any) -> dict[str, list[dict[str, Any]]]:
    hnmine.mine(root / "collection", output, indexes=[root / name], options=hnmine.MineOptions(**options))
    return by_query(output)


def decide(candidates: Path, output: Path, **options: Any) -> Artefact:
    how = hnmine.FilterOptions(num_negatives=1, no_margin=True, **options)
    artefact = hnmine.filter(candidates, output, options=how).artefact
    assert artefact is not None
    return artefact


def by_query(path: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for file in Artefact.open(path).files():
        for row in pq.read_table(file).to_pylist():
            found.setdefault(row["query_id"], []).append(row)
    return found


def facts(rows: list[dict[str, Any]]) -> dict[str, tuple[list[str], str | None]]:
    return {row["doc_id"]: (row["sources"], row["previous"]) for row in rows}


@pytest.mark.parametrize("size", [100, 1])
def test_earlier_negatives_and_reserve_are_candidates_of_the_new_model(
    root: Path, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", str(size))
    found = mine(root, tmp_path / "two", "new", top_k=3, previous=str(root / "first"))
    assert facts(found["q1"]) == {
        "d040": (["dense"], None),
        "d030": (["dense"], None),
        "d050": (["dense"], None),
        "d020": (["previous"], "reserve"),
        "d010": (["previous"], "negative"),
        "d000": ([], "positive"),
    }
    assert facts(found["q2"]) == {
        "d100": (["dense", "previous"], "reserve"),
        "d090": (["dense"], "positive"),
        "d110": (["dense"], None),
        "d080": (["previous"], "negative"),
    }
    assert [row["score_dense"] for row in found["q1"]] == pytest.approx(
        [np.cos(np.radians(40 - int(row["doc_id"][1:]))) for row in found["q1"]], abs=1e-3
    ), "the new model scores what the old one found"
    counts = Artefact.open(tmp_path / "two").counts
    assert counts["previous"] == {"queries": 2, "negatives": 2, "found_again": 0}
    assert counts["brought"] == {"dense": 6, "previous": 4}


def test_a_block_may_have_no_query_that_was_mined_before(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine(root, tmp_path / "one", "old", top_k=3, limit=1)
    decide(tmp_path / "one", tmp_path / "first")
    (known,) = by_query(tmp_path / "first")
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "1")
    found = mine(root, tmp_path / "two", "new", top_k=3, previous=str(tmp_path / "first"))
    whole = mine(root, tmp_path / "whole", "new", top_k=3, previous=str(root / "first"))
    assert found[known] == whole[known]
    (other,) = OLD.keys() - {known}
    assert {(row["previous"], "previous" in row["sources"]) for row in found[other]} == {(None, False)}


def test_what_changed_is_told_under_the_new_scores(root: Path, tmp_path: Path) -> None:
    mine(root, tmp_path / "two", "new", top_k=3, previous=str(root / "first"))
    counts = decide(tmp_path / "two", tmp_path / "second").counts
    changed = counts["previous"]
    assert {**changed, "p_false_negative": None} == {
        "jaccard": 0.0,
        "kept": 0,
        "new": 2,
        "gone": {"not-needed": 2},
        "p_false_negative": None,
    }
    rows = [row for own in by_query(tmp_path / "second").values() for row in own]
    chosen = {"now": [r for r in rows if r["verdict"] == "negative"]}
    chosen["before"] = [r for r in rows if r["previous"] == "negative"]
    for name, own in chosen.items():
        mean = np.mean([row["p_false_negative"] for row in own])
        assert changed["p_false_negative"][name] == pytest.approx(mean, abs=1e-4)
    # q1: positive at 40 degrees, its earlier negative at 30; q2: 10 and 20.
    before = [np.cos(np.radians(a)) - np.cos(np.radians(b)) for a, b in ((40, 30), (10, 20))]
    assert counts["judge_scores"]["gap before"]["mean"] == pytest.approx(np.mean(before), abs=2e-3)
    now = [np.cos(np.radians(40)) - 1, np.cos(np.radians(10)) - 1]
    assert counts["judge_scores"]["gap"]["mean"] == pytest.approx(np.mean(now), abs=2e-3)
    told = "\n".join(summary.lines("decisions", counts))
    assert "since the round before: Jaccard 0.000, 0 negatives kept, 2 new, 2 gone (not-needed 2)" in told
    looked_into = "\n".join(render(query(tmp_path / "second", "q1"), 80))
    assert "before: reserve" in looked_into
    same = decide(root / "one", tmp_path / "same").counts
    assert "previous" not in same, "a first round says nothing of another"


def test_the_same_model_chooses_the_same_again(root: Path, tmp_path: Path) -> None:
    mine(root, tmp_path / "two", "old", top_k=3, previous=str(root / "first"))
    counts = decide(tmp_path / "two", tmp_path / "second").counts
    assert (counts["previous"]["jaccard"], counts["previous"]["kept"], counts["previous"]["gone"]) == (1.0, 2, {})
    spreads = counts["judge_scores"]
    assert spreads["gap"] == spreads["gap before"]


def test_without_a_search_an_easy_negative_is_replaced_from_the_reserve(root: Path, tmp_path: Path) -> None:
    found = mine(root, tmp_path / "two", "new", top_k=0, previous=str(root / "first"))
    assert list(facts(found["q1"])) == ["d020", "d010", "d000"]
    decide(tmp_path / "two", tmp_path / "second")
    picked = {
        q: [r["doc_id"] for r in rows if r["verdict"] == "negative"] for q, rows in by_query(root / "first").items()
    }
    assert picked == {"q1": ["d010"], "q2": ["d080"]}
    rows = by_query(tmp_path / "second").items()
    assert {q: [r["doc_id"] for r in own if r["verdict"] == "negative"] for q, own in rows} == {
        "q1": ["d020"],
        "q2": ["d100"],
    }


def test_what_was_made_a_positive_stays_one(root: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.qrels"
    labels.write_text("q1 0 d010 1\n", encoding="utf-8")
    relabelled = tmp_path / "relabelled"
    decide(root / "one", relabelled, labels=str(labels), relabel="positive")
    found = mine(root, tmp_path / "two", "new", top_k=3, previous=str(relabelled))
    kinds = {row["doc_id"]: (row["is_positive"], row["relevance"], row["previous"]) for row in found["q1"]}
    assert kinds["d010"] == (True, None, "positive")
    assert [d for d, (is_positive, _, _) in kinds.items() if is_positive] == ["d010", "d000"]
    decide(tmp_path / "two", tmp_path / "second")
    third = mine(root, tmp_path / "third", "new", top_k=3, previous=str(tmp_path / "second"))
    assert [row["doc_id"] for row in third["q1"] if row["is_positive"]] == ["d010", "d000"], "in later rounds too"
    narrowed = mine(
        root, tmp_path / "three", "new", top_k=3, previous=str(relabelled), where="document.doc_id > 'd015'"
    )
    assert set(facts(narrowed["q1"])) == {"d000", "d010", "d020", "d030", "d040", "d050"}, "positives stay"
    assert "d080" in facts(narrowed["q2"])
    listed = tmp_path / "excluded.txt"
    listed.write_text("d010\nd080\n", encoding="utf-8")
    without = mine(root, tmp_path / "four", "new", top_k=3, previous=str(relabelled), exclude_documents=str(listed))
    assert not {"d010", "d080"} & {row["doc_id"] for rows in without.values() for row in rows}


def test_random_rows_are_drawn_anew(root: Path, tmp_path: Path) -> None:
    mine(root, tmp_path / "one", "old", top_k=2, random=4)
    decide(tmp_path / "one", tmp_path / "first")
    drawn = {
        (q, r["doc_id"]) for q, rows in by_query(tmp_path / "first").items() for r in rows if r["sources"] == ["random"]
    }
    assert len(drawn) > 3
    found = mine(root, tmp_path / "two", "new", top_k=2, previous=str(tmp_path / "first"))
    brought = {(q, r["doc_id"]) for q, rows in found.items() for r in rows if "previous" in r["sources"]}
    assert brought == {("q1", "d010"), ("q2", "d080")}


def test_an_earlier_round_that_does_not_fit_is_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="decisions"):
        mine(root, tmp_path / "a", "new", previous=str(root / "one"))
    write_data(tmp_path / "other", positives={"q1": "d000"})
    hnmine.ingest(tmp_path / "other", tmp_path / "collection")
    with pytest.raises(ArtefactError, match="was made from another collection"):
        hnmine.mine(
            tmp_path / "collection",
            tmp_path / "b",
            options=hnmine.MineOptions(previous=str(root / "first"), random=1),
        )
    few = {seed: "".join(mine(root, tmp_path / f"few{seed}", "old", limit=1, seed=seed)) for seed in range(8)}
    other = next(seed for seed, name in few.items() if name != few[0])
    decide(tmp_path / f"few{other}", tmp_path / "other-query")
    with pytest.raises(UsageError, match="none of the queries that are mined here was mined there"):
        mine(root, tmp_path / "c", "new", limit=1, previous=str(tmp_path / "other-query"))
    some = mine(root, tmp_path / "d", "new", top_k=3, previous=str(tmp_path / "other-query"))
    assert {row["previous"] for row in some[few[0]]} == {None}, "a query that the earlier round did not have"
    assert decide(tmp_path / "d", tmp_path / "e").counts["previous"]["new"] == 1


def test_the_whole_chain_asks_for_the_earlier_round_first(root: Path, tmp_path: Path) -> None:
    dense = hnmine.DenseOptions(keep_documents=str(tmp_path / "nowhere"))
    how = hnmine.MineOptions(previous=str(tmp_path / "nothing"))
    with pytest.raises(ArtefactError, match=r"(?s)nothing does not exist.*nowhere does not exist"):
        hnmine.run(root / "collection", tmp_path / "run", options=hnmine.RunOptions(mine=how, dense=dense))
    assert not (tmp_path / "run").exists()
    stage = prepare_mine(
        root / "collection",
        [str(root / "new")],
        options=hnmine.MineOptions(previous=str(root / "first"), top_k=3),
        hits=None,
        input=hnmine.InputOptions(),
        cache=tmp_path / "cache",
        how=Execution(),
    )
    mine(root, tmp_path / "two", "new", top_k=3, previous=str(root / "first"))
    pickle.loads(pickle.dumps(stage)).run(tmp_path / "travelled", Execution())
    assert by_query(tmp_path / "travelled") == by_query(tmp_path / "two")


def test_deepening_knows_of_the_earlier_round(root: Path, tmp_path: Path) -> None:
    mine(root, tmp_path / "two", "new", top_k=3, previous=str(root / "first"))
    hnmine.filter(tmp_path / "two", tmp_path / "d", options=hnmine.FilterOptions(num_negatives=6, no_margin=True))
    with pytest.raises(UsageError, match="mined with another --previous"):
        mine(root, tmp_path / "a", "new", deepen_from=str(tmp_path / "d"))
    deeper = mine(root, tmp_path / "b", "new", deepen_from=str(tmp_path / "d"), previous=str(root / "first"))
    assert facts(deeper["q1"])["d010"] == (["dense", "previous"], "negative")
