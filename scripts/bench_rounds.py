"""Does a second round of mining make a better model than training longer on the negatives of the first?

    python scripts/bench_rounds.py OUT scifact=beir/scifact --sample 0.4
    python scripts/bench_rounds.py OUT2 medquad=beir/medquad --sample 0.05 --limit 1000 --test-queries 500

The collections were named before anything was run: scifact and medquad, three seeds each, and every arm is reported
whatever comes out. The student is by default `static`: MiniLM's token vectors and nothing else (a text is their mean),
which trains in seconds; `--model minilm --batch 16 --learning-rate 5e-5 --max-length 64` is the student of
scripts/bench_training.py. Loss and negatives are that script's. Arms:

    untrained  the student as it was
    first      N steps on round one: hnmine's default, mined with the untrained student
    longer     2N steps on round one, in one schedule of the learning rate
    again      `first`, then N steps more on round one
    second     `first`, then N steps on round two: mined again with the model of `first`, by `--previous`

`again` and `second` begin with the same model and run the same schedule; their negatives alone differ. nDCG@10 and
Recall@100 are means over test queries and seeds, each query searched in the whole corpus; a difference to `second` is
tested over queries, by the mean of the seeds (10,000 random sign flips, two-sided; interval: 10,000 bootstrap samples).

What round two chose is compared with round one, and with what it would have chosen had the documents not been encoded
again (`index dense --keep-documents`), with and without `--compensate-drift`.

OUT keeps each finished cell as a file: run it again to go on. OUT/results.json has everything, OUT/results.md
the tables.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from bench_training import (
    DEPTH,
    PACKAGES,
    Settings,
    Task,
    cell,
    check_settings,
    interval,
    machine,
    per_query,
    prepare,
    sign_flips,
    spread,
    student,
    test,
    train,
    write,
)

import hnmine
from hnmine.engines.models import resolve_model
from hnmine.files.artefact import Artefact

STATIC, SECOND = "static", "second"
MEASURES = ("nDCG@10", f"R@{DEPTH}")
Cells = dict[str, list[dict[str, Any]]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", nargs="+", metavar="NAME=DIR", help="BEIR directories")
    parser.add_argument("--model", default=STATIC, help="student, and the encoder of the first round")
    parser.add_argument("--steps", type=int, default=30, help="N")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--negatives", type=int, default=2)
    parser.add_argument("--max-length", type=int, help="tokens of a text, in mining, training and test")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="training queries of a collection")
    parser.add_argument("--test-queries", type=int, help="test queries of a collection")
    parser.add_argument("--sample", type=float, default=1.0, help="share of the documents kept; judged ones all stay")
    return parser.parse_args()


def static(folder: Path) -> Path:
    """MiniLM's token vectors as a model of their own. Made once."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    if not (folder / "modules.json").exists():
        whole = SentenceTransformer(resolve_model("minilm", revision=None).path, device="cpu")
        vectors = whole[0].auto_model.get_input_embeddings().weight.detach().numpy()
        tokens = StaticEmbedding(whole.tokenizer.backend_tokenizer, embedding_weights=vectors)
        SentenceTransformer(modules=[tokens], device="cpu").save(str(folder), create_model_card=False)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of mining: what it decided, and the training file of it."""

    decisions: Artefact
    file: Path


def mined(task: Task, settings: Settings, name: str, model: str, previous: Path | None = None, **how: Any) -> Round:
    """hnmine's default over BM25 and the model, both in the place of the name. Made once."""
    place, collection = task.folder / "rounds" / name, task.folder / "collection"
    bm25, dense = task.folder / "bm25", place / "indexes" / "student"
    hnmine.ingest(task.data, collection)
    hnmine.index_bm25(collection, bm25)
    options = hnmine.DenseOptions(model=model, max_length=settings.max_length, **how)
    hnmine.index_dense(collection, dense, options=options)
    before = str(previous) if previous is not None else None
    hnmine.mine(collection, place / "candidates", indexes=[bm25, dense], options=hnmine.MineOptions(previous=before))
    rules = hnmine.FilterOptions(num_negatives=settings.negatives)
    decisions = hnmine.filter(place / "candidates", place / "decisions", options=rules).artefact
    file = place / "rows.parquet"
    hnmine.export(place / "decisions", file, options=hnmine.ExportOptions(format="n-tuple"))
    assert decisions is not None
    return Round(decisions=decisions, file=file)


