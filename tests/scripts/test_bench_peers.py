"""The table of targets: read from what the other scripts report, and judged the right way round."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench() -> Any:
    return load("bench_peers")


def reports() -> dict[str, Any]:
    """What the parts tell, where a target is met by a hair, or missed."""
    scored = {"pairs_over_minimum": 1.0, "rate_over_peer": 3.5, "product": 20.0}
    return {
        "encoding": {
            "ratios": {
                "torch": {"ratio": 2.5, "target": 2.5},
                "best_back_end": {"ratio": 2.9},
                "same_dtype": {
                    "fp32": {"ratio": 1.0, "ratio_to_batch_32": 1.5},
                    "bf16": {"ratio": 0.9, "ratio_to_batch_32": 1.3},
                    "target": 1.2,
                },
            },
            "machine": {"cores": 2},
        },
        "scoring": {
            "collections": {
                "cranfield": {"targets": {**scored, "pairs_over_minimum": 1.26}},
                "medquad": {"targets": {**scored, "rate_over_peer": 2.9, "product": 10.0}},
            }
        },
        "bm25": {
            "sizes": [
                {"ratios": {"kernel": 1.5, "mine": 0.6, "mine against rank-bm25": 500}},
                {"ratios": {"kernel": 2.1, "mine": 0.8}},
            ]
        },
        "ready-made": {
            "sizes": [{"ratios_to_peer": {"chain": {"peak_anonymous_bytes": 0.2, "processor_seconds": 0.6}}}]
        },
        "deciding": {"data": {"share": 0.01}, "filter_rows_per_second": 1.9e6, "seconds_help": 0.1},
    }


def test_targets_are_judged_the_right_way_round(bench: Any) -> None:
    found = bench.judge(reports())
    assert found["encoding_torch"] == {
        "part": "encoding",
        "words": "encoding in torch, its defaults",
        "target": 2.5,
        "better": "higher",
        "measured": 2.5,
        "met": True,
    }
    met = {key: entry["met"] for key, entry in found.items() if entry["measured"] is not None}
    assert met == {
        "encoding_torch": True,
        "encoding_best": False,
        "encoding_same_dtype": True,
        "bm25_kernel": True,
        "bm25_mine_1m": False,
        "bm25_mine_50k": True,
        "bm25_rank_bm25": True,
        "score_until_oracle": False,
        "score_pairs": False,
        "score_product": None,  # told, but nothing is aimed at
        "memory_peak": True,
        "memory_time": False,
        "decide_new_margin": True,
        "filter_rows_per_second": False,
        "help_seconds": True,
    }
    assert found["encoding_same_dtype"]["measured"] == 1.3
    assert found["score_pairs"]["measured"] == 2.9
    assert found["score_product"]["measured"] == 10.0
    assert all(
        found[key]["met"] is None for key in ("end_to_end_same_dtype", "end_to_end_stdlib", "export_mb_per_second")
    )


def test_the_table_tells_what_was_not_measured(bench: Any) -> None:
    found = bench.judge(reports())
    lines = dict(zip(found, bench.markdown(found).splitlines()[2:], strict=True))
    assert lines["encoding_torch"] == "| encoding in torch, its defaults | ≥ 2.5 | 2.5 | yes |"
    assert lines["filter_rows_per_second"].endswith("| ≥ 2,000,000 | 1,900,000 | no |")
    assert lines["score_product"] == "| scoring, both together |  | 10 |  |"
    assert lines["help_seconds"] == "| seconds of `--help` | ≤ 0.3 | 0.1 | yes |"
    assert lines["export_mb_per_second"].endswith("| ≥ 150 | not measured |  |")


def test_a_part_that_is_left_out_is_told_from_its_last_report(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deciding.json").write_text(json.dumps(reports()["deciding"]))
    monkeypatch.setitem(bench.PARTS, "encoding", lambda given, out: reports()["encoding"])
    pytest.importorskip("matplotlib")
    files = {"json": tmp_path / "table.json", "markdown": tmp_path / "table.md", "plot": tmp_path / "table.svg"}
    flags = [word for name, file in files.items() for word in (f"--{name}", str(file))]
    line = ["bench_peers.py", str(tmp_path), "--only", "encoding,scoring", *flags]
    monkeypatch.setattr(sys, "argv", line)
    bench.main()
    printed = capsys.readouterr()
    found = json.loads(files["json"].read_text())
    assert found["machines"] == {"encoding": {"cores": 2}}
    assert found["decide_new_margin"]["measured"] == 0.01
    assert found["encoding_torch"]["met"] is True
    assert found["score_pairs"]["measured"] is None
    assert "scoring: not measured without --beir and --reranker" in printed.err
    assert files["markdown"].read_text() in printed.out
    assert files["plot"].read_text().count("encoding in torch, its defaults") == 1


def test_targets_are_read_from_what_the_scripts_report(bench: Any) -> None:
    encoding, ended = load("bench_encoding"), load("bench_end_to_end")
    seconds = {name: [1.0] for name in (encoding.PEER, "hnmine, fp32", "sentence-transformers, fp32, batch 16")}
    vectors = dict.fromkeys(seconds, np.ones((1, 1)))
    told = {"encoding": encoding.summarise(seconds, seconds, vectors)}
    names = (ended.ST, ended.ST_HELPED, ended.FLAG, ended.OWN, ended.OWN_FP32, ended.OWN_ALL)
    spent = {name: [ended.Spent(processor=2.0, wall=1.0, resident=0)] for name in names}
    agreement = {name: {"share_of_theirs": 1.0} for name in (ended.OWN, ended.OWN_FP32)}
    told["end-to-end"] = {"ratios": ended.ratios(spent), "agreement": agreement}
    found = bench.judge(told)
    silent = [key for key, entry in found.items() if entry["part"] in told and entry["measured"] != 1.0]
    assert silent == []
