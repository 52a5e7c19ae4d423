"""`score --judge-likelihood` over real HTTP, against a model that computes what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine import prompts
from hnmine.core.query_likelihood import gecko_scores
from hnmine.engines import http_json
from hnmine.errors import StorageError, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.options import JudgeOptions, Relabel
from hnmine.stages.judge import Judge
from tests.chat_server import ChatServer
from tests.e2e.harness import invoke
from tests.stages.test_judge import DOCUMENTS, QUERIES, by_number, judged, root, rows_of  # noqa: F401 (a fixture)
from tests.tiny_lm import tiny_lm

ROWS = QUERIES * DOCUMENTS
LIKELIHOOD: dict[str, Any] = {"judge_likelihood": "likelihood"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setitem(http_json.post.__kwdefaults__, "sleep", lambda seconds: None)
    found = ChatServer(by_number)
    found.tokens = tiny_lm().tokens
    yield found
    found.close()


def grading(server: ChatServer) -> list[dict[str, Any]]:
    """The requests for grades."""
    return [body for body in server.asked if "messages" in body]


def test_the_likelihoods_are_those_of_the_model(root: Path, server: ChatServer, tmp_path: Path) -> None:  # noqa: F811
    """Of every row that is asked about and of the positives, though offsets are none and characters are split."""
    found = judged(root, tmp_path / "judged", server, judge_top=9, **LIKELIHOOD)
    rows = rows_of(found)
    before = prompts.read_likelihood("likelihood").before_query
    for row in rows:
        is_asked = row["grade_cheap"] is not None or row["is_positive"]
        assert (row["score_likelihood_cheap"] is not None) == is_asked
        assert (row["score_gecko_cheap"] is not None) == (row["grade_cheap"] is not None)
        if is_asked:
            text, query = f"number {row['doc_id'][1:]}", f"which {row['query_id'][1:]}"
            expected = -tiny_lm().cross_entropy(before(text), query)
            assert row["score_likelihood_cheap"] == pytest.approx(expected, rel=1e-5)
    assert len({row["score_likelihood_cheap"] for row in rows}) > QUERIES * 8
    owner = np.array([int(row["query_id"][1:]) for row in rows])
    values = np.array([np.nan if (v := row["score_likelihood_cheap"]) is None else v for row in rows])
    grades = np.array([-1 if row["grade_cheap"] is None else row["grade_cheap"] for row in rows])
    np.testing.assert_allclose(
        [row["score_gecko_cheap"] or np.nan for row in rows], gecko_scores(owner, values, grades), rtol=1e-6
    )
    assert found.plan["scores"][-2:] == [
        {"name": "likelihood_cheap", "scale": "log-probability", "origin": "likelihood"},
        {"name": "gecko_cheap", "scale": "dot", "origin": "gecko"},
    ]
    counts = found.counts
    assert counts["judge_cheap"]["likelihoods"] == QUERIES * 10
    assert (counts["judge_cheap"]["no_likelihood"], counts["judge_cheap"]["requests"]) == (0, QUERIES * 11)
    assert counts["null_scores"] == {"one": 0, "likelihood_cheap": QUERIES * 2, "gecko_cheap": QUERIES * 3}


FAULTS = [
    "HTTP 429",
    "cut off",
    "no logprobs",
    "HTTP 500",
    "null",
    "reset",
    "no offsets",
    "generated alone",
    "HTTP 503",
]


def test_what_goes_wrong_loses_nothing_and_nothing_is_asked_twice(
    root: Path,  # noqa: F811
    server: ChatServer,
    tmp_path: Path,
) -> None:
    whole = judged(root, tmp_path / "whole" / "judged", server, **LIKELIHOOD)
    asked = len(server.asked)
    server.answered.clear()
    server.moods = ["well", *FAULTS * 3]
    found = judged(root, tmp_path / "faulty" / "judged", server, **LIKELIHOOD)
    assert [path.read_bytes() for path in found.files()] == [path.read_bytes() for path in whole.files()]
    assert len(server.asked) > 2 * asked
    told = len(server.asked)
    judged(root, tmp_path / "faulty" / "again", server, **LIKELIHOOD)
    judged(root, tmp_path / "faulty" / "graded", server)
    assert len(server.asked) == told


@pytest.mark.parametrize(
    ("echo", "words"),
    [
        ("HTTP 404 This is a chat model", "HTTP 404.*This is a chat model"),  # OpenAI
        ("HTTP 500 Only no echo is supported", "Only no echo is supported"),  # llama.cpp
        ("generated alone", "tokens of the prompt have no log-probability"),  # llama.cpp, later
        ("no logprobs", r"no choices\[0\].logprobs"),  # TGI
        ("null", "tokens of the prompt have no log-probability"),
    ],
)
def test_a_server_without_likelihoods_is_refused_before_a_grade_is_paid_for(
    root: Path,  # noqa: F811
    server: ChatServer,
    tmp_path: Path,
    echo: str,
    words: str,
) -> None:
    server.echo = echo
    with pytest.raises(UsageError, match=words) as refused:
        judged(root, tmp_path / "judged", server, **LIKELIHOOD)
    assert "vLLM" in str(refused.value.expected)
    assert "--judge-likelihood" in str(refused.value.remedy)
    assert len(server.asked) == 1
    server.echo = "well"
    found = judged(root, tmp_path / "judged", server, **LIKELIHOOD)  # nothing of it was kept
    assert found.counts["judge_cheap"]["no_likelihood"] == 0


def test_a_server_that_forgets_how_is_asked_again_and_then_told_of(
    root: Path,  # noqa: F811
    server: ChatServer,
    tmp_path: Path,
) -> None:
    server.moods = ["well", *["no logprobs"] * 999]
    with pytest.raises(StorageError, match=r"10 times: .*no choices\[0\].logprobs"):
        judged(root, tmp_path / "judged", server, **LIKELIHOOD)


def test_a_wrong_key_is_told_as_such(root: Path, server: ChatServer, tmp_path: Path) -> None:  # noqa: F811
    server.echo = "HTTP 401 who are you"
    with pytest.raises(UsageError, match="HTTP 401") as refused:
        judged(root, tmp_path / "judged", server, **LIKELIHOOD)
    assert "OPENAI_API_KEY" in str(refused.value.remedy)


def test_tokens_that_do_not_tell_are_null_and_counted(root: Path, server: ChatServer, tmp_path: Path) -> None:  # noqa: F811
    server.tokens = lambda prompt: [
        (token.replace("3", "4") if "which 3" in prompt else token, value) for token, value in tiny_lm().tokens(prompt)
    ]
    found = judged(root, tmp_path / "judged", server, **LIKELIHOOD)
    assert {r["query_id"] for r in rows_of(found) if r["score_likelihood_cheap"] is None} == {"q3"}
    assert {r["query_id"] for r in rows_of(found) if not r["is_positive"] and r["score_gecko_cheap"] is None} == {"q3"}
    assert found.counts["judge_cheap"]["no_likelihood"] == DOCUMENTS


def test_a_budget_holds_and_pays_for_whole_queries(root: Path, server: ChatServer, tmp_path: Path) -> None:  # noqa: F811
    server.prices = (2.0, 8.0)
    prices: dict[str, Any] = {"price_input": (2.0,), "price_output": (8.0,), **LIKELIHOOD}
    poor = judged(root, tmp_path / "poor", server, budget=1e-6, **prices)
    assert server.asked == []
    assert poor.counts["judge_cheap"]["no_likelihood"] == ROWS
    some = judged(root, tmp_path / "some", server, budget=0.026, **prices)
    assert 0 < server.billed <= 0.026
    assert some.counts["judge_cheap"]["cost"] == pytest.approx(server.billed)
    done = {row["query_id"] for row in rows_of(some) if row["grade_cheap"] is not None}
    assert 0 < len(done) < QUERIES
    assert all(row["score_likelihood_cheap"] is not None for row in rows_of(some) if row["query_id"] in done)
    whole = judged(root, tmp_path / "whole", server, budget=1.0, **prices)
    assert len(server.asked) == len(server.answered) == ROWS + QUERIES
    assert whole.counts["judge_cheap"]["cost"] == pytest.approx(server.billed)


def test_workers_and_shards_make_the_same_bytes(
    root: Path,  # noqa: F811
    server: ChatServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two judges in blocks of one query, with a budget that pays for a part."""
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "1")
    prices = {"budget": 0.12, "price_input": (2.0, 2.0), "price_output": (8.0, 8.0)}
    specs = (f"{server.url}#cheap", f"{server.url}#strong")
    one = judged(root, tmp_path / "one" / "judged", server, *specs, **prices, **LIKELIHOOD)
    asked = len(server.asked)
    two = judged(
        root, tmp_path / "two" / "judged", server, *specs, how=Execution(executor="local:2"), **prices, **LIKELIHOOD
    )
    assert len(server.asked) == 2 * asked
    for shard in (0, 1):
        how = Execution(shard=(shard, 2))
        judged(root, tmp_path / "one" / "shards", server, *specs, how=how, **prices, **LIKELIHOOD)
    hnmine.merge(tmp_path / "one" / "shards")
    assert len(server.asked) == 2 * asked
    for other in (two.path, tmp_path / "one" / "shards"):
        assert (other / "manifest.json").read_bytes() == (one.path / "manifest.json").read_bytes()
        assert [p.read_bytes() for p in Artefact.open(other).files()] == [p.read_bytes() for p in one.files()]


