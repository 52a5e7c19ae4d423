"""Runs blocks in several processes of this machine: a task is sent to each once, then block after block.

Processes are started afresh, not forked: torch, OpenMP and CUDA do not survive a fork. A block whose process dies is
given to another one; parts and receipts appear all or nothing, so that a lost block leaves nothing behind.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from hnmine.errors import UsageError
from hnmine.execute.local import Block, StopFlag, T
from hnmine.schema import WORKER_VARIABLE

ATTEMPTS = 3
"""How many processes may die over a block."""
_POLL = 0.2  # seconds until a signal is noticed


class _Worker:
    """One process, and the block it has."""

    def __init__(self, number: int, task: bytes, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hnmine.execute.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # standard output is data
                env={**os.environ, **environment, WORKER_VARIABLE: str(number), "PYTHONPATH": _search_path()},
            )
        self.connection = Connection(ours.detach())
        self.block: Block | None = None
        self._task: bytes | None = task

    def give(self, block: Block) -> None:
        """Send a block; a process that is dead by now is noticed when its answer is waited for."""
        self.block = block
        try:
            if self._task is not None:
                self.connection.send_bytes(self._task)
                self._task = None
            self.connection.send(block)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def answer(self) -> tuple[Any, Exception | None] | None:
        """(result, error) of its block; None if the process is gone."""
        try:
            found: tuple[Any, Exception | None] = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return None
        return found

    def end(self) -> int:
        """Have no such process any more; returns its exit status."""
        self.connection.close()
        self.process.kill()
        return self.process.wait()


def in_processes(
    task: Callable[[Block], T],
    blocks: Sequence[Block],
    workers: int,
    stop: StopFlag,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[Block, T]]:
    """Do every block in one of `workers` processes; yields (block, what the task returned) as they finish.

    `task` is pickled once. After a signal no further block is given out, those begun are finished, and `Preempted` is
    raised. An error of the task is raised here, with the traceback of its process as a note; the others' blocks are
    given up. Raises `UsageError` when three processes died over one block.
    """
    pending, deaths = deque(blocks), Counter[str]()
    sent = _pickled(task)
    crew = [_Worker(number, sent, environment or {}) for number in range(min(workers, len(blocks)))]
    try:
        while pending or any(worker.block for worker in crew):
            for worker in crew:
                if worker.block is None and pending and stop.signal is None:
                    worker.give(pending.popleft())
            busy = {worker.connection: worker for worker in crew if worker.block}
            if not busy:
                break
            for connection in wait(list(busy), _POLL):
                worker = busy[connection]  # type: ignore[index]
                block, answer = worker.block, worker.answer()
                assert block is not None
                if answer is None:
                    status = worker.end()
                    deaths[block.name] += 1
                    if deaths[block.name] == ATTEMPTS:
                        raise _lost(block, status)
                    pending.appendleft(block)
                    place = crew.index(worker)
                    crew[place] = _Worker(place, sent, environment or {})
                    continue
                result, error = answer
                if error is not None:
                    raise error
                worker.block = None
                yield block, result
        stop.check()
    finally:
        for worker in crew:
            worker.end()


def _pickled(task: Callable[[Block], Any]) -> bytes:
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"this work cannot be sent to other processes: {error}",
            expected="models and functions that can be pickled",
            remedy="one process: --executor local:1",
        ) from error


def _search_path() -> str:
    return os.pathsep.join(entry or os.getcwd() for entry in sys.path)


def _lost(block: Block, status: int) -> UsageError:
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
    return UsageError(
        f"{ATTEMPTS} worker processes ended {how} over {block.name}"
        + (", perhaps because memory ran out" if status == -signal.SIGKILL else ""),
        remedy="fewer processes (--executor local:N), smaller batches, or one process to see what happens",
    )
