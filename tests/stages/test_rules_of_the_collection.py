"""Rules that need more than the table: columns of the collection, answers, the whole table; from files to verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact
from hnmine.options import Format

DOCS: list[dict[str, object]] = [
    {"_id": "p1", "text": "a man is eating food", "parent": "page 1", "lang": "en", "year": 2020},
    {"_id": "p2", "text": "the girl carries a baby", "parent": "page 2", "lang": "en", "year": 2018},
    {"_id": "x1", "text": "a man is eating a piece of bread", "parent": "page 1", "lang": "en", "year": 2019},
    {"_id": "x2", "text": "a man is eating", "parent": "page 3", "lang": "de", "year": 2021},
    {"_id": "x3", "text": "one man , two girls", "parent": "page 4", "lang": "en"},
    {"_id": "x4", "text": "the man rides", "lang": "en", "year": 1999},
]
QUERIES: list[dict[str, object]] = [
    {"_id": "q1", "text": "man eating food", "lang": "en", "answers": ["piece of bread", "x"]},
    {"_id": "q2", "text": "girl carries baby", "lang": "de", "answers": "Two"},
    {"_id": "q3", "text": "man rides horse", "lang": "en"},
]
QRELS = [("q1", "p1"), ("q2", "p2"), ("q3", "p1")]


@pytest.fixture(scope="module", params=[100, 2], ids=["one-block", "blocks-of-two"])
def candidates(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every document is a candidate of every query; in one block, and cut into blocks of two rows."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HNMINE_TEST_BLOCK_SIZE", str(request.param))
        (root / "data" / "qrels").mkdir(parents=True)
        for name, records in (("corpus", DOCS), ("queries", QUERIES)):
            lines = [json.dumps({"title": "", **r} if name == "corpus" else r) for r in records]
            (root / "data" / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        rows = "\n".join(f"{q}\t{d}\t1" for q, d in QRELS)
        (root / "data" / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}\n")
        hnmine.ingest(root / "data", root / "collection")
        options = hnmine.Bm25Options(language="none")
        hnmine.index_bm25(root / "collection", root / "indexes" / "bm25", options=options)
        how = hnmine.MineOptions(random=10)
        hnmine.mine(root / "collection", root / "candidates", indexes=[root / "indexes" / "bm25"], options=how)
    return root / "candidates"


def dropped(candidates: Path, out: Path, **options: object) -> dict[str, set[str]]:
    """The reasons of the rows that a rule dropped, by query and document."""
    hnmine.filter(candidates, out, options=hnmine.FilterOptions(**options))  # type: ignore[arg-type]
    found: dict[str, set[str]] = {}
    for file in Artefact.open(out).files():
        for row in pq.read_table(file).to_pylist():
            if row["verdict"] == "dropped":
                found.setdefault(row["reason"], set()).add(f"{row['query_id']} {row['doc_id']}")
    return found


def test_chunks_of_the_positives_parent_go(candidates: Path, tmp_path: Path) -> None:
    assert dropped(candidates, tmp_path / "d", group_by="parent") == {"same-group": {"q1 x1", "q3 x1"}}


def test_conditions_on_documents_and_queries(candidates: Path, tmp_path: Path) -> None:
    found = dropped(candidates, tmp_path / "a", where="document.lang == query.lang")["where"]
    assert found == {"q1 x2", "q3 x2", "q2 p1", "q2 x1", "q2 x3", "q2 x4"}
    # Numbers of two parts, one of which has a null: x3 has no year, so nothing holds for it.
    found = dropped(candidates, tmp_path / "b", where="document.year >= 2019 and query.lang == 'de'")["where"]
    assert found == {f"{q} {d}" for q in ("q1", "q3") for d in ("p2", "x1", "x2", "x3", "x4")} | {"q2 x3", "q2 x4"}
    found = dropped(candidates, tmp_path / "c", where="document.doc_id != 'x4'")["where"]
    assert found == {"q1 x4", "q2 x4", "q3 x4"}


def test_documents_with_an_answer_go_and_a_query_without_answers_loses_nothing(
    candidates: Path, tmp_path: Path
) -> None:
    rows = [row for file in Artefact.open(candidates).files() for row in pq.read_table(file).to_pylist()]
    known = {f"{r['query_id']} {r['doc_id']}": r["has_answer"] for r in rows}
    assert {pair for pair, has in known.items() if has} == {"q1 x1", "q2 x3"}
    assert {pair for pair, has in known.items() if has is None} == {f"q3 {d['_id']}" for d in DOCS}
    assert dropped(candidates, tmp_path / "d", no_answers=True) == {"has-answer": {"q1 x1", "q2 x3"}}


def test_the_reuse_cap_holds_over_blocks_and_is_the_same_in_blocks_of_any_size(
    candidates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dropped(candidates, tmp_path / "a", max_reuse=1)
    used: dict[str, int] = {}
    for file in Artefact.open(tmp_path / "a").files():
        for row in pq.read_table(file).to_pylist():
            if row["verdict"] in ("negative", "reserve") and row["sources"] != ["random"]:
                used[row["doc_id"]] = used.get(row["doc_id"], 0) + 1
    assert used
    assert set(used.values()) == {1}
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "1")
    assert dropped(candidates, tmp_path / "b", max_reuse=1) == first
    assert set(first) == {"max-reuse"}


def test_an_inconsistent_query_exports_nothing_not_even_its_positive(candidates: Path, tmp_path: Path) -> None:
    # BM25 ranks q3's positive behind the document with "rides".
    found = dropped(candidates, tmp_path / "d", consistency_top=1)
    assert {pair.split()[0] for pair in found["inconsistent-query"]} == {"q3"}
    hnmine.export(tmp_path / "d", tmp_path / "t.parquet", options=hnmine.ExportOptions(format=Format.LABELED_PAIR))
    exported = {row["query_id"] for row in pq.read_table(tmp_path / "t.ids.parquet").to_pylist()}
    assert exported == {"q1", "q2"}


def test_a_guide_may_be_named_by_its_kind(candidates: Path, tmp_path: Path) -> None:
    root = candidates.parent
    hnmine.mine(root / "collection", tmp_path / "c", indexes=[f"lexical={root / 'indexes' / 'bm25'}"])
    by_name = dropped(tmp_path / "c", tmp_path / "a", guide="lexical", guide_margin=0.1)
    assert by_name.keys() == {"guide"}
    assert dropped(tmp_path / "c", tmp_path / "b", guide="bm25", guide_margin=0.1) == by_name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_by": "parnt"}, "no column 'parnt'; did you mean 'parent'"),
        ({"where": "query.parent == 'a'"}, "the queries have no column 'parent'"),
        ({"where": "document.year == '2020'"}, "a text cannot be compared with a number"),
        ({"where": "document.lang < 3"}, "a text cannot be compared with a number"),
        ({"guide": "bm26"}, "did you mean 'bm25'"),
        ({"band": "0.1:0.6"}, "of the scale bm25"),
        ({"near_duplicate": 0.9}, "dense index"),
        ({"closer_to_query": True}, "dense index"),
        ({"max_score": float("nan")}, "--max-score nan: not a number"),
        ({"consistency_top": 101}, "ranks up to 100 only"),
        ({"max_agreement": 1, "agreement_depth": 200}, "ranks up to 100 only"),
        ({"existing": "keep"}, "no negatives came with the data"),
        ({"iqr": -1.0, "max_reuse": -1, "near_duplicate": 3.0, "guide_margin": 1.0}, "(?s)reuse.*iqr.*near.*guide"),
    ],
)
def test_what_cannot_be_decided_is_refused_before_any_work(
    candidates: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        dropped(candidates, tmp_path / "d", **options)
    assert not (tmp_path / "d").exists()


def test_consistency_needs_ranks(candidates: Path, tmp_path: Path) -> None:
    how = hnmine.MineOptions(random=10)
    hnmine.mine(candidates.parent / "collection", tmp_path / "unranked", options=how)
    with pytest.raises(UsageError, match="--consistency-top needs ranks, and --rank-by nothing has none"):
        dropped(tmp_path / "unranked", tmp_path / "d", consistency_top=5)
    with pytest.raises(
        UsageError, match=r"(?s)--skip-top needs ranks.*--max-rank needs ranks, and --rank-by nothing has"
    ):
        dropped(tmp_path / "unranked", tmp_path / "d", skip_top=1, max_rank=5)
