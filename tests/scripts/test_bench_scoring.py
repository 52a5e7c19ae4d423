"""The benchmark of scoring on a small collection: the target for pairs holds, and every figure is there."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

import hnmine
from tests.conftest import WORDS
from tests.e2e.harness import write_beir

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_scoring.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("bench_scoring", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_report(
    bench: Any, tiny_cross_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    draw = random.Random(1)
    words = WORDS.replace(":", "").split()
    documents = {f"d{n}": " ".join(draw.choices(words, k=9)) for n in range(120)}
    queries = {f"q{n}": " ".join(documents[f"d{n}"].split()[:4]) for n in range(40)}
    write_beir(tmp_path / "data", documents, queries, [(f"q{n}", f"d{n}", 1) for n in range(40)])
    run = tmp_path / "run"
    hnmine.ingest(tmp_path / "data", run / "collection")
    hnmine.index_bm25(run / "collection", run / "bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.mine(run / "collection", run / "candidates", indexes=[run / "bm25"], options=hnmine.MineOptions(top_k=60))
    (tmp_path / "rules.toml").write_text("[filter]\nnum-negatives = 4\nabsolute-margin = 0.5\n")
    flags = ["--reranker", str(tiny_cross_encoder), "--rules", str(tmp_path / "rules.toml"), "--until", "4"]
    flags += ["--queries", "25", "--timed", "1", "--rounds", "1", "--dtype", "fp32", "--json", str(tmp_path / "r.json")]
    monkeypatch.setattr(sys, "argv", ["bench_scoring.py", str(run), *flags])
    bench.main()
    report = json.loads((tmp_path / "r.json").read_text())
    assert json.loads(capsys.readouterr().out) == report
    pairs, targets = report["pairs"], report["targets"]
    assert pairs["queries"] == 25
    assert pairs["minimum"] <= pairs["scored"] <= 1.25 * pairs["minimum"]
    assert pairs["scored"] < 0.8 * pairs["candidates"]
    assert pairs["negatives"] > 40
    assert pairs["negatives that differ"] == 0
    assert targets["pairs_over_minimum"] == pairs["scored"] / pairs["minimum"]
    assert all(rate > 0 for rate in report["pairs_per_second"].values())
