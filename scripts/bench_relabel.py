"""What becomes of false negatives, and of a student, when a reranker's word relabels candidates.

    python scripts/bench_relabel.py OUT NAME=DIR... --reranker DIR [--arms RULES-RELABEL...] [--runs DIR]

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

Students learn from queries alone, against the documents' vectors as they are (ADORE, Zhan et al. 2021, arXiv
2104.08051), so that every collection can be searched whole. `--student map` is a linear map of MiniLM's query vectors,
the identity at first, which takes a second; `encoder` is MiniLM itself, its token embeddings as they are, which takes
half a minute of a core. The loss is the softmax over a row's positive, its negatives and the documents of the other
rows, without those that the arm calls positives of the query.
They learn from all collections together and are tested on each: a hash of the query ids halves the queries, and each
half is tested by students of the other, on the full judgments. An arm is RULES-RELABEL. Any other arm's
difference to the first is tested over queries, by the mean of the seeds (10,000 random sign flips, two-sided;
interval: 10,000 bootstrap samples).

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import bench_training as training
import numpy as np
import numpy.typing as npt
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
NEAREST = 2
"""Of each query's negatives, so many are also counted by themselves."""
FOLDS = 2
SCALE = 20.0
"""What cosines are multiplied by in the loss: a temperature of 0.05, the default of MultipleNegativesRankingLoss."""
UNTRAINED = "untrained"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One collection: where it lies, and where its work goes."""

    name: str
    source: Path
    folder: Path
    args: argparse.Namespace

    @cached_property
    def run(self) -> Path:
        """The run directory with collection, indexes and candidates."""
        return self.args.runs / self.source.name if self.args.runs else self.folder / "run"

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
    def collection(self) -> Collection:
        return Collection.open(self.run / "collection")

    @cached_property
    def truth(self) -> training.Judgments:
        """The relevant documents of each query by the full judgments."""
        return training.read_qrels(self.source / "qrels" / "test.tsv")

    @cached_property
    def relevant_texts(self) -> set[tuple[str, int]]:
        """(query, key of a relevant document's text): one text under several ids is one document."""
        keys = self.collection.column("documents", "text_key").to_pylist()
        return {(query, keys[self.place[doc]]) for query, own in self.truth.items() for doc in own if doc in self.place}

    @cached_property
    def place(self) -> dict[str, int]:
        """The row of each document in the collection."""
        return {doc: row for row, doc in enumerate(self.collection.doc_ids.to_pylist())}

    @cached_property
    def queries(self) -> dict[str, str]:
        """The text of each query."""
        return {row["_id"]: row["text"] for row in training.read_lines(self.source / "queries.jsonl")}

    @cached_property
    def vectors(self) -> npt.NDArray[np.float32]:
        """The unit vectors of the documents, in the collection's order."""
        (index,) = (path for path in (self.run / "indexes").iterdir() if (path / "vectors").exists())
        parts = sorted((index / "vectors").glob("documents-*.npy"))
        found = np.concatenate([np.load(part).astype(np.float32) for part in parts])
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)

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

    def decide(self, rules: str, mode: str) -> Path:
        """Decisions with one setting. Made once."""
        path = self.folder / "decisions" / f"{rules}-{mode}"
        scored = self.scored
        if not (path / "manifest.json").exists():
            said = {"relabel": "positive", "labels": str(self.labels())} if mode == RIGHT else {"relabel": mode}
            options = hnmine.FilterOptions(num_negatives=self.args.negatives, **said, **RULES[rules])
            hnmine.filter(scored, path, options=options, collection=self.run / "collection")
        return path

    def examples(self, arm: str) -> list[Example]:
        """What an arm exports: a row for each (query, positive), with the query's negatives. Exported once."""
        rules, _, mode = arm.partition("-")
        decisions = self.decide(rules, mode)
        file = decisions.with_name(f"{decisions.name}.parquet")
        if not file.exists():
            hnmine.export(decisions, file, options=hnmine.ExportOptions(format="labeled-list"))
        found = []
        for row in pq.read_table(file.with_name(f"{decisions.name}.ids.parquet")).to_pylist():
            positive, *negatives = (self.place[doc] for doc in row["doc_ids"])
            found.append(Example(case=self, query=row["query_id"], positive=positive, negatives=negatives))
        return found


