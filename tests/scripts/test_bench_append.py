"""The script makes both runs, finds their bytes equal, and counts what was made."""

from __future__ import annotations

import importlib.util
import resource
from pathlib import Path
from types import ModuleType

import pytest

from tests.e2e.harness import in_this_process, write_beir

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_append.py"


@pytest.fixture
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_append", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_measures_and_compares(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "10")
    documents = {f"d{i:02d}": f"word{i % 7} word{i % 11} word{i}" for i in range(50)}
    queries = {f"q{i:02d}": f"word{i} word{i % 7}" for i in range(30)}
    data = write_beir(tmp_path / "data", documents, queries, [(f"q{i:02d}", f"d{i:02d}", 1) for i in range(30)])
    sizes = bench.make_input(str(data), tmp_path / "out", 0.5, "queries")
    assert sizes == {"old": {"documents": 50, "queries": 15}, "new": {"documents": 50, "queries": 30}}
    usage = resource.getrusage
    monkeypatch.setattr(bench.subprocess, "run", in_this_process)
    monkeypatch.setattr(bench.resource, "getrusage", lambda _: usage(resource.RUSAGE_SELF))
    found = bench.measure(tmp_path / "out", 1, ["--no-dense", "-n", "1", "--language", "none"])
    assert {name: (stage["made"], stage["rows"]) for name, stage in found["stages"].items() if "rows" in stage} == {
        "index bm25": (0, 50),
        "mine": (20, 30),
    }
    assert found["runs"]["appended"][0]["taken_over"]["mine"] == 1
    assert "| `mine` | 20 | 30 |" in "\n".join(bench.table(found))
    part = tmp_path / "out" / "appended" / "candidates" / "part-00002.parquet"
    part.write_bytes(part.read_bytes() + b"x")
    with pytest.raises(SystemExit, match=r"differ: candidates/part-00002\.parquet"):
        bench.require_equal(tmp_path / "out" / "plain", tmp_path / "out" / "appended")
