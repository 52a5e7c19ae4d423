"""The GPU benchmark runs on a CPU, and every rate is there."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.e2e.harness import write_beir

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_gpu.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_report(
    bench: Any,
    tiny_encoder: Path,
    tiny_cross_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    documents = {f"d{n}": f"a man is eating food {'one ' * n}" for n in range(10)}
    queries = {f"q{n}": "the girl carries a baby" for n in range(3)}
    data = write_beir(tmp_path / "data", documents, queries, [(f"q{n}", f"d{n}", 1) for n in range(3)])
    flags = ["--device", "cpu", "--data", data, "--model", tiny_encoder, "--reranker", tiny_cross_encoder]
    flags += ["--texts", 12, "--pairs", 6, "--queries", 25, "--vectors", 300, "--dimension", 8, "--rounds", 1]
    flags += ["--json", tmp_path / "r.json", "--markdown", tmp_path / "r.md"]
    monkeypatch.setattr(sys, "argv", ["bench_gpu.py", *map(str, flags)])
    bench.main()
    report = json.loads((tmp_path / "r.json").read_text())
    assert json.loads(capsys.readouterr().out) == report
    for unit, names in {"passages/s": 3, "pairs/s": 3, "queries/s": 2}.items():
        found = report[unit]["rates"]
        assert len(found) == names
        assert all(rate > 0 for rate in found.values())
        assert f"| {unit} |" in (tmp_path / "r.md").read_text()
    assert report["passages/s"]["as"]["device"] == "cpu"


def test_both_searches_find_the_same(bench: Any) -> None:
    import argparse

    given = argparse.Namespace(device="cpu", queries=25, vectors=300, dimension=8)
    runs = bench.searches(given)
    rows, _ = runs["hnmine"]()
    peer = runs["sentence-transformers, semantic_search"]()
    for own, other in zip(rows, peer, strict=True):
        assert len(np.intersect1d(own, [hit["corpus_id"] for hit in other])) == bench.K


def test_a_peer_on_a_gpu_runs_as_hnmine_does(bench: Any) -> None:
    import torch

    assert bench._same({"device": "cuda", "dtype": "fp32"}) == {}
    flash = {"device": "cuda", "dtype": "bf16", "attention": "flash_attention_2"}
    assert bench._same(flash) == {
        "bf16, flash_attention_2": {"torch_dtype": torch.bfloat16, "attn_implementation": "flash_attention_2"}
    }