def test_a_second_judge_is_asked_about_what_the_first_flagged(root: Path, server: ChatServer, tmp_path: Path) -> None:  # noqa: F811
    specs = (f"{server.url}#cheap", f"strong={server.url}#big")
    rows = rows_of(judged(root, tmp_path / "judged", server, *specs, **LIKELIHOOD))
    for row in rows:
        is_flagged = (row["grade_cheap"] or 0) >= 2
        assert (row["score_gecko_strong"] is not None) == is_flagged
        assert (row["score_likelihood_strong"] is not None) == (is_flagged or row["is_positive"])


def test_an_estimate_counts_the_requests_and_bounds_the_cost(root: Path, server: ChatServer, tmp_path: Path) -> None:  # noqa: F811
    options = JudgeOptions(
        judge=(f"{server.url}#m",), judge_window="0:1", price_input=(2.0,), price_output=(8.0,), **LIKELIHOOD
    )
    stage = Judge(Collection.open(root / "collection"), Artefact.open(root / "candidates"), options, tmp_path / "none")
    sizes = stage.sizes()
    assert server.asked == []
    found = judged(root, tmp_path / "judged", server, f"{server.url}#m", price_input=(2.0,), price_output=(8.0,))
    assert (sizes["m: requests"], sizes["m: likelihoods"]) == (ROWS + QUERIES, ROWS)
    assert sizes["m: cost_at_most"] > found.counts["judge_m"]["cost"]


