"""ms-swift, NeMo AutoModel, GPL, DPR, BEIR, ir_datasets, ir_measures read what hnmine writes; trainers learn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ = {
    "ms_swift": {"ms-swift": True, "ms-swift-reranker": True},
    "nemo": {"nemo": True, "nemo --scores": True},
    "gpl": {"gpl": True},
    "dpr": {"dpr": True, "dpr --scores": True},
    "beir": {"beir": False},
    "ir_datasets": {"msmarco": False},
    "ir_measures": {"trec": False},
}
"""What each script reads, and whether it trains on it."""
CANNOT = ("cannot be made here", "not installed", "DPR_CHECKOUT")


@pytest.mark.slow
@pytest.mark.installs
@pytest.mark.parametrize("script", READ)
def test_the_loader_delivers_every_row_and_the_loss_falls(script: str, tmp_path: Path) -> None:
    """`HNMINE_TRAINERS` names the folder of the environments, which are made if they are not there."""
    cache = Path(os.environ.get("HNMINE_TRAINERS", Path.home() / ".cache" / "hnmine-trainers"))
    told = tmp_path / "cells.json"
    command = [sys.executable, "scripts/prove_formats.py", tmp_path, "--environments", cache, "--only", script]
    done = subprocess.run(
        [*map(str, command), "--json", str(told)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.exists(), done.stderr
    cells = json.loads(told.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if any(reason in cell["note"] for reason in CANNOT):
            pytest.skip(cell["note"])
    assert done.returncode == 0, done.stdout
    assert {cell["format"] for cell in cells} == set(READ[script])
    for cell in cells:
        assert cell["rows_out"] == cell["rows_in"] > 100, cell
        if READ[script][cell["format"]]:
            assert cell["loss_after"] < cell["loss_before"], cell
