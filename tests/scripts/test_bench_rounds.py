"""The rounds benchmark from start to end on generated data, and what it compares."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("sentence_transformers")
pytest.importorskip("datasets")
pytest.importorskip("ir_measures")

SCRIPTS = Path(__file__).parents[2] / "scripts"
WORDS = ["man", "eating", "food", "piece", "bread", "girl", "carries", "baby", "horse", "rides", "one", "two", "three"]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location("bench_rounds", SCRIPTS / "bench_rounds.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_rounds", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_arm_is_trained_and_a_finished_run_is_read(
    bench: ModuleType, tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "generated"
    (folder / "qrels").mkdir(parents=True)
    draw = random.Random(2)
    texts = [" ".join(draw.sample(WORDS, 3)) + f" {row}" for row in range(40)]
    for name, rows in (("corpus", texts), ("queries", texts[:30])):
        lines = [json.dumps({"_id": f"{name[0]}{row}", "text": text}) for row, text in enumerate(rows)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, low, high in (("train", 0, 20), ("test", 20, 30)):
        judged = "".join(f"q{row}\tc{row}\t1\n" for row in range(low, high))
        (folder / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    flags = ["--model", str(tiny_encoder), "--steps", "2", "--batch", "4", "--negatives", "1", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", ["bench_rounds.py", str(tmp_path / "out"), f"generated={folder}", *flags])
    bench.main()
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    found = results["collections"]["generated"]
    assert list(found["arms"]) == ["untrained", "first", "longer", "again", "second"]
    assert set(found["arms"]["again"]["nDCG@10"]) >= {"second_minus_this", "interval", "p"}
    (compared,) = found["rounds"]
    assert all(0 <= compared[name] <= 1 for name in ("jaccard_with_round_one", "kept", "compensated"))
    table = (tmp_path / "out" / "results.md").read_text()
    monkeypatch.setattr(bench, "train", None)
    monkeypatch.setattr(bench, "test", None)
    bench.main()
    assert (tmp_path / "out" / "results.md").read_text() == table


def test_the_second_round_is_compared_query_by_query(bench: ModuleType) -> None:
    def cells(*values: float) -> list[dict[str, object]]:
        measures = [{"nDCG@10": value, "R@100": 1.0} for value in values]
        return [{"rows": 3, "queries": {str(number): one for number, one in enumerate(measures)}}]

    found = bench.compare({"again": cells(0.5, 0.1), "second": [*cells(0.5, 0.2), *cells(0.7, 0.2)]})
    assert found["again"]["nDCG@10"]["second_minus_this"] == pytest.approx(0.1)
    assert found["second"]["nDCG@10"]["mean"] == pytest.approx(0.4)
    assert found["second"]["nDCG@10"]["sd_over_seeds"] == pytest.approx(0.1 / 2**0.5)
    assert "p" not in found["second"]["nDCG@10"]
