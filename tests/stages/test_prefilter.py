"""`mine --where`: what a mine of everything finds, with the documents struck out that do not satisfy the condition."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import ArtefactError, InputError, UsageError
from hnmine.files.artefact import Artefact
from hnmine.stages import prefilter
from tests.conftest import WORDS

Row = dict[str, Any]
Pair = Callable[[Row, Row], bool]
DOCUMENTS, QUERIES = 150, 45

CONDITIONS: dict[str, Pair] = {
    "document.year < 1990": lambda d, q: d["year"] is not None and d["year"] < 1990,
    "document.lang == query.lang": lambda d, q: d["lang"] is not None and d["lang"] == q["lang"],
    # As many groups as queries; the first keeps nearly everything, the second one document.
    "document.author != query.author": lambda d, q: d["author"] != q["author"],
    "document.author == query.author": lambda d, q: d["author"] == q["author"],
    "document.lang == query.lang and document.year <= query.year": lambda d, q: (
        d["lang"] is not None and d["lang"] == q["lang"] and d["year"] is not None and d["year"] <= q["year"]
    ),
    "document.doc_id < query.query_id or document.lang == None": lambda d, q: d["_id"] < q["_id"] or d["lang"] is None,
    "query.lang == 'de'": lambda d, q: q["lang"] == "de",
}


@pytest.fixture(scope="module")
def documents() -> dict[str, Row]:
    draw = random.Random(3)
    words = WORDS.replace(":", "").split()
    return {
        f"d{n:03}": {
            "_id": f"d{n:03}",
            "title": "",
            "text": " ".join(draw.choices(words, k=draw.randint(3, 9))),
            "lang": draw.choice(["de", "en", "fr", None]),
            "year": draw.choice([None, *range(1980, 2020)]),
            "author": f"a{n % 50}",
        }
        for n in range(DOCUMENTS)
    }


@pytest.fixture(scope="module")
def queries(documents: dict[str, Row]) -> dict[str, Row]:
    draw = random.Random(4)
    texts = [row["text"] for row in documents.values()]
    return {
        f"{'cde'[n % 3]}{n:02}": {
            "_id": f"{'cde'[n % 3]}{n:02}",
            "text": " ".join(draw.sample(texts[n].split(), 3)),
            "lang": draw.choice(["de", "en", "fr"]),
            "year": 1980 + n,
            "author": f"a{n}",
        }
        for n in range(QUERIES)
    }


@pytest.fixture(scope="module")
def root(
    documents: dict[str, Row],
    queries: dict[str, Row],
    tmp_path_factory: pytest.TempPathFactory,
    tiny_sparse_encoder: Path,
) -> Path:
    pytest.importorskip("faiss")
    root = tmp_path_factory.mktemp("prefilter")
    (root / "data" / "qrels").mkdir(parents=True)
    for name, records in (("corpus", documents), ("queries", queries)):
        lines = [json.dumps(record) + "\n" for record in records.values()]
        (root / "data" / f"{name}.jsonl").write_text("".join(lines))
    judged = [f"{q}\td{n:03}\t1\n" for n, q in enumerate(queries)] + [
        f"{q}\td{149 - n}\t0\n" for n, q in enumerate(queries)
    ]
    (root / "data" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    draw = random.Random(5)
    run = [f"{q} Q0 {d} 1 {draw.random():.6f} s\n" for q in queries for d in draw.sample(sorted(documents), 60)]
    (root / "run.trec").write_text("".join(run))
    rng = np.random.default_rng(6)
    for name, count in (("documents", DOCUMENTS), ("queries", QUERIES)):
        vectors = rng.standard_normal((count, 8))
        np.save(root / f"{name}.npy", (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    collection = root / "collection"
    hnmine.ingest(root / "data", collection)
    hnmine.index_bm25(collection, root / "bm25", options=hnmine.Bm25Options(language="none"))
    dense = hnmine.DenseOptions(vectors=str(root / "documents.npy"), query_vectors=str(root / "queries.npy"))
    hnmine.index_dense(collection, root / "dense", options=dense)
    sparse = hnmine.SparseOptions(model=str(tiny_sparse_encoder), dtype="fp32")  # type: ignore[arg-type]
    hnmine.index_sparse(collection, root / "sparse", options=sparse)
    mined(root, root / "everything", top_k=DOCUMENTS)
    return root


def mined(root: Path, out: Path, **options: Any) -> dict[str, dict[str, Row]]:
    """The rows of candidates by query and document."""
    how = hnmine.MineOptions(**{"run": (f"sys={root / 'run.trec'}",), **options})
    indexes = [root / name for name in ("bm25", "dense", "sparse")]
    hnmine.mine(root / "collection", out, indexes=indexes, options=how)
    return by_query(out)


def by_query(path: Path) -> dict[str, dict[str, Row]]:
    found: dict[str, dict[str, Row]] = {}
    for file in Artefact.open(path).files():
        for row in pq.read_table(file).to_pylist():
            found.setdefault(row["query_id"], {})[row["doc_id"]] = row
    return found


def struck(everything: dict[str, Row], passes: Callable[[str], bool], k: int) -> dict[str, Row]:
    """What is left of a query's rows of a full search: ranks closed up over the documents left, the first k found."""
    left = {d: row for d, row in everything.items() if row["is_positive"] or passes(d)}
    found: dict[str, Row] = {}
    for name in ("bm25", "dense", "sparse", "sys"):
        ranked = sorted((row[f"rank_{name}"], d) for d, row in left.items() if row[f"rank_{name}"] is not None)
        for rank, (_, d) in enumerate(ranked[:k], 1):
            found.setdefault(d, {})[f"rank_{name}"] = rank
    judged = {d: {} for d, row in left.items() if row["relevance"] is not None}
    return {**judged, **found}


