"""FlagEmbedding, Tevatron and PyLate themselves train on our files, each in an environment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.proofs import cells_of

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
    cells = cells_of(trainer, tmp_path)
    found: dict[str, list[str]] = {}
    for cell in cells:
        found.setdefault(cell["format"], []).append(cell["trainer"])
        assert cell["loss_after"] < 0.9 * cell["loss_before"], cell
        assert cell["rows_out"] == cell["rows_in"] > 100, cell
    assert found == EXPECTED[trainer]
