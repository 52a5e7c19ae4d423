"""A reranker behind HTTP, against a real server that answers in two dialects, late, wrongly, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.engines import http_json
from hnmine.engines.remote_reranker import MOST_TEXTS, TOKEN, RemoteReranker, scores_of
from hnmine.errors import StorageError, UsageError
from hnmine.options import ScoreOptions
from hnmine.schema import Scale
from hnmine.stages.score import score_name

PAIRS = [(f"query {n % 3}", f"text {n % 7}") for n in range(20)]


def score(query: str, text: str) -> float:
    return len(query) + 10 * int(text.split()[-1]) - 40.25 if text != "one" else 1.5


class Quiet(ThreadingHTTPServer):
    """A client that does not wait for its answer is no news."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Server:
    """Answers `/rerank`; `moods` are taken one a request, then it is well."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.moods: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.pages: dict[str, Any] = {}
        self.most = MOST_TEXTS
        self.delay: Callable[[dict[str, Any]], float] = lambda body: 0.0
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def log_message(self, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                page = outer.pages.get(self.path)
                self.reply(200 if page is not None else 404, page)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.asked.append(body)
                    outer.headers.append(dict(self.headers))
                    mood = outer.moods.pop(0) if outer.moods else "well"
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                time.sleep(outer.delay(body))
                try:
                    self.answer(body, mood)
                finally:
                    with outer.lock:
                        outer.at_once -= 1

            def reply(self, status: int, page: Any, **headers: str) -> None:
                raw = json.dumps(page).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(raw)

            def answer(self, body: dict[str, Any], mood: str) -> None:
                key = {"texts": "texts", "documents": "documents"}[outer.dialect]
                if key not in body:
                    self.reply(422, {"error": f"missing field `{key}`"})
                    return
                texts = body[key]
                if mood.startswith("HTTP"):
                    headers = {"Retry_After": "3"} if mood == "HTTP 429" else {}
                    self.reply(int(mood.split()[1]), {"error": "not now"}, **headers)
                elif mood == "reset":
                    self.connection.close()
                elif len(texts) > outer.most:
                    self.reply(413, {"error": f"batch size {len(texts)} > {outer.most}"})
                else:
                    self.reply_with(body["query"], texts, mood)

            def reply_with(self, query: str, texts: list[str], mood: str) -> None:
                name = "score" if outer.dialect == "texts" else "relevance_score"
                found: list[dict[str, Any]] = [
                    {"index": row, name: outer.score(query, text)} for row, text in enumerate(texts)
                ]
                found.sort(key=lambda entry: -entry[name])  # best first, as servers do
                if mood == "too few":
                    found = found[1:]
                if mood == "twice":
                    found[0] = found[-1]
                if mood == "null":
                    found[0][name] = None
                answer: Any = found if outer.dialect == "texts" else {"results": found, "id": "x"}
                if mood == "half":
                    raw = json.dumps(answer).encode()
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(raw[: len(raw) // 2])
                elif mood == "cut off":
                    self.send_response(200)
                    self.send_header("Content-Length", "100000")
                    self.end_headers()
                    self.wfile.write(b"[")
                else:
                    self.reply(200, answer)

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/rerank"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def score(self, query: str, text: str) -> float:
        value = score(query, text)
        return value if self.dialect == "texts" else 1 / (1 + 2.0**-value)


@pytest.fixture(params=["texts", "documents"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv(TOKEN, raising=False)
    found = Server(request.param)
    found.pages = {"/info": {"model_id": "acme/judge", "model_sha": "abc", "max_client_batch_size": 32}}
    if found.dialect == "documents":
        found.pages = {"/v1/models": {"object": "list", "data": [{"id": "acme/judge"}]}}
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, not slept."""
    found: list[float] = []
    monkeypatch.setitem(http_json.post.__kwdefaults__, "sleep", found.append)
    return found


def remote(server: Server, *, attempts: int = http_json.ATTEMPTS, **options: Any) -> RemoteReranker:
    return RemoteReranker(ScoreOptions(reranker=server.url, **options), attempts=attempts)


