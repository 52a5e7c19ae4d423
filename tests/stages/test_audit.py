"""`audit` finds what was planted in training files of every layout, and nothing in clean ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import hnmine
from hnmine import api
from hnmine.cli.app import app
from hnmine.core.audit import counts_by, is_among, lowest_by, pair_hashes
from hnmine.errors import InputError, UsageError
from hnmine.options import AuditOptions

CLEAN = [
    {"anchor": "why", "positive": "because", "negative_1": "where", "negative_2": "when"},
    {"anchor": "who", "positive": "me", "negative_1": "you", "negative_2": "they"},
]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def audited(path: Path, **options: object) -> dict[str, Any]:
    return api.audit(path, options=AuditOptions(**options))  # type: ignore[arg-type]


def problems(report: dict[str, Any]) -> dict[str, int]:
    return {kind: count for kind, count in report["problems"].items() if count}


def test_a_clean_file_has_no_problem(tmp_path: Path) -> None:
    report = audited(jsonl(tmp_path / "a.jsonl", CLEAN), min_negatives=2)
    assert problems(report) == {}
    assert (report["rows"], report["queries"], report["positives"], report["negatives"]) == (2, 2, 2, 4)
    assert report["coverage"] == 1.0
    assert report["false_negative_rate"] is None
    assert report["judged_share"] is None
    assert report["mean_gap"] is None
    assert len(report["unchecked"]) == 5


def test_more_labels_than_documents_are_told_with_the_row(tmp_path: Path) -> None:
    rows = [{"query": "q", "documents": ["a", "b"], "labels": labels} for labels in ([1, 0], [1, 0, 0])]
    with pytest.raises(InputError, match=r"more labels than documents \(1\)\n  .*a.jsonl:2: 3 for 2"):
        audited(jsonl(tmp_path / "a.jsonl", rows))


def test_a_score_that_no_float_holds_is_not_finite(tmp_path: Path) -> None:
    row = {"query": "q", "pos": ["a"], "neg": ["b"], "pos_scores": [10**400], "neg_scores": [1.0]}
    assert problems(audited(jsonl(tmp_path / "a.jsonl", [row]), min_negatives=1)) == {"non-finite-score": 1}


def pairs(rows: list[dict[str, Any]]) -> list[tuple[str, list[str], list[str]]]:
    return [(r["anchor"], [r["positive"]], [r["negative_1"], r["negative_2"]]) for r in rows]


def as_triplets(rows: list[tuple[str, list[str], list[str]]]) -> list[dict[str, Any]]:
    return [{"anchor": a, "positive": p, "negative": n} for a, ps, ns in rows for p in ps for n in ns]


def as_flag_embedding(rows: list[tuple[str, list[str], list[str]]]) -> list[dict[str, Any]]:
    return [{"query": a, "pos": ps, "neg": ns} for a, ps, ns in rows]


def as_labeled_list(rows: list[tuple[str, list[str], list[str]]]) -> list[dict[str, Any]]:
    return [{"query": a, "documents": [*ps, *ns], "labels": [1] * len(ps) + [0] * len(ns)} for a, ps, ns in rows]


def as_labeled_pairs(rows: list[tuple[str, list[str], list[str]]]) -> list[dict[str, Any]]:
    return [
        {"query": a, "document": t, "label": label}
        for a, ps, ns in rows
        for label, ts in ((1, ps), (0, ns))
        for t in ts
    ]


def as_sentence_transformers_pairs(rows: list[tuple[str, list[str], list[str]]]) -> list[dict[str, Any]]:
    return [{"anchor": r["query"], "positive": r["document"], "label": r["label"]} for r in as_labeled_pairs(rows)]


def as_tevatron(rows: list[tuple[str, list[str], list[str]]]) -> list[dict[str, Any]]:
    def passages(texts: list[str]) -> list[dict[str, str]]:
        return [{"docid": t, "title": "", "text": t} for t in texts]

    return [{"query": a, "positive_passages": passages(p), "negative_passages": passages(n)} for a, p, n in rows]


LAYOUTS = [
    as_triplets,
    as_flag_embedding,
    as_labeled_list,
    as_labeled_pairs,
    as_sentence_transformers_pairs,
    as_tevatron,
]

PLANTED = [
    ("why", ["because"], ["where", "Be-cause "]),  # a copy of its own positive
    ("Who?", ["me"], ["they", "who"]),  # its own text
    ("why", ["reason"], ["because", "elsewhere"]),  # a positive of the same query in another row
    ("how", ["so"], ["held", "elsewhere"]),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_what_was_planted_is_found_in_every_layout(
    tmp_path: Path, suffix: str, layout: Callable[[Any], list[dict[str, Any]]]
) -> None:
    rows = layout(PLANTED)
    path = tmp_path / f"x.{suffix}"
    if suffix == "jsonl":
        jsonl(path, rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    (tmp_path / "q.txt").write_text("HOW\n")
    (tmp_path / "d.txt").write_text("held\n")
    report = audited(path, held_out_queries=str(tmp_path / "q.txt"), held_out_documents=str(tmp_path / "d.txt"))
    held = report["problems"].pop("held-out-query")
    assert held == sum(r.get("anchor", r.get("query")) == "how" for r in rows)
    assert problems(report) == {"positive-among-negatives": 2, "query-as-negative": 1, "held-out-document": 1}
    assert report["queries"] == 3
    assert report["negatives"] == 8
    where = [found["where"] for found in report["first"]["query-as-negative"]]
    texts = [json.dumps(row) for row in rows]
    expected = next(i for i, t in enumerate(texts, 1) if '"Who?"' in t and '"who"' in t)
    assert where == [f"{path}:{expected}"]


def test_rows_that_repeat_and_rows_that_lack(tmp_path: Path) -> None:
    rows = [
        {"query": "a", "pos": ["p"], "neg": ["x", "X.", "y"]},
        {"query": "b", "pos": ["p"], "neg": []},
        {"query": "c", "pos": [" "], "neg": ["x", ""]},
        {"query": "", "pos": ["p"], "neg": ["x", "y"]},
    ]
    report = audited(jsonl(tmp_path / "x.jsonl", rows), min_negatives=2)
    # "a" has two distinct negatives; "c" has "x" and an empty text, which counts as one more.
    assert problems(report) == {"repeated-negative": 1, "empty-text": 3, "too-few-negatives": 1}
    assert report["first"]["too-few-negatives"] == [{"where": f"{tmp_path / 'x.jsonl'}:2", "value": "b"}]


def test_scores_make_the_gap_and_bad_ones_are_told(tmp_path: Path) -> None:
    rows = [
        # Two positives: the anchor is the lower one, 0.7; gaps 0.2 and 0.1.
        {"query": "a", "pos": ["p", "o"], "neg": ["x", "y"], "pos_scores": [0.9, 0.7], "neg_scores": [0.5, 0.6]},
        {"query": "b", "pos": ["p"], "neg": ["x", "y"], "pos_scores": [0.5], "neg_scores": [0.8, None]},
    ]
    report = audited(jsonl(tmp_path / "x.jsonl", rows))
    assert report["mean_gap"] == pytest.approx((0.2 + 0.1 - 0.3) / 3)
    assert problems(report) == {"non-finite-score": 1}
    table = pa.table({"anchor": ["a"], "positive": ["p"], "negative": ["n"], "scores": [[0.5, float("inf")]]})
    pq.write_table(table, tmp_path / "y.parquet")
    assert problems(audited(tmp_path / "y.parquet")) == {"non-finite-score": 1}


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, queries and full judgments: of "why", d2 is relevant and d3 is not, d1 is the positive."""
    root = tmp_path_factory.mktemp("truth")
    docs = {"d1": "because", "d2": "it was so", "d3": "where", "d4": "when", "d5": "reason"}
    jsonl(root / "corpus.jsonl", [{"_id": d, "title": "", "text": t} for d, t in docs.items()])
    jsonl(root / "queries.jsonl", [{"_id": "q1", "text": "why"}, {"_id": "q2", "text": "who"}])
    (root / "full.tsv").write_text("q1\td1\t2\nq1\td2\t1\nq1\td3\t0\nq2\td4\t1\n")
    return root


