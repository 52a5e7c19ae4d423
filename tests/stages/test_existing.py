"""Negatives of the user's own pairs file: read, mined as evidence, and kept, judged, or used alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import InputError, UsageError
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection

PAIRS: list[dict[str, Any]] = [
    {"anchor": "red fox", "positive": "a red fox runs", "negative_1": "far away", "negative_2": "a red fox runs fast"},
    {"anchor": "red fox", "positive": "the red fox", "negative_1": "far away", "negative_2": None},
    {"anchor": "blue sea", "positive": "a blue sea", "negative_1": "A BLUE sea!", "negative_2": "the red fox"},
    {"anchor": "green tree", "positive": "a green tree", "negative_1": "", "negative_2": ["red tree", "blue tree"]},
]
COLUMNS = "negative_1, negative_2"


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ingest(folder: Path, rows: list[dict[str, Any]] = PAIRS, **options: Any) -> Collection:
    settings = hnmine.InputOptions(**{"negative_columns": COLUMNS, **options})
    hnmine.ingest(write(folder, rows), folder / "collection", options=settings)
    return Collection.open(folder / "collection")


def named(collection: Collection) -> set[tuple[str, str]]:
    """(query, document) texts of the existing negatives."""
    found = collection.existing
    queries, documents = collection.query_texts(found.query_rows), collection.document_texts(found.doc_rows)
    return set(zip(queries, documents, strict=True))


EXPECTED = {
    ("red fox", "far away"),
    ("red fox", "a red fox runs fast"),
    ("blue sea", "A BLUE sea!"),
    ("blue sea", "the red fox"),
    ("green tree", "red tree"),
    ("green tree", "blue tree"),
}


def test_every_pair_once_and_every_text_a_document_once(tmp_path: Path) -> None:
    collection = ingest(tmp_path)
    assert named(collection) == EXPECTED
    assert collection.artefact.counts["existing"] == len(EXPECTED) == len(collection.existing.doc_rows)
    texts = collection.document_texts_between(0, 100)
    assert len(texts) == len(set(texts)) == 9
    assert collection.column_names("queries") == ["query_id", "text", "text_key"], "negatives are no metadata"
    assert collection.artefact.counts["judgments"] == 4


def test_with_a_corpus_negatives_are_looked_up_by_text(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    known = {"c1": "a red fox runs", "c2": "far away", "c3": "nobody's"}
    corpus.write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in known.items()))
    collection = ingest(tmp_path, corpus=str(corpus))
    assert named(collection) == EXPECTED
    ids = collection.doc_ids.to_pylist()
    assert ids[:3] == ["c1", "c2", "c3"]
    found = pq.read_table(tmp_path / "collection/existing/part-00000.parquet").to_pylist()
    assert found[0]["doc_id"] == "c2"
    assert len(ids) == 3 + 7
    by_id = [{"anchor": "red fox", "pid": "c1", "negative_1": "far away", "negative_2": "new"}]
    (tmp_path / "by_id").mkdir()
    other = ingest(tmp_path / "by_id", by_id, corpus=str(corpus), positive_id_column="pid")
    assert named(other) == {("red fox", "far away"), ("red fox", "new")}
    assert len(other.documents) == 4


def test_a_sample_keeps_the_negatives_of_its_queries(tmp_path: Path) -> None:
    rows = [{"anchor": f"q {i}", "positive": f"p {i}", "negative": f"n {i}"} for i in range(60)]
    collection = ingest(tmp_path, rows, negative_columns="negative", sample=0.3)
    kept = collection.query_texts(collection.existing.query_rows)
    assert 5 < len(kept) < 40
    assert named(collection) == {(f"q {i}", f"n {i}") for i in (int(text[2:]) for text in kept)}
    assert len(kept) == len(collection.queries)


def test_columns_that_were_not_named_are_metadata_and_told(tmp_path: Path) -> None:
    path = write(tmp_path, PAIRS[:3])
    outcome = hnmine.ingest(path, tmp_path / "plain")
    assert "--negative-columns negative_1,negative_2" in outcome.notes["not read as negatives"]
    assert "negative_1" in Collection.open(tmp_path / "plain").column_names("queries")
    assert not (tmp_path / "plain/existing").exists()
    settings = hnmine.InputOptions(negative_columns=COLUMNS)
    assert not hnmine.ingest(path, tmp_path / "named", options=settings).notes


def test_wrong_columns_and_wrong_cells_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'negative_3'"):
        ingest(tmp_path, negative_columns="negative_3")
    with pytest.raises(InputError, match="text not a string"):
        ingest(tmp_path, [{"anchor": "a", "positive": "b", "negative_1": 3, "negative_2": None}])


@pytest.fixture
def mined(tmp_path: Path) -> Path:
    ingest(tmp_path)
    hnmine.index_bm25(tmp_path, tmp_path / "indexes/bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.mine(tmp_path, tmp_path / "candidates", options=hnmine.MineOptions(top_k=3))
    return tmp_path


def decided(work: Path, **options: Any) -> dict[tuple[str, str], tuple[str, str, int | None]]:
    """(query, document) texts → verdict, reason, place."""
    name = "-".join(["d", *(str(value) for value in options.values())])
    hnmine.filter(work / "candidates", work / name, options=hnmine.FilterOptions(**options))
    collection = Collection.open(work / "collection")
    documents = dict(zip(collection.doc_ids.to_pylist(), collection.document_texts_between(0, 100), strict=True))
    queries = dict(zip(collection.query_ids.to_pylist(), ["red fox", "blue sea", "green tree"], strict=True))
    rows = pq.read_table(Artefact.open(work / name).files()[0]).to_pylist()
    return {(queries[r["query_id"]], documents[r["doc_id"]]): (r["verdict"], r["reason"], r["pick_rank"]) for r in rows}


def test_mine_brings_them_with_every_score(mined: Path) -> None:
    artefact = Artefact.open(mined / "candidates")
    rows = pq.read_table(artefact.files()[0]).to_pylist()
    existing = [r for r in rows if "existing" in r["sources"]]
    assert len(existing) == len(EXPECTED) == artefact.counts["brought"]["existing"]
    assert all(r["score_bm25"] is not None for r in existing)
    assert any(r["sources"] == ["existing"] for r in existing)
    assert any(r["sources"] == ["bm25", "existing"] for r in existing)


def test_judged_like_any(mined: Path) -> None:
    found = decided(mined, num_negatives=3, max_score=0.5)
    assert found["blue sea", "A BLUE sea!"][:2] == ("dropped", "same-text-as-positive")
    assert found["red fox", "a red fox runs fast"][:2] == ("dropped", "max-score")
    assert found["red fox", "far away"][:2] == ("negative", "picked")


def test_kept_ones_come_first_and_no_guess_drops_them(mined: Path) -> None:
    found = decided(mined, num_negatives=2, existing="keep", max_score=0.5)
    assert found["red fox", "a red fox runs fast"] == ("negative", "picked", 1), "in rank-by order among themselves"
    assert found["red fox", "far away"] == ("negative", "picked", 2)
    # Knowledge still rules: the copy of the positive goes. What is missing is picked from the other candidates.
    assert found["blue sea", "A BLUE sea!"][:2] == ("dropped", "same-text-as-positive")
    assert found["blue sea", "the red fox"] == ("negative", "picked", 1)
    others = [v for (q, d), v in found.items() if q == "blue sea" and (q, d) not in EXPECTED and v[0] == "negative"]
    assert [place for _, _, place in others] in ([2], [])


def test_nothing_but_them(mined: Path) -> None:
    found = decided(mined, num_negatives=5, existing="only", max_score=0.5)
    assert found["red fox", "a red fox runs fast"][:2] == ("dropped", "max-score")
    picked = {pair for pair, (verdict, _, _) in found.items() if verdict == "negative"}
    assert picked
    assert picked < EXPECTED
    assert {reason for pair, (v, reason, _) in found.items() if pair not in EXPECTED and v != "positive"} == {
        "not-existing"
    }


def test_a_collection_without_any_is_refused(tmp_path: Path) -> None:
    hnmine.ingest(write(tmp_path, PAIRS[:3]), tmp_path / "collection")
    hnmine.index_bm25(tmp_path, tmp_path / "indexes/bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.mine(tmp_path, tmp_path / "candidates")
    with pytest.raises(UsageError, match="no negatives of its own"):
        hnmine.filter(tmp_path / "candidates", tmp_path / "d", options=hnmine.FilterOptions(existing="keep"))  # type: ignore[arg-type]
