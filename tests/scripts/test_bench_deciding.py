"""Deciding again stays cheap: against a sort of as many rows, so that the machine and its load hardly matter."""

from __future__ import annotations

import importlib.util
import json
import statistics
import time
from pathlib import Path
from types import ModuleType

import pyarrow.parquet as pq
import pytest

import hnmine

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_deciding.py"

SMALL, LARGE = "small", "large"  # a quarter of the queries, and all
REPEAT = 5


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_deciding", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(bench: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5,000 documents and queries, about 190 candidates a query, by BM25 and by ready-made vectors.

    A quarter of the queries is more than the guard looks at, so that only what grows with the rows differs.
    """
    out = tmp_path_factory.mktemp("deciding")
    bench.make_input(out, documents=5_000, queries=5_000)
    return out


def rows(place: Path) -> int:
    return int(json.loads((place / "manifest.json").read_text())["counts"]["candidates"])


def seconds(made: Path, name: str) -> float:
    """Processor seconds of one `filter` in this process."""
    target = made / f"decided-{time.monotonic_ns()}"
    began = time.process_time()
    hnmine.filter(made / name, target)
    return time.process_time() - began


@pytest.mark.alone
def test_four_times_the_rows_take_at_most_six_times_as_long_and_a_row_some_sorts(bench: ModuleType, made: Path) -> None:
    seconds(made, SMALL)  # imports
    small, large, sort = [], [], []
    many = rows(made / LARGE) - rows(made / SMALL)
    for _ in range(REPEAT):
        small.append(seconds(made, SMALL))
        large.append(seconds(made, LARGE))
        sort.append(bench.lexsort(many))
    assert statistics.median(large) < 6 * statistics.median(small)
    # About 3.7 sorts where this was written; with Python objects for verdicts and a lexsort for every rank it was 25.
    assert statistics.median(large) - statistics.median(small) < 8 * statistics.median(sort)


def test_the_script_measures_all_that_is_promised(bench: ModuleType, made: Path) -> None:
    found = bench.measure(made, repeat=1, mining=1.0, against=SCRIPT.parents[1])
    assert found["rows"] == rows(made / LARGE)
    assert found["export_megabytes"] > 3
    assert all(value > 0 for values in found["times"].values() for value in values)
    assert found["export_wide_megabytes"] > 3 * found["export_megabytes"]
    assert {"export_wide_megabytes_per_second", "filter_over_lexsort"} <= set(found)
    assert {"filter_speed_up", "export_speed_up", "export_wide_speed_up"} <= set(found)
    assert {"filter_rows_per_second", "export_megabytes_per_second", "new_margin_share", "seconds_help"} <= set(found)


def test_a_new_margin_is_told_beside_index_and_mine(
    bench: ModuleType, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []

    def command(*words: object) -> float:
        lines.append([str(word) for word in words])
        if words[0] == "mine":
            (tmp_path / "candidates").mkdir()
            (tmp_path / "candidates" / "manifest.json").write_bytes((made / SMALL / "manifest.json").read_bytes())
        return {"ingest": 50.0, "index": 40.0, "mine": 20.0, "filter": 1.0}[str(words[0])]

    monkeypatch.setattr(bench, "command", command)
    for _ in range(2):  # indexed and mined once
        found = bench.new_margin(tmp_path, "stdlib", "0.1", repeat=1)
    assert found["share"] == 0.01
    assert found["rows"] == rows(made / SMALL)
    assert [line[0] for line in lines] == ["ingest", "index", "index", "mine", "filter", "filter"]


def test_texts_that_come_again_are_written_once(made: Path) -> None:
    hnmine.filter(made / SMALL, made / "decisions")
    hnmine.export(made / "decisions", made / "triplets.parquet")
    table = pq.read_table(made / "triplets.parquet")
    distinct = {text for name in table.column_names for text in table[name].to_pylist()}
    assert (made / "triplets.parquet").stat().st_size < sum(map(len, distinct))
    assert table.num_rows == 7 * 1_250
