"""FlagEmbedding, Tevatron and PyLate themselves train on our files, each in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "flagembedding": {
        "flagembedding": ["embedder", "embedder, same_dataset_within_batch True", "reranker"],
        "flagembedding --scores": [
            "embedder, knowledge_distillation True, kd_loss_type kl_div",
            "embedder, knowledge_distillation True, kd_loss_type m3_kd_loss",
            "reranker, knowledge_distillation True",
        ],
        "flagembedding --instruction find:": ["embedder", "reranker"],
    },
    "tevatron": {
        "tevatron": ["retriever", "reranker"],
        "tevatron --scores": ["distillation"],
        "tevatron-v2": ["retriever"],
    },
    "pylate": {
        "pylate": ["SentenceTransformerTrainer, Contrastive"],
        "pylate-kd": ["SentenceTransformerTrainer, Distillation"],
    },
}


@pytest.mark.slow
@pytest.mark.installs
@pytest.mark.parametrize("trainer", EXPECTED)
def test_the_trainer_reads_what_was_written_and_learns(trainer: str, tmp_path: Path) -> None:
    """`HNMINE_TRAINERS` names the folder of the environments, which are made if they are not there."""
    cache = Path(os.environ.get("HNMINE_TRAINERS", Path.home() / ".cache" / "hnmine-trainers"))
    told = tmp_path / "cells.json"
    command = [sys.executable, "scripts/prove_formats.py", tmp_path, "--environments", cache, "--only", trainer]
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
        if "cannot be made here" in cell["note"] or "not installed" in cell["note"]:
            pytest.skip(cell["note"])
    assert done.returncode == 0, done.stdout
    found: dict[str, list[str]] = {}
    for cell in cells:
        found.setdefault(cell["format"], []).append(cell["trainer"])
        assert cell["loss_after"] < 0.9 * cell["loss_before"], cell
        assert cell["rows_out"] == cell["rows_in"] > 100, cell
    assert found == EXPECTED[trainer]
