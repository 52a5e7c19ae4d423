"""`mine --deepen-from`: the rows of a deeper search for those who starved, the old rows for the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import ArtefactError, UsageError
from hnmine.files.artefact import Artefact

WORDS = [f"w{i}" for i in range(12)]
DOCS = {f"d{i:02d}": " ".join(WORDS[j] for j in range(12) if (i >> j % 4) & 1 or j == i % 12) for i in range(60)}
MAX = 0.45
QUERIES = {f"q{i}": f"{WORDS[i]} {WORDS[(i * 5 + 1) % 12]}" for i in range(9)}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("deepen")
    data = root / "data"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in DOCS.items()))
    (data / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in QUERIES.items()))
    rows = "".join(f"{q}\td{i * 3:02d}\t1\n" for i, q in enumerate(QUERIES))
    (data / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    hnmine.ingest(data, root / "collection")
    hnmine.index_bm25(root / "collection", root / "indexes/bm25", options=hnmine.Bm25Options(language="none"))
    return root


def mine(work: Path, out: Path, how: hnmine.Execution | None = None, **options: Any) -> Artefact:
    settings = hnmine.MineOptions(random=2, **options)
    hnmine.mine(work / "collection", out, indexes=[work / "indexes/bm25"], options=settings, how=how)
    return Artefact.open(out) if (out / "manifest.json").exists() else hnmine.merge(out)


def rows(artefact: Artefact) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in pa.concat_tables([pq.read_table(path) for path in artefact.files()]).to_pylist():
        found.setdefault(row["query_id"], []).append(row)
    return found


def decide(candidates: Path, out: Path, **options: Any) -> Artefact:
    hnmine.filter(candidates, out, options=hnmine.FilterOptions(num_negatives=3, **options))
    return Artefact.open(out)


def starved(decisions: Artefact) -> set[str]:
    return {
        query_id
        for query_id, own in rows(decisions).items()
        if sum(r["verdict"] == "negative" and r["step"] == "none" for r in own) < 3
    }


def test_starved_queries_get_a_deeper_search_and_the_others_keep_their_rows(work: Path, tmp_path: Path) -> None:
    shallow = mine(work, tmp_path / "c", top_k=4)
    decisions = decide(tmp_path / "c", tmp_path / "d", max_score=MAX, short="random")
    hungry = starved(decisions)
    assert 0 < len(hungry) < len(QUERIES), "the case needs both"
    deeper = mine(work, tmp_path / "deeper", deepen_from=str(tmp_path / "d"))
    whole = rows(mine(work, tmp_path / "whole", top_k=8))
    old, new = rows(shallow), rows(deeper)
    assert list(new) == list(old), "queries stand in their order"
    for query_id in QUERIES:
        assert new[query_id] == (whole if query_id in hungry else old)[query_id]
    assert deeper.counts["deepened"] == len(hungry)
    assert deeper.counts["queries"] == len(QUERIES)
    assert deeper.counts["candidates"] == sum(map(len, new.values()))
    ranked = sum(r["rank_bm25"] is not None for own in new.values() for r in own)
    randoms = sum("random" in r["sources"] for own in new.values() for r in own)
    assert deeper.counts["brought"] == {"bm25": ranked, "random": randoms}
    assert deeper.plan["inputs"]["candidates"] == shallow.fingerprint
    assert deeper.plan["inputs"]["decisions"] == decisions.fingerprint
    assert (deeper.plan["options"]["top_k"], deeper.plan["shallowest"]) == (8, 4)
    again = decide(tmp_path / "deeper", tmp_path / "again", max_score=MAX, short="random")
    assert starved(again) <= hungry
    third = mine(work, tmp_path / "third", deepen_from=str(tmp_path / "again"), top_k=30)
    assert third.plan["shallowest"] == 4


def test_shards_give_the_same_bytes(work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine(work, tmp_path / "c", top_k=4)
    decide(tmp_path / "c", tmp_path / "d", max_score=MAX)
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "2")  # other blocks than those of the candidates
    one = mine(work, tmp_path / "one", deepen_from=str(tmp_path / "d"))
    for part in (2, 0):
        how = hnmine.Execution(shard=(part, 3))
        hnmine.mine(
            work / "collection",
            tmp_path / "two",
            indexes=[work / "indexes/bm25"],
            options=hnmine.MineOptions(random=2, deepen_from=str(tmp_path / "d")),
            how=how,
        )
    two = mine(work, tmp_path / "two", how=hnmine.Execution(shard=(1, 3)), deepen_from=str(tmp_path / "d"))
    assert len(one.files()) == 5
    assert (one.path / "manifest.json").read_bytes() == (two.path / "manifest.json").read_bytes()


def test_nobody_starved_and_everybody_starved(work: Path, tmp_path: Path) -> None:
    shallow = mine(work, tmp_path / "c", top_k=4)
    decide(tmp_path / "c", tmp_path / "fed", no_margin=True, min_score=-1.0)
    hungry = starved(Artefact.open(tmp_path / "fed"))
    same = mine(work, tmp_path / "same", deepen_from=str(tmp_path / "fed"))
    assert same.counts["deepened"] == len(hungry)
    decide(tmp_path / "c", tmp_path / "all", max_score=-1.0)
    deep = mine(work, tmp_path / "deep", deepen_from=str(tmp_path / "all"), top_k=9)
    assert deep.counts["deepened"] == len(QUERIES)
    assert rows(deep) == rows(mine(work, tmp_path / "whole", top_k=9))
    assert rows(shallow) != rows(deep)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 4}, "--top-k 4: not deeper than the 4"),
        ({"seed": 1}, "--seed is 1 here and was 0 there"),
        ({"limit": 3}, "--limit is 3 here and was None there"),
        ({"min_relevance": 0}, "--min-relevance is 0 here"),
    ],
)
def test_another_search_is_refused(work: Path, tmp_path: Path, options: dict[str, int], message: str) -> None:
    mine(work, tmp_path / "c", top_k=4)
    decide(tmp_path / "c", tmp_path / "d")
    with pytest.raises(UsageError, match=message):
        mine(work, tmp_path / "deeper", deepen_from=str(tmp_path / "d"), **options)


def test_other_sources_and_other_artefacts_are_refused(work: Path, tmp_path: Path) -> None:
    mine(work, tmp_path / "c", top_k=4)
    decide(tmp_path / "c", tmp_path / "d")
    with pytest.raises(UsageError, match="index:other"):
        hnmine.mine(
            work / "collection",
            tmp_path / "x",
            indexes=[f"other={work / 'indexes/bm25'}"],
            options=hnmine.MineOptions(random=2, deepen_from=str(tmp_path / "d")),
        )
    with pytest.raises(ArtefactError):
        mine(work, tmp_path / "deeper", deepen_from=str(tmp_path / "c"))