def expected(server: Server, pairs: list[tuple[str, str]] = PAIRS) -> list[float]:
    return [pytest.approx(server.score(*pair), rel=1e-6) for pair in pairs]


def test_scores_come_in_input_order_and_each_pair_is_asked_once(server: Server) -> None:
    model = remote(server)
    found = model.score(PAIRS)
    assert found.dtype == np.float32
    assert found.tolist() == expected(server)
    texts = [text for body in server.asked[1:] for text in body.get("texts", body.get("documents", []))]
    assert len(texts) - texts.count("one") == len(set(PAIRS)) == 20
    assert model.scale is (Scale.LOGIT if server.dialect == "texts" else Scale.PROBABILITY)


def test_what_is_sent(server: Server) -> None:
    remote(server).score(PAIRS[:1])
    expected = (
        {"query": "query 0", "texts": ["text 0"], "raw_scores": True, "truncate": True}
        if server.dialect == "texts"
        else {"model": "acme/judge", "query": "query 0", "documents": ["text 0"]}
    )
    assert server.asked[-1] == expected
    assert "Authorization" not in server.headers[-1]


def test_the_plan_knows_the_model_and_not_the_address(server: Server) -> None:
    plain = remote(server).describe()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["remote"] == {"model": "acme/judge", **({"revision": "abc"} if server.dialect == "texts" else {})}
    assert str(server.http.server_address[1]) not in json.dumps(plain)
    assert remote(server, remote_model="other").describe()["remote"] == {"model": "other"}
    server.pages = {}
    with pytest.raises(UsageError, match="--remote-model NAME"):
        remote(server).describe()


def test_a_long_list_is_cut_into_requests_and_halved_where_the_server_wants_less(server: Server) -> None:
    pairs = [("query", f"text {n}") for n in range(70)]
    assert remote(server).score(pairs).tolist() == expected(server, pairs)
    sizes = sorted(len(body.get("texts", body.get("documents", []))) for body in server.asked)
    assert sizes[-3:] == [6, 32, 32]
    server.most = 5
    assert remote(server).score(pairs).tolist() == expected(server, pairs)


def test_requests_go_out_together_and_a_late_answer_changes_nothing(server: Server) -> None:
    server.delay = lambda body: 0.3 if body["query"] == "query 0" else 0.1
    assert remote(server).score(PAIRS).tolist() == expected(server)
    assert server.most_at_once >= 2


@pytest.mark.parametrize("mood", ["HTTP 429", "HTTP 500", "HTTP 503", "reset", "half", "cut off", "too few", "twice"])
def test_what_passes_is_asked_again(server: Server, pauses: list[float], mood: str) -> None:
    model = remote(server)
    assert model.scale
    server.moods = [mood, mood]
    assert model.score(PAIRS).tolist() == expected(server)
    assert len(pauses) == 2
    assert all(pause == 3.0 for pause in pauses) if mood == "HTTP 429" else all(0.2 < pause < 1.1 for pause in pauses)


def test_a_server_that_stays_away_is_a_failure_with_exit_code_7(server: Server, pauses: list[float]) -> None:
    model = remote(server, attempts=3)
    assert model.scale
    server.moods = ["HTTP 503"] * 50
    with pytest.raises(StorageError, match=r"3 times: HTTP 503: not now") as failed:
        model.score(PAIRS[:1])
    assert failed.value.exit_code == 7
    assert len(pauses) == 2
    assert pauses[1] > 0.5 > pauses[0] * 0.9
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(StorageError, match="refused"):
        model.score(PAIRS[:1])


def test_a_timeout_is_told(server: Server, pauses: list[float]) -> None:
    server.delay = lambda body: 1.0
    with pytest.raises(StorageError, match="timed out"):
        http_json.post(server.url, {"query": "q"}, lambda answer: answer, timeout=0.05, attempts=2)
    assert len(pauses) == 1


