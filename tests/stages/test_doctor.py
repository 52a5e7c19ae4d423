"""`doctor` with artefacts: every file is hashed, whatever is remembered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hnmine.cli.app import app
from hnmine.files.artefact import Draft
from hnmine.schema import Kind


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with a collection and an index."""
    for place, kind in (("collection", Kind.COLLECTION), ("indexes/bm25", Kind.BM25_INDEX)):
        draft = Draft.begin(tmp_path / place, kind, {"blocks": []})
        (draft.path / "part-00000.parquet").write_text("rows")
        draft.close(files={"part-00000.parquet": draft.describe("part-00000.parquet", 1)}, counts={})
    return tmp_path


def test_sound_artefacts_of_a_run_are_told(run: Path) -> None:
    done = CliRunner().invoke(app, ["doctor", str(run)])
    assert done.exit_code == 0
    assert f"ok  {run / 'collection'}: collection: 1 files, 4 bytes" in done.output
    assert f"ok  {run / 'indexes/bm25'}: index-bm25" in done.output


def test_damage_is_told_for_all_and_exits_4(run: Path) -> None:
    (run / "indexes/bm25/part-00000.parquet").write_text("sowr")
    done = CliRunner().invoke(app, ["doctor", str(run / "indexes/bm25"), str(run / "collection"), "--json"])
    assert done.exit_code == 4
    found = json.loads(done.stdout)
    assert [one["ok"] for one in found] == [False, True]
    assert "part-00000.parquet is corrupt" in found[0]["text"]


def test_a_place_without_artefacts_exits_4(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["doctor", str(tmp_path)]).exit_code == 4
