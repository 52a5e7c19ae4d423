"""Every format that hnmine writes, read by the trainer that it is for: a table of what came of training on it.

    python scripts/prove_formats.py OUT [--environments DIR] [--only NAME,...] [--data stdlib --sample 0.02]
        [--model DIR] [--steps 30] [--json FILE] [--markdown FILE]

A small real collection (a keyed sample of `stdlib`) is mined with BM25 and exported in every format that a script of
`scripts/trainers/` asks for, by the command line. Each script then loads its files with the real trainer, checks
that what the collator delivers are the texts of the file in their places, trains, and tells the trainer's own loss on
the same rows before and after (`scripts/trainers/_proof.py` is the contract). Trainers whose pins clash with
hnmine's run in environments of their own: DIR/NAME is made from `scripts/trainers/NAME.txt` if it is not there, and
needs a package index; without --environments those trainers are told as not run.

The student is a BERT of two small layers, made from nothing with the vocabulary of the collection, unless --model
names another one: that losses fall shows that files are read as they are meant, not that a model is good.

Exit code 1 if a check failed, if a loss did not fall, or if rows were lost; 0 if all is well, or could not be run here.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

TRAINERS = Path(__file__).parent / "trainers"
NEGATIVES = 4
MAX_LENGTH = 64
Cell = dict[str, Any]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the collection, the files and the environments' work")
    parser.add_argument("--environments", type=Path, help="folder of the trainers' own environments")
    parser.add_argument("--only", default="", help="trainers to run, by the name of their script, with commas")
    parser.add_argument("--data", default="stdlib", help="what hnmine reads")
    parser.add_argument("--sample", type=float, default=0.02, help="a keyed sample of it")
    parser.add_argument("--model", type=Path, help="directory of a BERT as transformers saves it")
    parser.add_argument("--steps", type=int, default=30, help="optimisation steps")
    parser.add_argument("--json", type=Path, help="write the cells here too")
    parser.add_argument("--markdown", type=Path, help="write the table here instead of standard output")
    return parser.parse_args()


def exports_of(script: Path) -> tuple[str, ...]:
    """What a trainer's script reads: the words behind `hnmine export --format`."""
    before = list(sys.path)
    sys.path.insert(0, str(TRAINERS))
    try:
        spec = importlib.util.spec_from_file_location(f"trainers_{script.stem}", script)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return tuple(module.EXPORTS)


def hnmine(*words: object) -> dict[str, Any]:
    """Run the command line; its summary."""
    command = [sys.executable, "-m", "hnmine", *map(str, words), "--json", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"hnmine {' '.join(map(str, words))}\n{done.stderr}")
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def mine(data: str, sample: float, out: Path) -> Path:
    """The run directory of the collection: BM25 alone, four negatives a query."""
    run = out / "run"
    rules = ["--top-k", 30, "--num-negatives", NEGATIVES, "--no-margin"]
    hnmine("run", data, "-o", run, "--sample", sample, "--no-dense", *rules)
    return run


def export(run: Path, words: str, out: Path) -> tuple[Path, int] | str:
    """Export in one format: where it is and its rows; or why not."""
    from hnmine.options import Format
    from hnmine.stages.formats import FORMATS

    name, *options = words.split()
    if name not in set(Format):
        return f"this hnmine has no --format {name}"
    form = FORMATS[Format(name)]
    stem = words.replace(" --", ",").replace(" ", "=")
    place = out / "exports" / (stem if form.beside else stem + form.encoding.suffixes[0])
    summary = hnmine("export", run, "-o", place, "--format", name, *options, "--overwrite")
    return place, int(summary["counts"]["rows"])


def build_model(run: Path, folder: Path) -> Path:
    """A BERT of two small layers with random weights, its WordPieces learnt from the collection."""
    if (folder / "config.json").exists():
        return folder
    import pyarrow.parquet as pq
    import torch
    import transformers
    from tokenizers import BertWordPieceTokenizer

    tables = [pq.read_table(run / "collection" / part, columns=["text"]) for part in ("documents", "queries")]
    learnt = BertWordPieceTokenizer()
    learnt.train_from_iterator([text for table in tables for text in table["text"].to_pylist()], vocab_size=3_000)
    tokenizer = transformers.BertTokenizerFast(vocab=learnt.get_vocab(), model_max_length=MAX_LENGTH)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=MAX_LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,  # the default's outputs are nearly equal for all texts, which a few steps do not change
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def interpreter(script: Path, environments: Path | None) -> str:
    """The Python that has the script's trainer; raises `LookupError` with the reason if there is none."""
    requirements = script.with_suffix(".txt")
    if not requirements.exists():
        return sys.executable
    if environments is None:
        raise LookupError("needs an environment of its own: --environments DIR")
    folder = environments.absolute() / script.stem
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"{script.stem}: making {folder} from {requirements.name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        done = subprocess.run(
            [python, "-m", "pip", "install", "-q", "-r", requirements], capture_output=True, text=True, check=False
        )
        if done.returncode:
            python.unlink()
            raise LookupError(f"its environment cannot be made here: {last_line(done.stderr)}")
    return str(python)


