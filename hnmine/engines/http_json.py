"""JSON over HTTP with patience: what fails for a moment is tried again, what is refused is told at once.

Of the standard library; a connection per request, which a model's computing time dwarfs.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from re import Pattern
from typing import Any, Literal, TypeVar

from hnmine.errors import StorageError, UsageError

T = TypeVar("T")
Event = Literal["sent", "failed"]
"""Of one attempt: a request goes out; the server said no, so that nothing was done. One that is only `sent` may have
been carried out."""

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

    def __init__(self, url: str, status: int, reason: str, key: str) -> None:
        remedy = f"set {key} to a valid key" if status in (401, 403) else None
        super().__init__(f"{url} refuses (HTTP {status}): {reason}", remedy=remedy)
        self.status = status


def get(url: str, *, headers: Mapping[str, str] | None = None) -> Any:
    """What a server says about itself at `url`; None if it does not. Asked once, waiting ten seconds at most."""
    try:
        return _ask(url, None, headers or {}, 10.0)
    except (_Passing, Refused):
        return None


def listed_models(base: str, headers: Mapping[str, str]) -> list[str]:
    """The models that an OpenAI-compatible server says it has; none if it does not say."""
    page = get(f"{base}/models", headers=headers)
    listed = page.get("data") if isinstance(page, dict) else None
    entries = listed if isinstance(listed, list) else []
    return [entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def only_model(base: str, headers: Mapping[str, str], *, asked: str, remedy: str) -> str:
    """The model that a server lists, if it is one; `UsageError`, which names what was `asked`, if it is not."""
    names = listed_models(base, headers)
    if len(names) == 1:
        return names[0]
    said = f"serves {len(names)} models: {', '.join(names[:10])}" if names else "does not say which model it runs"
    raise UsageError(f"{asked}: the server {said}", remedy=remedy)


def post(
    url: str,
    body: object,
    read: Callable[[Any], T],
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
    heard: Callable[[Event], None] | None = None,
    key: str = "HNMINE_RERANKER_TOKEN",
    final: Pattern[str] | None = None,
) -> T:
    """What `read` makes of the answer to `body`.

    Tried again after a pause: no or a broken connection, a timeout, HTTP 408, 425, 429 and 5xx, half a JSON, and an
    answer of which `read` raises `ValueError`. Pauses double, less a random part so that many workers do not come back
    together; a server's `Retry-After` is waited for, up to a minute. Raises `StorageError` (exit code 7) after the last
    attempt, and `Refused` at once for any other 4xx, which for a wrong key names the variable `key`, and for an error
    in whose words `final` is found.

    `heard` is told of every attempt before it goes out, and when the server says no to it; what it raises is raised.
    """
    pause = 0.5
    tell = heard or (lambda event: None)
    for attempt in range(1, attempts + 1):
        tell("sent")
        try:
            return read(_ask(url, body, headers or {}, timeout, key))
        except Refused:
            tell("failed")
            raise
        except _Passing as error:
            reason, wait = str(error), error.wait
            if error.is_no:
                tell("failed")
            if final is not None and error.status and final.search(reason):
                raise Refused(url, error.status, reason, key) from None
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
    """Something that may be over in a moment; `wait` is how long the server says, `is_no` that it did nothing.

    `status` is that of its answer, 0 if there was none.
    """

    def __init__(self, reason: str, wait: float | None = None, *, is_no: bool = False, status: int = 0) -> None:
        super().__init__(reason)
        self.wait = wait
        self.is_no = is_no
        self.status = status


def _ask(url: str, body: object, headers: Mapping[str, str], timeout: float, key: str = "") -> Any:
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
            wait = _seconds(error.headers.get("Retry-After"))
            is_no = error.code not in (408, 504)
            raise _Passing(f"HTTP {error.code}: {reason}", wait, is_no=is_no, status=error.code) from None
        raise Refused(url, error.code, reason, key) from None
    except (OSError, http.client.HTTPException) as error:  # a URLError and a timeout are kinds of OSError
        cause = getattr(error, "reason", None) or error
        never_sent = isinstance(cause, (ConnectionRefusedError, socket.gaierror))
        raise _Passing(str(cause) or type(error).__name__, is_no=never_sent) from None
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
