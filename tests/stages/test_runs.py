"""What other searchers found joins the evidence, whatever its size and form; what cannot be joined is told by place."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import InputError, UsageError
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.files.readers import runs as reading
from hnmine.stages import runs as joining
from hnmine.stages.runs import RunSource, read_runs

QUERIES, DOCUMENTS = 20, 50


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    (root / "data" / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{i}", "text": f"word{i % 7} text {i}"} for i in range(DOCUMENTS)]
    (root / "data" / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    queries = [{"_id": f"q{i}", "text": f"word{i % 7}"} for i in range(QUERIES)]
    (root / "data" / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    lines = "".join(f"q{i}\td{i}\t1\n" for i in range(QUERIES))
    (root / "data" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    hnmine.ingest(root / "data", root / "collection")
    hnmine.index_bm25(root / "collection", root / "bm25", options=hnmine.Bm25Options(language="none"))
    return root


@pytest.fixture
def collection(root: Path) -> Collection:
    return Collection.open(root / "collection")


def parquet(path: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), path, row_group_size=7)
    return str(path)


def trec(path: Path, rows: Sequence[tuple[str, str, float]]) -> str:
    path.write_text("".join(f"{q} Q0 {d} 1 {s!r} x\n" for q, d, s in rows))
    return str(path)


def listed(source: RunSource, k: int = 1000) -> dict[str, list[tuple[str, float]]]:
    pairs, scores = source.of(np.arange(QUERIES), k)
    found: dict[str, list[tuple[str, float]]] = {}
    for query, document, score in zip(pairs.owner.tolist(), pairs.rows.tolist(), scores.tolist(), strict=True):
        found.setdefault(f"q{query}", []).append((f"d{document}", score))
    return found


def drawn(seed: int, queries: int = QUERIES) -> list[tuple[str, str, float]]:
    """Rows in no order at all, with ties, and of queries that the collection does not have."""
    draw = random.Random(seed)
    rows = [
        (f"q{q}", f"d{d}", draw.randint(0, 9) / 2)
        for q in range(queries + 3)
        for d in draw.sample(range(DOCUMENTS), draw.randint(0, 30))
    ]
    draw.shuffle(rows)
    return rows


def expected(rows: Sequence[tuple[str, str, float]]) -> dict[str, list[tuple[str, float]]]:
    found: dict[str, list[tuple[str, float]]] = {}
    for query, document, score in rows:
        if int(query[1:]) < QUERIES:
            found.setdefault(query, []).append((document, score))
    return {query: sorted(own, key=lambda pair: (-pair[1], pair[0])) for query, own in found.items()}


@pytest.mark.parametrize("chunk", [1, 10, 1 << 20])
@pytest.mark.parametrize("form", ["trec", "parquet", "parts"])
def test_any_order_and_any_size_of_chunks(
    form: str, chunk: int, collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (reading, joining):
        monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(reading, "_BATCH", min(chunk, 8))
    rows = drawn(3)
    ids = {"query_id": [q for q, _, _ in rows], "doc_id": [d for _, d, _ in rows]}
    path = tmp_path / "other.run"
    if form == "trec":
        spec = trec(path, rows)
    elif form == "parquet":
        spec = parquet(path, **ids, score=[s for *_, s in rows])
    else:
        path.mkdir()
        table = pa.table({**ids, "score": [s for *_, s in rows]})
        for part, start in enumerate(range(0, len(rows), 50)):
            pq.write_table(table.slice(start, 50), path / f"part-{part}.parquet")
        spec = str(path)
    (source,) = read_runs([spec], collection, tmp_path / "cache")
    assert source.name == "other"
    assert listed(source) == expected(rows)
    assert listed(source, 3) == {query: own[:3] for query, own in expected(rows).items()}
    unknown = sum(int(q[1:]) >= QUERIES for q, _, _ in rows)
    assert unknown
    said = f"{unknown} rows of queries that the collection does not have are left out"
    assert source.notes() == {"run other": said}
    assert listed(pickle.loads(pickle.dumps(source))) == expected(rows)
    assert len(pickle.dumps(source)) < 1000, "the rows stay on disk"
    assert not list((tmp_path / "cache").rglob(".pending-*"))


def test_one_file_of_several_searchers(collection: Collection, tmp_path: Path) -> None:
    """Elasticsearch has scores, the other has ranks alone, from 0."""
    path = parquet(
        tmp_path / "found.parquet",
        query_id=["q1", "q1", "q2", "q1", "q1"],
        doc_id=["d1", "d2", "d1", "d9", "d1"],
        rank=pa.array([1, 2, 1, 1, 0], pa.int32()),
        score=[3.5, 2.5, 1.5, None, None],
        source=pa.array(["elastic", "elastic", "elastic", "vespa", "vespa"]).dictionary_encode(),
    )
    elastic, vespa = read_runs([path], collection, tmp_path / "cache")
    assert (elastic.name, vespa.name) == ("elastic", "vespa")
    assert listed(elastic) == {"q1": [("d1", 3.5), ("d2", 2.5)], "q2": [("d1", 1.5)]}
    assert listed(vespa) == {"q1": [("d1", 1.0), ("d9", 0.5)]}
    assert elastic.notes() == {}
    assert vespa.notes() == {"run vespa": "it has ranks alone: 1/rank stands in for its scores"}
    with pytest.raises(UsageError, match="one name for the rows of 2 searchers: elastic, vespa"):
        read_runs([f"both={path}"], collection, tmp_path / "cache")


def test_whole_numbers_are_ids_and_a_name_wins_over_the_only_source(root: Path, tmp_path: Path) -> None:
    data = tmp_path / "pairs.csv"
    data.write_text("qid,did,anchor,positive\n1,10,one,two\n2,20,three,four\n")
    options = hnmine.InputOptions(anchor_id_column="qid", positive_id_column="did")
    hnmine.ingest(data, tmp_path / "collection", options=options)
    path = parquet(tmp_path / "r.parquet", query_id=[1, 2], doc_id=[20, 10], rank=[1, 1], source=["es", "es"])
    (source,) = read_runs([f"mine={path}"], Collection.open(tmp_path / "collection"), tmp_path / "cache")
    assert source.name == "mine"
    assert source.of(np.arange(2), 9)[0].rows.tolist() == [1, 0]


def test_a_run_is_read_once(collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = trec(tmp_path / "a.trec", drawn(1))
    (first,) = read_runs([spec], collection, tmp_path / "cache")
    monkeypatch.setattr(joining, "_join", None)
    (again,) = read_runs([f"b={spec}"], collection, tmp_path / "cache")
    assert listed(again) == listed(first)


ROWS = {"query_id": ["q1", "q1", "q2"], "doc_id": ["d1", "d2", "d3"], "rank": [1, 2, 1], "score": [3.0, 2.0, 1.0]}
BAD = {
    "an unknown document": ({"doc_id": ["d1", "nope", "d3"]}, ":2: nope"),
    "no document": ({"doc_id": ["d1", None, "d3"]}, r"missing doc_id \(1\)\n  .*:2"),
    "an empty query": ({"query_id": ["q1", "q1", ""]}, r"missing query_id \(1\)\n  .*:3"),
    "a pair twice": ({"doc_id": ["d1", "d1", "d3"]}, r"one document twice for a query \(1\)\n  .*:2: q1 d1"),
    "a score that is none": ({"score": [3.0, float("nan"), 1.0]}, r"score not a finite number \(1\)\n  .*:2: nan"),
    "a score beyond floats": ({"score": [1e300, 2.0, 1.0]}, r"score not a finite number \(1\)\n  .*:1: 1e\+300"),
    "a distance": ({"score": [0.1, 0.2, 1.0]}, r"a distance\? negate it \(1\)\n  .*:2: q1 d2: rank 2, score 0.2"),
    "neither": ({"rank": [1, None, 1], "score": [3.0, None, 1.0]}, r"neither rank nor score \(1\)\n  .*:2: d2"),
    "a score missing": ({"score": [3.0, None, 1.0]}, r"missing score, where other rows have one \(1\)\n  .*:2"),
    "a rank missing": ({"rank": [1, None, 1], "score": [None] * 3}, r"neither rank nor score \(1\)\n  .*:2"),
    "a negative rank": ({"rank": [1, -2, 1]}, r"rank below 0 \(1\)\n  .*:2: -2"),
    "no searcher": ({"source": ["a", None, "a"]}, r"missing source \(1\)\n  .*:2"),
    "ranks that are no numbers": ({"rank": ["1", "2", "3"]}, "column rank is string"),
    "fractions as ids": ({"query_id": [1.0, 2.0, 3.0]}, "column query_id is double"),
    "other queries": ({"query_id": ["x", "y", "z"]}, r"no row is of a query of the collection \(3 rows\)"),
}


@pytest.mark.parametrize("problem", BAD)
def test_what_is_wrong_is_told_with_file_row_and_value(problem: str, collection: Collection, tmp_path: Path) -> None:
    changes, said = BAD[problem]
    path = parquet(tmp_path / "bad.parquet", **{**ROWS, **changes})
    with pytest.raises(InputError, match=said) as error:
        read_runs([path], collection, tmp_path / "cache")
    assert path in str(error.value)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.suffix != ".lock" and file.is_file()]


def test_a_searcher_without_known_queries_is_named(collection: Collection, tmp_path: Path) -> None:
    path = parquet(tmp_path / "r.parquet", **{**ROWS, "query_id": ["q1", "q1", "x"], "source": ["a", "a", "b"]})
    with pytest.raises(InputError, match="no row of b is of a query"):
        read_runs([path], collection, tmp_path / "cache")


def test_duplicates_of_a_trec_run_are_told_by_line(collection: Collection, tmp_path: Path) -> None:
    path = trec(tmp_path / "a.trec", [("q1", "d1", 2.0), ("q2", "d1", 2.0), ("q1", "d1", 1.0)])
    with pytest.raises(InputError, match=r"a\.trec:3: q1 d1"):
        read_runs([path], collection, tmp_path / "cache")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"query_id": ["q1"], "doc_id": ["d1"]}, "no column rank or score; there are query_id, doc_id"),
        ({"qid": ["q1"], "doc_id": ["d1"], "rank": [1]}, "no column query_id; there are qid"),
    ],
)
def test_columns_are_looked_at_before_anything_else(
    columns: dict[str, Any], said: str, root: Path, tmp_path: Path
) -> None:
    """In `run`, before the first stage."""
    path = parquet(tmp_path / "r.parquet", **columns)
    options = hnmine.RunOptions(dense=None, mine=hnmine.MineOptions(run=(path,)))
    with pytest.raises(InputError, match=said):
        hnmine.run(root / "data", tmp_path / "out", options=options)
    assert not (tmp_path / "out").exists()


def test_exact_scores_of_the_given_indexes_are_added(root: Path, tmp_path: Path) -> None:
    """The other searcher's documents get BM25's own scores, those that BM25 found the other's ranks."""
    path = parquet(
        tmp_path / "r.parquet",
        query_id=["q1", "q1", "q2"],
        doc_id=["d8", "d3", "d9"],
        rank=[1, 2, 1],
        score=[9.0, 8.0, 7.0],
        source=["es"] * 3,
    )
    options = hnmine.MineOptions(run=(path,))
    outcome = hnmine.mine(root / "collection", tmp_path / "c", indexes=[root / "bm25"], options=options)
    assert outcome.counts["brought"]["es"] == 3
    rows = pq.read_table(Artefact.open(tmp_path / "c").files()[0]).to_pylist()
    own = {row["doc_id"]: row for row in rows if row["query_id"] == "q1" and row["rank_es"]}
    assert {d: (row["rank_es"], row["score_es"]) for d, row in own.items()} == {"d8": (1, 9.0), "d3": (2, 8.0)}
    assert own["d8"]["sources"] == ["bm25", "run:es"], "word1 is in it"
    assert own["d8"]["score_bm25"] > 0
    assert own["d3"]["sources"] == ["run:es"]
    assert own["d3"]["score_bm25"] == 0, "no word in common: scored all the same"
