"""`score --judge` over real HTTP: who is asked about what, and what becomes of the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine import prompts
from hnmine.engines.reranker import Reranker
from hnmine.errors import ArtefactError, InputError, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable, grades
from hnmine.files.collection import Collection
from hnmine.hashing import digest_bytes
from hnmine.options import JudgeOptions, Relabel
from hnmine.schema import Scale
from hnmine.stages.judge import Judge
from hnmine.stages.score import Score
from tests.chat_server import ChatServer, candidates_of
from tests.e2e.harness import invoke

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
    done = hnmine.judge(root / "collection", root / "candidates", out, options=given, cache_dir=cache, how=how)
    return done.artefact or Artefact.open(root / "candidates")


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
    shown = invoke("inspect", tmp_path / "decided", "--query", "q1").stdout
    assert "cheap: answers the query fully" in " ".join(shown.split())
    (info,) = CandidatesTable(decided).judges
    assert (info.name, info.model) == ("cheap", "acme/cheap")


def test_the_second_judge_sees_what_the_first_called_relevant_and_its_word_counts(
    root: Path, server: ChatServer, tmp_path: Path
) -> None:
    server.grades["big/one"] = lambda query, text: 1
    found = judged(root, tmp_path / "judged", server, f"{server.url}#cheap", f"strong={server.url}#big/one")
    table = pq.read_table(found.files())
    rows = table.to_pylist()
    for row in rows:
        number = int(row["doc_id"][1:]) % 4
        flagged = not row["is_positive"] and number >= 2
        assert row["grade_cheap"] == (None if row["is_positive"] else number)
        assert row["grade_strong"] == (1 if flagged else None)
    last = [-1 if row["is_positive"] else min(int(row["doc_id"][1:]) % 4, 1) for row in rows]
    assert grades(table, CandidatesTable(found).judges).tolist() == last
    assert found.counts["judge_strong"]["candidates"] == sum(
        found.counts["judge_cheap"][f"grade_{grade}"] for grade in (2, 3)
    )


def test_what_is_sent(root: Path, server: ChatServer, tmp_path: Path) -> None:
    judged(root, tmp_path / "judged", server, judge_top=5, limit=1)
    (body,) = server.asked
    system, user = body["messages"]
    query, texts = candidates_of(body)
    (positive,) = (f"number {i}" for i in range(QUERIES) if query == f"which {i}")
    assert f"Known to be relevant:\n[1] {positive}\n" in user["content"]
    assert len(texts) == 5
    assert positive not in texts.values()
    assert body["response_format"]["json_schema"]["strict"] is True
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("acme/cheap", 0.1, 2048)
    assert system["role"] == "system"


def test_the_order_of_candidates_says_nothing(root: Path, server: ChatServer, tmp_path: Path) -> None:
    judged(root, tmp_path / "judged", server)
    orders = [[int(text.split()[1]) for text in candidates_of(body)[1].values()] for body in server.asked]
    assert all(order != sorted(order) for order in orders)
    assert len({tuple(order) for order in orders}) == QUERIES
    judged(root, tmp_path / "other" / "seed", server, seed=1)
    again = [[int(text.split()[1]) for text in candidates_of(body)[1].values()] for body in server.asked[QUERIES:]]
    assert sorted(again) != sorted(orders)


def test_only_the_likeliest_of_the_window_are_asked_about(root: Path, server: ChatServer, tmp_path: Path) -> None:
    hnmine.filter(root / "candidates", tmp_path / "all", options=hnmine.FilterOptions(no_margin=True))
    p = {(r["query_id"], r["doc_id"]): r["p_false_negative"] for r in rows_of(Artefact.open(tmp_path / "all"))}
    least, middle = np.quantile([value for value in p.values() if value is not None], [0.2, 0.5]).tolist()
    for number, (window, top) in enumerate([(f"{least}:{middle}", 25), ("0:1", 3), ("0.9999:1", 25)]):
        low, high = (float(part) for part in window.split(":"))
        found = judged(root, tmp_path / str(number) / "judged", server, judge_window=window, judge_top=top)
        asked = {(r["query_id"], r["doc_id"]) for r in rows_of(found) if r["grade_cheap"] is not None}
        expected = set[tuple[str, str]]()
        for query in {q for q, _ in p}:
            inside = [pair for pair, value in p.items() if pair[0] == query and value and low <= value <= high]
            expected.update(sorted(inside, key=lambda pair: -p[pair])[:top])
        assert asked == expected
        assert bool(asked) == (low < 0.9)


def test_copies_and_what_is_known_are_not_asked_about(server: ChatServer, tmp_path: Path) -> None:
    texts = {
        "p": "word 3",
        "copy": "Word  3.",
        "same": "word 1",
        "again": "word 1!",
        "zero": "word 2",
        "query": "which?",
    }
    data = tmp_path / "data"
    (data / "qrels").mkdir(parents=True)
    (data / "corpus.jsonl").write_text("".join(json.dumps({"_id": d, "text": t}) + "\n" for d, t in texts.items()))
    (data / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "which"}) + "\n")
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp\t1\nq\tzero\t0\n")
    (tmp_path / "run").write_text("".join(f"q Q0 {d} {i} {9 - i} s\n" for i, d in enumerate(texts, 1)))
    hnmine.ingest(data, tmp_path / "collection")
    options = hnmine.MineOptions(run=(f"r={tmp_path / 'run'}",))
    hnmine.mine(tmp_path / "collection", tmp_path / "candidates", options=options)
    judged(tmp_path, tmp_path / "judged", server)
    assert [list(candidates_of(body)[1].values()) for body in server.asked] == [["word 1"]]


@pytest.mark.parametrize("mood", ["one missing", "one wrong", "half a JSON", "nonsense"])
def test_what_an_answer_leaves_out_is_asked_once_more(
    root: Path, server: ChatServer, tmp_path: Path, mood: str
) -> None:
    server.moods = [mood] * QUERIES
    found = judged(root, tmp_path / "judged", server)
    assert all(r["grade_cheap"] == int(r["doc_id"][1:]) % 4 for r in rows_of(found) if not r["is_positive"])
    again = 1 if mood.startswith("one") else DOCUMENTS - 1
    assert sorted(len(candidates_of(body)[1]) for body in server.asked) == sorted(
        [DOCUMENTS - 1] * QUERIES + [again] * QUERIES
    )
    assert found.counts["judge_cheap"]["no_grade"] == 0


def test_what_has_no_grade_the_second_time_is_null_and_counted(root: Path, server: ChatServer, tmp_path: Path) -> None:
    server.moods = ["nonsense"] * 99
    found = judged(root, tmp_path / "judged", server)
    assert {row["grade_cheap"] for row in rows_of(found)} == {None}
    counts = found.counts["judge_cheap"]
    assert (counts["candidates"], counts["no_grade"], counts["unanswered"]) == (44, 44, 0)
    assert counts["requests"] == len(server.asked) == 2 * QUERIES


def test_a_budget_leaves_rows_without_a_grade_and_the_answers_in_the_cache(
    root: Path, server: ChatServer, tmp_path: Path
) -> None:
    prices = {"price_input": (2.0,), "price_output": (8.0,)}
    server.prices = (2.0, 8.0)
    poor = judged(root, tmp_path / "poor", server, budget=0.0001, **prices)
    assert (server.asked, server.billed) == ([], 0.0)
    assert poor.counts["judge_cheap"]["unanswered"] == 44
    some = judged(root, tmp_path / "some", server, budget=0.023, **prices)
    answered = len(server.asked)
    assert 1 <= answered < QUERIES
    assert some.counts["judge_cheap"]["cost"] == pytest.approx(server.billed)
    assert server.billed <= 0.023
    assert some.counts["judge_cheap"]["unanswered"] == (QUERIES - answered) * 11
    whole = judged(root, tmp_path / "whole", server, budget=1.0, **prices)
    assert len(server.asked) == QUERIES
    assert whole.counts["judge_cheap"]["cost"] == pytest.approx(server.billed)


def test_workers_make_the_same_bytes_of_the_same_answers(
    root: Path, server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of one query in one process, then in two, on another cache; a budget that pays for a part of them."""
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "1")
    options: dict[str, Any] = {"budget": 0.1, "price_input": (2.0, 2.0), "price_output": (8.0, 8.0)}
    specs = (f"{server.url}#cheap", f"{server.url}#strong")
    one = judged(root, tmp_path / "one" / "judged", server, *specs, **options)
    asked = len(server.asked)
    two = judged(root, tmp_path / "two" / "judged", server, *specs, how=Execution(executor="local:2"), **options)
    assert len(server.asked) == 2 * asked
    assert one.fingerprint == two.fingerprint
    for first, second in zip(one.files(), two.files(), strict=True):
        assert first.read_bytes() == second.read_bytes()
    assert (one.path / "manifest.json").read_bytes() == (two.path / "manifest.json").read_bytes()
    notes = json.loads((two.path / "run.json").read_text())["notes"]
    assert notes["answers of cheap asked for"] == one.counts["judge_cheap"]["requests"]
    for shard in (0, 1):
        judged(root, tmp_path / "one" / "shards", server, *specs, how=Execution(shard=(shard, 2)), **options)
    hnmine.merge(tmp_path / "one" / "shards")
    assert (tmp_path / "one" / "shards" / "manifest.json").read_bytes() == (one.path / "manifest.json").read_bytes()
    assert len(server.asked) == 2 * asked


