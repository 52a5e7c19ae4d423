"""What the scripts of this folder have in common: each trains on files that hnmine wrote, with one real trainer.

    python scripts/trainers/NAME.py --model DIR [--steps 30] 'triplet=FILE' 'n-tuple --scores=FILE' ...

`--model` is a small BERT as transformers saves it (weights and tokenizer). What stands before the first `=` is what
was asked of `hnmine export --format`. Standard output is one JSON object a line, one for each way of training on the
file:

    {"format", "trainer", "version", "loss_before", "loss_after", "rows_in", "rows_out", "note"}

`loss_before` and `loss_after` are the trainer's own loss over all rows of the file, `rows_in` the rows that hnmine
wrote, `rows_out` those that the trainer's collator delivered in one pass. Where something cannot be run here, losses
and `rows_out` are null and `note` says why; if a check failed, `note` begins with "failed: ".

A script names what it reads, and does the work in a generator:

    EXPORTS = ("triplet", "n-tuple --scores")

    def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]: ...

    if __name__ == "__main__":
        main(prove)

Only the standard library is imported at the top of a script: `prove_formats.py` reads EXPORTS with its own interpreter
and runs the script with that of the trainer's environment, made from `NAME.txt` (pip's requirements) if there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [place for place in sys.path if Path(place).resolve() != HERE]
# A script may be called as the package that it imports.


class CannotRun(Exception):
    """The trainer cannot be run here, for this reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a script is told: the model's directory, how many optimisation steps, and a folder for what it writes."""

    model: Path
    steps: int
    work: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What came of training on one file in one way. `rows_in` None: every row that hnmine wrote."""

    trainer: str
    version: str
    loss_before: float | None = None
    loss_after: float | None = None
    rows_in: int | None = None
    rows_out: int | None = None
    note: str = ""


def main(prove: Callable[[str, Path, Settings], Iterator[Cell]]) -> None:
    """Run a script of this folder: one line for each cell of each file; what goes wrong with a file is its note."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", metavar="EXPORT=FILE")
    parser.add_argument("--model", type=Path, required=True, help="directory of a BERT as transformers saves it")
    parser.add_argument("--steps", type=int, default=30, help="optimisation steps")
    parser.add_argument("--work", type=Path, required=True, help="a folder for checkpoints and caches")
    given = parser.parse_args()
    settings = Settings(model=given.model.absolute(), steps=given.steps, work=given.work.absolute())
    settings.work.mkdir(parents=True, exist_ok=True)
    script = Path(sys.argv[0]).stem
    for file in given.files:
        export, _, place = file.partition("=")
        cells = prove(export, Path(place).absolute(), settings)
        while cell := _next(cells, script):
            print(json.dumps({"format": export, **asdict(cell)}), flush=True)


def _next(cells: Iterator[Cell], script: str) -> Cell | None:
    """The next cell; what goes wrong on the way is one, and the last."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # trainers print
            return next(cells, None)
    except CannotRun as reason:
        return Cell(trainer=script, version="", note=str(reason))
    except Exception as error:
        traceback.print_exc()
        return Cell(trainer=script, version="", note=f"failed: {type(error).__name__}: {error}"[:300])


def check(holds: bool, what: str) -> None:
    """Raise `AssertionError` with `what` unless it holds; `assert` would be silent under -O."""
    if not holds:
        raise AssertionError(what)
