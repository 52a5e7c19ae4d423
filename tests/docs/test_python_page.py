"""The Python of the docs runs as it stands, block after block."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from markdown_blocks import blocks


@pytest.mark.slow
def test_python_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HNMINE_CACHE", str(tmp_path / "cache"))
    found = blocks("docs/python.md", "python")
    assert len(found) >= 4
    for block in found:
        exec(compile(block.replace("sample=0.05", "sample=0.01"), "docs/python.md", "exec"), {})
    assert pq.read_schema("triplets.parquet").names == ["anchor", "positive", "negative"]
    assert "\n3 no-such-file.parquet: no such file" in capsys.readouterr().out
