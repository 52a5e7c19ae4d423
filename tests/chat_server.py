"""A stand-in for a language model behind `/v1/chat/completions`: it grades by words in common, and has moods.

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
                form = body.get("response_format", {}).get("type")
                known = {"json_schema": ("json_schema", "json_object"), "json_object": ("json_object",)}
                if form is not None and form not in known.get(outer.knows, ()):
                    self.reply(400, {"error": {"message": f"unknown response_format {form}"}})
                elif mood.startswith("HTTP"):
                    self.reply(int(mood.split()[1]), {"error": "not now"}, **{"Retry-After": "0.01"})
                elif mood == "reset":
                    self.connection.close()
                else:
                    self.say(body, mood)

            def say(self, body: dict[str, Any], mood: str) -> None:
                content, usage = outer.content(body, mood)
                page: dict[str, Any] = {"choices": [{"message": {"role": "assistant", "content": content}}]}
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
                    outer.answered[json.dumps([body["model"], body["messages"]])] += 1

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
        content = self.graded(body, mood) if self.writes is None else self.writes(body)
        content = {"nonsense": "I cannot say.", "half a JSON": content[: len(content) // 2]}.get(mood, content)
        return content, {
            "prompt_tokens": len(json.dumps(body["messages"])) // 4,
            "completion_tokens": len(content) // 4,
        }

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