@dataclass(frozen=True, kw_only=True)
class Example:
    """A query with a positive and its negatives, as rows of the documents of its collection."""

    case: Case
    query: str
    positive: int
    negatives: list[int]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", nargs="+", metavar="NAME=DIR", help="BEIR directories with sparse1 and test")
    parser.add_argument("--reranker", type=Path, required=True, help="cross-encoder that learned from others")
    parser.add_argument("--arms", nargs="+", default=[], metavar="RULES-RELABEL", help="settings that students get")
    parser.add_argument("--model", default="minilm", help="student, and hnmine's encoder")
    parser.add_argument("--runs", type=Path, help="run directories made before")
    parser.add_argument("--negatives", type=int, default=7, help="negatives of a query; RLHN's students have 7")
    parser.add_argument("--pair-length", type=int, default=128, help="tokens of a pair that the reranker reads")
    parser.add_argument("--query-length", type=int, default=32, help="tokens of a query, in training and in test")
    parser.add_argument("--student", choices=["map", "encoder"], default="map")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


def measure(case: Case, rules: str, mode: str) -> dict[str, Any]:
    """What one setting did to one collection."""
    decisions = hnmine.Artefact.open(case.decide(rules, mode))
    table = pq.read_table(decisions.files())
    keys = zip(table["query_id"].to_pylist(), table["text_key"].to_pylist(), strict=True)
    relevant = np.array([key in case.relevant_texts for key in keys], np.bool_)
    is_negative = pc.equal(table["verdict"], "negative").to_numpy(zero_copy_only=False)
    is_nearest = is_negative & (table["pick_rank"].fill_null(0).to_numpy() <= NEAREST)
    is_new = pc.equal(table["reason"], "relabelled").to_numpy(zero_copy_only=False)
    called = np.zeros(len(table), np.bool_)
    if "called_relevant_by" in table.column_names:
        called = table["called_relevant_by"].is_valid().to_numpy(zero_copy_only=False)
    lost = table["query_id"].filter(pc.equal(table["reason"], "too-many-relevant"))
    scored = np.isfinite(table["score_reranker"].to_numpy(zero_copy_only=False).astype(float))
    scored &= ~table["is_positive"].to_numpy(zero_copy_only=False)
    rows = {"negatives": is_negative, "nearest": is_nearest, "scored": scored, "called": called, "new": is_new}
    return {
        "queries": decisions.counts["queries"],
        "queries_lost": len(pc.unique(lost)),
        **{name: int(chosen.sum()) for name, chosen in rows.items()},
        **{f"{name}_relevant": int((chosen & relevant).sum()) for name, chosen in rows.items()},
    }


def fold_of(case: Case, query: str) -> int:
    return keyed_hash(0, "fold", case.name, query) % FOLDS


def batches(examples: Sequence[Example], args: argparse.Namespace, seed: int) -> Iterator[list[Example]]:
    """`steps` batches, no query twice in one; each pass over the rows in a new drawn order."""
    generator = np.random.default_rng(seed)
    size = min(args.batch, len({(one.case.name, one.query) for one in examples}))
    queue: list[Example] = []
    for _ in range(args.steps):
        batch: dict[tuple[str, str], Example] = {}
        waiting: list[Example] = []
        while len(batch) < size:
            if not queue:
                queue, waiting = [*waiting, *(examples[i] for i in generator.permutation(len(examples)))], []
            one = queue.pop(0)
            if batch.setdefault((one.case.name, one.query), one) is not one:
                waiting.append(one)
        queue = [*waiting, *queue]
        yield list(batch.values())


