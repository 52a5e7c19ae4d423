"""ms-swift, NeMo AutoModel, GPL, DPR, BEIR, ir_datasets, ir_measures read what hnmine writes; trainers learn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.proofs import cells_of

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


@pytest.mark.slow
@pytest.mark.installs
@pytest.mark.parametrize("script", READ)
def test_the_loader_delivers_every_row_and_the_loss_falls(script: str, tmp_path: Path) -> None:
    cells = cells_of(script, tmp_path)
    assert {cell["format"] for cell in cells} == set(READ[script])
    for cell in cells:
        assert cell["rows_out"] == cell["rows_in"] > 100, cell
        if READ[script][cell["format"]]:
            assert cell["loss_after"] < cell["loss_before"], cell
