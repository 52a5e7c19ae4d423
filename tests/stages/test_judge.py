"""`score --judge` over real HTTP: who is asked about what, and what becomes of the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable, grades
from hnmine.options import JudgeOptions
from tests.chat_server import ChatServer

QUERIES = 4
DOCUMENTS = 12


def by_number(query: str, text: str) -> int:
    """The grade of a document is its number, modulo 4."""
    return int(text.split()[1]) % 4


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates of four queries, every document but the positive, from a run."""
    root = tmp_path_factory.mktemp("judged")
    data = root / "data"
    (data / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": f"number {i}"} for i in range(DOCUMENTS)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    queries = [{"_id": f"q{i}", "text": f"which {i}"} for i in range(QUERIES)]
    (data / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    qrels = "".join(f"q{i}\td{i}\t1\n" for i in range(QUERIES))
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    run = "".join(f"q{q} Q0 d{d} {d + 1} {99 - d} s\n" for q in range(QUERIES) for d in range(DOCUMENTS))
    (root / "one").write_text(run)
    hnmine.ingest(data, root / "collection")
    hnmine.mine(root / "collection", root / "candidates", options=hnmine.MineOptions(run=(f"one={root / 'one'}",)))
    return root


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found = ChatServer(by_number)
    yield found
    found.close()


def judged(root: Path, out: Path, server: ChatServer, *specs: str, how: Any = None, **options: Any) -> Artefact:
    """The table judged by the server's models, everything in doubt unless said otherwise; the cache is beside `out`."""
    given = JudgeOptions(judge=specs or (f"{server.url}#acme/cheap",), **{"judge_window": "0:1", **options})
    cache = out.parent / "cache"
    hnmine.judge(root / "collection", root / "candidates", out, options=given, cache_dir=cache, how=how)
    return Artefact.open(out)


def rows_of(artefact: Artefact) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(artefact.files()).to_pylist()
    return rows


def test_grades_are_a_column_that_filter_carries_on(root: Path, server: ChatServer, tmp_path: Path) -> None:
    found = judged(root, tmp_path / "judged", server)
    rows = rows_of(found)
    asked = {(r["query_id"], r["doc_id"]): r["grade_cheap"] for r in rows if not r["is_positive"]}
    assert asked == {(q, d): int(d[1:]) % 4 for q, d in asked}
    assert len(asked) == QUERIES * (DOCUMENTS - 1)
    assert all(r["grade_cheap"] is None for r in rows if r["is_positive"])
    assert str(pq.read_schema(found.files()[0]).field("grade_cheap").type) == "int32"
    hnmine.filter(tmp_path / "judged", tmp_path / "decided", options=hnmine.FilterOptions(no_margin=True))
    decided = Artefact.open(tmp_path / "decided")
    assert {(r["query_id"], r["doc_id"]): r["grade_cheap"] for r in rows_of(decided) if not r["is_positive"]} == asked
    (info,) = CandidatesTable(decided).judges
    assert (info.name, info.model) == ("cheap", "acme/cheap")


def test_the_second_judge_sees_what_the_first_called_relevant_and_its_word_counts(
    root: Path, server: ChatServer, tmp_path: Path
) -> None:
    server.grade = lambda query, text: by_number(query, text) if server.asked[-1]["model"] == "cheap" else 0
    found = judged(root, tmp_path / "judged", server, f"{server.url}#cheap", f"strong={server.url}#big/one")
    rows = [row for row in rows_of(found) if not row["is_positive"]]
    assert {r["grade_strong"] for r in rows if r["grade_cheap"] >= 2} == {0}
    assert {r["grade_strong"] for r in rows if r["grade_cheap"] < 2} == {None}
    table = pq.read_table(found.files())
    both = grades(table, CandidatesTable(found).judges).tolist()
    assert both == [
        -1 if r["is_positive"] else min(int(r["doc_id"][1:]) % 4, 1) * (int(r["doc_id"][1:]) % 4 < 2)
        for r in table.to_pylist()
    ]
    assert {body["model"] for body in server.asked} == {"cheap", "big/one"}