def test_filters_take_the_scores_like_any_other_and_the_guard_takes_none(
    root: Path,  # noqa: F811
    server: ChatServer,
    tmp_path: Path,
) -> None:
    judged(root, tmp_path / "judged", server, judge_top=9, **LIKELIHOOD)

    def decided(source: Path, **options: Any) -> list[dict[str, Any]]:
        given = hnmine.FilterOptions(num_negatives=3, no_margin=True, relabel=Relabel.OFF, **options)
        hnmine.filter(source, tmp_path / "decided", options=given, how=Execution(overwrite=True))
        return rows_of(Artefact.open(tmp_path / "decided"))

    plain, with_scores = decided(root / "candidates"), decided(tmp_path / "judged")
    known = ("doc_id", "verdict", "reason", "p_false_negative")
    assert [[r[k] for k in known] for r in plain] == [[r[k] for k in known] for r in with_scores]
    assert Artefact.open(tmp_path / "decided").plan["judge_by"] == "one"

    rows = decided(tmp_path / "judged", judge_by="gecko", rank_by="gecko", skip_top=4)
    for query in range(QUERIES):
        own = [row for row in rows if row["query_id"] == f"q{query}" and row["score_gecko_cheap"] is not None]
        assert [r["score_gecko_cheap"] for r in own] == sorted((r["score_gecko_cheap"] for r in own), reverse=True)
        assert [r["reason"] for r in own] == ["skip-top"] * 4 + ["picked"] * 3 + ["not-needed"] * 2
    others = [row for row in rows if row["score_gecko_cheap"] is None]
    assert {row["reason"] for row in others} == {"known-positive", "no-score"}

    with pytest.raises(UsageError, match="--consistency-top needs ranks, and --rank-by gecko_cheap has none"):
        decided(tmp_path / "judged", rank_by="gecko", skip_top=4, consistency_top=1)

    rows = decided(tmp_path / "judged", judge_by="likelihood_cheap", max_score=-1.0)
    assert all(r["score_likelihood_cheap"] <= -1.0 for r in rows if r["verdict"] == "negative")
    shown = invoke("inspect", tmp_path / "decided", "--query", "q1")
    assert "likelihood_cheap -" in shown.stdout
    report = tmp_path / "report.html"
    assert invoke("report", tmp_path / "decided", "-o", report).code == 0
    assert "gecko_cheap" in report.read_text()
    assert "<dt>likelihoods of the query, positives too</dt>" in report.read_text()


