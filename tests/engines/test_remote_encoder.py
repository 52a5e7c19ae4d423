"""An encoder behind HTTP, against a real server that answers late, wrongly, or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hnmine
from hnmine.engines import http_json
from hnmine.engines.remote_encoder import KEY, MOST_TEXTS, RemoteEncoder, vectors_of
from hnmine.errors import InputError, StorageError, UsageError
from hnmine.options import DenseOptions
from hnmine.schema import Side

TEXTS = [f"text {n % 37} " + "x" * (n % 5) for n in range(100)]


def vector(text: str, dimension: int = 4) -> list[float]:
    return [float(len(text)), float(sum(map(ord, text)) % 97), 1.0, -2.0, 3.0, 4.0][:dimension]


def unit(texts: list[str], dimension: int = 4) -> np.ndarray:
    found = np.array([vector(text) for text in texts], np.float32)[:, :dimension]
    return found / np.linalg.norm(found, axis=1, keepdims=True)


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not wait for its answer is no news."""


class Server:
    """Answers `/v1/embeddings`; `moods` are taken one a request, then it is well."""

    def __init__(self) -> None:
        self.moods: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.models = ["served/model"]
        self.dimension = 4
        self.most = MOST_TEXTS
        self.longest = 10_000
        self.delay: Callable[[dict[str, Any]], float] = lambda body: 0.0
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: object) -> None:
                pass

            def reply(self, status: int, page: Any, *, part: float = 1.0, **headers: str) -> None:
                raw = json.dumps(page).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(raw[: int(len(raw) * part)])

            def do_GET(self) -> None:
                listed = {"object": "list", "data": [{"id": name} for name in outer.models]}
                self.reply(200 if self.path == "/v1/models" and outer.models else 404, listed)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.asked.append({**body, "path": self.path})
                    outer.keys.append(self.headers["Authorization"])
                    mood = outer.moods.pop(0) if outer.moods else "well"
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                time.sleep(outer.delay(body))
                with outer.lock:
                    outer.at_once -= 1
                self.answer(body["input"], mood)

            def answer(self, texts: list[str], mood: str) -> None:
                if mood.startswith("HTTP"):
                    more = {"Retry_After": "3"} if mood == "HTTP 429" else {}
                    self.reply(int(mood.split()[1]), {"error": {"message": "not now"}}, **more)
                    return
                if mood == "reset":
                    self.connection.close()
                    return
                if len(texts) > outer.most or max(map(len, texts)) > outer.longest:
                    self.reply(413, {"error": "too large"})
                    return
                found = [{"index": row, "embedding": vector(t, outer.dimension)} for row, t in enumerate(texts)]
                if mood == "null":
                    found[0]["embedding"] = [None] * outer.dimension
                if mood == "too few":
                    found.pop()
                if mood == "ragged":
                    found[0]["embedding"] = [1.0]
                found.reverse()
                self.reply(200, {"data": found, "model": "m"}, part=0.5 if mood == "half" else 1.0)

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def texts(self) -> list[str]:
        return [text for body in self.asked for text in body["input"]]


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts, which are not made."""
    made: list[float] = []
    own = http_json.post
    monkeypatch.setattr(http_json, "post", lambda *given, **more: own(*given, **{**more, "sleep": made.append}))
    monkeypatch.delenv(KEY, raising=False)
    return made


def encoder(server: Server, **options: Any) -> RemoteEncoder:
    return RemoteEncoder(DenseOptions(model=server.url, **options))


def test_vectors_are_in_input_order_whatever_order_they_come_in(server: Server) -> None:
    server.delay = lambda body: 0.02 * (len(body["input"][0]) % 3)
    found = encoder(server).encode(TEXTS, Side.DOCUMENT)
    np.testing.assert_allclose(found.vectors, unit(TEXTS), atol=1e-6)
    assert found.truncated == 0
    assert sorted(server.texts()) == sorted({*TEXTS, "a"})  # each once, and the probe for the dimension
    assert max(len(body["input"]) for body in server.asked) <= MOST_TEXTS
    assert {body["model"] for body in server.asked} == {"served/model"}
    assert {body["path"] for body in server.asked} == {"/v1/embeddings"}
    assert server.most_at_once > 1
    assert encoder(server).encode([], Side.QUERY).vectors.shape == (0, 4)


def test_a_request_holds_a_budget_of_characters(server: Server) -> None:
    encoder(server, batch_tokens=10).encode(["x" * 30 + str(n) for n in range(5)] + ["y" * 100], Side.DOCUMENT)
    assert sorted(len(body["input"]) for body in server.asked) == [1] * 7
    server.asked.clear()
    encoder(server, batch_tokens=10).encode([f"{n:010}" for n in range(8)], Side.DOCUMENT)
    assert sorted(len(body["input"]) for body in server.asked) == [1, 4, 4]


def test_prompts_and_dimensions_are_the_users(server: Server) -> None:
    model = encoder(server, query_prompt="query: ", truncate_dim=3)
    found = model.encode(["one", "three"], Side.QUERY).vectors
    np.testing.assert_allclose(found, unit(["query: one", "query: three"], 3), atol=1e-6)
    assert model.dimension == 3
    assert "three" in (model.encode(["three"], Side.DOCUMENT), server.texts())[1]
    with pytest.raises(UsageError, match=r"--truncate-dim 5"):
        _ = encoder(server, truncate_dim=5).dimension


def test_the_plan_knows_the_model_by_its_name_and_dimension(server: Server) -> None:
    assert encoder(server, query_prompt="q: ").describe() == {
        "remote": {"model": "served/model"},
        "prompts": {"query": "q: ", "document": ""},
        "dimension": 4,
        "normalise": True,
    }
    assert encoder(server, remote_model="other").describe()["remote"] == {"model": "other"}
    server.models = ["a", "b"]
    with pytest.raises(UsageError, match=r"serves 2 models: a, b\n  try: --remote-model NAME"):
        encoder(server).describe()
    server.models = []
    with pytest.raises(UsageError, match="does not say which model it runs"):
        encoder(server).describe()


@pytest.mark.parametrize(
    "moods",
    [["HTTP 500"], ["HTTP 503", "reset"], ["half"], ["too few", "ragged"], ["HTTP 429"]],
    ids=lambda moods: ", ".join(moods),
)
def test_what_fails_for_a_moment_is_asked_again(server: Server, pauses: list[float], moods: list[str]) -> None:
    model = encoder(server)
    assert model.dimension == 4
    server.moods = list(moods)
    np.testing.assert_allclose(model.encode(TEXTS[:3], Side.DOCUMENT).vectors, unit(TEXTS[:3]), atol=1e-6)
    assert len(pauses) == len(moods)
    assert pauses[0] == 3 if moods == ["HTTP 429"] else 0.25 <= pauses[0] <= 0.5


def test_an_answer_that_is_late_is_asked_for_again(
    server: Server, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = encoder(server)
    assert model.dimension == 4
    own = http_json.post
    monkeypatch.setattr(http_json, "post", lambda *given, **more: own(*given, **more, timeout=0.3))
    late = iter([1.0])
    server.delay = lambda body: next(late, 0.0)
    np.testing.assert_allclose(model.encode(["one"], Side.QUERY).vectors, unit(["one"]), atol=1e-6)
    assert len(pauses) == 1


def test_a_server_that_stays_away_is_a_storage_error(server: Server) -> None:
    model = encoder(server)
    assert model.dimension == 4
    server.moods = ["HTTP 503"] * 1000
    with pytest.raises(StorageError, match=r"/v1/embeddings did not answer, 6 times: HTTP 503") as error:
        model.encode(TEXTS, Side.DOCUMENT)
    assert error.value.exit_code == 7


def test_a_request_too_large_is_halved_until_one_text_is_left(server: Server) -> None:
    server.most = 5
    found = encoder(server).encode(TEXTS, Side.DOCUMENT).vectors
    np.testing.assert_allclose(found, unit(TEXTS), atol=1e-6)
    server.longest = 50
    with pytest.raises(UsageError, match=r"(?s)HTTP 413.*for the text 'yyy.*' of 60 characters\n  try: let the server"):
        encoder(server).encode([*TEXTS, "y" * 60], Side.DOCUMENT)


def test_the_key_comes_from_the_environment_and_is_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret")
    model = encoder(server)
    assert "secret" not in json.dumps(model.describe())
    assert set(server.keys) == {"Bearer secret"}
    server.moods = ["HTTP 401"]
    with pytest.raises(UsageError, match=f"try: set {KEY} to a valid key"):
        model.encode(["one"], Side.QUERY)


def test_a_vector_that_is_not_finite_names_the_text(server: Server) -> None:
    model = encoder(server)
    assert model.dimension == 4
    server.moods = ["null"]
    with pytest.raises(InputError, match=r"not finite for document 1 of the block \(1 of 2\): 'longer'"):
        model.encode(["one", "longer"], Side.DOCUMENT)


def test_another_model_in_the_middle_is_noticed(server: Server) -> None:
    model = encoder(server)
    assert model.dimension == 4
    server.dimension = 5
    with pytest.raises(StorageError, match="gives vectors of 5 dimensions, 4 before"):
        model.encode(["one"], Side.DOCUMENT)


@pytest.mark.parametrize(("option", "value"), [("dtype", "bf16"), ("max_length", 9), ("device", "cpu")])
def test_what_the_server_decides_is_refused(option: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"--{option.replace('_', '-')}: the server of a remote model decides that"):
        RemoteEncoder(DenseOptions(model="http://localhost:1/v1", **{option: value}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {"data": {}},
        {"data": [{"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": True, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]},
        {"data": [{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": "AAAA"}]},
        {"data": [{"index": 0, "embedding": [{}]}, {"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": ["x"]}, {"index": 1, "embedding": [1.0]}]},
    ],
)
def test_an_answer_that_makes_no_sense_is_no_answer(answer: Any) -> None:
    with pytest.raises(ValueError):
        vectors_of(answer, 2)


def test_an_index_is_built_and_resumed_anywhere(server: Server, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps({"anchor": f"q{n}", "positive": f"document {n}"}) + "\n" for n in range(9)))
    hnmine.ingest(data, tmp_path / "c")
    options = DenseOptions(model=server.url + "/", query_prompt="q: ")
    outcome = hnmine.index_dense(tmp_path / "c", tmp_path / "i", options=options)
    assert outcome.artefact is not None
    assert outcome.counts["dimension"] == 4
    assert outcome.notes["model"] == f"served/model at {server.url}/, known by its name alone"
    assert server.url not in json.dumps(outcome.artefact.plan)
    stored = np.load(tmp_path / "i/vectors/documents-00000.npy").astype(np.float32)
    np.testing.assert_allclose(stored, unit([f"document {n}" for n in range(9)]), atol=1e-3)
    again = hnmine.index_dense(tmp_path / "c", tmp_path / "i", options=options)
    assert again.blocks_done_now == 0


def test_the_whole_chain_runs_with_a_served_model(server: Server, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text("".join(json.dumps({"anchor": f"q{n}", "positive": f"document {n}"}) + "\n" for n in range(9)))
    dense = DenseOptions(model=server.url, remote_model="org/served")
    hnmine.run(
        data, tmp_path / "out", options=hnmine.RunOptions(dense=dense, filter=hnmine.FilterOptions(no_margin=True))
    )
    assert (tmp_path / "out/indexes/served/manifest.json").is_file()


def test_a_name_for_a_served_model_wants_a_server(tmp_path: Path, tiny_encoder: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text(json.dumps({"anchor": "a", "positive": "b"}) + "\n")
    hnmine.ingest(data, tmp_path / "c")
    with pytest.raises(UsageError, match="--remote-model goes with a URL as --model"):
        hnmine.index_dense(
            tmp_path / "c", tmp_path / "i", options=DenseOptions(model=str(tiny_encoder), remote_model="x")
        )
