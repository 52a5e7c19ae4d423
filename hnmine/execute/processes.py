"""Runs blocks in several processes of this machine: a task is sent to each once, then block after block.

Processes are started afresh, not forked: torch, OpenMP and CUDA do not survive a fork. A block whose process dies is
given to another one; parts and receipts appear all or nothing, so that a lost block leaves nothing behind.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection as connections

from hnmine.execute.dealing import POLL, Answer, Worker, deal, pickled
from hnmine.execute.local import Block, StopFlag, T
from hnmine.schema import WORKER_VARIABLE


class _Process(Worker):
    def __init__(self, number: int, task: bytes, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hnmine.execute.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=2,  # standard output is data
                env={**os.environ, **environment, WORKER_VARIABLE: str(number), "PYTHONPATH": _search_path()},
            )
        self.connection = connections.Connection(ours.detach())
        self._task: bytes | None = task

    def is_ready(self) -> bool:
        return True

    def give(self, block: Block) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            if self._task is not None:
                self.connection.send_bytes(self._task)
                self._task = None
            self.connection.send(block)

    def answer(self) -> Answer | None:
        try:
            found: Answer = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return None
        return found

    def end(self) -> str:
        self.connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if self.block is None else POLL)  # one that died tells how
        self._process.kill()
        status = self._process.wait()
        if status == -signal.SIGKILL:
            return "by SIGKILL, perhaps because memory ran out,"
        return f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"


def in_processes(
    task: Callable[[Block], T],
    blocks: Sequence[Block],
    workers: int,
    stop: StopFlag,
    *,
    threads: int | None = None,
) -> Iterator[tuple[Block, T]]:
    """Do every block in one of `workers` processes, which `task` is pickled for; see `deal`.

    Each has `threads` threads, by default its share of the cores unless OMP_NUM_THREADS says otherwise.
    """
    sent = pickled(task)
    share = max(
        1, (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) // workers
    )
    each = str(threads or os.environ.get("OMP_NUM_THREADS", share))
    return deal(
        lambda number: _Process(number, sent, {"OMP_NUM_THREADS": each}), _with_an_answer, blocks, workers, stop
    )


def _with_an_answer(busy: Sequence[Worker], seconds: float) -> Sequence[Worker]:
    of = {worker.connection: worker for worker in busy if isinstance(worker, _Process)}
    return [of[found] for found in connections.wait(list(of), seconds)]  # type: ignore[index]


def _search_path() -> str:
    return os.pathsep.join(entry or os.getcwd() for entry in sys.path)
