"""Requests to a chat server over real HTTP: what fails is asked again, what was answered never, and a budget holds."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hnmine.engines import http_json
from hnmine.engines.answers import Answers
from hnmine.engines.asking import REQUESTS, Asker, Kept, Request
from hnmine.engines.chat import Answer, Chat, answer_of
from hnmine.engines.spending import Budget, Pace, Prices
from hnmine.errors import StorageError, UsageError
from tests.chat_server import ChatServer

PRICES = Prices(input=1.0, output=4.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setitem(http_json.post.__kwdefaults__, "sleep", lambda seconds: None)
    found = ChatServer()
    found.prices = (PRICES.input, PRICES.output)
    yield found
    found.close()


def asker(server: ChatServer, root: Path, prices: Prices = PRICES, **limits: Any) -> Asker:
    pace = Pace(root / "pace", requests=limits.get("requests"), tokens=limits.get("tokens"))
    return Asker(Chat(f"{server.url}#m"), Answers(root), prices, pace)


def requests(count: int) -> list[Request]:
    def body(n: int) -> dict[str, Any]:
        text = f"Query:\nword {n}\n\nCandidates:\n[1] word {n}\n\n[2] other"
        return {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 50}

    return [Request(body=body(n)) for n in range(count)]


def test_answers_come_in_the_order_of_the_requests_many_at_a_time(server: ChatServer, tmp_path: Path) -> None:
    server.delay = 0.02
    found = asker(server, tmp_path).answers(requests(40), Budget())
    assert [json.loads(one.content)["grades"][0]["grade"] if one else None for one in found] == [3] * 40
    assert 4 <= server.most_at_once <= REQUESTS
    assert [one.input_tokens for one in found if one] == [
        len(json.dumps(r.body["messages"])) // 4 for r in requests(40)
    ]


BAD = ["HTTP 429", "HTTP 500", "HTTP 503", "reset", "cut off"]


def test_nothing_is_lost_and_nothing_answered_is_asked_for_twice(server: ChatServer, tmp_path: Path) -> None:
    """Every request but the first goes wrong once; a second call, as after a kill, asks nothing at all."""
    server.moods = ["well", *BAD * 4]
    first = asker(server, tmp_path).answers(requests(21), Budget())
    assert None not in first
    assert set(server.answered.values()) == {1}
    assert len(server.answered) == 21
    asked = len(server.asked)
    again = asker(server, tmp_path)
    assert again.answers(requests(21), Budget()) == first
    assert len(server.asked) == asked
    assert again.counts == {"kept from before": 21, "lost on the way, counted as paid": 8}


def test_what_is_answered_before_a_failure_is_kept(server: ChatServer, tmp_path: Path) -> None:
    server.moods = ["well"] * 5 + ["HTTP 401"] * 50
    with pytest.raises(UsageError, match="OPENAI_API_KEY") as refused:
        asker(server, tmp_path).answers(requests(20), Budget())
    assert "HTTP 401" in str(refused.value)
    server.moods = []
    asker(server, tmp_path).answers(requests(20), Budget())
    assert set(server.answered.values()) == {1}
    assert len(server.answered) == 20


def test_a_server_that_stays_away_is_exit_code_7(server: ChatServer, tmp_path: Path) -> None:
    server.moods = ["HTTP 503"] * 30
    with pytest.raises(StorageError, match="10 times: HTTP 503") as failed:
        asker(server, tmp_path).answers(requests(1), Budget())
    assert failed.value.exit_code == 7


def test_equal_requests_are_asked_once_even_at_the_same_time(server: ChatServer, tmp_path: Path) -> None:
    server.delay = 0.05
    found = asker(server, tmp_path).answers(requests(1) * 8, Budget())
    assert len(server.asked) == 1
    assert len({one.content for one in found if one}) == 1


def test_two_processes_of_a_cache_ask_once(server: ChatServer, tmp_path: Path) -> None:
    """Two askers as two processes have them: nothing shared but the directory."""
    server.delay = 0.05
    threads = [
        threading.Thread(target=asker(server, tmp_path).answers, args=(requests(10), Budget())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(server.answered.values()) == {1}


@pytest.mark.parametrize("moods", [[], ["cut off", "reset", "HTTP 500"] * 10], ids=["well", "losing answers"])
@pytest.mark.parametrize("tells_usage", [True, False])
def test_a_budget_is_never_exceeded(server: ChatServer, tmp_path: Path, moods: list[str], tells_usage: bool) -> None:
    """Whatever it is, and however many requests are under way: what the server bills stays below it."""
    server.tells_usage = tells_usage
    server.delay = 0.002
    most = max(PRICES.most(request.body) for request in requests(60))
    for number, times in enumerate((0.5, 1, 2.5, 20, 30.2)):
        server.moods, server.billed = list(moods), 0.0
        budget = Budget(times * most)
        found = asker(server, tmp_path / str(number)).answers(requests(60), budget)
        assert server.billed <= budget.held * (1 + 1e-9)
        assert budget.held <= times * most
        answered = [one is not None for one in found]
        if times < 1:
            assert not any(answered)
        elif not moods:
            assert answered == sorted(answered, reverse=True)
            assert sum(answered) >= int(times)


def test_which_requests_a_budget_pays_for_does_not_depend_on_when_answers_come(
    server: ChatServer, tmp_path: Path
) -> None:
    most = PRICES.most(requests(1)[0].body)
    counts = set()
    for number, delay in enumerate((0.0, 0.01, 0.03)):
        server.delay = delay
        found = asker(server, tmp_path / str(number)).answers(requests(60), Budget(20 * most))
        counts.add(sum(one is not None for one in found))
    assert len(counts) == 1
    assert 20 < counts.pop() < 60


def test_an_attempt_that_a_kill_cut_short_counts_as_paid(server: ChatServer, tmp_path: Path) -> None:
    """Half a line, as a killed writer leaves it, is passed over; the journal goes on behind it."""
    kept, (request,) = Answers(tmp_path), requests(1)
    with kept.asking(request.key) as entry:
        entry.note("sent")
    (file,) = tmp_path.glob("*/*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"event": "answer", "conte')
    assert kept.get(request.key).lost == 1
    assert kept.get(request.key).answer is None
    most = PRICES.most(request.body)
    poor = asker(server, tmp_path)
    assert poor.answers([request], Budget(1.5 * most)) == [None]
    assert server.asked == []
    rich = Budget(2 * most)
    assert asker(server, tmp_path).answers([request], rich) != [None]
    assert most < rich.held < 2 * most
    assert kept.get(request.key).answer is not None
    assert kept.get(request.key).lost == 1


def test_limits_per_minute_space_requests_of_all_processes_out(tmp_path: Path) -> None:
    clock, slept = [100.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))

    one, two = (Pace(tmp_path / "pace", requests=60, tokens=6_000) for _ in range(2))
    for pace, tokens in ((one, 10), (two, 10), (one, 500), (two, 10)):
        pace.wait(tokens, now=lambda: clock[0], sleep=sleep)
    assert slept == [1.0, 2.0, 7.0]  # a second after each other by the requests, five seconds by 500 tokens
    clock[0] = 200.0
    one.wait(10, now=lambda: clock[0], sleep=sleep)
    assert len(slept) == 3
    (tmp_path / "pace").write_text("not JSON")
    one.wait(10, now=lambda: clock[0], sleep=sleep)
    Pace(tmp_path / "none", requests=None, tokens=None).wait(10)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("knows", "types"), [("json_object", ["json_schema", "json_object"]), ("", [None])])
def test_a_server_that_does_not_know_the_form_is_asked_for_less(
    server: ChatServer, tmp_path: Path, knows: str, types: list[str | None]
) -> None:
    server.knows = knows
    chat = Chat(f"{server.url}#m")
    body = {**requests(1)[0].body, "response_format": {"type": "json_schema", "json_schema": {}}}
    assert json.loads(chat.ask(body).content)["grades"]
    asked = [one.get("response_format", {}).get("type") for one in server.asked]
    assert asked == (types if knows else ["json_schema", "json_object", None])
    chat.ask(body)
    assert len(server.asked) == len(asked) + 1  # it is remembered


def test_the_first_refusal_is_told_when_no_form_helps(server: ChatServer) -> None:
    server.moods = ["HTTP 404"] * 3
    body = {**requests(1)[0].body, "response_format": {"type": "json_schema"}}
    with pytest.raises(UsageError, match="HTTP 404"):
        Chat(f"{server.url}#m").ask(body)


def test_names_and_addresses(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://router/v1/")
    for spec, name, model, where in (
        ("http://host:8/v1#org/Model-7B", "Model-7B", "org/Model-7B", "http://host:8/v1"),
        ("cheap=http://host/v1/chat/completions#m", "cheap", "m", "http://host/v1"),
        ("m=http://me:secret@host/v1?key=secret#m", "m", "m", "http://host/v1"),
        ("gpt-4o-mini", "gpt-4o-mini", "gpt-4o-mini", "http://router/v1"),
        ("big=a/b:free", "big", "a/b:free", "http://router/v1"),
        ("a/b:free", "b-free", "a/b:free", "http://router/v1"),
        (server.url, "stand-in", "stand-in", server.url),
    ):
        chat = Chat(spec)
        assert (chat.name, chat.model, chat.where) == (name, model, where)
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert Chat("m").where == "https://api.openai.com/v1"
    server.models = ["one", "two"]
    with pytest.raises(UsageError, match="serves 2 models: one, two"):
        _ = Chat(server.url).model
    with pytest.raises(UsageError, match="no model"):
        Chat("cheap=")


def test_a_key_is_sent_and_kept_nowhere(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    asker(server, tmp_path).answers(requests(1), Budget())
    assert server.headers[-1]["Authorization"] == "Bearer sk-secret"
    assert all(b"sk-secret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("page", [None, {}, {"choices": []}, {"choices": [{"message": {"content": 1}}]}, [1]])
def test_what_is_no_answer_is_asked_again(page: Any) -> None:
    with pytest.raises(ValueError, match="content"):
        answer_of(page)


def test_an_answer_without_text_or_usage_is_an_answer() -> None:
    page = {"choices": [{"message": {"content": None}}], "usage": {"prompt_tokens": True}}
    assert answer_of(page) == Answer(content="", input_tokens=None, output_tokens=None)


def test_kept_answers_ask_nobody_and_tell_what_is_missing(server: ChatServer, tmp_path: Path) -> None:
    asker(server, tmp_path).answers(requests(3), Budget())
    server.close()
    kept = Kept(Answers(tmp_path))
    found = kept.answers(requests(5), Budget())
    assert [one is not None for one in found] == [True] * 3 + [False] * 2
    assert [request.body for request in kept.missing.values()] == [request.body for request in requests(5)[3:]]