def test_a_batch_goes_out_and_comes_back_in_any_order(root: Path, server: ChatServer, tmp_path: Path) -> None:
    specs = (f"cheap={server.url}#a", f"strong={server.url}#b")
    live = judged(root, tmp_path / "live" / "judged", server, *specs)
    asked = len(server.asked)
    options = JudgeOptions(judge=specs, judge_window="0:1")
    collection, candidates = Collection.open(root / "collection"), Artefact.open(root / "candidates")
    cache, rounds = tmp_path / "cache", list[int]()
    for turn in range(9):
        file, results = tmp_path / f"requests-{turn}.jsonl", tmp_path / f"results-{turn}.jsonl"
        rounds.append(Judge(collection, candidates, options, cache).export(file))
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        if not lines:
            break
        done = [answered(server, line) for line in reversed(lines)]
        if turn == 0:
            done[0] = {"custom_id": lines[-1]["custom_id"], "response": None, "error": {"code": "batch_expired"}}
        results.write_text("".join(json.dumps(line) + "\n" for line in done))
        out = tmp_path / f"judged-{turn}"
        hnmine.judge(
            root / "collection",
            root / "candidates",
            out,
            options=replace(options, judge_import=str(results)),
            cache_dir=cache,
        )
        if turn == 0:
            counts = Artefact.open(out).counts["judge_cheap"]
            assert (counts["unanswered"], counts["requests"]) == (11, 3)
    assert rounds == [4, 1 + 3, 1, 0]
    found = Artefact.open(tmp_path / "judged-2")
    assert [path.read_bytes() for path in found.files()] == [path.read_bytes() for path in live.files()]
    assert len(server.asked) == asked


