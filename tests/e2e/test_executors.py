"""`--executor local:N`: several processes, the same bytes, also when one of them or their parent is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.harness import STAGES, Chain, Cli, Done, contents, receipts, until

SPLIT = [stage for stage in STAGES if stage != "ingest"]
SLOW = ("dense", "score")
"""Each of their workers loads a model."""


@pytest.mark.parametrize(
    ("stage", "workers"),
    [*(pytest.param(s, 2, marks=pytest.mark.slow) if s in SLOW else (s, 4) for s in SPLIT), ("mine", 1), ("mine", 2)],
)
def test_any_number_of_processes_makes_the_same_bytes(
    stage: str, workers: int, chain: Chain, call: Callable[..., Done], tmp_path: Path
) -> None:
    done = call(*chain.command(stage, tmp_path, "--executor", f"local:{workers}", "--json"))
    assert done.code == 0, done.stderr
    assert done.json["blocks"]["done_now"] == done.json["blocks"]["total"] >= 5
    assert contents(chain.artefact(stage, tmp_path)) == contents(chain.path(stage))
    if stage == "export-file":
        assert (tmp_path / "train.parquet").read_bytes() == (chain.root / "train.parquet").read_bytes()


def children(process: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if parent == process:
                found.append(int(entry.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


@needs_proc
def test_a_killed_worker_costs_its_block_and_nothing_else(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    artefact = chain.artefact("mine", tmp_path)
    command = chain.command("mine", tmp_path, "--executor", "local:2", "--json")
    process = cli.start(*command, HNMINE_TEST_BLOCK_PAUSE="0.3")
    until(lambda: bool(receipts(artefact)))
    os.kill(children(process.pid)[0], signal.SIGKILL)
    done = cli.end(process)
    assert done.code == 0, done.stderr
    assert done.json["blocks"]["done_now"] == done.json["blocks"]["total"]
    assert contents(artefact) == contents(chain.path("mine"))


@needs_proc
def test_workers_end_with_their_parent_and_the_work_goes_on(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    artefact = chain.artefact("filter", tmp_path)
    command = chain.command("filter", tmp_path, "--executor", "local:2")
    process = cli.start(*command, HNMINE_TEST_BLOCK_PAUSE="0.5")
    until(lambda: bool(receipts(artefact)))
    workers = children(process.pid)
    assert len(workers) == 2
    process.kill()
    cli.end(process)
    until(lambda: not any(is_alive(worker) for worker in workers))
    assert cli(*command).code == 0
    assert contents(artefact) == contents(chain.path("filter"))


def is_alive(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_finished_blocks(how: signal.Signals, chain: Chain, cli: Cli, tmp_path: Path) -> None:
    artefact = chain.artefact("filter", tmp_path)
    command = chain.command("filter", tmp_path, "--executor", "local:2")
    stopped = cli.interrupted(command, artefact, how)
    assert stopped.code == {signal.SIGTERM: 75, signal.SIGINT: 130}[how], stopped.stderr
    assert "Traceback" not in stopped.stderr
    count = len(receipts(artefact))
    assert count >= 1
    done = cli(*command, "--json")
    assert done.json["blocks"]["done_now"] == done.json["blocks"]["total"] - count
    assert contents(artefact) == contents(chain.path("filter"))


@pytest.mark.parametrize("text", ["local:0", "local:x", "threads:2"])
def test_an_executor_that_is_none(text: str, chain: Chain, call: Callable[..., Done], tmp_path: Path) -> None:
    done = call(*chain.command("filter", tmp_path, "--executor", text))
    assert done.code == 2
    assert f"--executor {text}: no such executor" in done.stderr
