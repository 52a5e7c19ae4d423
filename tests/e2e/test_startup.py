"""The command line answers at once, because it loads no more than what was asked for."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from hnmine.cli.app import app
from hnmine.cli.commands import COMMANDS
from tests.e2e.harness import environment

HEAVY = {"torch", "faiss", "numpy", "pyarrow", "sentence_transformers", "bm25s", "numba"}
PYDANTIC = {"pydantic"}  # newer versions of typer convert the values of a call by it
ROOT = {"hnmine", "hnmine.cli", "hnmine.cli.app", "hnmine.cli.commands", "hnmine.cli.help", "hnmine.cli.lazy"}
"""All of hnmine that its root needs."""

EACH = """
import contextlib, io, json, os, sys
import hnmine.cli

for call in json.loads(sys.argv[1]):
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        continue
    os.environ.update(call["variables"])
    sys.argv, code = ["hnmine", *call["words"]], 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            hnmine.cli.main()
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue(), "loaded": sorted(sys.modules)}))
    sys.stdout.flush()
    os._exit(0)
"""
"""Calls one after the other, each in a fork of a process that has loaded nothing."""


def calls(cache: Path, *lines: Sequence[str], **variables: str) -> list[dict[str, Any]]:
    """What each command line answers: exit code, both streams, and the modules that it loaded."""
    told = json.dumps([{"words": list(words), "variables": variables} for words in lines])
    done = subprocess.run(
        [sys.executable, "-c", EACH, told], env=environment(cache), capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def own(loaded: Sequence[str]) -> set[str]:
    """The modules of hnmine among those loaded."""
    return {name for name in loaded if name.partition(".")[0] == "hnmine"}


def test_the_help_and_the_version_load_no_command(cache: Path) -> None:
    bare, asked, version, of_index = calls(cache, [], ["--help"], ["--version"], ["index", "--help"])
    assert bare["code"] == 2
    assert bare["err"] + bare["out"] == asked["out"]
    assert "Usage: hnmine [OPTIONS] COMMAND" in asked["out"]
    assert "Usage: hnmine index [OPTIONS] COMMAND" in of_index["out"]
    for answer in (bare, asked, version, of_index):
        assert own(answer["loaded"]) == ROOT
        assert not PYDANTIC & set(answer["loaded"])


def test_a_mistyped_command_loads_no_command(cache: Path) -> None:
    mistyped, below = calls(cache, ["filtr", "x"], ["dense", "x"])
    assert "hnmine filter x" in mistyped["err"]
    assert "hnmine index dense x" in below["err"]
    for answer in (mistyped, below):
        assert answer["code"] == 2
        assert not [
            name for name in own(answer["loaded"]) if name.startswith(("hnmine.cli.commands.", "hnmine.options"))
        ]
        assert not PYDANTIC & set(answer["loaded"])


@pytest.mark.parametrize(("line", "offered"), [("hnmine fi", ["filter"]), ("hnmine index s", ["sparse"])])
def test_the_completion_of_a_name_loads_no_command(cache: Path, line: str, offered: list[str]) -> None:
    at = {"_HNMINE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    (answer,) = calls(cache, [], **at)
    assert answer["out"].split() == offered
    assert own(answer["loaded"]) == ROOT
    assert not PYDANTIC & set(answer["loaded"])


def test_the_help_of_a_command_loads_its_own_module_and_nothing_heavy(cache: Path) -> None:
    for (words, (home, _)), answer in zip(
        COMMANDS.items(), calls(cache, *([*words.split(), "--help"] for words in COMMANDS)), strict=True
    ):
        assert answer["code"] == 0, words
        assert answer["out"].startswith(f"Usage: hnmine {words} "), words
        modules = {name for name in own(answer["loaded"]) if name.startswith("hnmine.cli.commands.")}
        assert modules == {f"hnmine.cli.commands.{home.partition(':')[0]}"}, words
        assert not (HEAVY | PYDANTIC) & set(answer["loaded"]), words
        assert not [name for name in own(answer["loaded"]) if name.startswith(("hnmine.api", "hnmine.stages"))], words


@pytest.mark.parametrize("words", COMMANDS)
def test_what_is_known_of_a_command_before_it_is_loaded_is_true(words: str) -> None:
    command: Any = typer.main.get_command(app)
    for word in words.split():
        command = command.commands[word]
    assert command.loaded.name == command.name
    assert command.get_short_help_str(1_000) == COMMANDS[words][1]
    for width in (30, 45, 60, 80, 1_000):
        assert command.get_short_help_str(width) == command.loaded.get_short_help_str(width)


def cpu_seconds(arguments: list[str], cache: Path) -> float:
    """User and system time of one Python process."""
    before = os.times()
    subprocess.run([sys.executable, *arguments], env=environment(cache), stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.alone
def test_help_takes_little_more_than_the_library_that_shows_it(cache: Path) -> None:
    """In processor time, as a multiple of what Python and typer take alone, side by side: so on any machine."""
    library, whole, command = list[float](), list[float](), list[float]()
    for _ in range(7):
        library.append(cpu_seconds(["-c", "import typer"], cache))
        whole.append(cpu_seconds(["-m", "hnmine", "--help"], cache))
        command.append(cpu_seconds(["-m", "hnmine", "index", "dense", "--help"], cache))
    alone = statistics.median(library)
    assert statistics.median(whole) < 2 * alone, (whole, library)
    assert statistics.median(command) < 4 * alone, (command, library)


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
