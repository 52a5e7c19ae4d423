"""Blocks in several processes: every block once, whatever dies, fails or is stopped."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hnmine.errors import InputError, Preempted, UsageError
from hnmine.execute.local import Block, StopFlag
from hnmine.execute.processes import in_processes
from tests.execute.tasks import Task


@pytest.fixture
def do(tmp_path: Path) -> Callable[..., list[tuple[str, int, int]]]:
    def run(names: list[str], workers: int = 2, stop: StopFlag | None = None) -> list[tuple[str, int, int]]:
        blocks = [Block(name=name, index=index, size=1) for index, name in enumerate(names)]
        found = list(in_processes(Task(tmp_path / "log"), blocks, workers, stop or StopFlag()))
        assert all(block.name == result[0] for block, result in found)
        return [result for _, result in found]

    return run


def begun(folder: Path) -> list[str]:
    return sorted((folder / "log").read_text().split())


def test_every_block_is_done_once_by_one_of_the_processes(do, tmp_path):
    names = [f"slow-{number}" for number in range(4)]
    found = do(names)
    assert sorted(name for name, _, _ in found) == names == begun(tmp_path)
    processes = {process for _, process, _ in found}
    assert len(processes) == 2
    assert os.getpid() not in processes
    # The task is loaded once a process and keeps what it has made.
    assert sorted(loads for _, _, loads in found) == [1, 1, 2, 2]


def test_no_more_processes_than_blocks(do):
    assert len({process for _, process, _ in do(["one"], workers=8)}) == 1


def test_a_block_whose_process_dies_is_done_by_another(do, tmp_path):
    found = do(["a", "dies-once", "slow-b", "c"])
    assert sorted(name for name, _, _ in found) == ["a", "c", "dies-once", "slow-b"]
    assert begun(tmp_path) == ["a", "c", "dies-once", "dies-once", "slow-b"]


def test_a_block_that_kills_three_processes_is_an_error_that_says_how(do, tmp_path):
    with pytest.raises(UsageError, match=r"3 workers ended by SIGKILL, perhaps .*memory.* over always-dies"):
        do(["always-dies", "a"])
    assert begun(tmp_path).count("always-dies") == 3


def test_an_error_of_the_task_is_raised_here_as_it_was(do):
    with pytest.raises(InputError) as found:
        do(["a", "bad-input"])
    assert (found.value.what, found.value.expected, found.value.remedy) == ("line 7 is bad", "a good one", "mend it")
    assert found.value.exit_code == 3


def test_a_bug_shows_where_it_was(do):
    with pytest.raises(ZeroDivisionError, match="a bug") as found:
        do(["bug", "a"])
    assert "tasks.py" in found.value.__notes__[0]


def test_an_error_that_cannot_be_sent_is_told(do):
    with pytest.raises(RuntimeError, match="not to be pickled"):
        do(["unspeakable", "a"])


def test_work_that_cannot_be_sent_is_refused_with_what_to_do():
    blocks = [Block(name=name, index=0, size=1) for name in "ab"]
    with pytest.raises(UsageError, match="--executor local:1"):
        list(in_processes(lambda block: None, blocks, 2, StopFlag()))


def test_after_a_signal_the_blocks_begun_are_finished_and_no_other_begins(do, tmp_path):
    stop = StopFlag()
    log = tmp_path / "log"

    def send() -> None:
        while not (log.exists() and len(log.read_text().split()) == 2):
            pass
        stop.signal = signal.SIGTERM

    watcher = threading.Thread(target=send)
    watcher.start()
    blocks = [Block(name=f"slow-{number}", index=number, size=1) for number in range(6)]
    done = []
    with pytest.raises(Preempted, match="stopped by SIGTERM"):
        done.extend(block.name for block, _ in in_processes(Task(log), blocks, 2, stop))
    watcher.join()
    assert sorted(done) == begun(tmp_path) == ["slow-0", "slow-1"]
