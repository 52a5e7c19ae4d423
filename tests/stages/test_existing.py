"""Negatives of the user's own file: read, mined as candidates, then judged, picked first, or kept."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import InputError, UsageError
from hnmine.execute.progress import Silent
from hnmine.files.artefact import Artefact
from hnmine.options import Existing

ROWS: list[dict[str, object]] = [
    {
        "anchor": "man eating food",
        "positive": "a man is eating food",
        "negative_1": "man eating food now",  # scores above the positive: a ceiling drops it
        "negative_2": ["horse rides", "", None, "girl"],
        "note": "x",
    },
    {"anchor": "girl carries baby", "positive": "the girl carries a baby", "negative_1": None, "negative_2": []},
    {"anchor": "horse", "positive": "a horse", "negative_1": "a man is eating food", "negative_2": ["a horse"]},
]
MINED = ["man food rides", "a man rides", "eating bread", "food"]


def table(path: Path, name: str = "part-00000.parquet") -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pq.read_table(path / name).to_pylist()
    return rows


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("existing")
    (root / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (root / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"c{i}", "text": text}) + "\n" for i, text in enumerate([*MINED, "horse rides"]))
    )
    given = hnmine.InputOptions(negative_columns=("negative_*",), corpus=str(root / "corpus.jsonl"))
    hnmine.ingest(root / "pairs.jsonl", root / "collection", options=given)
    hnmine.index_bm25(root / "collection", root / "bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.mine(root / "collection", root / "candidates", indexes=[root / "bm25"])
    return root


def texts(root: Path) -> dict[object, object]:
    return {row["doc_id"]: row["text"] for row in table(root / "collection" / "documents")}


def test_they_are_documents_and_pairs_of_the_collection(root: Path) -> None:
    by_id = texts(root)
    # Of equal texts there is one document; one that the corpus file has keeps its id.
    own = ["a man is eating food", "man eating food now", "girl", "the girl carries a baby", "a horse"]
    assert sorted(by_id.values(), key=str) == sorted([*MINED, "horse rides", *own])
    queries = {row["query_id"]: row["text"] for row in table(root / "collection" / "queries")}
    pairs = [(queries[r["query_id"]], by_id[r["doc_id"]]) for r in table(root / "collection" / "negatives")]
    assert pairs == [
        ("man eating food", "man eating food now"),
        ("man eating food", "horse rides"),
        ("man eating food", "girl"),
        ("horse", "a man is eating food"),
        ("horse", "a horse"),
    ]
    assert "c4" in by_id
    columns = set(table(root / "collection" / "queries")[0])
    assert columns == {"query_id", "text", "note", "text_key"}, "columns of negatives are no metadata"


def test_they_are_candidates_and_a_positive_stays_one(root: Path) -> None:
    by_id = texts(root)
    found = {(by_id[r["doc_id"]], r["is_positive"]) for r in table(root / "candidates") if "existing" in r["sources"]}  # type: ignore[operator]
    assert found == {
        ("man eating food now", False),
        ("horse rides", False),
        ("girl", False),
        ("a man is eating food", False),
        ("a horse", True),
    }
    assert Artefact.open(root / "candidates").counts["brought"]["existing"] == 5


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        # BM25 scores of the rest: "man food rides", then three with one word, then none for horse and girl.
        (Existing.JUDGE, 0),
        (Existing.FIRST, 2),
        (Existing.KEEP, 3),
    ],
)
def test_judged_picked_first_or_kept(root: Path, tmp_path: Path, existing: Existing, expected: int) -> None:
    options = hnmine.FilterOptions(num_negatives=4, relative_margin=0.05, existing=existing)
    outcome = hnmine.filter(root / "candidates", tmp_path / "d", options=options)
    by_id = texts(root)
    own = [r for r in table(tmp_path / "d") if r["query_id"] == table(tmp_path / "d")[0]["query_id"]]
    picked = sorted((r for r in own if r["verdict"] == "negative"), key=lambda r: r["pick_rank"])  # type: ignore[arg-type,return-value]
    assert len(picked) == 4
    is_own = ["existing" in r["sources"] for r in picked]  # type: ignore[operator]
    assert is_own == [True] * expected + [False] * (4 - expected), "first their own, mined ones top up"
    reason = {by_id[r["doc_id"]]: r["reason"] for r in own}["man eating food now"]
    assert reason == ("picked" if existing is Existing.KEEP else "relative-margin")
    # "man eating food now" alone is above a ceiling: kept, it is spared, and the manifest says by which rule.
    assert outcome.counts["spared"] == ({"relative-margin": 1} if existing is Existing.KEEP else {})
    # "horse rides" is as long as the positive "a horse" and as near to "horse": it goes whatever --existing says.
    assert outcome.counts["reasons"]["relative-margin"] == (1 if existing is Existing.KEEP else 2)


def test_a_column_that_is_not_there_and_data_without_columns_are_refused(root: Path, tmp_path: Path) -> None:
    given = hnmine.InputOptions(negative_columns=("negativ_1",))
    with pytest.raises(UsageError, match="--negative-columns negative_1"):
        hnmine.ingest(root / "pairs.jsonl", tmp_path / "a", options=given)
    with pytest.raises(UsageError, match="stdlib data has no such columns"):
        hnmine.ingest("stdlib", tmp_path / "b", options=given)
    (tmp_path / "bad.jsonl").write_text(json.dumps({"anchor": "a", "positive": "b", "n": [3]}) + "\n")
    with pytest.raises(InputError, match=r"bad.jsonl:1"):
        hnmine.ingest(tmp_path / "bad.jsonl", tmp_path / "c", options=hnmine.InputOptions(negative_columns=("n",)))
    assert not (tmp_path / "c").exists()


def test_without_the_option_nothing_changes(root: Path, tmp_path: Path) -> None:
    hnmine.ingest(root / "pairs.jsonl", tmp_path / "c")
    assert not (tmp_path / "c" / "negatives").exists()
    assert len(table(tmp_path / "c" / "documents")) == 3


@pytest.mark.parametrize(
    ("columns", "named", "told"),
    [
        (["negative_1", "negative_2", "negative_3"], ["negative_1", "negative_2"], "negative_3 (metadata"),
        (["negative_1", "negative_2", "negative_10"], ["negative_*"], None),
        (["bad 1 a", "bad 22 a", "worse 2"], ["bad 1 a"], "bad 22 a (metadata"),
        (["negative"], [], "negative (metadata"),
        (["Hard_Negatives", "neg", "negation", "negatives_source"], [], "Hard_Negatives, neg (metadata"),
        (["note", "lang"], [], None),
    ],
)
def test_columns_that_look_like_negatives_and_were_not_named_are_told(
    tmp_path: Path, columns: list[str], named: list[str], told: str | None
) -> None:
    head = ",".join(["anchor", "positive", *columns])
    row = ",".join(["a", "b", *(f"text {n}" for n in range(len(columns)))])
    (tmp_path / "pairs.csv").write_text(f"{head}\n{row}\n")
    given = hnmine.InputOptions(negative_columns=tuple(named))
    done = hnmine.ingest(tmp_path / "pairs.csv", tmp_path / "c", options=given)
    again = hnmine.ingest(tmp_path / "pairs.csv", tmp_path / "c", options=given)
    assert done.notes == again.notes == done.summary().get("notes", {})
    assert bool(done.notes) == (told is not None)
    if told is not None:
        assert done.notes["not read as negatives"].startswith(told)


def test_they_are_told_where_data_is_ingested_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("anchor,positive,negative\nfig,a fig,a plum\n")
    said: list[str] = []

    class Listening(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    how = hnmine.Execution(progress=Listening())
    hnmine.index_bm25(tmp_path / "pairs.csv", tmp_path / "bm25", cache_dir=tmp_path / "cache", how=how)
    assert any("--negative-columns negative)" in message for message in said)


def test_a_collection_with_them_can_be_replaced(tmp_path: Path) -> None:
    for named in ("negative", "other"):
        (tmp_path / "pairs.csv").write_text(f"anchor,positive,{named}\nfig,a fig,a plum\n")
        given = hnmine.InputOptions(negative_columns=(named,))
        how = hnmine.Execution(overwrite=True)
        hnmine.ingest(tmp_path / "pairs.csv", tmp_path / "c", options=given, how=how)
    assert len(table(tmp_path / "c" / "negatives")) == 1
