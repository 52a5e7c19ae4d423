"""The table of formats and trainers: its frame, the contract of a trainer's script, and sentence-transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from hnmine.options import Format
from tests.scripts.test_training_scripts import script

ROOT = Path(__file__).parents[2]
TRAINERS = sorted((ROOT / "scripts" / "trainers").glob("[!_]*.py"))
CELL = {
    "format": "triplet",
    "trainer": "T",
    "version": "t 1",
    "loss_before": 2.0,
    "loss_after": 1.0,
    "rows_in": 7,
    "rows_out": 7,
    "note": "",
}

FAKE = """
from _proof import CannotRun, Cell, check, main

EXPORTS = ("triplet", "n-tuple", "labeled-pair")


def prove(export, place, args):
    print("trainers print")
    if export == "labeled-pair":
        raise CannotRun("there is no GPU here")
    yield Cell(trainer="Fake", version="fake 1", loss_before=2.0, loss_after=1.0, rows_out=args.steps)
    check(export == "triplet", "row 3: other texts")


if __name__ == "__main__":
    main(prove)
"""


@pytest.mark.parametrize("path", TRAINERS, ids=lambda path: path.stem)
def test_what_a_script_reads_is_known_without_its_trainer(path: Path) -> None:
    exports = script("prove_formats").exports_of(path)
    assert len(exports) == len(set(exports)) > 0
    assert {words.split()[0] for words in exports} <= set(Format)
    code = "import sys; from pathlib import Path; sys.path.insert(0, 'scripts'); import prove_formats as frame\n"
    code += f"frame.exports_of(Path({str(path)!r})); print(*(sys.modules.keys() & {{'torch', 'datasets', 'numpy'}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_script_tells_every_cell_and_what_went_wrong(tmp_path: Path) -> None:
    (tmp_path / "fake.py").write_text(FAKE, encoding="utf-8")
    (tmp_path / "_proof.py").write_bytes((ROOT / "scripts" / "trainers" / "_proof.py").read_bytes())
    frame = script("prove_formats")
    args = Namespace(model=tmp_path / "model", steps=9, out=tmp_path)
    files = dict.fromkeys(("triplet", "n-tuple", "labeled-pair"), tmp_path / "a=b")
    cells = list(frame.run_script(tmp_path / "fake.py", sys.executable, files, args))
    assert [(cell["format"], cell["loss_after"], cell["rows_out"], cell["note"]) for cell in cells] == [
        ("triplet", 1.0, 9, ""),
        ("n-tuple", 1.0, 9, ""),
        ("n-tuple", None, None, "failed: AssertionError: row 3: other texts"),
        ("labeled-pair", None, None, "there is no GPU here"),
    ]
    assert [frame.is_wrong({**cell, "rows_in": 9}) for cell in cells] == [False, False, True, False]
    (tmp_path / "fake.py").write_text("raise SystemExit('it is broken')", encoding="utf-8")
    [cell] = frame.run_script(tmp_path / "fake.py", sys.executable, {"triplet": tmp_path}, args)
    assert cell["note"] == "failed: exit code 1: it is broken"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, False),
        ({"loss_after": 2.0}, True),
        ({"loss_after": float("nan")}, True),
        ({"rows_out": 6}, True),
        ({"loss_before": None, "loss_after": None, "rows_out": None, "note": "no GPU"}, False),
        ({"loss_before": None, "loss_after": None, "rows_out": 7, "note": "its collator alone"}, False),
        ({"loss_before": None, "loss_after": None, "rows_out": None, "note": "failed: it"}, True),
    ],
)
def test_which_cells_are_wrong(change: dict[str, Any], wrong: bool) -> None:
    assert script("prove_formats").is_wrong({**CELL, **change}) is wrong


def test_the_table() -> None:
    nothing = {"loss_before": None, "loss_after": None, "rows_out": None}
    table = script("prove_formats").markdown([CELL, {**CELL, **nothing, "note": "no | GPU"}, {**CELL, "rows_out": 6}])
    assert table.splitlines()[2:] == [
        "| `triplet` | T | t 1 | 2.0000 → 1.0000 | 7 = 7 |  |",
        "| `triplet` | T | t 1 | - | - | no \\| GPU |",
        "| `triplet` | T | t 1 | 2.0000 → 1.0000 | 7 ≠ 6 |  |",
    ]


def test_a_trainer_with_requirements_has_an_interpreter_of_its_own(tmp_path: Path) -> None:
    frame = script("prove_formats")
    (tmp_path / "plain.py").touch()
    assert frame.interpreter(tmp_path / "plain.py", None) == sys.executable
    (tmp_path / "own.py").touch()
    (tmp_path / "own.txt").write_text("own==1\n", encoding="utf-8")
    with pytest.raises(LookupError, match="--environments DIR"):
        frame.interpreter(tmp_path / "own.py", None)
    python = tmp_path / "environments" / "own" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert frame.interpreter(tmp_path / "own.py", tmp_path / "environments") == str(python)


@pytest.mark.slow
@pytest.mark.installs
def test_sentence_transformers_trains_on_every_format_of_its_own(tmp_path: Path) -> None:
    """Every cell: the script has compared the rows that reached the loss with the file."""
    pytest.importorskip("sentence_transformers", minversion="6")
    exports = script("prove_formats").exports_of(ROOT / "scripts" / "trainers" / "sentence_transformers.py")
    told = tmp_path / "cells.json"
    command = [sys.executable, ROOT / "scripts" / "prove_formats.py", tmp_path, "--only", "sentence_transformers"]
    done = subprocess.run(
        [*map(str, command), "--json", str(told)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    cells = json.loads(told.read_text(encoding="utf-8"))["cells"]
    assert list(dict.fromkeys(cell["format"] for cell in cells)) == list(exports)
    assert {cell["note"] for cell in cells} == {""}
    assert {cell["trainer"].partition("Trainer")[0] for cell in cells} == {
        "SentenceTransformer",
        "CrossEncoder",
        "SparseEncoder",
        "MultiVectorEncoder",
    }
    by_text, by_id = (
        next(cell for cell in cells if cell["format"] == form and "DistillKLDiv" in cell["trainer"])
        for form in ("n-tuple --scores", "ids --scores")
    )
    assert by_id["loss_after"] == by_text["loss_after"], "the same rows, joined by resolve_ids"