class Encoder:
    """MiniLM as it was, and the vectors that it gave, for all students of a process."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def load(self) -> Any:
        """A model of its own."""
        from sentence_transformers import SentenceTransformer

        from hnmine.engines.models import resolve_model

        model = SentenceTransformer(resolve_model(self._args.model, revision=None).path, device="cpu")
        model.max_seq_length = self._args.query_length
        return model

    @cached_property
    def _model(self) -> Any:
        return self.load()

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vector of each text, encoded once."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known |= zip(new, self._model.encode(new, show_progress_bar=False), strict=True)
        return np.stack([self._known[text] for text in texts])


class Student:
    """What gives queries vectors, and learns to."""

    def __init__(self, encoder: Encoder, kind: str) -> None:
        import torch

        self._encoder = encoder
        self._model: Any = None
        if kind == "encoder":
            self._model = encoder.load()
            named = self._model.named_parameters()
            self.learned = [parameter for name, parameter in named if ".embeddings." not in name]
        else:
            size = encoder.vectors(["size"]).shape[1]
            self._map = torch.nn.Linear(size, size, bias=False)
            torch.nn.init.eye_(self._map.weight)
            self.learned = list(self._map.parameters())

    def learning(self, is_on: bool) -> None:
        """Dropout while it learns, and none afterwards."""
        if self._model is not None:
            self._model.train(is_on)

    def vectors(self, texts: Sequence[str]) -> Any:
        """Unit vectors, with gradients where they are recorded."""
        import torch

        if self._model is not None:
            found = self._model(self._model.preprocess(list(texts)))["sentence_embedding"]
        else:
            found = self._map(torch.from_numpy(self._encoder.vectors(texts)))
        return torch.nn.functional.normalize(found, dim=1)


def train(student: Student, examples: Sequence[Example], seed: int, args: argparse.Namespace) -> float:
    """Train the student in place; returns the mean loss of the last tenth."""
    import torch
    import transformers

    known = {(one.case.name, one.query, one.positive) for one in examples}
    transformers.set_seed(seed)
    optimizer = torch.optim.AdamW(student.learned, lr=args.learning_rate, weight_decay=0.01)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, args.steps // 10, args.steps)
    student.learning(True)
    losses = []
    for batch in batches(examples, args, seed):
        documents = [(one.case, row) for one in batch for row in (one.positive, *one.negatives)]
        vectors = torch.from_numpy(np.stack([case.vectors[row] for case, row in documents]))
        own = np.cumsum([0, *(1 + len(one.negatives) for one in batch)])[:-1]
        is_positive = np.array(
            [[case is one.case and (case.name, one.query, row) in known for case, row in documents] for one in batch]
        )
        is_positive[np.arange(len(batch)), own] = False  # another positive of the query is no negative of this row
        cosines = student.vectors([one.case.queries[one.query] for one in batch]) @ vectors.T
        logits = (SCALE * cosines).masked_fill(torch.from_numpy(is_positive), -torch.inf)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(own))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.learned, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    student.learning(False)
    return statistics.fmean(losses[-max(1, args.steps // 10) :])


def found_by(student: Student, case: Case, fold: int) -> dict[str, dict[str, float]]:
    """nDCG@10 and Recall@100 of each query of the fold, searched exactly in the whole collection."""
    import ir_measures
    import torch
    from ir_measures import R, nDCG

    asked = [query for query in case.truth if fold_of(case, query) == fold]
    with torch.inference_mode():
        parts = [asked[start : start + 32] for start in range(0, len(asked), 32)]
        questions = torch.cat([student.vectors([case.queries[q] for q in part]) for part in parts]).numpy()
    ids, run = list(case.place), []
    for query, scores in zip(asked, questions @ case.vectors.T, strict=True):
        best = np.argsort(-scores, kind="stable")[: training.DEPTH]
        run += [ir_measures.ScoredDoc(query, ids[row], float(scores[row])) for row in best]
    qrels = [ir_measures.Qrel(query, doc, 1) for query in asked for doc in case.truth[query]]
    found: dict[str, dict[str, float]] = {f"{case.name} {query}": {} for query in asked}
    for metric in ir_measures.iter_calc([nDCG @ 10, R @ training.DEPTH], qrels, run):
        found[f"{case.name} {metric.query_id}"][str(metric.measure)] = metric.value
    return found


def cell(
    cases: Sequence[Case], encoder: Encoder, arm: str, fold: int, seed: int, args: argparse.Namespace
) -> dict[str, Any]:
    """What a student of the queries outside the fold finds for those in it."""
    student = Student(encoder, args.student)
    about: dict[str, Any] = {}
    if arm != UNTRAINED:
        examples = [one for case in cases for one in case.examples(arm) if fold_of(case, one.query) != fold]
        about = {"rows": len(examples), "loss": round(train(student, examples, seed, args), 4)}
    return {**about, "queries": {query: own for case in cases for query, own in found_by(student, case, fold).items()}}


def students(cases: Sequence[Case], out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Every cell (arm, seed, fold), seeds first, so that what is finished can be compared; finished ones are read."""
    found: dict[str, list[dict[str, Any]]] = {}
    encoder = Encoder(args)
    for seed in range(args.seeds):
        for arm in [UNTRAINED, *args.arms] if seed == 0 else args.arms:
            both = [
                training.cell(out / f"{arm}-{seed}-{fold}.json", partial(cell, cases, encoder, arm, fold, seed, args))
                for fold in range(FOLDS)
            ]
            queries = {query: figures for one in both for query, figures in one["queries"].items()}
            found.setdefault(arm, []).append({"rows": [one.get("rows") for one in both], "queries": queries})
    return {arm: compared(arm, found, args.arms[0]) for arm in found}


