"""Help answers at once, because it loads nothing."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from hnmine.cli.app import app
from tests.e2e.harness import environment


def every_command(group: Any, words: str = "") -> Iterator[str]:
    """Each command and group of commands, as one types it."""
    yield words
    for name, command in getattr(group, "commands", {}).items():
        yield from every_command(command, f"{words} {name}".strip())


COMMANDS = sorted(every_command(typer.main.get_command(app)))
HEAVY = ("torch", "faiss", "numpy", "pyarrow", "sentence_transformers", "bm25s", "numba")


def cpu_seconds(arguments: list[str], cache: Path) -> float:
    """User and system time of one Python process."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], env=environment(cache), stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.alone
def test_help_takes_less_than_three_tenths_of_a_second(cache: Path) -> None:
    """Or, on a machine that is slow at the moment, six times what importing the command-line library takes.

    That of a command takes no more than twice as long: it has its own options to show.
    """
    library, whole, command = list[float](), list[float](), list[float]()
    for _ in range(7):
        library.append(cpu_seconds(["-c", "import typer"], cache))
        whole.append(cpu_seconds(["-m", "hnmine", "--help"], cache))
        command.append(cpu_seconds(["-m", "hnmine", "index", "dense", "--help"], cache))
    times, of_command = statistics.median(whole), statistics.median(command)
    assert times < max(0.3, 6 * statistics.median(library)), (whole, library)
    assert of_command < 2 * times, (command, whole)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy(command: str, cache: Path) -> None:
    script = f"""
import sys
from hnmine.cli import main
sys.argv = ["hnmine", *{command.split()!r}, "--help"]
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(cache), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"
    assert "Usage: hnmine" in done.stdout


def test_importing_the_package_or_the_command_line_loads_nothing_heavy(cache: Path) -> None:
    script = f"import sys, hnmine, hnmine.cli, hnmine.cli.app; print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(cache), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_command_does_not_load_pandas_and_who_needs_it_gets_it(beir: Path, cache: Path, tmp_path: Path) -> None:
    script = f"""
import sys
from hnmine.cli import main
sys.argv = ["hnmine", "ingest", {str(beir)!r}, "-o", "collection", "--quiet"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
import pyarrow
print("pandas" in sys.modules, pyarrow.table({{"a": pyarrow.array([1, 2])}}).to_pandas()["a"].sum())
import pandas
print(pyarrow.array(pandas.Series([1, 2])).to_pylist())
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(cache),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines() == ["False 3", "[1, 2]"]
