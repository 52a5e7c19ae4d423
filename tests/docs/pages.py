"""A page's console blocks run in order and print what it shows: structure, not timings."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from unittest.mock import patch

from markdown_blocks import Command, blocks, commands, shape

from tests.e2e.harness import invoke

DATE = re.compile(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
"""What stands before a step where standard error is no terminal."""
SMALL = re.compile(r"--sample 0\.\d+")
FAILS = ' || echo "exit code $?"'
_OPERATORS = re.compile(r"[|<>&;()]+")


def write_scripts(page: str, place: Path, tools: Path) -> None:
    """The page's scripts, each under the name in its first line, and a `python` to run them."""
    python = tools / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for script in blocks(page, "python"):
        name = script.split(":", 1)[0].removeprefix("# ")
        (place / name).write_text(script)


def run_page(page: str, place: Path, shell: dict[str, str], *, apart: bool = False) -> None:
    """Run every command of the page in `place`, with `shell` as the environment; what it shows has to be printed.

    Plain commands of hnmine start no process but where `apart`: a page costs what its work costs. A command ends with
    `|| echo "exit code $?"` if it has to fail, and may print what it likes otherwise.
    """
    found = [command for block in blocks(page, "console") for command in commands(block)]
    assert found, f"{page} has no commands"
    with chdir(place), patch.dict(os.environ, shell):
        for command in found:
            compare(command, printed(SMALL.sub("--sample 0.01", command.line), apart=apart))


def printed(line: str, *, apart: bool) -> list[str]:
    """The lines of both streams, standard error first."""
    words = [*shlex.shlex(line.removesuffix(FAILS), posix=True, punctuation_chars=True)]
    if apart or words[0] != "hnmine" or any(_OPERATORS.fullmatch(word) for word in words):
        bash = ["bash", "-euo", "pipefail", "-c", line]
        done = subprocess.run(bash, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{line}: exit {done.returncode}\n{done.stderr}"
        return DATE.sub("", done.stderr).splitlines() + done.stdout.splitlines()
    result = invoke(*shlex.split(os.path.expandvars(line.removesuffix(FAILS)))[1:])
    assert (result.code == 0) != line.endswith(FAILS), f"{line}: exit {result.code}\n{result.stderr}"
    return [
        *DATE.sub("", result.stderr).splitlines(),
        *result.stdout.splitlines(),
        *([f"exit code {result.code}"] * (result.code != 0)),
    ]


def compare(command: Command, printed: list[str]) -> None:
    """Every line that the page shows has one of its shape in the output, in the same order."""
    shapes = iter([shape(line) for line in printed])
    for line in command.shown:
        if line == "..." or line.startswith("    "):  # left out; a text
            continue
        assert shape(line) in shapes, f"{command.line}\nshows: {line}\nprints:\n" + "\n".join(printed)