def test_what_does_not_go_together_is_refused(root: Path, server: ChatServer, tmp_path: Path) -> None:  # noqa: F811
    specs = (f"{server.url}#m",)
    with pytest.raises(UsageError, match="--judge-import and --judge-likelihood"):
        judged(root, tmp_path / "judged", server, judge_import="x", **LIKELIHOOD)
    options = JudgeOptions(judge=specs, **LIKELIHOOD)
    stage = Judge(Collection.open(root / "collection"), Artefact.open(root / "candidates"), options, tmp_path)
    with pytest.raises(UsageError, match="--judge-export and --judge-likelihood"):
        stage.export(tmp_path / "requests.jsonl")
    with pytest.raises(UsageError, match="--judge-likelihood liklihood: no such file; did you mean 'likelihood'"):
        judged(root, tmp_path / "judged", server, judge_likelihood="liklihood")


def test_a_prompt_of_ones_own(root: Path, server: ChatServer, tmp_path: Path) -> None:  # noqa: F811
    mine = tmp_path / "mine.toml"
    mine.write_text('prompt = "{document} is asked for by {query}"\n[request]\nadd_special_tokens = false\n')
    found = judged(root, tmp_path / "judged", server, limit=1, judge_likelihood=str(mine))
    (row,) = [row for row in rows_of(found) if row["is_positive"]]
    (asked,) = [
        b
        for b in server.asked
        if b.get("prompt") == f"number {row['doc_id'][1:]} is asked for by which {row['query_id'][1:]}"
    ]
    assert asked["add_special_tokens"] is False
    assert json.loads((tmp_path / "judged" / "plan.json").read_text())["likelihood_prompt"]
    assert pq.read_schema(found.files()[0]).field("score_likelihood_cheap").type == "float"
    for wrong, words in (
        ('prompt = "{query} {document}"', "must end with {query}"),
        ('prompt = "{document}: {query}{query}"', "must end with {query}"),
        ('prompt = "{document}: \'{query}"', "must end with {query}"),
        ('prompt = "{text} {query}"', "{document} is nowhere in it"),
        ('prompt = "{document} {query}"\n[request]\nmax_tokens = 9', "max_tokens: hnmine says that itself"),
        ('user = "{document} {query}"', "no text 'prompt'"),
    ):
        mine.write_text(wrong)
        with pytest.raises(UsageError) as refused:
            prompts.read_likelihood(str(mine))
        assert words in str(refused.value)
