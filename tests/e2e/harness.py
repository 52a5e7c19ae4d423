"""Ways to call the command line as people do: `Cli` starts a real process, `invoke` runs the command in this one.

Blocks are shrunk to 16 rows, so that every stage of a small collection has several.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
BLOCK = "16"
STAGES = ("ingest", "bm25", "dense", "search", "mine", "score", "filter", "export", "export-file")


@dataclass(frozen=True)
class Done:
    """What a call came to."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document it must be."""
        return json.loads(self.stdout)


def environment(cache: Path, **more: str) -> dict[str, str]:
    """A process's environment in which this tree's hnmine is found, and no network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HNMINE_")}
    own = {"PYTHONPATH": str(ROOT), "HNMINE_CACHE": str(cache), "HNMINE_TEST_BLOCK_SIZE": BLOCK, "HF_HUB_OFFLINE": "1"}
    return {**kept, **own, "TOKENIZERS_PARALLELISM": "false", **more}


class Cli:
    """Starts hnmine as a process."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def start(self, *arguments: object, **more: str) -> subprocess.Popen[str]:
        """A process in a group of its own, its output in pipes; `more` are environment variables."""
        return subprocess.Popen(
            [sys.executable, "-m", "hnmine", *map(str, arguments)],
            env=environment(self.cache, **more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __call__(self, *arguments: object, **more: str) -> Done:
        return self.end(self.start(*arguments, **more))

    @staticmethod
    def end(process: subprocess.Popen[str]) -> Done:
        """Wait for a process."""
        out, err = process.communicate(timeout=400)
        return Done(process.returncode, out, err)

    def interrupted(
        self, arguments: list[object], output: Path, how: signal.Signals, blocks: int = 1, after: float = 0.0
    ) -> Done:
        """Send a signal once `blocks` blocks are finished, `after` seconds later."""
        process = self.start(*arguments, HNMINE_TEST_BLOCK_PAUSE="1")
        until(lambda: len(receipts(output)) >= blocks or process.poll() is not None)
        time.sleep(after)
        process.send_signal(how)
        return self.end(process)


def invoke(*arguments: object) -> Done:
    """Run a command in this process; a bug's exception is raised."""
    from hnmine.cli.app import app

    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def in_this_process(command: Any, _run: Callable[..., Any] = subprocess.run, **how: Any) -> Any:
    """In place of `subprocess.run`: a command of hnmine without the seconds that a process takes to start."""
    if not isinstance(command, list) or command[1:3] != ["-m", "hnmine"]:
        return _run(command, **how)
    done = invoke(*command[3:])
    assert done.code == 0, done.stderr
    return SimpleNamespace(stdout=done.stdout)


def until(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def receipts(artefact: Path) -> list[Path]:
    """The receipts of an unfinished artefact."""
    return sorted((artefact / "receipts").glob("[!.]*.json"))


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory but `run.json`, by relative name: what must be the same byte for byte."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_beir(
    folder: Path, documents: dict[str, str], queries: dict[str, str], qrels: list[tuple[str, str, int]]
) -> Path:
    """A collection in BEIR's layout."""
    write_jsonl(folder / "corpus.jsonl", [{"_id": i, "title": "", "text": t} for i, t in documents.items()])
    write_jsonl(folder / "queries.jsonl", [{"_id": i, "text": t} for i, t in queries.items()])
    (folder / "qrels").mkdir(exist_ok=True)
    lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t{g}" for q, d, g in qrels)]
    (folder / "qrels" / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Chain:
    """An undisturbed run of every stage, and the command that makes each of its artefacts elsewhere."""

    data: Path
    root: Path
    encoder: Path
    reranker: Path

    def path(self, stage: str) -> Path:
        """Where the artefact of a stage is."""
        return self.root / ("train.hnmine/export" if stage == "export-file" else stage)

    def output(self, stage: str, folder: Path) -> Path:
        """What `-o` is for a stage carried out in `folder`."""
        return folder / ("train.parquet" if stage == "export-file" else stage)

    def artefact(self, stage: str, folder: Path) -> Path:
        """Where the artefact is then."""
        return folder / ("train.hnmine/export" if stage == "export-file" else stage)

    def command(self, stage: str, folder: Path, *more: object) -> list[object]:
        """The command of a stage, its inputs those of the undisturbed run, its output in `folder`."""
        path = self.path
        indexes = ["--index", path("bm25"), "--index", path("dense")]
        commands: dict[str, list[object]] = {
            "ingest": ["ingest", self.data],
            "bm25": ["index", "bm25", path("ingest")],
            "dense": ["index", "dense", path("ingest"), "--model", self.encoder, "--dtype", "fp32"],
            "search": ["search", path("ingest"), *indexes, "-k", 20, "--slices", 3],
            "mine": ["mine", path("ingest"), *indexes, "-k", 20, "--random", 3],
            "score": ["score", path("ingest"), path("mine"), "--reranker", self.reranker, "--dtype", "fp32"],
            "filter": [
                "filter",
                path("score"),
                "-n",
                4,
                "--judge-by",
                "dense",
                "--relative-margin",
                0.05,
                "--short",
                "random",
            ],
            "export": ["export", path("filter"), "--rows-per-file", 20],
            "export-file": ["export", path("filter"), "--scores"],
        }
        return [*commands[stage], "-o", self.output(stage, folder), *more]
