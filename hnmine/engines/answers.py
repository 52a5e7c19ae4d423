"""What language models answered, kept on disk: a file a request, written as soon as the answer is there.

A file is a journal, one JSON a line: an attempt goes out (`sent`), the server says no to it (`failed`), the `answer`.
An attempt after which there is neither may have been carried out, and paid for. Who asks holds the file's lock, which
the kernel gives back when a process dies, so that two that want the same thing ask once.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hnmine.engines.chat import Answer
from hnmine.engines.http_json import Event
from hnmine.files.atomic import storage_errors

FOLDER = "answers"
"""Of the cache directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a request: its answer, if there is one, and how many attempts nobody heard of again."""

    answer: Answer | None = None
    lost: int = 0


class Entry:
    """The journal of one request, open and locked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        raw = _read_all(descriptor)
        self.record = _record(raw)
        if raw and not raw.endswith(b"\n"):  # a writer was killed
            os.write(descriptor, b"\n")

    def note(self, event: Event) -> None:
        """Write down what became of an attempt."""
        self._append({"event": event})
        change = 1 if event == "sent" else -1
        self.record = Record(answer=self.record.answer, lost=self.record.lost + change)

    def keep(self, answer: Answer) -> None:
        """Write down the answer, durably; the last attempt is no longer lost."""
        self._append({"event": "answer", **asdict(answer)})
        os.fsync(self._descriptor)
        self.record = Record(answer=answer, lost=max(0, self.record.lost - 1))

    def _append(self, line: dict[str, Any]) -> None:
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")


class Answers:
    """The answers kept in a directory, by a request's key."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def get(self, key: str) -> Record:
        """What is known of a request, without waiting for whoever asks it now."""
        try:
            return _record(self._path(key).read_bytes())
        except FileNotFoundError:
            return Record()

    @contextmanager
    def asking(self, key: str) -> Iterator[Entry]:
        """The journal of a request, for this thread alone; waits for whoever has it now."""
        path = self._path(key)
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield Entry(descriptor)
            finally:
                os.close(descriptor)

    def _path(self, key: str) -> Path:
        return self._root / key[:2] / f"{key}.jsonl"


def _read_all(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0) if size else b""


def _record(raw: bytes) -> Record:
    lost, answer = 0, None
    for line in raw.splitlines():
        try:
            entry = json.loads(line)
            event = entry.pop("event")
        except (ValueError, KeyError, AttributeError):
            continue  # half a line of a writer that was killed
        lost += {"sent": 1, "failed": -1, "answer": -1}.get(event, 0)
        if event == "answer" and answer is None:
            answer = Answer(**entry)
    return Record(answer=answer, lost=max(0, lost))
