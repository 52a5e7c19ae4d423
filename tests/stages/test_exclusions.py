"""No excluded query is mined, and no excluded document becomes a positive, a candidate or a random draw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import ArtefactError, InputError
from hnmine.files.artefact import Artefact
from hnmine.files.readers.listed import read_listed
from hnmine.hashing import text_key
from hnmine.schema import Side

DOCS = {f"d{i}": f"fig {'tree ' * i}{'sweet' if i % 2 else 'sour'}" for i in range(12)}
QUERIES = {"q1": "fig tree", "q2": "sweet fig", "q3": "sour fig"}
QRELS = [("q1", "d1", 1), ("q1", "d2", 1), ("q2", "d3", 1), ("q3", "d4", 1)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("excluded")
    (root / "qrels").mkdir()
    docs = [json.dumps({"_id": i, "title": t.split()[0], "text": t.partition(" ")[2]}) for i, t in DOCS.items()]
    (root / "corpus.jsonl").write_text("\n".join(docs) + "\n")
    (root / "queries.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in QUERIES.items()))
    (root / "qrels" / "train.tsv").write_text("".join(f"{q}\t{d}\t{g}\n" for q, d, g in QRELS))
    (root / "run.trec").write_text("".join(f"q1 Q0 d{i} {i + 1} {20 - i} s\n" for i in range(12)))
    hnmine.ingest(root, root / "collection")
    hnmine.index_bm25(root / "collection", root / "bm25", options=hnmine.Bm25Options(language="none"))
    return root


def mined(root: Path, out: Path, **options: object) -> list[dict[str, object]]:
    hnmine.mine(
        root / "collection",
        out,
        indexes=[root / "bm25"],
        options=hnmine.MineOptions(**{"run": (f"sys={root / 'run.trec'}",), **options}),  # type: ignore[arg-type]
    )
    rows: list[dict[str, object]] = pq.read_table(Artefact.open(out).files()[0]).to_pylist()
    return rows


def test_excluded_documents_are_nowhere_and_ranks_close_up(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("d1\nFIG, tree tree tree; sweet\n")  # d1 by id, d3 by its text
    plain = mined(data, tmp_path / "plain", top_k=20, random=3)
    rows = mined(data, tmp_path / "c", top_k=20, random=3, exclude_documents=str(tmp_path / "out.txt"))
    assert {"d1", "d3"} <= {r["doc_id"] for r in plain}
    assert not {"d1", "d3"} & {r["doc_id"] for r in rows}
    # d3 is the only positive of q2, so q2 has nothing to teach; q1 keeps its other positive.
    assert {r["query_id"] for r in rows} == {"q1", "q3"}
    assert [r["doc_id"] for r in rows if r["query_id"] == "q1" and r["is_positive"]] == ["d2"]
    for name in ("bm25", "sys"):
        before = sorted((r[f"rank_{name}"], r["doc_id"]) for r in plain if r["query_id"] == "q1" and r[f"rank_{name}"])
        left = [doc for _, doc in before if doc not in ("d1", "d3")]
        after = sorted((r[f"rank_{name}"], r["doc_id"]) for r in rows if r["query_id"] == "q1" and r[f"rank_{name}"])
        assert after == list(zip(range(1, 11), left, strict=True))
    scores = {r["doc_id"]: r["score_sys"] for r in rows if r["query_id"] == "q1"}
    assert scores["d4"] == 16.0
    counts = Artefact.open(tmp_path / "c").counts
    assert counts["excluded_documents"] == 2
    assert counts["excluded_hits"] == 6  # two documents, two sources for q1 and one for q3


def test_the_search_goes_deeper_by_what_it_loses(data: Path, tmp_path: Path) -> None:
    first = mined(data, tmp_path / "a", top_k=3, run=())
    head = [r["doc_id"] for r in first if r["query_id"] == "q1" and r["rank_bm25"]]
    (tmp_path / "out.txt").write_text("\n".join(str(d) for d in head if d != "d1"))
    assert len({*head} - {"d1"}) >= 2
    rows = mined(data, tmp_path / "b", top_k=3, run=(), exclude_documents=str(tmp_path / "out.txt"))
    assert sorted(r["rank_bm25"] for r in rows if r["query_id"] == "q1" and r["rank_bm25"]) == [1, 2, 3]  # type: ignore[type-var]


def test_random_documents_come_from_what_is_left(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("\n".join(f"d{i}" for i in range(5, 12)))
    rows = mined(data, tmp_path / "c", top_k=1, run=(), random=12, exclude_documents=str(tmp_path / "out.txt"))
    drawn = {r["doc_id"] for r in rows if r["query_id"] == "q1" and "random" in r["sources"]}  # type: ignore[operator]
    assert drawn == {"d0", "d3", "d4"}  # all that is neither excluded nor judged


def test_excluded_queries_are_not_mined_by_id_or_text(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text('{"_id": "q2", "text": "something"}\n{"_id": "x", "text": "Fig tree!"}\n')
    rows = mined(data, tmp_path / "c", exclude_queries=str(tmp_path / "out.jsonl"))
    assert {r["query_id"] for r in rows} == {"q3"}
    assert Artefact.open(tmp_path / "c").counts["excluded_queries"] == 2
    (tmp_path / "all.txt").write_text("q1\nq2\nq3\n")
    with pytest.raises(InputError, match="excluded"):
        mined(data, tmp_path / "d", exclude_queries=str(tmp_path / "all.txt"))


def test_the_plan_has_the_hash_of_the_list_and_not_its_place(data: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("d1\n")
    (tmp_path / "moved.txt").write_text("d1\n")
    (tmp_path / "two.txt").write_text("d2\n")
    mined(data, tmp_path / "c", exclude_documents=str(tmp_path / "one.txt"))
    mined(data, tmp_path / "c", exclude_documents=str(tmp_path / "moved.txt"))
    assert "txt" not in (tmp_path / "c" / "plan.json").read_text()
    with pytest.raises(ArtefactError, match=r"excluded\.documents\.sha256"):
        mined(data, tmp_path / "c", exclude_documents=str(tmp_path / "two.txt"))
    mined(data, tmp_path / "p")
    assert "exclude" not in (tmp_path / "p" / "plan.json").read_text()


QREL_LINES = "q1\t0\td7\t1\nq2\t0\td8\t0\n"


@pytest.mark.parametrize(
    ("name", "content", "side", "ids", "texts"),
    [
        ("a.txt", "d1\n\n two words \n", Side.DOCUMENT, {"d1", "two words"}, ["d1", "two words"]),
        ("a.tsv", "query-id\tcorpus-id\tscore\nq1\td7\t1\nq2\td8\t0\n", Side.DOCUMENT, {"d7", "d8"}, []),
        ("a.tsv", "query-id\tcorpus-id\tscore\nq1\td7\t1\nq2\td8\t0\n", Side.QUERY, {"q1", "q2"}, []),
        ("a.tsv", QREL_LINES, Side.QUERY, {"q1", "q2"}, []),
        ("a.qrels", QREL_LINES.replace("\t", " "), Side.DOCUMENT, {"d7", "d8"}, []),
        ("a.tsv", "7\tsome text\n", Side.QUERY, {"7"}, ["some text"]),
        ("a.tsv", "d7\n", Side.DOCUMENT, {"d7"}, ["d7"]),
        ("a.csv", "anchor,positive\nwhy,because\n", Side.QUERY, set(), ["why"]),
        ("a.csv", "anchor,positive\nwhy,because\n", Side.DOCUMENT, set(), ["because"]),
        ("a.jsonl", '{"_id": 3, "title": "A", "text": "b c"}\n', Side.DOCUMENT, {"3"}, ["a b c"]),
    ],
)
def test_what_a_list_may_be(
    tmp_path: Path, name: str, content: str, side: Side, ids: set[str], texts: list[str]
) -> None:
    (tmp_path / name).write_text(content)
    found = read_listed(str(tmp_path / name), side)
    assert found.ids == ids
    assert found.keys.tolist() == sorted(text_key(t) for t in texts)
    assert found.has_keys(np.array([text_key(t) for t in texts] + [1], np.uint64)).tolist() == [True] * len(texts) + [
        False
    ]


def test_a_parquet_list_and_bad_ones(tmp_path: Path) -> None:
    pq.write_table(pa.table({"doc_id": ["a", "b"], "other": [1, 2]}), tmp_path / "x.parquet")
    assert read_listed(str(tmp_path / "x.parquet"), Side.DOCUMENT).ids == {"a", "b"}
    with pytest.raises(InputError, match="neither an id nor a text column among: doc_id, other"):
        read_listed(str(tmp_path / "x.parquet"), Side.QUERY)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="nothing is listed"):
        read_listed(str(tmp_path / "empty.txt"), Side.QUERY)


def test_negatives_of_the_users_own_file_are_excluded_too(tmp_path: Path) -> None:
    lines = [{"anchor": f"which {w}", "positive": f"{w} is it", "negative": f"not {w} at all"} for w in ("fig", "plum")]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = hnmine.InputOptions(negative_columns=("negative",))
    hnmine.ingest(tmp_path / "pairs.jsonl", tmp_path / "collection", options=own)
    hnmine.index_bm25(tmp_path / "collection", tmp_path / "bm25", options=hnmine.Bm25Options(language="none"))
    (tmp_path / "out.txt").write_text("Not fig, at all!\n")
    found = {}
    for name, listed in (("plain", None), ("less", str(tmp_path / "out.txt"))):
        options = hnmine.MineOptions(exclude_documents=listed)
        hnmine.mine(tmp_path / "collection", tmp_path / name, indexes=[tmp_path / "bm25"], options=options)
        rows = pq.read_table(Artefact.open(tmp_path / name).files()[0]).to_pylist()
        found[name] = {(row["query_id"], row["doc_id"]) for row in rows if "existing" in row["sources"]}
    assert len(found["plain"]) == 2
    assert len(found["less"]) == 1