@pytest.mark.parametrize("mood", ["HTTP 400", "HTTP 404", "HTTP 424"])
def test_what_is_refused_is_not_asked_again(server: Server, pauses: list[float], mood: str) -> None:
    model = remote(server)
    assert model.scale
    before = len(server.asked)
    server.moods = [mood]
    with pytest.raises(UsageError, match=f"{mood}.: not now"):
        model.score(PAIRS[:1])
    assert (len(server.asked) - before, pauses) == (1, [])


def test_a_key_is_sent_and_a_wrong_one_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "secret")
    model = remote(server)
    model.score(PAIRS[:1])
    assert server.headers[-1]["Authorization"] == "Bearer secret"
    assert "secret" not in json.dumps(model.describe())
    server.moods = ["HTTP 401"] * 3
    with pytest.raises(UsageError, match="HTTP 401") as refused:
        model.score(PAIRS[:1])
    assert TOKEN in str(refused.value)


def test_a_score_that_is_null_is_nan(server: Server) -> None:
    model = remote(server)
    assert model.scale
    server.moods = ["null"]
    assert np.isnan(model.score([("q", "text 1"), ("q", "text 2")])).tolist() == [False, True]


def test_no_pairs_no_scores(server: Server) -> None:
    assert remote(server).score([]).shape == (0,)


def test_what_is_no_endpoint_is_refused(server: Server) -> None:
    server.dialect = "documents" if server.dialect == "texts" else "texts"
    assert remote(server, remote_model="m").score(PAIRS[:1]).shape == (1,)
    server.moods = ["HTTP 404", "HTTP 404"]
    server.dialect = "texts"
    with pytest.raises(UsageError, match="takes neither kind of request"):
        remote(server, remote_model="m").describe()
    with pytest.raises(UsageError, match="--max-length"):
        remote(server, max_length=100)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"error": "x"}, "no list"),
        ("x", "no list"),
        ([{"index": 0, "score": 1.0}], "1 scores for 2"),
        ([{"index": 0, "score": 1.0}, {"index": 2, "score": 1.0}], "not the score of one of 2"),
        ([{"index": 0, "score": 1.0}, {"index": -1, "score": 1.0}], "not the score of one of 2"),
        ([{"index": 0, "score": "high"}, {"index": 1, "score": 1.0}], "no number"),
        ([{"index": 0}, {"index": 1, "score": 1.0}], "no number"),
        ([None, None], "not the score"),
    ],
)
def test_answers_that_make_no_sense(answer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scores_of(answer, 2)


def test_the_column_is_called_after_the_model_and_not_after_the_address() -> None:
    assert score_name(ScoreOptions(reranker="http://host:80/v1/rerank")) == "reranker"
    assert score_name(ScoreOptions(reranker="http://host/rerank", remote_model="BAAI/bge-reranker-v2-m3")) == (
        "bge-reranker-v2-m3"
    )
    assert score_name(ScoreOptions(reranker="http://host/rerank", remote_model="a/b", name="ce")) == "ce"


def test_through_the_stage(server: Server, tmp_path: Path) -> None:
    """Two documents and a query: the table has the server's numbers under the model's name, the plan no address."""
    rows = [{"anchor": "query 0", "positive": "text 3"}, {"anchor": "query 10", "positive": "text 5"}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    hnmine.ingest(tmp_path / "pairs.jsonl", tmp_path / "c")
    hnmine.mine(tmp_path / "c", tmp_path / "m", indexes=[], options=hnmine.MineOptions(random=1))
    options = ScoreOptions(reranker=server.url, remote_model="acme/judge")
    hnmine.score(tmp_path / "c", tmp_path / "m", tmp_path / "s", options=options)
    found = pq.read_table(tmp_path / "s" / "part-00000.parquet")
    assert sorted(found["score_judge"].to_pylist()) == sorted(
        expected(server, [(q, d) for q in ("query 0", "query 10") for d in ("text 3", "text 5")]),
        key=lambda number: number.expected,
    )
    plan = (tmp_path / "s" / "plan.json").read_text()
    assert "acme/judge" in plan
    assert "127.0.0.1" not in plan
