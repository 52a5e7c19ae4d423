"""The tutorial, as a newcomer does it, and the page about what artefacts say."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from markdown_blocks import blocks
from test_commands import needs_model, run_all, shell  # noqa: F401 (a fixture)
from test_how_to import write_scripts


@pytest.mark.slow
@needs_model
def test_tutorial(tmp_path: Path, shell: dict[str, str]) -> None:  # noqa: F811
    page = "docs/tutorial.md"
    place = tmp_path / "place"
    place.mkdir()
    write_scripts(page, place, tmp_path / "tools")
    script = place / "train.py"
    script.write_text(script.read_text().replace("max_steps=10", "max_steps=1"))
    (pairs,) = blocks(page, "csv")
    (place / "pairs.csv").write_text(pairs)
    run_all(page, place, shell | {"HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"})
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
def test_artefacts_page(tmp_path: Path, shell: dict[str, str]) -> None:  # noqa: F811
    place = tmp_path / "place"
    place.mkdir()
    write_scripts("docs/artefacts.md", place, tmp_path / "tools")
    run_all("docs/artefacts.md", place, shell)
