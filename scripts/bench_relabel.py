"""What becomes of false negatives, and of a student, when a reranker's word relabels candidates.

    python scripts/bench_relabel.py OUT NAME=DIR... --reranker DIR [--students NAME...] [--runs DIR]

NAME=DIR is a BEIR directory with `qrels/sparse1.tsv` (one known positive a query: all that the miner sees) and
`qrels/test.tsv` (the full judgments, which only count). Each is mined by `hnmine run` (BM25 and MiniLM, 200 candidates
each; `--runs DIR` takes run directories `DIR/NAME` that were made so before, as `scripts/bench_false_negatives.py`
makes them under its `--work`); the reranker, such as `scripts/train_reranker.py` makes of other collections, scores the
25 best-placed candidates of each query, as many as RLHN shows its judges; then `hnmine filter` decides with each
setting:

    rules     none (`--no-margin`: the first of MiniLM's list) or default (at most 3 % estimated probability)
    relabel   off, drop, positive; thresholds are the papers' (0.9 of RocketQA, 7 a query of RLHN), nothing is tuned.
              right: positive, by a judge who is never wrong: the full judgments of the same 25, as `--labels`

A false negative is a mined negative that the full judgments call relevant, the precision of relabelled positives the
share that they call relevant: what nobody judged counts as not relevant.

Students (MiniLM, MultipleNegativesRankingLoss) learn from the collections named by `--students` together and are tested
on each: a hash of the query ids halves the queries, and each half is tested by students of the other, on the full
judgments, in the whole corpus. An arm is RULES-RELABEL. Differences to the first arm are tested over queries, by the
mean of the seeds (10,000 random sign flips, two-sided; interval: 10,000 bootstrap samples).

OUT keeps whatever is finished: run it again to go on; take a new OUT when hnmine or the reranker has changed.
OUT/results.json has everything, OUT/results.md the tables.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import bench_training as training
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import hnmine
from hnmine.files.collection import Collection
from hnmine.hashing import keyed_hash

TOP_K = 200
RERANKED = 25
"""Candidates of a query that the reranker scores; RLHN's judges see at most so many."""
RULES: dict[str, dict[str, Any]] = {"none": {"no_margin": True}, "default": {}}
RIGHT = "right"
MODES = ("off", "drop", "positive", RIGHT)
FOLDS = 2