def chosen(decisions: Artefact) -> set[tuple[str, str]]:
    """The (query, document) pairs that were chosen as negatives."""
    table = pq.read_table(decisions.files(), columns=["query_id", "doc_id", "verdict"])
    return {(row["query_id"], row["doc_id"]) for row in table.to_pylist() if row["verdict"] == "negative"}


def jaccard(one: Round, other: Round) -> float:
    """The share of the pairs chosen by either that both chose."""
    first, second = chosen(one.decisions), chosen(other.decisions)
    return len(first & second) / len(first | second)


def negatives(task: Task, settings: Settings, first: Round, checkpoint: Path) -> dict[str, Any]:
    """What the second round chose, beside the first and beside what kept documents would have given."""
    before = first.decisions.path
    second = mined(task, settings, checkpoint.name, str(checkpoint), before)
    counts = second.decisions.counts
    keep = {"keep_documents": str(before.parent / "indexes" / "student")}
    found = {
        "kept": mined(task, settings, f"{checkpoint.name}-kept", str(checkpoint), before, **keep),
        "compensated": mined(
            task, settings, f"{checkpoint.name}-compensated", str(checkpoint), before, **keep, compensate_drift=True
        ),
    }
    return {
        "jaccard_with_round_one": jaccard(first, second),
        "gap_of_round_two": counts["judge_scores"]["gap"]["mean"],
        "gap_of_round_one": counts["judge_scores"]["gap before"]["mean"],
        "p_false_negative": counts["previous"]["p_false_negative"],
        **{name: jaccard(second, one) for name, one in found.items()},
    }


def bench(task: Task, seeds: int, settings: Settings) -> dict[str, Any]:
    """Every cell of a collection, and their comparison; finished cells are read."""
    cells = task.folder / "cells"
    first = mined(task, settings, "first", settings.model)
    arms = ("untrained", "first", "longer", "again", SECOND)
    found: Cells = {arm: [] for arm in arms}
    found["untrained"].append(cell(cells / "untrained.json", lambda: {"queries": test(student(settings), task)}))
    rounds = []

    def trained(model: str, file: Path, seed: int, steps: int, keep: Path | None = None) -> dict[str, Any]:
        begun = student(replace(settings, model=model))
        about = train(begun, file, seed, replace(settings, steps=steps), task.folder / "trainer")
        if keep is not None:
            begun.save(str(keep), create_model_card=False)
        return {**about, "queries": test(begun, task)}

    for seed in range(seeds):
        checkpoint, steps = task.folder / "checkpoints" / f"second-{seed}", settings.steps

        def make(arm: str, *how: Any) -> None:
            found[arm].append(cell(cells / f"{arm}-{seed}.json", partial(trained, *how)))  # noqa: B023

        make("first", settings.model, first.file, seed, steps, checkpoint)
        second = mined(task, settings, checkpoint.name, str(checkpoint), first.decisions.path)
        rounds.append(cell(cells / f"rounds-{seed}.json", partial(negatives, task, settings, first, checkpoint)))
        make(SECOND, str(checkpoint), second.file, seed, steps)
        make("again", str(checkpoint), first.file, seed, steps)
        make("longer", settings.model, first.file, seed, 2 * steps)
    return {
        "documents": len(task.documents),
        "training_queries": len(task.train),
        "test_queries": len(task.test),
        "arms": compare(found),
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
    ("Jaccard of round two with kept documents", lambda one: f"{one['kept']:.3f}"),
    ("the same, drift compensated", lambda one: f"{one['compensated']:.3f}"),
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
    if settings.model == STATIC:
        settings = replace(settings, model=str(static(args.out / STATIC)))
    for spec in args.collections:
        name, _, source = spec.partition("=")
        task = prepare(Path(source), args.out / name, settings)
        results["collections"][name] = bench(task, args.seeds, settings)
    write(args.out / "results.json", json.dumps(results, indent=2))
    write(args.out / "results.md", markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
