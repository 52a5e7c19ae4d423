"""The guides of docs/how-to that need little: their commands run within this process, their tables are complete."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from in_process import run_page
from test_commands import needs_model, shell  # noqa: F401 (a fixture)
from test_how_to import write_scripts

import hnmine


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: dict[str, str]) -> Path:  # noqa: F811
    """An empty directory to be in, and the environment of `shell` for this process too."""
    for name in [name for name in os.environ if name.startswith("HNMINE_")]:
        monkeypatch.delenv(name)
    for name in ("HNMINE_CACHE", "HF_HUB_OFFLINE", "COLUMNS"):
        monkeypatch.setenv(name, shell[name])
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


@pytest.mark.slow
@needs_model
def test_own_corpus(place: Path, shell: dict[str, str]) -> None:  # noqa: F811
    page = "docs/how-to/own-corpus.md"
    write_scripts(page, place, place.parent / "tools")
    run_page(page, place, shell)
    questions = len((place / "pairs.jsonl").read_text().splitlines())
    assert pq.read_metadata(place / "faq/triplets.parquet").num_rows == 3 * questions
    assert pq.read_metadata(place / "five.parquet").num_columns == 7
    assert not (place / "bad").exists()
    exec((place / "mine.py").read_text(), {})
    assert pq.read_table(place / "from-python/triplets.parquet") == pq.read_table(place / "faq/triplets.parquet")


@pytest.mark.slow
@needs_model
def test_audit(place: Path, shell: dict[str, str]) -> None:  # noqa: F811
    page = "docs/how-to/audit.md"
    write_scripts(page, place, place.parent / "tools")
    run_page(page, place, shell)
    exec((place / "gate.py").read_text(), {})
    before, after = (hnmine.audit(place / f"{name}.parquet") for name in ("train", "clean"))
    assert (before["problems"]["positive-among-negatives"], after["problems"]["positive-among-negatives"]) == (1, 0)


@pytest.mark.slow
def test_languages(place: Path, shell: dict[str, str], tiny_encoder: Path) -> None:  # noqa: F811
    """A tiny model lies where the multilingual one is looked for."""
    page = "docs/how-to/languages.md"
    write_scripts(page, place, place.parent / "tools")
    (place / "intfloat").mkdir()
    (place / "intfloat/multilingual-e5-small").symlink_to(tiny_encoder)
    run_page(page, place, shell)
    plan = json.loads((place / "runs/de/indexes/bm25/plan.json").read_text())
    assert plan["analyser"]["stemmer"] == "german"
    rows = pq.read_table(place / "train.ids.parquet").to_pylist()
    languages: dict[int, set[str]] = {}
    for row in rows:
        names = [row["query_id"], *row["doc_ids"]]
        languages.setdefault(row["batch_id"], set()).update(name[2:4] for name in names)
    assert len(languages) > 3
    assert all(len(found) == 1 for found in languages.values())
