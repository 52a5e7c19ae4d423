"""The tutorial, as a newcomer does it, and the page about what artefacts say."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from markdown_blocks import blocks
from pages import run_page, write_scripts
from test_commands import needs_model


@pytest.mark.slow
@needs_model
def test_tutorial(place: Path, shell: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    page = "docs/tutorial.md"
    monkeypatch.setenv("HF_HOME", str(place.parent / "hf"))
    (pairs,) = blocks(page, "csv")
    (place / "pairs.csv").write_text(pairs)
    run_page(page, place, shell)
    (script,) = blocks(page, "python")
    exec(script.replace("max_steps=10", "max_steps=1"), {})
    assert pq.read_schema(place / "train.parquet").names == [
        "anchor",
        "positive",
        "negative_1",
        "negative_2",
        "negative_3",
    ]
    assert (place / "model" / "model.safetensors").exists()
    assert (place / "demo" / "report.html").exists()
    assert len(pq.read_table(place / "mine/triplets.parquet")) == 4


@pytest.mark.slow
def test_artefacts_page(place: Path, shell: dict[str, str]) -> None:
    page = "docs/artefacts.md"
    write_scripts(page, place, place.parent / "tools")
    run_page(page, place, shell)