def last_line(text: str) -> str:
    """The last line of a program's complaint."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"


def run_script(script: Path, python: str, files: Mapping[str, Path], args: argparse.Namespace) -> Iterator[Cell]:
    """The cells that a trainer's script prints."""
    command: list[object] = [python, script, "--model", args.model, "--steps", args.steps]
    command += ["--work", args.out / "work" / script.stem, *(f"{words}={place}" for words, place in files.items())]
    # No path of ours: what the script imports is of its own environment. The script runs in the folder it writes to.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" or python == sys.executable}
    work = args.out / "work" / script.stem
    work.mkdir(parents=True, exist_ok=True)
    log, told = work.with_suffix(".log"), []
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            list(map(str, command)), cwd=work, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as running,
    ):
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("{"):
                cell = json.loads(line)
                told.append(cell["format"])
                yield cell
    missing = [words for words in files if words not in told]
    for words in missing or (told[-1:] if running.returncode else []):
        complaint = last_line(log.read_text(encoding="utf-8", errors="replace"))
        yield {"format": words, **_nothing(script, f"failed: exit code {running.returncode}: {complaint}")}


def _nothing(script: Path, note: str) -> Cell:
    losses = {"loss_before": None, "loss_after": None, "rows_in": None, "rows_out": None}
    return {"trainer": script.stem, "version": "", **losses, "note": note}


def prove(scripts: Sequence[Path], args: argparse.Namespace) -> Iterator[Cell]:
    """Every cell of the table, script by script."""
    run = mine(args.data, args.sample, args.out)
    args.model = (args.model or build_model(run, args.out / "model")).absolute()
    exported: dict[str, tuple[Path, int] | str] = {}
    for script in scripts:
        files: dict[str, Path] = {}
        for words in exports_of(script):
            if words not in exported:
                exported[words] = export(run, words, args.out)
            found = exported[words]
            if isinstance(found, str):
                yield {"format": words, **_nothing(script, found)}
            else:
                files[words] = found[0]
        if not files:
            continue
        try:
            cells = run_script(script, interpreter(script, args.environments), files, args)
        except LookupError as reason:
            cells = ({"format": words, **_nothing(script, str(reason))} for words in files)
        for cell in cells:
            found = exported[cell["format"]]
            if cell.get("rows_in") is None and not isinstance(found, str):
                cell["rows_in"] = found[1]
            yield cell


def is_wrong(cell: Cell) -> bool:
    """Whether a cell tells of something that should not be: not of what could not be run."""
    if cell["note"].startswith("failed"):
        return True
    if cell["loss_before"] is not None and not cell["loss_after"] < cell["loss_before"]:
        return True
    return cell["rows_out"] is not None and cell["rows_out"] != cell["rows_in"]


def markdown(cells: Iterable[Cell]) -> str:
    """The table: a row for each cell."""
    lines = [
        "| format | trainer | version | loss before → after | rows in = rows out | |",
        "|---|---|---|---|---|---|",
    ]
    for cell in cells:
        before, after, came, went = (cell[name] for name in ("loss_before", "loss_after", "rows_in", "rows_out"))
        loss = "-" if before is None else f"{before:.4f} → {after:.4f}"
        rows = "-" if went is None else f"{came:,} {'=' if came == went else '≠'} {went:,}"
        note = cell["note"].replace("|", "\\|").replace("\n", " ")
        lines.append(f"| `{cell['format']}` | {cell['trainer']} | {cell['version']} | {loss} | {rows} | {note} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    args = arguments()
    args.out = args.out.absolute()
    args.out.mkdir(parents=True, exist_ok=True)
    only = set(filter(None, args.only.split(",")))
    scripts = [path for path in sorted(TRAINERS.glob("[!_]*.py")) if not only or path.stem in only]
    if unknown := only - {path.stem for path in scripts}:
        raise SystemExit(f"--only {','.join(sorted(unknown))}: no such script in {TRAINERS}")
    cells = []
    for cell in prove(scripts, args):
        print(json.dumps(cell), file=sys.stderr, flush=True)
        cells.append(cell)
    if args.json:
        machine = {"python": platform.python_version(), "machine": platform.platform()}
        args.json.write_text(json.dumps({**machine, "cells": cells}, indent=2) + "\n", encoding="utf-8")
    table = markdown(cells)
    if args.markdown:
        args.markdown.write_text(table, encoding="utf-8")
    else:
        print(table, end="")
    sys.exit(any(map(is_wrong, cells)))


if __name__ == "__main__":
    main()