def test_truth_by_text_and_by_id_agree(tmp_path: Path, truth: Path) -> None:
    by_text = jsonl(
        tmp_path / "t.jsonl", [{"query": "Why", "pos": ["because"], "neg": ["It was so.", "where", "when"]}]
    )
    by_id = jsonl(
        tmp_path / "i.jsonl", [{"query_id": "q1", "positive_ids": ["d1"], "negative_ids": ["d2", "d3", "d4"]}]
    )
    files = {"corpus": str(truth / "corpus.jsonl"), "queries": str(truth / "queries.jsonl")}
    qrels = str(truth / "full.tsv")
    for report in (audited(by_text, qrels=qrels, **files), audited(by_id, qrels=qrels)):
        assert report["false_negatives"] == 1
        assert report["false_negative_rate"] == pytest.approx(1 / 3)
        assert report["judged_share"] == pytest.approx(2 / 3)
        assert problems(report) == {"relevant-among-negatives": 1}
    strict = audited(by_id, qrels=qrels, min_relevance=2)
    assert (strict["false_negatives"], strict["judged_share"]) == (0, pytest.approx(2 / 3))
    with pytest.raises(InputError, match="name ids, and the training rows have none"):
        audited(by_text, qrels=qrels)


def test_unknown_documents(tmp_path: Path, truth: Path) -> None:
    rows = [{"query": "why", "pos": ["because"], "neg": ["nowhere", "when"]}]
    report = audited(jsonl(tmp_path / "t.jsonl", rows), corpus=str(truth / "corpus.jsonl"))
    assert problems(report) == {"unknown-document": 1}
    assert report["first"]["unknown-document"][0]["value"] == "nowhere"
    rows = [{"query_id": "q1", "positive_ids": ["d1"], "negative_ids": ["d2", "d9"]}]
    report = audited(jsonl(tmp_path / "i.jsonl", rows), corpus=str(truth / "corpus.jsonl"))
    assert problems(report) == {"unknown-document": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, truth: Path) -> Path:
    """A run directory with decisions and an export of the collection above, BM25 alone."""
    root = tmp_path_factory.mktemp("audited")
    (root / "known.tsv").write_text("q1\td1\t1\nq2\td3\t1\n")
    options = hnmine.RunOptions(
        input=hnmine.InputOptions(
            corpus=str(truth / "corpus.jsonl"), queries=str(truth / "queries.jsonl"), qrels=str(root / "known.tsv")
        ),
        dense=None,
        mine=hnmine.MineOptions(random=4),
        filter=hnmine.FilterOptions(num_negatives=3, short="random", no_margin=True),  # type: ignore[arg-type]
    )
    hnmine.run(truth, root / "run", options=options)
    return root / "run"


