"""Where the commands of a page run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from markdown_blocks import ROOT


@pytest.fixture
def shell(tmp_path: Path) -> dict[str, str]:
    """An environment in which `hnmine` is the tree under test."""
    tools = tmp_path / "tools"
    tools.mkdir()
    shim = tools / "hnmine"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hnmine "$@"\n')
    shim.chmod(0o755)
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("HNMINE_")},
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HNMINE_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "100",
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: dict[str, str]) -> Path:
    """An empty directory to be in, and the environment of `shell` for this process too."""
    for name in [name for name in os.environ if name.startswith("HNMINE_")]:
        monkeypatch.delenv(name)
    for name in ("HNMINE_CACHE", "HF_HUB_OFFLINE", "COLUMNS"):
        monkeypatch.setenv(name, shell[name])
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    return place
