"""`mine --deepen-from`: starved queries as a deeper search finds them, all others as they were."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact, pretty_json
from hnmine.hashing import digest_file

WORDS = ["a", "man", "is", "eating", "food", "piece", "of", "bread", "the", "girl", "carries", "baby", "horse", "rides"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty documents that share words, five queries, two indexes' worth of BM25."""
    root = tmp_path_factory.mktemp("deepen")
    (root / "data" / "qrels").mkdir(parents=True)
    texts = {f"d{i:02}": " ".join(WORDS[(i * j + i) % 14] for j in range(1, 5)) for i in range(40)}
    texts["copy1"], texts["copy2"], texts["pos"] = "horse rides !", "Horse, rides", "horse rides"
    queries = {"q1": "man eating", "q2": "horse rides", "q3": "girl baby", "q4": "food bread", "q5": "piece of the"}
    lines = [json.dumps({"_id": i, "title": "", "text": t}) for i, t in texts.items()]
    (root / "data" / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    lines = [json.dumps({"_id": i, "text": t}) for i, t in queries.items()]
    (root / "data" / "queries.jsonl").write_text("\n".join(lines) + "\n")
    rows = "\n".join(f"{q}\t{d}\t1" for q, d in zip(queries, ["d01", "pos", "d02", "d03", "d04"], strict=True))
    (root / "data" / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}\n")
    hnmine.ingest(root / "data", root / "collection")
    hnmine.index_bm25(root / "collection", root / "bm25", options=hnmine.Bm25Options(language="none"))
    mine(root, root / "shallow", top_k=5)
    # q2's first ranks are copies of its positive, so it alone starves.
    hnmine.filter(root / "shallow", root / "decisions", options=hnmine.FilterOptions(num_negatives=3))
    return root


def mine(root: Path, out: Path, **options: object) -> Path:
    how = hnmine.MineOptions(**options)  # type: ignore[arg-type]
    hnmine.mine(root / "collection", out, indexes=[root / "bm25"], options=how)
    return out


def by_query(path: Path) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for file in Artefact.open(path).files():
        for row in pq.read_table(file).to_pylist():
            found.setdefault(row["query_id"], []).append(row)
    return found


@pytest.mark.parametrize("size", [100, 2])
def test_starved_queries_are_mined_deeper_and_the_others_taken_over(
    root: Path, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    negatives = {q: sum(r["verdict"] == "negative" for r in rows) for q, rows in by_query(root / "decisions").items()}
    starved = {q for q, count in negatives.items() if count < 3}
    assert "q2" in starved
    assert len(starved) < 5
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", str(size))
    deeper = mine(root, tmp_path / "deeper", top_k=20, deepen_from=str(root / "decisions"))
    shallow, deep = by_query(root / "shallow"), by_query(mine(root, tmp_path / "deep", top_k=20))
    assert by_query(deeper) == {q: deep[q] if q in starved else shallow[q] for q in shallow}
    assert list(by_query(deeper)) == ["q1", "q2", "q3", "q4", "q5"]
    counts = Artefact.open(deeper).counts
    rows = [row for own in by_query(deeper).values() for row in own]
    assert (counts["deepened"], counts["queries"]) == (len(starved), 5)
    assert counts["candidates"] == len(rows)
    assert counts["brought"]["bm25"] == sum("bm25" in row["sources"] for row in rows)  # type: ignore[operator]
    hnmine.filter(deeper, tmp_path / "again", options=hnmine.FilterOptions(num_negatives=3))
    assert sum(row["verdict"] == "negative" for row in by_query(tmp_path / "again")["q2"]) == 3


def test_what_does_not_fit_is_refused(root: Path, tmp_path: Path) -> None:
    given = str(root / "decisions")
    with pytest.raises(UsageError, match="leave out --limit"):
        mine(root, tmp_path / "a", deepen_from=given, limit=1)
    with pytest.raises(UsageError, match="have the scores bm25, and this would mine other"):
        hnmine.mine(
            root / "collection",
            tmp_path / "b",
            indexes=[f"other={root / 'bm25'}"],
            options=hnmine.MineOptions(deepen_from=given),
        )
    with pytest.raises(UsageError, match=r"mined with --min-relevance 1, and this with --min-relevance 2"):
        mine(root, tmp_path / "c", deepen_from=given, min_relevance=2)
    with pytest.raises(
        UsageError, match=r"(?s)with --random 0, and this with --random 3.*no --where, and this with --where doc"
    ):
        mine(root, tmp_path / "d", deepen_from=given, random=3, where="document.doc_id > 'd'")
    other = hnmine.index_bm25(
        root / "collection", tmp_path / "bm25", options=hnmine.Bm25Options(k1=0.9, language="none")
    )
    how = hnmine.MineOptions(deepen_from=given)
    with pytest.raises(UsageError, match="with another bm25: its content differs"):
        hnmine.mine(root / "collection", tmp_path / "e", indexes=[other.path], options=how)
    assert not any((tmp_path / name).exists() for name in "abcde")


def test_the_seed_counts_where_something_was_drawn(root: Path, tmp_path: Path) -> None:
    mine(root, tmp_path / "drawn", top_k=5, random=2, seed=1)
    hnmine.filter(tmp_path / "drawn", tmp_path / "d", options=hnmine.FilterOptions(num_negatives=3))
    with pytest.raises(UsageError, match="mined with --seed 1, and this with --seed 0"):
        mine(root, tmp_path / "a", random=2, deepen_from=str(tmp_path / "d"))
    mine(root, tmp_path / "a", random=2, seed=1, deepen_from=str(tmp_path / "d"))
    mine(root, tmp_path / "b", seed=7, deepen_from=str(root / "decisions"))


def test_the_depth_is_four_times_as_deep_and_never_less(root: Path, tmp_path: Path) -> None:
    given = str(root / "decisions")
    for depth in (4, 5):
        with pytest.raises(UsageError, match=f"--top-k {depth}: --deepen-from was mined with --top-k 5 already"):
            mine(root, tmp_path / "a", top_k=depth, deepen_from=given)
    deeper = Artefact.open(mine(root, tmp_path / "a", deepen_from=given))
    assert deeper.plan["options"]["top_k"] == 20
    hnmine.filter(deeper.path, tmp_path / "again", options=hnmine.FilterOptions(num_negatives=40))
    whole = Artefact.open(mine(root, tmp_path / "b", deepen_from=str(tmp_path / "again")))
    assert whole.plan["options"]["top_k"] == 43, "there are no more documents"
    hnmine.filter(whole.path, tmp_path / "over", options=hnmine.FilterOptions(num_negatives=42))
    with pytest.raises(UsageError, match="and there are 43 documents"):
        mine(root, tmp_path / "c", deepen_from=str(tmp_path / "over"))


def test_decisions_that_do_not_say_how_they_were_mined_are_refused(root: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(root / "decisions", old)
    plan = json.loads((old / "plan.json").read_text())
    del plan["mined"]
    (old / "plan.json").write_text(pretty_json(plan))
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["plan"] = digest_file(old / "plan.json")
    (old / "manifest.json").write_text(pretty_json(manifest))
    with pytest.raises(UsageError, match="does not say how its candidates were mined"):
        mine(root, tmp_path / "a", deepen_from=str(old))


def test_a_condition_is_kept(root: Path, tmp_path: Path) -> None:
    where = "document.doc_id != 'd05'"
    mine(root, tmp_path / "c", top_k=5, where=where)
    hnmine.filter(tmp_path / "c", tmp_path / "d", options=hnmine.FilterOptions(num_negatives=3))
    with pytest.raises(UsageError, match="and this with no --where"):
        mine(root, tmp_path / "a", deepen_from=str(tmp_path / "d"))
    deeper = mine(root, tmp_path / "a", deepen_from=str(tmp_path / "d"), where=where)
    assert Artefact.open(deeper).counts["queries_without_candidates"] == 0
    assert not any(row["doc_id"] == "d05" for rows in by_query(deeper).values() for row in rows)


def test_negatives_of_all_epochs_are_wanted(root: Path, tmp_path: Path) -> None:
    hnmine.filter(root / "shallow", tmp_path / "d", options=hnmine.FilterOptions(num_negatives=3, epochs=2))
    deeper = mine(root, tmp_path / "a", top_k=40, deepen_from=str(tmp_path / "d"))
    assert Artefact.open(deeper).counts["deepened"] == 5, "none of them has six, of five candidates"
    assert Artefact.open(tmp_path / "d").counts["queries_short"] == 5


def test_what_was_excluded_does_not_come_back(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("d03\n")
    mine(root, tmp_path / "c", top_k=5, exclude_documents=str(tmp_path / "out.txt"))
    hnmine.filter(tmp_path / "c", tmp_path / "d", options=hnmine.FilterOptions(num_negatives=3))
    with pytest.raises(UsageError, match="mined with --exclude-documents, which a deeper search would bring back"):
        mine(root, tmp_path / "a", deepen_from=str(tmp_path / "d"))
