"""Runs blocks, here or wherever an executor has workers; stops between two when the scheduler asks.

A block is the unit of work, resume and distribution; it knows how to leave its parts and its receipt behind. The
executor never looks inside.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Literal, TypeVar

from hnmine.errors import Preempted, UsageError
from hnmine.execute.progress import Progress, Silent

T = TypeVar("T")

PREEMPTION_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One unit of work: its name (also the receipt's), its number within its phase, its size in rows."""

    name: str
    index: int
    size: int


class StopFlag:
    """Set by SIGTERM or SIGUSR1 while `listening`; `check` then raises `Preempted` between two blocks."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch the scheduler's signals for the duration (main thread only; elsewhere it does nothing)."""
        try:
            previous = {number: signal.signal(number, self._receive) for number in PREEMPTION_SIGNALS}
        except ValueError:
            yield
            return
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number

    def check(self) -> None:
        """Raise `Preempted` if a signal came."""
        if self.signal is not None:
            name = signal.Signals(self.signal).name
            raise Preempted(f"stopped by {name}; finished blocks are saved", remedy="run the same command again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a worker of a stage needs: a GPU or none, a number of threads if the plan says how many, else None.

    `devices`: how many processes of this machine do the work when nobody says, one for each GPU.
    """

    gpus: int = 0
    threads: int | None = None
    devices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Where blocks run: `processes` of this machine (None: one a GPU, or one), or the Ray cluster at `address`."""

    kind: Literal["local", "ray"] = "local"
    processes: int | None = None
    address: str | None = None


def parse_executor(text: str) -> Executor:
    """`local`, `local:4`, `ray` (the cluster that Ray finds, else one on this machine), or `ray:head-node:6379`.

    Raises `UsageError` for anything else.
    """
    kind, _, rest = text.partition(":")
    if kind == "local" and (not rest or (rest.isdecimal() and int(rest))):
        return Executor(processes=int(rest) if rest else None)
    if kind == "ray":
        return Executor(kind="ray", address=rest or None)
    raise UsageError(
        f"--executor {text}: no such executor",
        expected="local, local:N with N processes, ray, or ray:ADDRESS of a cluster",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a stage is carried out; none of it changes a byte of the result.

    `executor`: where, see `parse_executor`.
    `append`: a finished artefact of the stage (for a chain: a run directory) whose blocks are taken over, not made
    again, where they were made from the same.
    `strict_plan`: rather fail than carry out a plan that is not the one asked for, because that does not fit.
    """

    shard: tuple[int, int] = (0, 1)
    executor: str = "local"
    overwrite: bool = False
    append: Path | None = None
    strict_plan: bool = False
    progress: Progress = field(default_factory=Silent)
    stop: StopFlag = field(default_factory=StopFlag)

    def own(self, blocks: Sequence[Block]) -> list[Block]:
        """The blocks of this worker: every n-th."""
        index, count = self.shard
        return [block for block in blocks if block.index % count == index]


def pause_for_tests() -> None:
    """Sleep HNMINE_TEST_BLOCK_PAUSE seconds after a block: a test's time to kill the process."""
    time.sleep(float(os.environ.get("HNMINE_TEST_BLOCK_PAUSE", "0")))


def run_blocks(
    label: str,
    unit: str,
    blocks: Sequence[Block],
    is_finished: Callable[[str], bool],
    task: Callable[[Block], T],
    how: Execution,
    needs: Needs = Needs(),
) -> list[T]:
    """Do the blocks of this worker that are not finished yet; returns what `task` returned of each.

    Other processes are sent `task` pickled.
    """
    own = how.own(blocks)
    pending = [block for block in own if not is_finished(block.name)]
    total = sum(block.size for block in own)
    how.progress.start(label, total, total - sum(block.size for block in pending), unit)
    results = []
    try:
        for block, result in _done(task, pending, how, needs):
            results.append(result)
            how.progress.advance(block.size)
    finally:
        how.progress.finish()
    return results


def _done(
    task: Callable[[Block], T], pending: Sequence[Block], how: Execution, needs: Needs
) -> Iterator[tuple[Block, T]]:
    executor = parse_executor(how.executor)
    processes = min(executor.processes or needs.devices, len(pending))
    if executor.kind == "ray" and pending:
        from hnmine.execute.ray_actors import on_ray

        yield from on_ray(task, pending, executor.address, how.stop, needs)
        return
    if processes > 1:
        from hnmine.execute.processes import in_processes

        yield from in_processes(task, pending, processes, how.stop, threads=needs.threads)
        return
    for block in pending:
        how.stop.check()
        yield block, task(block)
        pause_for_tests()
    if pending:
        how.stop.check()
