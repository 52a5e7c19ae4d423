"""Does a second round of mining make a better model than training longer on the negatives of the first?

    python scripts/bench_rounds.py OUT scifact=beir/scifact --sample 0.2
    python scripts/bench_rounds.py OUT2 medquad=beir/medquad --sample 0.05 --limit 640 --test-queries 400

The collections were named before anything was run: scifact and medquad, three seeds each, and every arm is reported
whatever comes out. Student (MiniLM), loss, steps and negatives are those of scripts/bench_training.py. Arms:

    untrained  the student as it was
    first      N steps on round one: hnmine's default, mined with the untrained student
    longer     2N steps on round one, in one schedule of the learning rate
    again      `first`, then N steps more on round one
    second     `first`, then N steps on round two: mined again with the model of `first`, by `--previous`

`again` and `second` begin with the same model and run the same schedule; their negatives alone differ. nDCG@10 and
Recall@100 are means over test queries and seeds, each query searched in the whole corpus; a difference to `second` is
tested over queries, by the mean of the seeds (10,000 random sign flips, two-sided; interval: 10,000 bootstrap samples).

What round two chose is compared with round one and, for the first seed, with what it would have chosen had the
documents not been encoded again (`index dense --keep-documents`), with and without `--compensate-drift`.

OUT keeps each finished cell as a file: run it again to go on. OUT/results.json has everything, OUT/results.md tables;
both are written once without `longer`, the dearest arm, and once with it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from bench_training import (
    DEPTH,
    OURS,
    PACKAGES,
    Settings,
    Task,
    cell,
    check_settings,
    hnmine,
    interval,
    machine,
    mine,
    per_query,
    prepare,
    sign_flips,
    spread,
    student,
    test,
    train,
    write,
)

SECOND = "second"
MEASURES = ("nDCG@10", f"R@{DEPTH}")
Cells = dict[str, list[dict[str, Any]]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", nargs="+", metavar="NAME=DIR", help="BEIR directories")
    parser.add_argument("--model", default="minilm", help="student, and the encoder of the first round")
    parser.add_argument("--steps", type=int, default=40, help="N")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--negatives", type=int, default=2)
    parser.add_argument("--max-length", type=int, default=64, help="tokens of a text, in mining, training and test")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="training queries of a collection")
    parser.add_argument("--test-queries", type=int, help="test queries of a collection")
    parser.add_argument("--sample", type=float, default=1.0, help="share of the documents kept; judged ones all stay")
    return parser.parse_args()


def round_one(task: Task, settings: Settings) -> tuple[Path, Path]:
    """(training file, run directory) of the first round."""
    file = mine(OURS, None, task, settings)
    return file, file.with_name(f"{OURS}.unfinished.hnmine")


def round_two(task: Task, settings: Settings, checkpoint: Path) -> tuple[Path, Path]:
    """(training file, run directory) of the second round, mined with a checkpoint. Made once."""
    run = task.folder / "files" / f"{SECOND}-{checkpoint.name}"
    file = run.with_suffix(".parquet")
    if not file.exists():
        _, before = round_one(task, settings)
        shape = ("-n", settings.negatives, "--format", "n-tuple", "--max-length", settings.max_length)
        model = ("--model", checkpoint, "--previous", before)
        unfinished = run.with_suffix(".unfinished.parquet")
        hnmine("run", before / "collection", "-o", unfinished, *shape, *model)
        unfinished.replace(file)
    return file, run.with_suffix(".unfinished.hnmine")


def kept(task: Task, settings: Settings, checkpoint: Path, *flags: str) -> Path:
    """The decisions of a second round whose documents were not encoded again."""
    _, before = round_one(task, settings)
    _, after = round_two(task, settings, checkpoint)
    folder = task.folder / "files" / "-".join(["kept", checkpoint.name, *(flag.strip("-") for flag in flags)])
    index = folder / "indexes" / checkpoint.name
    collection = before / "collection"
    model = ("--model", checkpoint, "--max-length", settings.max_length, "--keep-documents", before, *flags)
    hnmine("index", "dense", collection, "-o", index, *model)
    sources = ("--index", after / "indexes" / "bm25", "--index", index, "--previous", before)
    hnmine("mine", collection, "-o", folder / "candidates", *sources)
    hnmine("filter", folder / "candidates", "-o", folder / "decisions", "-n", settings.negatives)
    return folder / "decisions"


def chosen(decisions: Path) -> set[tuple[str, str]]:
    """The (query, document) pairs that were chosen as negatives."""
    table = pq.read_table(sorted(decisions.glob("part-*.parquet")), columns=["query_id", "doc_id", "verdict"])
    return {(row["query_id"], row["doc_id"]) for row in table.to_pylist() if row["verdict"] == "negative"}


def jaccard(one: Path, other: Path) -> float:
    """The share of the pairs chosen by either that both chose."""
    first, second = chosen(one), chosen(other)
    return len(first & second) / len(first | second)


def negatives(task: Task, settings: Settings, checkpoint: Path, *, with_kept: bool) -> dict[str, Any]:
    """What the second round chose, beside the first and, if asked, beside what kept documents would have given."""
    _, before = round_one(task, settings)
    _, after = round_two(task, settings, checkpoint)
    counts = json.loads((after / "decisions" / "manifest.json").read_text(encoding="utf-8"))["counts"]
    spread_of = counts["judge_scores"]
    flags = {"kept": (), "compensated": ("--compensate-drift",)} if with_kept else {}
    return {
        "jaccard_with_round_one": jaccard(before / "decisions", after / "decisions"),
        "gap_of_round_two": spread_of["gap"]["mean"],
        "gap_of_round_one": spread_of["gap before"]["mean"],
        "p_false_negative": counts["previous"]["p_false_negative"],
        **{name: jaccard(after / "decisions", kept(task, settings, checkpoint, *own)) for name, own in flags.items()},
    }


def bench(task: Task, seeds: int, settings: Settings, *, with_longer: bool) -> dict[str, Any]:
    """Every cell of a collection, and their comparison; finished cells are read."""
    cells = task.folder / "cells"
    found: Cells = {"untrained": [cell(cells / "untrained.json", lambda: {"queries": test(student(settings), task)})]}
    rounds = []
    for seed in range(seeds):
        checkpoint = task.folder / "checkpoints" / f"first-{seed}"
        begin: Callable[[], Any] = partial(student, settings)
        resume: Callable[[], Any] = partial(student, replace(settings, model=str(checkpoint)))
        first = round_one(task, settings)[0]

        def trained(start: Callable[[], Any], file: Path, keep: Path | None, seed: int, how: Settings) -> Any:
            model = start()
            about = train(model, file, seed, how, task.folder / "trainer")
            if keep is not None:
                model.save(str(keep), create_model_card=False)
            return {**about, "queries": test(model, task)}

        def make(name: str, start: Callable[[], Any], file: Path, seed: int = seed, **how: Any) -> None:
            keep = how.pop("keep", None)
            one = partial(trained, start, file, keep, seed, replace(settings, **how))
            found.setdefault(name, []).append(cell(cells / f"{name}-{seed}.json", one))

        make("first", begin, first, keep=checkpoint)
        second = round_two(task, settings, checkpoint)[0]
        compared = partial(negatives, task, settings, checkpoint, with_kept=seed == 0)
        rounds.append(cell(cells / f"rounds-{seed}.json", compared))
        make(SECOND, resume, second)
        make("again", resume, first)
        if with_longer:
            make("longer", begin, first, steps=2 * settings.steps)
    order = ("untrained", "first", "longer", "again", SECOND)
    return {
        "documents": len(task.documents),
        "training_queries": len(task.train),
        "test_queries": len(task.test),
        "arms": compare({arm: found[arm] for arm in order if arm in found}),
        "rounds": rounds,
    }


def compare(arms: Cells) -> dict[str, Any]:
    """Means of every arm, their spread over seeds, and what the second round has more."""
    found: dict[str, Any] = {}
    for arm, cells in arms.items():
        found[arm] = {"rows": cells[0].get("rows")}
        for measure in MEASURES:
            values = per_query(cells, measure)
            seeds = [float(np.mean([query[measure] for query in one["queries"].values()])) for one in cells]
            found[arm][measure] = {
                "mean": float(values.mean()),
                "seeds": seeds,
                "sd_over_seeds": float(np.std(seeds, ddof=1)) if len(seeds) > 1 else None,
            }
            if arm != SECOND:
                difference = per_query(arms[SECOND], measure) - values
                found[arm][measure] |= {
                    "second_minus_this": float(difference.mean()),
                    "interval": interval(difference),
                    "p": sign_flips(difference),
                }
    return found


def markdown(results: dict[str, Any]) -> str:
    """The results as a page: settings, machine, two tables."""
    settings = ", ".join(f"{name} {value}" for name, value in results["settings"].items() if value is not None)
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [f"Settings: {settings}.", "", f"Machine: {results['machine']}. {versions}.", ""]
    lines += ["```bash", results["command"], "```", ""]
    lines += ["| collection | arm | training rows | nDCG@10 | second minus this | p | Recall@100 |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, task in results["collections"].items():
        for arm, row in task["arms"].items():
            ndcg, recall = (row[measure] for measure in MEASURES)
            gap = ("", "")
            if "p" in ndcg:
                low, high = ndcg["interval"]
                gap = (f"{ndcg['second_minus_this']:+.4f} [{low:+.4f}, {high:+.4f}]", f"{ndcg['p']:.3f}")
            cells = [name, arm, f"{row['rows'] or 0:,}", spread(ndcg), *gap, spread(recall)]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| collection | seed | " + " | ".join(title for title, _ in _ROUNDS) + " |"]
    lines += ["|---|---|" + "---|" * len(_ROUNDS)]
    for name, task in results["collections"].items():
        for seed, one in enumerate(task["rounds"]):
            lines.append(f"| {name} | {seed} | " + " | ".join(read(one) for _, read in _ROUNDS) + " |")
    sizes = [
        f"{name}: {task['documents']:,} documents, {task['training_queries']:,} training and "
        f"{task['test_queries']:,} test queries"
        for name, task in results["collections"].items()
    ]
    return "\n".join([*lines, "", "; ".join(sizes) + ".", ""])


def _estimates(one: dict[str, Any]) -> str:
    found = one["p_false_negative"]
    return ", ".join(f"{found[name]:.2%}" for name in ("before", "now") if name in found)


_ROUNDS: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
    ("Jaccard with round one", lambda one: f"{one['jaccard_with_round_one']:.3f}"),
    (
        "gap of round one's, of round two's, to the new model",
        lambda one: f"{one['gap_of_round_one']:.3f}, {one['gap_of_round_two']:.3f}",
    ),
    ("estimated false negatives of round one's, of round two's", _estimates),
    ("Jaccard of round two with kept documents", lambda one: f"{one['kept']:.3f}" if "kept" in one else ""),
    ("the same, drift compensated", lambda one: f"{one['compensated']:.3f}" if "compensated" in one else ""),
]


def main() -> None:
    args = arguments()
    settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
    check_settings(args.out, settings)
    results: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "settings": asdict(settings) | {"seeds": args.seeds},
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "collections": {},
    }
    sources = dict(spec.partition("=")[::2] for spec in args.collections)
    tasks = {name: prepare(Path(source), args.out / name, settings) for name, source in sources.items()}
    for with_longer in (False, True):
        for name, task in tasks.items():
            results["collections"][name] = bench(task, args.seeds, settings, with_longer=with_longer)
        write(args.out / "results.json", json.dumps(results, indent=2))
        write(args.out / "results.md", markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