def test_decisions_their_file_and_their_export_say_the_same(run: Path, truth: Path, tmp_path: Path) -> None:
    qrels = str(truth / "full.tsv")
    decided = audited(run, qrels=qrels)
    written = audited(run / "triplets.parquet", qrels=qrels)  # by the ids beside it
    exported = audited(run / "export", qrels=qrels)
    shards = tmp_path / "shards"
    hnmine.export(run, shards, options=hnmine.ExportOptions(rows_per_file=2))
    sharded = audited(shards, qrels=qrels)
    assert decided["coverage"] == 1.0
    assert decided["negatives"] == 6
    for other in (written, exported, sharded):
        for name in ("negatives", "false_negatives", "false_negative_rate", "judged_share", "queries"):
            assert other[name] == decided[name], name
        assert other["mean_gap"] == pytest.approx(decided["mean_gap"], abs=1e-6)
    assert decided["false_negatives"] == 2  # d2 for q1, d4 for q2: all documents are picked
    lists = tmp_path / "pairs.parquet"
    hnmine.export(run, lists, options=hnmine.ExportOptions(format="labeled-pair", scores=True))  # type: ignore[arg-type]
    assert audited(lists, qrels=qrels)["false_negatives"] == 2


def test_the_ids_beside_a_file_must_fit(run: Path, tmp_path: Path) -> None:
    table = pq.read_table(run / "triplets.parquet")
    pq.write_table(table.slice(1), tmp_path / "t.parquet")
    pq.write_table(pq.read_table(run / "triplets.ids.parquet"), tmp_path / "t.ids.parquet")
    with pytest.raises(InputError, match="different numbers of rows"):
        audited(tmp_path / "t.parquet")


