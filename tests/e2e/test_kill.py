"""A process may end at any moment: what was finished stays, and the rest comes out the same byte for byte."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.harness import ROOT, STAGES, Chain, Cli, contents, receipts, until


def finished_files(artefact: Path) -> dict[Path, tuple[int, int]]:
    """The files of finished blocks: their time and place on disk, which a second computation would change."""
    names = [name for path in receipts(artefact) for name in json.loads(path.read_text(encoding="utf-8"))["files"]]
    return {artefact / name: ((artefact / name).stat().st_mtime_ns, (artefact / name).stat().st_ino) for name in names}


@pytest.mark.parametrize("stage", [s if s != "score" else pytest.param(s, marks=pytest.mark.slow) for s in STAGES])
def test_a_killed_stage_goes_on_and_ends_in_the_same_bytes(stage: str, chain: Chain, cli: Cli, tmp_path: Path) -> None:
    draw = random.Random()
    artefact = chain.artefact(stage, tmp_path)
    command = chain.command(stage, tmp_path)
    killed = cli.interrupted(command, artefact, signal.SIGKILL, draw.randint(1, 2), draw.random() * 0.5)
    assert killed.code == -signal.SIGKILL
    assert not (artefact / "manifest.json").exists()
    before, count = finished_files(artefact), len(receipts(artefact))
    assert count >= 1

    done = cli(*command, "--json")

    assert done.code == 0, done.stderr
    blocks = done.json["blocks"]
    assert blocks["total"] >= 5
    assert blocks["done_now"] == blocks["total"] - count
    for path, was in before.items():
        if path.exists():  # intermediate parts are gone
            assert (path.stat().st_mtime_ns, path.stat().st_ino) == was
    assert contents(artefact) == contents(chain.path(stage))
    if stage == "export-file":
        for name in ("train.parquet", "train.ids.parquet"):
            assert (tmp_path / name).read_bytes() == (chain.root / name).read_bytes()


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        ("ingest", signal.SIGTERM),
        ("bm25", signal.SIGUSR1),
        pytest.param("dense", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("mine", signal.SIGUSR1, marks=pytest.mark.slow),
        ("filter", signal.SIGUSR1),
        pytest.param("export", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("export-file", signal.SIGUSR1, marks=pytest.mark.slow),
    ],
)
def test_the_schedulers_signal_saves_the_finished_blocks_and_exits_75(
    stage: str, how: signal.Signals, chain: Chain, cli: Cli, tmp_path: Path
) -> None:
    artefact = chain.artefact(stage, tmp_path)
    command = chain.command(stage, tmp_path)
    stopped = cli.interrupted(command, artefact, how)
    assert stopped.code == 75
    assert stopped.stdout == ""
    assert f"stopped by {how.name}" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    count = len(receipts(artefact))
    assert count >= 1
    assert not list(artefact.rglob(".pending-*"))

    done = cli(*command, "--json")

    assert done.code == 0, done.stderr
    assert done.json["blocks"]["done_now"] == done.json["blocks"]["total"] - count
    assert contents(artefact) == contents(chain.path(stage))


def test_a_signal_before_the_first_block_is_heard_too(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    """SIGTERM while the model loads or DATA is read must not kill the process without a word."""
    artefact = chain.artefact("ingest", tmp_path)
    process = cli.start(
        *chain.command("bm25", tmp_path)[:2], chain.data, "-o", tmp_path / "index", HNMINE_TEST_BLOCK_PAUSE="0.2"
    )
    caches = cli.cache / "collections"
    until(lambda: bool(list(caches.glob("*/receipts/*.json"))) or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    stopped = cli.end(process)
    assert stopped.code == 75, stopped.stderr
    assert not artefact.exists()
    assert cli(*chain.command("bm25", tmp_path)[:2], chain.data, "-o", tmp_path / "index").code == 0


def test_ctrl_c_exits_130_and_running_again_goes_on(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    artefact = chain.artefact("filter", tmp_path)
    stopped = cli.interrupted(chain.command("filter", tmp_path), artefact, signal.SIGINT)
    assert stopped.code == 130
    assert "interrupted" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert stopped.stdout == ""

    assert cli(*chain.command("filter", tmp_path)).code == 0

    assert contents(artefact) == contents(chain.path("filter"))


def test_ctrl_c_while_the_program_starts_is_quiet_and_130(cli: Cli, tmp_path: Path) -> None:
    """The signal comes in the middle of the imports."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == os.environ['INTERRUPTED_IMPORT']:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n",
        encoding="utf-8",
    )
    places = f"{tmp_path}:{ROOT}"
    for module in ("typer", "hnmine.cli.flags"):
        stopped = cli("presets", PYTHONPATH=places, INTERRUPTED_IMPORT=module)
        assert (stopped.code, stopped.stdout, stopped.stderr) == (130, "", "")
    heard = cli("presets", PYTHONPATH=places, INTERRUPTED_IMPORT="hnmine.presets.nothing")
    assert heard.code == 0
    command = ["ingest", tmp_path / "nowhere", "-o", tmp_path / "out"]
    told = cli(*command, PYTHONPATH=places, INTERRUPTED_IMPORT="hnmine.stages.ingest")
    assert (told.code, told.stdout) == (130, "")
    assert told.stderr.startswith("interrupted; finished blocks are saved"), "a command that runs says so"
    assert "Traceback" not in told.stderr


def test_a_kill_after_the_manifest_leaves_no_rubbish_for_good(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    """Between the manifest and the tidying, intermediate parts and receipts are still there."""
    artefact = tmp_path / "bm25"
    shutil.copytree(chain.path("bm25"), artefact)
    (artefact / "counts").mkdir()
    (artefact / "counts" / "part-00000.arrow").write_bytes(b"intermediate")
    (artefact / "receipts").mkdir()
    entry = {"files": {"counts/part-00000.arrow": {"bytes": 12, "rows": 1, "sha256": ""}}, "counts": {}}
    (artefact / "receipts" / "counts-00000.json").write_text(json.dumps(entry), encoding="utf-8")
    (artefact / ".pending-abc-plan.json").write_text("half", encoding="utf-8")

    done = cli(*chain.command("bm25", tmp_path), "--json")

    assert done.code == 0, done.stderr
    assert done.json["blocks"]["done_now"] == 0
    assert contents(artefact) == contents(chain.path("bm25"))


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_in_the_same_bytes(chain: Chain, cli: Cli, tmp_path: Path) -> None:
    """At any moment: while it starts, while it loads, between two stages, while it closes an artefact."""
    flags = ["--no-dense", "-k", 10, "-n", 3]
    assert cli("run", chain.data, "-o", tmp_path / "calm", *flags).code == 0
    draw = random.Random()
    kills, patience = 0, 0.3
    while True:
        process = cli.start("run", chain.data, "-o", tmp_path / "wild", *flags, HNMINE_TEST_BLOCK_PAUSE="0.05")
        try:
            process.wait(timeout=draw.uniform(0.1, 1.0) * patience)
        except subprocess.TimeoutExpired:
            process.kill()
            kills, patience = kills + 1, patience * 1.3
        done = cli.end(process)
        if done.code == 0:
            break
        assert done.code == -signal.SIGKILL, done.stderr
    assert kills
    assert contents(tmp_path / "wild") == contents(tmp_path / "calm")
