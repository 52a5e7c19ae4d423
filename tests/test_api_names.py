"""What `import hnmine` promises a notebook user."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import hnmine
from hnmine.errors import UsageError

ROOT = Path(__file__).parents[1]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", hnmine.__all__)
def test_every_name_resolves_and_says_what_it_is(name: str) -> None:
    found = getattr(hnmine, name)
    if name != "__version__":
        own = inspect.getdoc(found)
        assert own
        assert found.__name__ == name
        assert name in dir(hnmine)


def test_every_name_is_there_for_a_star_import() -> None:
    code = "from hnmine import *; print(sorted(set(dir()) & set(__import__('hnmine').__all__)))"
    assert run(code) == str(sorted(hnmine.__all__))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'mine_negatives'"):
        hnmine.mine_negatives  # type: ignore[attr-defined]


def test_the_import_is_light() -> None:
    heavy = {"torch", "faiss", "numpy", "pyarrow", "numba", "bm25s", "datasets", "sentence_transformers", "typer"}
    loaded = run("import sys, hnmine; print(sorted({name.partition('.')[0] for name in sys.modules}))")
    assert not heavy & set(eval(loaded))


def test_options_and_errors_stay_light() -> None:
    loaded = run("import sys, hnmine; hnmine.FilterOptions(), hnmine.UsageError; print('numpy' in sys.modules)")
    assert loaded == "False"


def test_options_take_plain_values() -> None:
    options = hnmine.FilterOptions(pick="random", short="relax", relative_margin=1, num_negatives=5)
    assert options.pick is hnmine.Pick.RANDOM
    assert options.short is hnmine.Short.RELAX
    assert type(options.relative_margin) is float
    assert hnmine.DenseOptions(model=Path("models") / "mine").model == "models/mine"
    assert hnmine.MineOptions(run="a.trec").run == ("a.trec",)
    import numpy as np

    assert type(hnmine.MineOptions(top_k=np.int64(5)).top_k) is int


def test_options_refuse_wrong_values_all_at_once() -> None:
    with pytest.raises(
        UsageError, match=r"(?s)num_negatives = '7': not a whole.*pick = 'best': not one of top, random"
    ):
        hnmine.FilterOptions(pick="best", num_negatives="7")
    with pytest.raises(UsageError, match=r"scores = 1: not true or false"):
        hnmine.ExportOptions(scores=1)
    with pytest.raises(UsageError, match=r"random = None"):
        hnmine.MineOptions(random=None)
    with pytest.raises(UsageError, match="not a MineOptions"):
        hnmine.RunOptions(mine={"top_k": 5})


def test_the_stages_one_by_one_as_the_package_says(tmp_path: Path) -> None:
    """The example of the package's docstring, on a pairs file."""
    pairs = tmp_path / "pairs.csv"
    rows = [f"what is number {n},the number {n} is {'odd' if n % 2 else 'even'}" for n in range(20)]
    pairs.write_text("\n".join(["anchor,positive", *rows]) + "\n", encoding="utf-8")
    work = tmp_path / "work"
    hnmine.ingest(pairs, work / "collection")
    hnmine.index_bm25(work / "collection", work / "bm25")
    hnmine.mine(work / "collection", work / "candidates", indexes=[work / "bm25"])
    options = hnmine.FilterOptions(num_negatives=5)
    decided = hnmine.filter(work / "candidates", work / "decisions", options=options)
    written = hnmine.export(work / "decisions", tmp_path / "triplets.parquet")
    assert decided.counts["verdicts"]["negative"] == 100
    assert written.counts["rows"] == 100
    import pyarrow.parquet as pq

    first = pq.read_table(tmp_path / "triplets.parquet").to_pylist()[0]
    assert first["positive"] != first["negative"]
    assert first["positive"].split()[2] == first["anchor"].split()[3]


def test_deciding_loads_no_encoder_no_reader_and_no_other_stage() -> None:
    """Filter again with another threshold: a second, most of which is Python that starts."""
    loaded = run("import sys, hnmine; hnmine.filter; import hnmine.stages.filter; print(*sys.modules)").split()
    needless = ("engines.models", "engines.encoder", "engines.bm25", "files.readers", "files.hub", "stages.formats")
    needless += ("stages.ingest", "stages.mine", "stages.export", "stages.chain", "stages.index_dense", "stages.audit")
    assert "hnmine.stages.filter" in loaded
    assert not {f"hnmine.{name}" for name in needless} & set(loaded)