def answered(server: ChatServer, line: dict[str, Any]) -> dict[str, Any]:
    """A line of a batch's results, as the server would answer it."""
    assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
    content, usage = server.content(line["body"])
    body = {"choices": [{"message": {"content": content}}], "usage": usage}
    return {"id": "x", "custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}


def test_results_that_are_none_are_refused_before_anything_is_kept(
    root: Path, server: ChatServer, tmp_path: Path
) -> None:
    good = {
        "custom_id": "0" * 64,
        "response": {"status_code": 200, "body": {"choices": [{"message": {"content": ""}}]}},
    }
    (tmp_path / "results").write_text(json.dumps(good) + "\n{half\n" + json.dumps({**good, "custom_id": "mine"}))
    with pytest.raises(InputError, match=r"(?s)results:2.*results:3"):
        judged(root, tmp_path / "judged", server, judge_import=str(tmp_path / "results"))
    assert not list((tmp_path / "cache").rglob("*.jsonl"))
    with pytest.raises(UsageError, match="no such file"):
        judged(root, tmp_path / "judged", server, judge_import=str(tmp_path / "nowhere"))


def test_the_plan_knows_models_and_prompt_and_neither_address_nor_key(
    root: Path, server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    judged(root, tmp_path / "judged", server)
    plan = (tmp_path / "judged" / "plan.json").read_text()
    assert json.loads(plan)["judges"][0]["model"] == "acme/cheap"
    assert json.loads(plan)["judges"][0]["prompt"] == digest_bytes(prompts.text("relevance").encode())
    assert "127.0.0.1" not in plan
    assert all("sk-secret" not in path.read_text() for path in (tmp_path / "judged").glob("*.json"))
    copy = tmp_path / "mine.toml"
    copy.write_text(prompts.text("relevance") + "# changed\n")
    with pytest.raises(ArtefactError, match="prompt"):
        judged(root, tmp_path / "judged", server, prompt=str(copy))


def test_options_that_make_no_sense_are_told_together(root: Path, server: ChatServer, tmp_path: Path) -> None:
    wrong: dict[str, Any] = {"price_input": (1.0, 2.0), "price_output": (-1.0,), "budget": -1.0, "judge_top": 0}
    with pytest.raises(UsageError) as told:
        judged(root, tmp_path / "judged", server, **wrong, requests_per_minute=0)
    for words in ("2 prices for 1", "-1.0: not a price", "-1.0: not an amount", "--judge-top 0", "minute 0"):
        assert words in str(told.value)
    with pytest.raises(UsageError, match="give --price-input"):
        judged(root, tmp_path / "judged", server, budget=1.0)
    with pytest.raises(UsageError, match="two judges are called 'm'"):
        judged(root, tmp_path / "judged", server, f"{server.url}#a/m", f"{server.url}#b/m")


def test_an_estimate_is_about_what_it_comes_to(root: Path, server: ChatServer, tmp_path: Path) -> None:
    options = JudgeOptions(judge=(f"{server.url}#m",), judge_window="0:1", price_input=(2.0,), price_output=(8.0,))
    stage = Judge(Collection.open(root / "collection"), Artefact.open(root / "candidates"), options, tmp_path / "none")
    sizes = stage.sizes()
    assert server.asked == []
    found = judged(root, tmp_path / "judged", server, f"{server.url}#m", price_input=(2.0,), price_output=(8.0,))
    counts = found.counts["judge_m"]
    assert (sizes["candidates"], sizes["m: requests"]) == (counts["candidates"], counts["requests"]) == (44, 4)
    assert sizes["m: input_tokens_about"] == pytest.approx(counts["input_tokens"], rel=0.3)
    assert 0.5 < sizes["m: cost_about"] / counts["cost"] < 2
    assert counts["cost"] < sizes["m: cost_at_most"]


def test_a_table_that_was_scored_until_enough_passed_is_judged_too(
    root: Path, server: ChatServer, tmp_path: Path
) -> None:
    """Most rows have no score of that reranker: the guard goes by the others, and the column stays."""

    class ByNumber(Reranker):
        scale = Scale.LOGIT  # type: ignore[assignment]

        def describe(self) -> dict[str, Any]:
            return {}

        def score(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
            return np.array([-10 * float(document.split()[-1]) for _, document in pairs], np.float32)

    collection, candidates = Collection.open(root / "collection"), Artefact.open(root / "candidates")
    options = hnmine.ScoreOptions(until=2, name="ce")
    Score(collection, candidates, options, reranker=ByNumber()).run(tmp_path / "scored", Execution())
    judge = JudgeOptions(judge=(f"{server.url}#m",), judge_window="0:1")
    hnmine.judge(root / "collection", tmp_path / "scored", tmp_path / "judged", options=judge, cache_dir=tmp_path)
    found = Artefact.open(tmp_path / "judged")
    assert found.counts["judge_m"]["candidates"] == 44
    assert found.counts["null_scores"]["ce"] > 0
    rules = hnmine.FilterOptions(num_negatives=2, relabel=Relabel.OFF)  # the rules that the reranker was asked by
    hnmine.filter(tmp_path / "judged", tmp_path / "decided", options=rules)
    with pytest.raises(ArtefactError, match=r'relabel: .* -> "drop"'):
        hnmine.filter(tmp_path / "judged", tmp_path / "other", options=hnmine.FilterOptions(num_negatives=2))
