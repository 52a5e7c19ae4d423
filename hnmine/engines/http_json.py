"""JSON over HTTP with patience: what fails for a moment is tried again, what is refused is told at once.

Of the standard library; a connection per request, which a model's computing time dwarfs.
"""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hnmine.errors import StorageError, UsageError

T = TypeVar("T")

TIMEOUT = 120.0
"""Seconds to wait for an answer."""
ATTEMPTS = 6
"""With pauses of 0.5, 1, 2, 4 and 8 seconds between them, a server has a quarter of a minute to come back."""
LONGEST_PAUSE = 60.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


def is_remote(name: str) -> bool:
    """Whether the name of a model is a URL."""
    return name.startswith(("http://", "https://"))


class Refused(UsageError):
    """The server understood and said no; asking again would not help."""

    def __init__(self, url: str, status: int, reason: str) -> None:
        remedy = "set HNMINE_RERANKER_TOKEN to a valid key" if status in (401, 403) else None
        super().__init__(f"{url} refuses (HTTP {status}): {reason}", remedy=remedy)
        self.status = status


def get(url: str, *, headers: Mapping[str, str] | None = None) -> Any:
    """What a server says about itself at `url`; None if it does not. Asked once, waiting ten seconds at most."""
    try:
        return _ask(url, None, headers or {}, 10.0)
    except (_Passing, Refused):
        return None


def post(
    url: str,
    body: object,
    read: Callable[[Any], T],
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """What `read` makes of the answer to `body`.

    Tried again after a pause: no or a broken connection, a timeout, HTTP 408, 425, 429 and 5xx, half a JSON, and an
    answer of which `read` raises `ValueError`. Pauses double, less a random part so that many workers do not come back
    together; a server's `Retry-After` is waited for, up to a minute. Raises `StorageError` (exit code 7) after the last
    attempt, and `Refused` at once for any other 4xx.
    """
    pause = 0.5
    for attempt in range(1, attempts + 1):
        try:
            return read(_ask(url, body, headers or {}, timeout))
        except _Passing as error:
            reason, wait = str(error), error.wait
        except ValueError as error:
            reason, wait = f"the answer makes no sense: {error}", None
        if attempt < attempts:
            sleep(min(LONGEST_PAUSE, wait if wait is not None else pause * random.uniform(0.5, 1.0)))
        pause *= 2
    raise StorageError(
        f"{url} did not answer, {attempts} times: {reason}",
        remedy="see whether the server runs; finished blocks are saved, so run the same command again",
    )


class _Passing(Exception):
    """Something that may be over in a moment; `wait` is how long the server says."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def _ask(url: str, body: object, headers: Mapping[str, str], timeout: float) -> Any:
    data = None if body is None else json.dumps(body).encode()
    own = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "hnmine"}
    request = urllib.request.Request(url, data, {**own, **headers})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            raw = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            reason = _said(error)
        if error.code in _PASSING:
            raise _Passing(f"HTTP {error.code}: {reason}", _seconds(error.headers.get("Retry-After"))) from None
        raise Refused(url, error.code, reason) from None
    except (OSError, http.client.HTTPException) as error:  # a URLError and a timeout are kinds of OSError
        raise _Passing(str(getattr(error, "reason", None) or error) or type(error).__name__) from None
    try:
        return json.loads(raw)
    except ValueError as error:
        raise _Passing(f"not JSON: {error}") from None


def _said(error: urllib.error.HTTPError) -> str:
    """The server's own words about an error, the first 200 characters."""
    try:
        text = error.read(2_000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException):
        text = ""
    try:
        parsed = json.loads(text)
        text = str(next((parsed[key] for key in ("error", "message", "detail") if key in parsed), text))
    except (ValueError, TypeError):
        pass
    return (text or str(error.reason))[:200]


def _seconds(text: str | None) -> float | None:
    """A Retry-After in seconds; None without one, or for a date."""
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