@dataclass(frozen=True, kw_only=True)
class Case:
    """One collection: where it lies, and where its work goes."""

    name: str
    source: Path
    folder: Path
    args: argparse.Namespace

    @cached_property
    def scored(self) -> Path:
        """Candidates with the reranker's scores. Made once."""
        scored = self.folder / "scored"
        if not (scored / "manifest.json").exists():
            if not (self.run / "candidates" / "manifest.json").exists():
                data = ("--qrels", self.source / "qrels" / "sparse1.tsv", "--model", self.args.model)
                training.hnmine("run", self.source, "-o", self.run, "-k", TOP_K, *data)
            judge = ("--reranker", self.args.reranker, "--name", "reranker", "--top", RERANKED)
            length = ("--max-length", self.args.pair_length)
            training.hnmine("score", self.run, self.run / "candidates", "-o", scored, *judge, *length)
        return scored

    @cached_property
    def run(self) -> Path:
        """The run directory with collection and candidates."""
        return self.args.runs / self.source.name if self.args.runs else self.folder / "run"

    @cached_property
    def collection(self) -> Collection:
        return Collection.open(self.run / "collection")

    @cached_property
    def truth(self) -> training.Judgments:
        """The relevant documents of each query by the full judgments."""
        return training.read_qrels(self.source / "qrels" / "test.tsv")

    @cached_property
    def relevant_texts(self) -> set[tuple[str, int]]:
        """(query, key of a relevant document's text): one text under several ids is one document."""
        keys = dict(
            zip(
                self.collection.doc_ids.to_pylist(),
                self.collection.column("documents", "text_key").to_pylist(),
                strict=True,
            )
        )
        return {(query, keys[doc]) for query, own in self.truth.items() for doc in own if doc in keys}

    def decide(self, rules: str, mode: str) -> Path:
        """Decisions with one setting. Made once."""
        path = self.folder / "decisions" / f"{rules}-{mode}"
        scored = self.scored
        if not (path / "manifest.json").exists():
            said = {"relabel": "positive", "labels": str(self.labels())} if mode == RIGHT else {"relabel": mode}
            options = hnmine.FilterOptions(num_negatives=self.args.negatives, **said, **RULES[rules])
            hnmine.filter(scored, path, options=options, collection=self.run / "collection")
        return path

    def labels(self) -> Path:
        """What the full judgments say of the candidates that the reranker scored, as labels. Made once."""
        file = self.folder / "labels.tsv"
        if not file.exists():
            table = pq.read_table(hnmine.Artefact.open(self.scored).files())
            asked = table.filter(pc.and_(table["score_reranker"].is_valid(), pc.invert(table["is_positive"])))
            columns = (asked[name].to_pylist() for name in ("query_id", "doc_id", "text_key"))
            lines = [
                f"{query}\t{doc}\t{(query, key) in self.relevant_texts:d}\n"
                for query, doc, key in zip(*columns, strict=True)
            ]
            training.write(file, "query-id\tcorpus-id\tscore\n" + "".join(lines))
        return file

    def rows(self, decisions: Path, negatives: int) -> pa.Table:
        """Training rows (anchor, positive, negative_1, ...) with the query of each. Made once."""
        file = decisions.with_name(f"{decisions.name}.parquet")
        if not file.exists():
            options = hnmine.ExportOptions(format="n-tuple", negatives=negatives)
            hnmine.export(decisions, file, options=options)
        ids = pq.read_table(file.with_name(f"{decisions.name}.ids.parquet"), columns=["query_id"])
        return pq.read_table(file).append_column("query_id", ids["query_id"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", nargs="+", metavar="NAME=DIR", help="BEIR directories with sparse1 and test")
    parser.add_argument("--reranker", type=Path, required=True, help="cross-encoder that learned from others")
    parser.add_argument(
        "--students", nargs="*", default=[], metavar="NAME", help="collections that students learn from"
    )
    parser.add_argument(
        "--arms", nargs="+", default=["none-off", "none-drop", "none-positive"], metavar="RULES-RELABEL"
    )
    parser.add_argument("--model", default="minilm", help="student, and hnmine's encoder")
    parser.add_argument("--runs", type=Path, help="run directories made before")
    parser.add_argument("--negatives", type=int, default=7, help="negatives of a query; RLHN's students have 7")
    parser.add_argument("--trained-negatives", type=int, default=3, help="of these, in a student's rows")
    parser.add_argument("--pair-length", type=int, default=128, help="tokens of a pair that the reranker reads")
    parser.add_argument("--max-length", type=int, default=128, help="tokens of a text that students read")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


def measure(case: Case, rules: str, mode: str) -> dict[str, Any]:
    """What one setting did to one collection."""
    decisions = hnmine.Artefact.open(case.decide(rules, mode))
    table = pq.read_table(decisions.files())
    keys = zip(table["query_id"].to_pylist(), table["text_key"].to_pylist(), strict=True)
    relevant = np.array([key in case.relevant_texts for key in keys], np.bool_)
    is_negative = pc.equal(table["verdict"], "negative").to_numpy(zero_copy_only=False)
    is_new = pc.equal(table["reason"], "relabelled").to_numpy(zero_copy_only=False)
    called = np.zeros(len(table), np.bool_)
    if "called_relevant_by" in table.column_names:
        called = table["called_relevant_by"].is_valid().to_numpy(zero_copy_only=False)
    place = table["pick_rank"].fill_null(0).to_numpy()
    lost = table["query_id"].filter(pc.equal(table["reason"], "too-many-relevant"))
    scored = np.isfinite(table["score_reranker"].to_numpy(zero_copy_only=False).astype(float))
    candidates = ~table["is_positive"].to_numpy(zero_copy_only=False)
    return {
        "queries": decisions.counts["queries"],
        "queries_lost": len(pc.unique(lost)),
        "negatives": int(is_negative.sum()),
        "false": int((is_negative & relevant).sum()),
        "trained_negatives": int((is_negative & (place <= case.args.trained_negatives)).sum()),
        "trained_false": int((is_negative & relevant & (place <= case.args.trained_negatives)).sum()),
        "scored": int((scored & candidates).sum()),
        "scored_relevant": int((scored & candidates & relevant).sum()),
        "called": int(called.sum()),
        "called_relevant": int((called & relevant).sum()),
        "new_positives": int(is_new.sum()),
        "new_positives_relevant": int((is_new & relevant).sum()),
    }


def fold_of(case: Case, query: str) -> int:
    return keyed_hash(0, "fold", case.name, query) % FOLDS


def training_file(cases: Sequence[Case], arm: str, fold: int, file: Path) -> Path:
    """The rows of all queries that are not in the fold, of all collections. Made once."""
    if not file.exists():
        tables = []
        for case in cases:
            rules, _, mode = arm.partition("-")
            rows = case.rows(case.decide(rules, mode), case.args.trained_negatives)
            own = np.array([fold_of(case, query) != fold for query in rows["query_id"].to_pylist()], np.bool_)
            tables.append(rows.filter(pa.array(own)).drop_columns(["query_id"]).cast(_plain(rows)))
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(file.name + ".part")
        pq.write_table(pa.concat_tables(tables), unfinished)
        unfinished.replace(file)
    return file


def _plain(rows: pa.Table) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in rows.column_names if name != "query_id"])


