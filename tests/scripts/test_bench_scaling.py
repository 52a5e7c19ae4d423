"""The script measures every stage, and what it makes of the measurements is what was computed by hand."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.harness import invoke

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_scaling.py"
STAGES = ["index bm25", "index dense", "search bm25", "search dense", "mine", "filter", "export"]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_scaling", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(bench: Any, rows: int, a_row: float, **more: Any) -> Any:
    """Two equal blocks."""
    facts = {"head": 1.0, "tail": 0.0, "written": [10 * rows] * 2, "kept": 0, "manifest": 200, **more}
    return bench.Measured(blocks=[a_row * rows] * 2, rows=[rows] * 2, **facts)


def measurements(bench: Any, documents: int) -> dict[str, Any]:
    """A dense search of 1 ns a document and query; a head of 1 s a GB of input; a merge of 2 ms a slice and query."""
    head = {"head": documents * 1e-6}
    found = {
        "index bm25": run(bench, documents // 2, 1e-4, tail=documents * 1e-5, kept=500 * documents, **head),
        "index dense": run(bench, documents // 2, 1e-6, kept=768 * documents, **head),
        "mine, half": run(bench, 50, 1e-3, kept=1_000),
        "filter, half": run(bench, 50, 1e-4, kept=500),
        "filter, all": run(bench, 100, 1e-4, kept=1_000),
        "export, half": run(bench, 250, 1e-5),
        "export, all": run(bench, 500, 1e-5),
    }
    for slices in bench.SLICED:
        own = {"kept": 200 * 1_200 * slices}
        found[f"search bm25, {slices}"] = run(bench, 100 * slices, 1e-3, **own)
        found[f"search dense, {slices}"] = run(bench, 100 * slices, 1e-9 * documents / slices, **own)
        found[f"mine, {slices}"] = run(bench, 100, 2e-3 * slices, kept=2_000)
    return found | {"collection bytes": 1_000 * documents, "text bytes": 100 * documents, "export block": 1_000}


@pytest.fixture
def stages(bench: Any) -> dict[str, Any]:
    found = {n: measurements(bench, n) for n in (10_000, 20_000)}
    return dict(bench.growths(found, 2.0, run(bench, 8, 0.01, head=3.0)))


def test_lines_go_on_as_they_were_measured(bench: Any, stages: dict[str, Any]) -> None:
    assert list(stages) == STAGES
    size = bench.Size(documents=10 * 2**20, queries=10**6)
    work = {name: stage.work(size, stages, 1_000, 0.0) for name, stage in stages.items()}
    assert size.slices == 10
    assert stages["search dense"].blocks(size) == -(-(10**7) // 4_096)
    assert sum(work["search dense"].seconds) == pytest.approx(10**6 * size.documents * 1e-9, rel=1e-3)
    assert sum(work["search bm25"].seconds) == pytest.approx(10**7 * 1e-3, rel=1e-3)
    assert sum(work["mine"].seconds) == pytest.approx(10**6 * 10 * 2e-3)
    assert sum(work["index dense"].seconds) == pytest.approx(size.documents * 0.01)
    assert sum(work["export"].seconds) == pytest.approx(5 * 10**6 * 1e-5)
    assert work["index bm25"].tail == pytest.approx(size.documents * 1e-5, rel=1e-3)
    assert work["index bm25"].head == pytest.approx(size.documents * 1e-6)
    assert work["index dense"].head == pytest.approx(size.documents * 1e-6 + 3)
    assert work["mine"].startup == 2
    # Its share of the vectors, and 10 bytes a query that were written.
    assert work["search dense"].size == pytest.approx(768 * 2**20 + 10 * 4_096)
    # 1,200 bytes of hits a query, slice and index.
    assert work["mine"].size == pytest.approx(2 * 1_200 * 4_096 * 10 + 10 * 4_096)


def test_the_bottleneck_of_each_stage_is_named(bench: Any, stages: dict[str, Any]) -> None:
    given = argparse.Namespace(mined=1e6, bandwidth=1e9, link=1e8)
    facts = {
        "ingest": bench.Line(start=0.0, slope=1e-5),
        "dispatch": bench.Line(start=1e-4, slope=0.0),
        "collection bytes": 1_000,
        "memory a document": 16,
        "maps allowed": 65_530,
    }
    million, many = bench.simulated(stages, given, facts, (10**6, 10**8))
    assert many["hours"]["ingest"][1024] == pytest.approx(1_000 / 3600)
    assert many["bound by"]["search bm25"][1024] == "storage"
    assert many["bound by"]["index bm25"][1024] == "serial"
    assert many["bound by"]["index dense"][1] == "blocks"
    assert many["limits"]["maps of a dense index"] == 12_208
    assert many["limits"]["memory bytes a process"] == 16e8
    assert million["speed-up"][1] == 1
    assert 1 < million["speed-up"][4] < 4


def test_every_figure_is_there(
    bench: Any, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*words: object) -> Any:
        assert invoke(*words, "--quiet").code == 0
        return bench.bench_scale.Spent(processor_seconds=2.0, wall_seconds=3.0, peak_anonymous_bytes=1)

    monkeypatch.setattr(bench.bench_scale, "command", command)
    monkeypatch.setattr(bench, "SIZES", (10**5, 10**6))
    monkeypatch.setattr(bench, "starting", lambda _: 1.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    flags = ["--documents", 256, "--queries", 64, "--texts", 8, "--dimension", 8, "--rounds", 1, "--workers", 1]
    flags += ["--model", tiny_encoder, "--encode-rate", 5_000, "--mined", 10_000]
    flags += ["--json", tmp_path / "r.json", "--markdown", tmp_path / "r.md", "--plot", tmp_path / "r.svg"]
    monkeypatch.setattr(sys, "argv", ["bench_scaling.py", *map(str, [tmp_path / "out", *flags])])
    bench.main()
    report = json.loads((tmp_path / "r.json").read_text())
    assert json.loads(capsys.readouterr().out) == report
    assert report["weak"]["efficiency"]["mine"] == {"1": {"wall": 1.0, "processor": 1.0}}
    assert list(report["blocks"]) == STAGES
    assert all(own["seconds a block"] > 0 and own["bytes a block"] > 0 for own in report["blocks"].values())
    hours = [result["hours"]["all"]["1"] for result in report["simulation"]]
    assert hours == sorted(hours)
    told = (tmp_path / "r.md").read_text()
    assert all(f"| {name} |" in told for name in STAGES)
    assert "| index dense, at 5,000 texts a second |" in told
    assert (tmp_path / "r.svg").stat().st_size > 1_000
