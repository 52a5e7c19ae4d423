"""Deals blocks out to workers, wherever these are: every block is done once, and again only if its worker is lost."""

from __future__ import annotations

import pickle
import traceback
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hnmine.errors import UsageError
from hnmine.execute.local import Block, StopFlag, T

ATTEMPTS = 3
"""How many workers may be lost over a block."""
POLL = 0.2
"""Seconds until a signal is noticed."""

Answer = tuple[Any, Exception | None]
"""(what the task returned, None), or (None, the error)."""


class Worker(ABC):
    """Somebody who has the task and does one block at a time."""

    block: Block | None = None
    """The block it has."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it can take a block now; one that has yet to start need not."""

    @abstractmethod
    def give(self, block: Block) -> None:
        """Begin a block; that a worker is lost shows in its answer."""

    @abstractmethod
    def answer(self) -> Answer | None:
        """What came of the block; None if the worker is lost."""

    @abstractmethod
    def end(self) -> str:
        """Have no such worker any more; returns how it ended, as in "by SIGKILL"."""


def deal(
    hire: Callable[[int], Worker],
    wait: Callable[[Sequence[Worker], float], Sequence[Worker]],
    blocks: Sequence[Block],
    workers: int,
    stop: StopFlag,
) -> Iterator[tuple[Block, Any]]:
    """Have every block done by one of `workers` workers; yields (block, what the task returned) as they finish.

    `hire(i)` makes worker i, `wait(workers, seconds)` tells which of those that have a block have an answer by then.
    After a signal no further block is given out, those begun are finished, and `Preempted` is raised. An error of the
    task is raised here; the others' blocks are given up. Raises `UsageError` when three workers were lost over a block.
    """
    pending, losses = deque(blocks), Counter[str]()
    crew = [hire(number) for number in range(min(workers, len(blocks)))]
    try:
        while pending or any(worker.block for worker in crew):
            for worker in crew:
                if worker.block is None and pending and stop.signal is None and worker.is_ready():
                    worker.block = pending.popleft()
                    worker.give(worker.block)
            busy = [worker for worker in crew if worker.block]
            if not busy and stop.signal is not None:
                break
            for worker in wait(busy, POLL):
                block, answer = worker.block, worker.answer()
                assert block is not None
                if answer is None:
                    how = worker.end()
                    losses[block.name] += 1
                    if losses[block.name] == ATTEMPTS:
                        raise UsageError(
                            f"{ATTEMPTS} workers ended {how} over {block.name}",
                            remedy="fewer workers (--executor local:N), smaller batches, or one to see what happens",
                        )
                    pending.appendleft(block)
                    place = crew.index(worker)
                    crew[place] = hire(place)
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


def answered(task: Callable[[Block], T], block: Block) -> Answer:
    """The answer of a worker to a block; an error can be sent and tells where it happened."""
    try:
        return task(block), None
    except Exception as error:
        return None, _portable(error)


def _portable(error: Exception) -> Exception:
    """The error itself, with the worker's traceback as a note, if it can be sent; else one that says the same."""
    told = "".join(traceback.format_exception(error))
    error.add_note(f"In a worker:\n{told}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"in a worker:\n{told}")
    return error


def pickled(task: Callable[[Block], Any]) -> bytes:
    """The task as it is sent to workers; `UsageError` if it cannot be."""
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"this work cannot be sent to other processes: {error}",
            expected="models and functions that can be pickled",
            remedy="one process: --executor local:1",
        ) from error