def tasks(cases: Sequence[Case], fold: int) -> dict[str, training.Task]:
    """The test queries of a fold, by collection, with the whole corpus of each."""
    found = {}
    for case in cases:
        corpus = training.read_lines(case.source / "corpus.jsonl")
        documents = {row["_id"]: f"{row.get('title') or ''} {row['text']}".strip() for row in corpus}
        queries = {row["_id"]: row["text"] for row in training.read_lines(case.source / "queries.jsonl")}
        asked = {query: own for query, own in case.truth.items() if fold_of(case, query) == fold}
        found[case.name] = training.Task(folder=case.folder, documents=documents, queries=queries, train={}, test=asked)
    return found


def students(cases: Sequence[Case], out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Every cell (arm, seed, fold), seeds first, so that what is finished can be compared; finished ones are read."""
    settings = training.Settings(
        **{item.name: getattr(args, item.name, None) for item in fields(training.Settings) if item.name != "sample"},
        sample=1.0,
    )
    own = [{**tasks(cases, fold)} for fold in range(FOLDS)]

    def trained(arm: str, fold: int, seed: int) -> dict[str, Any]:
        model, about = training.student(settings), {}
        if arm != "untrained":
            file = training_file(cases, arm, fold, out / "files" / f"{arm}-{fold}.parquet")
            about = training.train(model, file, seed, settings, out / "trainer")
        tested = {
            f"{name} {query}": figures
            for name, task in own[fold].items()
            for query, figures in training.test(model, task).items()
        }
        return {**about, "queries": tested}

    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(args.seeds):
        for arm in ["untrained", *args.arms] if seed == 0 else args.arms:
            both = [
                training.cell(out / "cells" / f"{arm}-{seed}-{fold}.json", partial(trained, arm, fold, seed))
                for fold in range(FOLDS)
            ]
            queries = {query: figures for one in both for query, figures in one["queries"].items()}
            found.setdefault(arm, []).append({"rows": [one.get("rows") for one in both], "queries": queries})
    return {arm: compared(arm, found, args.arms[0]) for arm in found}


def compared(arm: str, found: dict[str, list[dict[str, Any]]], first: str) -> dict[str, Any]:
    """Means over queries and seeds, over all and by collection, and the difference to the first arm."""
    cells = found[arm]
    row: dict[str, Any] = {"seeds": len(cells), "rows": cells[0]["rows"]}
    collections = list(dict.fromkeys(query.partition(" ")[0] for query in cells[0]["queries"]))
    for measure_name in ("nDCG@10", f"R@{training.DEPTH}"):
        values = training.per_query(cells, measure_name)
        of = np.array([query.partition(" ")[0] for query in cells[0]["queries"]])
        seeds = [statistics.fmean(query[measure_name] for query in one["queries"].values()) for one in cells]
        row[measure_name] = {
            "mean": float(values.mean()),
            "sd_over_seeds": statistics.stdev(seeds) if len(seeds) > 1 else None,
            "by_collection": {name: float(values[of == name].mean()) for name in collections},
        }
        if arm != first:
            difference = values - training.per_query(found[first], measure_name)
            row[measure_name] |= {
                "minus_first": float(difference.mean()),
                "interval": training.interval(difference),
                "p": training.sign_flips(difference),
            }
    return row


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def markdown(results: dict[str, Any]) -> str:
    """The tables of the page."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [f"Machine: {results['machine']}. {versions}.", "", "```bash", results["command"], "```", ""]
    head = [
        "collection",
        "rules",
        "relabel",
        "queries lost",
        "negatives",
        "false",
        f"of the first {results['trained_negatives']}",
        "called relevant",
    ]
    lines += [line([*head, "precision"]), "|---" * (len(head) + 1) + "|"]
    for name, settings in results["collections"].items():
        for setting, row in settings.items():
            rules, _, mode = setting.partition("-")
            false = share(row["false"], row["negatives"])
            trained = share(row["trained_false"], row["trained_negatives"])
            lost = f"{row['queries_lost']} of {row['queries']}"
            called = [row["called"], share(row["called_relevant"], row["called"])] if mode != "off" else ["", ""]
            lines.append(line([name, rules, mode, lost, f"{row['negatives']:,}", false, trained, *called]))
    if not results["students"]:
        return "\n".join([*lines, ""])
    first = next(arm for arm in results["students"] if arm != "untrained")
    names = list(results["students"][first]["nDCG@10"]["by_collection"])
    head = ["arm", "rows", "nDCG@10", f"minus {first}", "p", *names, f"R@{training.DEPTH}"]
    lines += ["", line(head), "|---" * len(head) + "|"]
    for arm, row in results["students"].items():
        ndcg, gap = row["nDCG@10"], ["", ""]
        if "p" in ndcg:
            low, high = ndcg["interval"]
            gap = [f"{ndcg['minus_first']:+.4f} [{low:+.4f}, {high:+.4f}]", f"{ndcg['p']:.3f}"]
        rows = " + ".join(f"{count:,}" for count in row["rows"] if count)
        own = [f"{ndcg['by_collection'][name]:.4f}" for name in names]
        recall = training.spread(row[f"R@{training.DEPTH}"])
        lines.append(line([arm, rows, training.spread(ndcg), *gap, *own, recall]))
    return "\n".join([*lines, ""])


def main() -> None:
    args, started = arguments(), time.monotonic()
    cases = []
    for spec in args.collections:
        name, _, source = spec.partition("=")
        cases.append(Case(name=name, source=Path(source), folder=args.out / name, args=args))
    if unknown := set(args.students) - {case.name for case in cases}:
        sys.exit(f"--students {' '.join(sorted(unknown))}: none of the collections")
    measured = {
        case.name: {f"{rules}-{mode}": measure(case, rules, mode) for rules in RULES for mode in MODES}
        for case in cases
    }
    print(f"decided after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    chosen = [case for case in cases if case.name in args.students]
    results = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": training.machine(),
        "versions": {name: importlib.metadata.version(name) for name in training.PACKAGES},
        "trained_negatives": args.trained_negatives,
        "collections": measured,
        "students": students(chosen, args.out / "students", args) if chosen else {},
    }
    training.write(args.out / "results.json", json.dumps(results, indent=2))
    training.write(args.out / "results.md", markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
