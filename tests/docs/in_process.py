"""A page's console blocks run in order, commands of hnmine within this process: a page costs what its work costs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

from markdown_blocks import Command, blocks, commands
from test_commands import DATE, SMALL, compare

from tests.e2e.harness import invoke

FAILS = ' || echo "exit code $?"'
_OPERATORS = re.compile(r"[|<>&;()]+")


def run_page(page: str, place: Path, shell: dict[str, str]) -> None:
    """Run every command of the page in `place`, the current directory; what it shows has to be printed.

    A command ends with `|| echo "exit code $?"` if it has to fail, and may print what it likes otherwise.
    """
    found = [command for block in blocks(page, "console") for command in commands(block)]
    assert found, f"{page} has no commands"
    for command in found:
        compare(command, printed(command, place, shell))


def printed(command: Command, place: Path, shell: dict[str, str]) -> list[str]:
    """The lines of both streams, standard error first; plain commands of hnmine start no process."""
    line = os.path.expandvars(SMALL.sub("--sample 0.01", command.line))
    words = [*shlex.shlex(line.removesuffix(FAILS), posix=True, punctuation_chars=True)]
    if words[0] != "hnmine" or any(_OPERATORS.fullmatch(word) for word in words):
        bash = ["bash", "-euo", "pipefail", "-c", line]
        done = subprocess.run(bash, cwd=place, env=shell, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{line}: exit {done.returncode}\n{done.stderr}"
        return DATE.sub("", done.stderr).splitlines() + done.stdout.splitlines()
    result = invoke(*shlex.split(line.removesuffix(FAILS))[1:])
    assert (result.code == 0) != line.endswith(FAILS), f"{line}: exit {result.code}\n{result.stderr}"
    return [
        *DATE.sub("", result.stderr).splitlines(),
        *result.stdout.splitlines(),
        *([f"exit code {result.code}"] * (result.code != 0)),
    ]
