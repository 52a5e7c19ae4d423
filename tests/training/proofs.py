"""Runs `scripts/prove_formats.py` for one trainer, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CANNOT = ("cannot be made here", "not installed", "DPR_CHECKOUT")


def cells_of(trainer: str, place: Path) -> list[dict[str, Any]]:
    """The cells of a trainer's script, none of which failed; skips where its environment cannot be had.

    `HNMINE_TRAINERS` names the folder of the environments, which are made if they are not there.
    """
    cache = Path(os.environ.get("HNMINE_TRAINERS", Path.home() / ".cache" / "hnmine-trainers"))
    told = place / "cells.json"
    command = [sys.executable, "scripts/prove_formats.py", place, "--environments", cache, "--only", trainer]
    done = subprocess.run(
        [*map(str, command), "--json", str(told)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.exists(), done.stderr
    cells: list[dict[str, Any]] = json.loads(told.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if any(reason in cell["note"] for reason in CANNOT):
            pytest.skip(cell["note"])
    assert done.returncode == 0, done.stdout
    return cells