@pytest.mark.parametrize("size", [1000, 20])
@pytest.mark.parametrize("few", [0, 16, 1000])
@pytest.mark.parametrize("text", CONDITIONS)
def test_it_is_the_full_search_with_the_others_struck_out(
    root: Path,
    tmp_path: Path,
    documents: dict[str, Row],
    queries: dict[str, Row],
    text: str,
    few: int,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", str(size))
    monkeypatch.setattr(prefilter, "FEW_GROUPS", few)
    everything = by_query(root / "everything")
    rows = mined(root, tmp_path / "c", top_k=7, where=text)
    assert list(rows) == list(everything)
    for query, own in rows.items():
        expected = struck(everything[query], lambda d, q=query: CONDITIONS[text](documents[d], queries[q]), 7)  # type: ignore[misc]
        assert set(own) == set(expected)
        for doc, row in own.items():
            for name in ("bm25", "dense", "sparse", "sys"):
                assert row[f"rank_{name}"] == expected[doc].get(f"rank_{name}")
                if name != "sys":  # a run has scores of the rows that it brought
                    assert row[f"score_{name}"] == everything[query][doc][f"score_{name}"]
            assert row["is_positive"] == everything[query][doc]["is_positive"]


def test_a_filter_afterwards_drops_nothing_and_the_plan_has_the_condition(root: Path, tmp_path: Path) -> None:
    text = "document.lang == query.lang"
    mined(root, tmp_path / "c", top_k=9, where=text, random=4)
    hnmine.filter(tmp_path / "c", tmp_path / "d", options=hnmine.FilterOptions(where=text))
    assert "where" not in Artefact.open(tmp_path / "d").counts["reasons"]
    assert Artefact.open(tmp_path / "c").plan["options"]["where"] == text
    with pytest.raises(ArtefactError, match=r"options\.where"):
        mined(root, tmp_path / "c", top_k=9, random=4)


def test_random_documents_satisfy_it_and_are_never_judged(
    root: Path, tmp_path: Path, documents: dict[str, Row], queries: dict[str, Row]
) -> None:
    rows = mined(root, tmp_path / "c", top_k=1, where="document.lang == query.lang", random=DOCUMENTS, run=())
    for query, own in rows.items():
        drawn = {d for d, row in own.items() if "random" in row["sources"]}
        fit = {d for d, record in documents.items() if record["lang"] == queries[query]["lang"]}
        judged = {d for d, row in by_query(root / "everything")[query].items() if row["relevance"] is not None}
        assert drawn == fit - judged


def test_excluded_documents_stay_out(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("".join(f"d{n:03}\n" for n in range(100, 150)))
    text = "document.author in ['a1', 'a2', 'a3']"  # nine documents, three of which are excluded
    rows = mined(root, tmp_path / "c", top_k=20, random=9, where=text, exclude_documents=str(tmp_path / "out.txt"))
    expected = {f"d{n:03}" for n in (1, 2, 3, 51, 52, 53)}
    assert {d for own in rows.values() for d, row in own.items() if not row["is_positive"]} == expected


def test_queries_that_nothing_satisfies_are_counted(root: Path, tmp_path: Path, queries: dict[str, Row]) -> None:
    rows = mined(root, tmp_path / "c", top_k=5, where="query.lang == 'de'")
    others = {q for q, record in queries.items() if record["lang"] != "de"}
    assert {q for q, own in rows.items() if all(row["is_positive"] for row in own.values())} == others
    assert Artefact.open(tmp_path / "c").counts["queries_without_candidates"] == len(others)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("document.langg == query.lang", UsageError, "the documents have no column 'langg'; did you mean 'lang'"),
        ("document.lang == query.speech", UsageError, "the queries have no column 'speech'"),
        ("document.year == '1990'", UsageError, "a text cannot be compared with a number"),
        ("document.year <", UsageError, "cannot be read"),
        ("document.lang == 'EN'", InputError, "no document satisfies it"),
    ],
)
def test_what_cannot_be_is_told_before_any_work(
    root: Path, tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mined(root, tmp_path / "c", where=text)
    assert not (tmp_path / "c").exists()