def compared(arm: str, found: dict[str, list[dict[str, Any]]], first: str) -> dict[str, Any]:
    """Means over queries and seeds, over all and by collection, and the difference to the first arm."""
    cells = found[arm]
    row: dict[str, Any] = {"seeds": len(cells), "rows": cells[0]["rows"]}
    of = np.array([query.partition(" ")[0] for query in cells[0]["queries"]])
    for name in ("nDCG@10", f"R@{training.DEPTH}"):
        values = training.per_query(cells, name)
        seeds = [statistics.fmean(query[name] for query in one["queries"].values()) for one in cells]
        row[name] = {
            "mean": float(values.mean()),
            "sd_over_seeds": statistics.stdev(seeds) if len(seeds) > 1 else None,
            "by_collection": {one: float(values[of == one].mean()) for one in dict.fromkeys(of.tolist())},
        }
        if arm != first:
            difference = values - training.per_query(found[first], name)
            row[name] |= {
                "minus_first": float(difference.mean()),
                "interval": training.interval(difference),
                "p": training.sign_flips(difference),
            }
    return row


def share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def markdown(results: dict[str, Any]) -> str:
    """The tables of the page."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [f"Machine: {results['machine']}. {versions}.", "", "```bash", results["command"], "```", ""]
    rows: list[list[object]] = []
    for name, settings in results["collections"].items():
        for setting, row in settings.items():
            rules, _, mode = setting.partition("-")
            false = [share(row[f"{kind}_relevant"], row[kind]) for kind in ("negatives", "nearest")]
            called = [row["called"], share(row["called_relevant"], row["called"])] if mode != "off" else ["", ""]
            new = [row["new"] or "", share(row["new_relevant"], row["new"]) if row["new"] else ""]
            lost = f"{row['queries_lost']} of {row['queries']}"
            rows.append([name, rules, mode, lost, f"{row['negatives']:,}", *false, *called, *new])
    head = ["collection", "rules", "relabel", "queries lost", "negatives", "false", f"of the first {NEAREST}"]
    lines += table([*head, "called relevant", "of these are", "new positives", "of these are"], rows)
    if not results["students"]:
        return "\n".join([*lines, ""])
    first = next(arm for arm in results["students"] if arm != UNTRAINED)
    names = list(results["students"][first]["nDCG@10"]["by_collection"])
    rows = []
    for arm, row in results["students"].items():
        ndcg, gap = row["nDCG@10"], ["", ""]
        if "p" in ndcg:
            low, high = ndcg["interval"]
            gap = [f"{ndcg['minus_first']:+.4f} [{low:+.4f}, {high:+.4f}]", f"{ndcg['p']:.3f}"]
        count = " + ".join(f"{count:,}" for count in row["rows"] if count)
        own = [f"{ndcg['by_collection'][name]:.4f}" for name in names]
        recall = training.spread(row[f"R@{training.DEPTH}"])
        rows.append([arm, count, training.spread(ndcg), *gap, *own, recall])
    head = ["arm", "rows", "nDCG@10", f"minus {first}", "p", *names, f"Recall@{training.DEPTH}"]
    return "\n".join([*lines, "", *table(head, rows), ""])


def main() -> None:
    args = arguments()
    cases = []
    for spec in args.collections:
        name, _, source = spec.partition("=")
        cases.append(Case(name=name, source=Path(source), folder=args.out / name, args=args))
    results = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": training.machine(),
        "versions": {name: importlib.metadata.version(name) for name in training.PACKAGES},
        "collections": {
            case.name: {f"{rules}-{mode}": measure(case, rules, mode) for rules in RULES for mode in MODES}
            for case in cases
        },
        "students": students(cases, args.out / f"students-{args.student}", args) if args.arms else {},
    }
    training.write(args.out / "results.json", json.dumps(results, indent=2))
    training.write(args.out / "results.md", markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
