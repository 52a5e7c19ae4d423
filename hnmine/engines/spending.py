"""Money and pace: what requests cost, a budget that holds before it spends, and limits per minute."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hnmine.engines.chat import Answer
from hnmine.files.atomic import storage_errors
from hnmine.hashing import canonical_json
from hnmine.prompts import BYTES_A_TOKEN, most_output

_MILLION = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a million tokens of requests, and of answers, cost, in any currency."""

    input: float = 0.0
    output: float = 0.0

    def of(self, input_tokens: float, output_tokens: float) -> float:
        """What so many tokens cost."""
        return (input_tokens * self.input + output_tokens * self.output) / _MILLION

    def most(self, body: Mapping[str, Any]) -> float:
        """The most that a request can cost: a token has at least a byte, and the answer's are limited."""
        return self.of(size_of(body), most_output(body))

    def cost(self, body: Mapping[str, Any], answer: Answer) -> float:
        """What an answer cost; the most it can have, where the server does not say."""
        if answer.input_tokens is None or answer.output_tokens is None:
            return self.most(body)
        return self.of(answer.input_tokens, answer.output_tokens)


def size_of(body: Mapping[str, Any]) -> int:
    """Bytes of a request: more than its tokens, with what a chat template puts around the messages."""
    return len(canonical_json(body).encode("utf-8", "replace"))


def tokens_about(body: Mapping[str, Any]) -> int:
    """Tokens of a request, by a rule of thumb."""
    texts = [one["content"] for one in body["messages"]] if "messages" in body else [body["prompt"]]
    return sum(len(text.encode("utf-8", "replace")) for text in texts) // BYTES_A_TOKEN


class BudgetSpent(Exception):
    """What is left of the budget may not pay for another attempt."""


@dataclass(slots=True)
class Budget:
    """An amount of which some is spent, and some held for requests under way; None has no end."""

    most: float | None = None
    held: float = 0.0
    """Spent or held."""
    _guard: Any = field(default_factory=threading.Lock, repr=False)

    def hold(self, amount: float) -> bool:
        """Set so much aside, if it is there."""
        with self._guard:
            fits = self.most is None or self.held + amount <= self.most
            self.held += amount if fits else 0.0
            return fits

    def settle(self, held: float, spent: float) -> None:
        """What was held for a request turned out to be so much."""
        with self._guard:
            self.held += spent - held


class Pace:
    """Lets requests go so that none of the limits per minute is passed, by any process that shares the file.

    Evenly: a request waits until its predecessors' share of the minute is over.
    """

    def __init__(self, path: Path, *, requests: int | None, tokens: int | None) -> None:
        self._path = path
        self._limits = {name: limit for name, limit in (("requests", requests), ("tokens", tokens)) if limit}

    def wait(
        self, tokens: int, *, now: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Return when a request of so many tokens may go out."""
        if not self._limits:
            return
        amounts = {"requests": 1, "tokens": tokens}
        with storage_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                free, time_now = _free_from(os.pread(descriptor, 1_000, 0)), now()
                start = max([time_now, *(free.get(name, 0.0) for name in self._limits)])
                for name, limit in self._limits.items():
                    free[name] = start + 60.0 * amounts[name] / limit
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(free).encode(), 0)
            finally:
                os.close(descriptor)
        if start > time_now:
            sleep(start - time_now)


def _free_from(raw: bytes) -> dict[str, float]:
    """When the next request may go out by each limit."""
    try:
        found: dict[str, float] = json.loads(raw)
    except ValueError:
        found = {}
    return found
