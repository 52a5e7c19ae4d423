"""A stand-in for a language model behind `/v1/chat/completions`: it grades by words in common, and has moods.

Behind `/v1/completions` it tells the log-probabilities of a prompt's tokens, in the shape of vLLM.

python tests/chat_server.py PORT-FILE       serves until it is killed; its address goes to the file
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"^\[(\d+)\] (.*)$", re.MULTILINE)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def candidates_of(body: dict[str, Any]) -> tuple[str, dict[int, str]]:
    """The query and the numbered candidates of a request."""
    user = body["messages"][-1]["content"]
    query = user.partition("Query:\n")[2].partition("\n")[0]
    listed = user.partition("Candidates:\n")[2]
    return query, {int(number): text for number, text in BLOCK.findall(listed)}


def by_words(query: str, text: str) -> int:
    """0 to 3: how many of the query's words the text has, in quarters."""
    wanted = words(query)
    return min(3, 4 * len(wanted & words(text)) // max(1, len(wanted)))


def words_seen(prompt: str) -> list[tuple[str, float | None]]:
    """The tokens of a prompt, and one more, as a model has them that expects words which it saw before."""
    found, seen = list[tuple[str, float | None]](), set[str]()
    for token in (*re.findall(r"\s*\S+", prompt), " more"):
        word = token.strip().lower()
        found.append((token, None if not found else -1.0 if word in seen else -4.0))
        seen.add(word)
    return found


class Quiet(ThreadingHTTPServer):
    """A client that does not wait for its answer is no news."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class ChatServer:
    """Answers requests; `moods` are taken one a request, then it is well. `grades` are of models that grade otherwise.

    `answered` counts, by request, answers that were sent in full: what would be paid for. `knows` is how much of
    `response_format` it takes: `json_schema`, `json_object` or nothing. Behind the first `most` requests all wait.
    `tokens` are those of a prompt and one more, each with its log-probability; `echo` is how it takes to being asked
    for them: `well`, an HTTP status, or one of the moods.
    """

    def __init__(self, grade: Callable[[str, str], int] = by_words) -> None:
        self.grade = grade
        self.grades: dict[str, Callable[[str, str], int]] = {}
        self.moods: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.answered: Counter[str] = Counter()
        self.billed = 0.0
        self.prices = (0.0, 0.0)
        self.knows = "json_schema"
        self.tells_usage = True
        self.delay = 0.0
        self.most: int | None = None
        self.models = ["stand-in"]
        self.tokens: Callable[[str], list[tuple[str, float | None]]] = words_seen
        self.echo = "well"
        self.writes: Callable[[dict[str, Any]], str] | None = None
        """What it says to a request, if it does not grade."""
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: object) -> None:
                pass

            def do_GET(self) -> None:
                self.reply(200, {"data": [{"id": name} for name in outer.models]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.asked.append(body)
                    number = len(outer.asked)
                    outer.headers.append(dict(self.headers))
                    outer.times.append(time.monotonic())
                    mood = outer.moods.pop(0) if outer.moods else "well"
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                try:
                    time.sleep(outer.delay)
                    while outer.most is not None and number > outer.most:
                        time.sleep(0.01)
                    self.answer(body, mood)
                finally:
                    with outer.lock:
                        outer.at_once -= 1

            def answer(self, body: dict[str, Any], mood: str) -> None:
                if "prompt" in body and outer.echo != "well":
                    mood = outer.echo
                form = body.get("response_format", {}).get("type")
                known = {"json_schema": ("json_schema", "json_object"), "json_object": ("json_object",)}
                if form is not None and form not in known.get(outer.knows, ()):
                    self.reply(400, {"error": {"message": f"unknown response_format {form}"}})
                elif mood.startswith("HTTP"):
                    status, _, words = mood.removeprefix("HTTP ").partition(" ")
                    self.reply(int(status), {"error": {"message": words or "not now"}}, **{"Retry-After": "0.01"})
                elif mood == "reset":
                    self.connection.close()
                else:
                    self.say(body, mood)

            def say(self, body: dict[str, Any], mood: str) -> None:
                content, usage = outer.content(body, mood)
                page: dict[str, Any] = {"choices": [{"message": {"role": "assistant", "content": content}}]}
                if "prompt" in body:
                    page = outer.completion(body, mood)
                if outer.tells_usage:
                    page["usage"] = usage
                with outer.lock:
                    cost = usage["prompt_tokens"] * outer.prices[0] + usage["completion_tokens"] * outer.prices[1]
                    outer.billed += cost / 1e6
                if mood == "cut off":
                    raw = json.dumps(page).encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(raw)))
                    self.end_headers()
                    self.wfile.write(raw[: len(raw) // 2])
                    return
                self.reply(200, page)
                with outer.lock:
                    outer.answered[json.dumps([body["model"], body.get("messages", body.get("prompt"))])] += 1

            def reply(self, status: int, page: Any, **headers: str) -> None:
                raw = json.dumps(page).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

        self.http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def content(self, body: dict[str, Any], mood: str = "well") -> tuple[str, dict[str, int]]:
        """What is said to a request, and the tokens that are billed."""
        if "prompt" in body:
            return "", {"prompt_tokens": len(self.tokens(body["prompt"])) - 1, "completion_tokens": 1}
        content = self.graded(body, mood) if self.writes is None else self.writes(body)
        content = {"nonsense": "I cannot say.", "half a JSON": content[: len(content) // 2]}.get(mood, content)
        return content, {
            "prompt_tokens": len(json.dumps(body["messages"])) // 4,
            "completion_tokens": len(content) // 4,
        }

    def completion(self, body: dict[str, Any], mood: str) -> dict[str, Any]:
        """vLLM's answer to a prompt: offsets are sums of the lengths of tokens decoded one by one."""
        assert (body["echo"], body["logprobs"], body["max_tokens"]) == (True, 1, 1)
        tokens, values = (list(column) for column in zip(*self.tokens(body["prompt"]), strict=True))
        if mood == "generated alone":
            tokens, values = tokens[-1:], values[-1:]
        if mood == "null":
            values[-2] = None
        offsets = [sum(map(len, tokens[:i])) for i in range(len(tokens))]
        logprobs = {
            "text_offset": offsets,
            "token_logprobs": values,
            "tokens": tokens,
            "top_logprobs": [None if v is None else {token: v} for token, v in zip(tokens, values, strict=True)],
        }
        if mood == "no offsets":
            logprobs.pop("text_offset")
        choice = {"index": 0, "text": body["prompt"] + tokens[-1], "logprobs": logprobs, "finish_reason": "length"}
        if mood in ("no logprobs", "nonsense"):
            choice["logprobs"] = None
        return {"id": "cmpl-1", "object": "text_completion", "model": body["model"], "choices": [choice]}

    def graded(self, body: dict[str, Any], mood: str) -> str:
        """The grades that a request asks for."""
        query, texts = candidates_of(body)
        grade = self.grades.get(body["model"], self.grade)
        grades = [{"candidate": n, "grade": grade(query, text)} for n, text in texts.items()]
        if mood == "one missing":
            grades = grades[1:]
        if mood == "one wrong":
            grades[0]["grade"] = 7
        return json.dumps({"reasoning": "words", "grades": grades})

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(ChatServer().url, encoding="utf-8")
    threading.Event().wait()