def test_files_that_are_no_training_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'ancor' looks like 'anchor'"):
        audited(jsonl(tmp_path / "x.jsonl", [{"ancor": "a", "positive": "p", "negative": "n"}]))
    broken = tmp_path / "y.jsonl"
    broken.write_text('{"anchor": "a", "positive": "p", "negative": "n"}\n{"anchor": \n')
    with pytest.raises(InputError, match="broken JSON"):
        audited(broken)
    with pytest.raises(InputError, match="no such file"):
        audited(tmp_path / "z.jsonl")
    with pytest.raises(UsageError, match="--min-negatives 0"):
        audited(jsonl(tmp_path / "a.jsonl", CLEAN), min_negatives=0)


def test_the_command_and_its_conditions(tmp_path: Path, truth: Path) -> None:
    rows = [{"query_id": "q1", "positive_ids": ["d1"], "negative_ids": ["d2", "d3"]}]
    path = str(jsonl(tmp_path / "i.jsonl", rows))
    arguments = ["audit", path, "--qrels", str(truth / "full.tsv")]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["false_negative_rate"] == 0.5
    text = CliRunner().invoke(app, arguments)
    assert re.search(r"^false negative rate +50\.00%  of the negatives", text.stdout, re.MULTILINE)
    assert re.search(r"^relevant-among-negatives +1  --qrels call", text.stdout, re.MULTILINE)
    assert CliRunner().invoke(app, [*arguments, "--fail-if", "false_negative_rate>0.4"]).exit_code == 6
    assert CliRunner().invoke(app, [*arguments, "--fail-if", "problems.query-as-negative>0"]).exit_code == 0
    assert CliRunner().invoke(app, ["audit", path, "--fail-if", "false_negative_rate>0.4"]).exit_code == 2


def test_the_arithmetic_of_hashes() -> None:
    one, two = np.array([1, 2, 0, 1], np.uint64), np.array([2, 1, 5, 0], np.uint64)
    pairs_ = pair_hashes(one, two)
    assert pairs_[0] != pairs_[1]
    assert pairs_[2:].tolist() == [0, 0]
    assert is_among(np.array([0, 3, 4], np.uint64), np.array([0, 3], np.uint64)).tolist() == [False, True, False]
    assert is_among(np.array([3], np.uint64), np.empty(0, np.uint64)).tolist() == [False]
    owners, lowest = lowest_by(np.array([7, 5, 7, 5, 9], np.uint64), np.array([3.0, np.nan, 2.0, 4.0, np.nan]))
    assert owners.tolist() == [5, 7, 9]
    assert lowest[:2].tolist() == [4.0, 2.0]
    assert np.isnan(lowest[2])
    found = counts_by(
        np.array([5, 7, 9], np.uint64), np.array([7, 7, 5, 7], np.uint64), np.array([1, 1, 1, 2], np.uint64)
    )
    assert found.tolist() == [1, 2, 0]
    assert counts_by(owners, np.empty(0, np.uint64), np.empty(0, np.uint64)).tolist() == [0, 0, 0]
