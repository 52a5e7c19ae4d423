"""The script pools, leaves out, and prints what the manifests say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

import hnmine
from tests.e2e.harness import write_beir

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_downsample.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_downsample", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_its_tables(bench: ModuleType, tmp_path: Path) -> None:
    """Four systems: the first has the relevant document first, the others one rank later each, behind their own."""
    documents = {f"d{n:02}": f"text {n}" for n in range(40)}
    queries = {f"q{n}": f"query {n}" for n in range(3)}
    write_beir(tmp_path / "data", documents, queries, [(f"q{n}", f"d{n:02}", 1) for n in range(3)])
    runs = []
    for system in range(4):
        runs.append(tmp_path / f"s{system}.trec")
        ranked = {
            q: [*(f"d{10 + 6 * system + n:02}" for n in range(system)), f"d{q:02}", f"d{15 + 6 * system:02}"]
            for q in range(3)
        }
        lines = [f"q{q} Q0 {d} {n} {-n} s" for q, own in ranked.items() for n, d in enumerate(own)]
        runs[-1].write_text("\n".join(lines) + "\n")
    hnmine.ingest(tmp_path / "data", tmp_path / "collection")
    systems = bench.table_of_systems(tmp_path / "collection", runs, 4, tmp_path)
    assert systems[2] == "| s0 | 1.0000 | 1.0000 | 1.0000 |"
    assert systems[5] == "| s3 | 0.4307 | 0.4307 | 1.0000 |"
    (pooled,) = bench.table_of_all(tmp_path / "collection", runs, [4], tmp_path)[2:]
    # Left out, each system has nothing before the relevant document and passes all but the first: of the twelve
    # ordered pairs six keep their order, three are ties with the first, three are turned round.
    gains = [0.0, 1 - 0.6309, 0.5, 1 - 0.4307]
    assert pooled == f"| 4 | 12 | 30.0% | 1.000 | 0.250 | {sum(gains) / 4:+.4f} | {max(gains):+.4f} |"
    (chosen,) = bench.table_of_choices(tmp_path / "collection", runs, [4], tmp_path)[2:]
    assert chosen.split(" | ")[0] == "| 4"
    assert chosen.endswith(f"{sum(gains) / 4:+.4f} | {max(gains):+.4f} |")
