"""`generate --by llm` over real HTTP: what is asked, what becomes of the answers, and what is paid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine import prompts
from hnmine.errors import InputError, UsageError
from tests.chat_server import ChatServer
from tests.e2e.harness import contents, invoke, write_jsonl

QUERIES = 6
Row = dict[str, Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    write_jsonl(data / "corpus.jsonl", [{"_id": f"d{n}", "title": "T", "text": f"passage {n}."} for n in range(10)])
    write_jsonl(data / "queries.jsonl", [{"_id": f"q{n}", "text": f"query {n}"} for n in range(QUERIES)])
    (data / "qrels").mkdir()
    lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n in range(QUERIES))]
    (data / "qrels" / "train.tsv").write_text("\n".join(lines) + "\n")
    return data


def number_in(body: Row) -> int:
    found = re.search(r"(?:query|passage) (\d+)", body["messages"][-1]["content"])
    assert found is not None
    return int(found[1])


def negatives(body: Row) -> str:
    """Three texts of which two are new, with what models put around their JSON."""
    n = number_in(body)
    texts = [f" written {n} ", "T passage 9.", "", 7, f"Written {n}!", f"further {n}"]
    return f"Here you are:\n```json\n{json.dumps({'negatives': texts})}\n```"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found = ChatServer()
    found.writes = negatives
    yield found
    found.close()


def generate(data: Path, out: Path, server: ChatServer, **options: Any) -> list[tuple[str, hnmine.Outcome]]:
    given = hnmine.GenerateOptions(by="llm", model=f"{server.url}#acme/writer", **{"texts": 2, **options})
    return hnmine.generate(data, out, options=given, cache_dir=out.parent / "cache")


def rows(out: Path) -> list[Row]:
    return [row for path in sorted((out / "generated").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_what_it_writes_is_checked_and_becomes_curated_negatives(
    data: Path, server: ChatServer, tmp_path: Path
) -> None:
    outcomes = generate(data, tmp_path / "out", server)
    found = {(row["query_id"], row["text"]) for row in rows(tmp_path / "out")}
    assert found == {(f"q{n}", text) for n in range(QUERIES) for text in (f"written {n}", f"further {n}")}
    assert {row["written_by"] for row in rows(tmp_path / "out")} == {"llm"}
    assert all(row["written_from"] == f"d{row['query_id'][1:]}" for row in rows(tmp_path / "out"))
    counts = outcomes[0][1].counts
    assert counts["refused"] == {"in-corpus": QUERIES, "repeated": QUERIES}
    assert counts["requests"] == QUERIES
    assert counts["output_tokens"] > 0
    assert outcomes[1][1].counts["documents"] == 10 + 2 * QUERIES
    for body in server.asked:
        said = body["messages"][-1]["content"]
        assert f"T passage {number_in(body)}." in said
        assert "Write 2 passages" in said
        assert body["model"] == "acme/writer"
        assert (body["temperature"], body["top_p"]) == (0.6, 0.95)


def test_a_prompt_without_the_positive_does_not_show_it(data: Path, server: ChatServer, tmp_path: Path) -> None:
    generate(data, tmp_path / "out", server, prompt="negatives-from-query")
    assert all("passage " not in body["messages"][-1]["content"].replace("passages", "") for body in server.asked)
    assert {row["written_from"] for row in rows(tmp_path / "out")} == {None}
    copy = tmp_path / "mine.toml"
    copy.write_text(prompts.text("negatives-from-query").replace("Write {number}", "Now write {number}"))
    generate(data, tmp_path / "other", server, prompt=str(copy))
    assert "Now write 2" in server.asked[-1]["messages"][-1]["content"]
    plans = [json.loads((tmp_path / out / "generated" / "plan.json").read_text()) for out in ("out", "other")]
    assert plans[0]["writer"]["prompt"] != plans[1]["writer"]["prompt"]


def test_what_was_answered_is_never_asked_again(data: Path, server: ChatServer, tmp_path: Path) -> None:
    generate(data, tmp_path / "first", server)
    outcomes = generate(data, tmp_path / "second", server)
    assert len(server.asked) == QUERIES
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    assert outcomes[0][1].notes["answers kept from before"] == QUERIES


def test_a_bad_server_changes_nothing(data: Path, server: ChatServer, tmp_path: Path) -> None:
    generate(data, tmp_path / "well" / "out", server)
    server.moods = ["HTTP 429", "cut off", "reset", "HTTP 500", "well", "HTTP 503"]
    generate(data, tmp_path / "bad" / "out", server)
    assert contents(tmp_path / "well" / "out") == contents(tmp_path / "bad" / "out")


def test_after_a_refusal_the_same_command_asks_for_the_rest(data: Path, server: ChatServer, tmp_path: Path) -> None:
    server.moods = ["well", "well", "HTTP 401"]
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        generate(data, tmp_path / "out", server)
    generate(data, tmp_path / "out", server)
    assert set(server.answered.values()) == {1}
    assert len(rows(tmp_path / "out")) == 2 * QUERIES


def test_a_budget_is_never_exceeded_and_who_was_not_asked_is_counted(
    data: Path, server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "3")
    server.prices = (1.0, 2.0)
    budget = 0.0105  # of each block half, which holds the most that one request can cost, and little more
    outcomes = generate(data, tmp_path / "out", server, price_input=1.0, price_output=2.0, budget=budget)
    counts = outcomes[0][1].counts
    assert 0 < counts["queries_not_asked"] < QUERIES
    assert counts["queries_not_asked"] + counts["requests"] == QUERIES
    assert counts["cost"] == pytest.approx(server.billed)
    assert server.billed <= budget
    assert len(rows(tmp_path / "out")) == 2 * counts["requests"]


def test_answers_without_a_text_leave_a_query_without_negatives(data: Path, server: ChatServer, tmp_path: Path) -> None:
    server.writes = lambda body: negatives(body) if number_in(body) else "I would rather not."
    outcomes = generate(data, tmp_path / "out", server)
    assert outcomes[0][1].counts["without_texts"] == 1
    assert {row["query_id"] for row in rows(tmp_path / "out")} == {f"q{n}" for n in range(1, QUERIES)}
    server.writes = lambda body: "no"
    with pytest.raises(InputError, match="nothing was written"):
        generate(data, tmp_path / "none", server, texts=3)


def test_queries_for_documents(data: Path, server: ChatServer, tmp_path: Path) -> None:
    server.writes = lambda body: json.dumps({"queries": [f"what is {number_in(body)}", "the same for all"]})
    generate(data / "corpus.jsonl", tmp_path / "out", server, write="queries")
    found = {(row["doc_id"], row["text"]) for row in rows(tmp_path / "out")}
    assert found == {(f"d{n}", text) for n in range(10) for text in (f"what is {n}", "the same for all")}
    queries = pq.read_table(next((tmp_path / "out/collection/queries").glob("*.parquet"))).to_pylist()
    assert [row["text"] for row in queries] == [f"what is {n}" for n in range(10)]
    documents = pq.read_table(next((tmp_path / "out/collection/documents").glob("*.parquet"))).to_pylist()
    assert [row["text"] for row in documents] == [f"passage {n}." for n in range(10)], "nothing left its document"


def test_a_dry_run_tells_the_cost_and_asks_nothing(
    data: Path, server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_CACHE", str(tmp_path / "cache"))
    common = ["generate", data, "-o", tmp_path / "out", "--by", "llm", "--model", f"{server.url}#m", "--dry-run"]
    sizes = invoke(*common, "--json", "--price-input", "1", "--price-output", "2").json["generate"]["sizes"]
    assert sizes["requests"] == QUERIES
    assert 100 * QUERIES < sizes["input_tokens_about"] < 1_000 * QUERIES
    assert 0 < sizes["cost_about"] < sizes["cost_at_most"]
    assert not server.asked
    assert not (tmp_path / "out").exists()


def test_a_judge_is_asked_about_them_in_a_window_that_begins_at_0(
    data: Path, server: ChatServer, tmp_path: Path
) -> None:
    generate(data, tmp_path / "out", server)
    hnmine.mine(tmp_path / "out", tmp_path / "mined", options=hnmine.MineOptions(top_k=0, random=2))
    server.writes, server.asked[:] = None, []
    server.grade = lambda query, text: 3 if text.startswith("further") else 0

    def decided(window: str) -> list[Row]:
        place = tmp_path / window.replace(":", "-")
        given = hnmine.JudgeOptions(judge=(f"j={server.url}#m",), judge_window=window)
        cache = tmp_path / "cache"
        hnmine.judge(tmp_path / "out", tmp_path / "mined", place / "judged", options=given, cache_dir=cache)
        hnmine.filter(place / "judged", place / "decided", options=hnmine.FilterOptions(num_negatives=2))
        found: list[Row] = pq.read_table(place / "decided" / "part-00000.parquet").to_pylist()
        return [row for row in found if row["doc_id"].startswith("written-")]

    assert {row["grade_j"] for row in decided("0.01:1")} == {None}
    texts = {row["doc_id"]: row["text"] for row in rows(tmp_path / "out")}
    rows_of_written = decided("0:0")
    assert len(rows_of_written) == 2 * QUERIES
    for row in rows_of_written:
        wrong = texts[row["doc_id"]].startswith("further")
        assert row["grade_j"] == (3 if wrong else 0)
        assert row["reason"] == ("called-relevant" if wrong else "picked")
    for body in server.asked:
        assert "passage" not in body["messages"][-1]["content"].partition("Candidates:")[2].partition("Answer")[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "llm"}, "--by llm: which model"),
        ({"model": "m"}, "--model goes with --by llm, not with perturb"),
        ({"by": "llm", "model": "m", "budget": 1.0}, "--budget: what requests cost is not known"),
        ({"by": "llm", "model": "m", "price_input": -1.0, "tokens_per_minute": 0}, "(?s)not a price.*at least 1"),
        ({"by": "llm", "model": "m", "prompt": "relevance"}, "means nothing here"),
    ],
)
def test_what_does_not_go_together_is_refused(data: Path, tmp_path: Path, options: Row, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hnmine.generate(data, tmp_path / "out", options=hnmine.GenerateOptions(**options), cache_dir=tmp_path / "c")
