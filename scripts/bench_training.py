"""Train one student on the negatives of several miners, and compare what the students find for queries held out.

    python scripts/bench_training.py OUT medquad=beir/medquad squad=beir/squad_v11_dev

Every arm has the same student (MiniLM), queries, corpus, loss (MultipleNegativesRankingLoss), number of steps and of
negatives, and seeds; only the negatives differ:

    hnmine                 hnmine's default
    sentence-transformers  its mine_hard_negatives with relative_margin 0.05, the nearest first
    bm25                   the first of BM25, as they come
    random                 random documents
    NAME                   --arm NAME=FLAGS: hnmine's candidates, decided by `hnmine filter FLAGS`
    untrained              the student as it was

A collection is a BEIR directory with the splits `train` and `test`; one without `train` is split by a hash of the
query ids, every fifth to `test`. Training queries that have the text of a test query are left out. Each query is
searched in the whole corpus, exactly. nDCG@10 and Recall@100 are means over test queries and seeds; a difference to
hnmine's is tested over queries, by the mean of the seeds (10,000 random sign flips, two-sided; interval: 10,000
bootstrap samples).

OUT keeps each finished cell as a file: run it again to go on; take a new OUT when hnmine itself has changed.
OUT/results.json has everything, OUT/results.md the table.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hnmine.engines.inference import autocast, resolve_arithmetic
from hnmine.engines.models import resolve_model
from hnmine.hashing import keyed_hash, text_key
from hnmine.options import DenseOptions

OURS = "hnmine"
DRAWS = 10_000
DEPTH = 100
PACKAGES = ("hnmine", "sentence-transformers", "transformers", "torch", "bm25s", "ir-measures")
Judgments = dict[str, list[str]]
Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides a cell but its arm, collection and seed."""

    model: str
    steps: int
    batch: int
    learning_rate: float
    negatives: int
    max_length: int | None
    limit: int | None
    test_queries: int | None
    sample: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A collection cut to size: texts by id, positives of the training and of the test queries, and where it lies."""

    folder: Path
    documents: dict[str, str]
    queries: dict[str, str]
    train: Judgments
    test: Judgments

    @property
    def data(self) -> Path:
        """The BEIR directory that every miner gets."""
        return self.folder / "data"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("collections", nargs="+", metavar="NAME=DIR", help="BEIR directories")
    parser.add_argument("--model", default="minilm", help="student, and hnmine's and the peer's encoder")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--negatives", type=int, default=3)
    parser.add_argument("--max-length", type=int, help="tokens of a text, in mining, training and test")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, help="training queries of a collection")
    parser.add_argument("--test-queries", type=int, help="test queries of a collection")
    parser.add_argument("--sample", type=float, default=1.0, help="share of the documents kept; judged ones all stay")
    parser.add_argument("--arm", action="append", default=[], metavar="NAME=FLAGS", help="further hnmine filter flags")
    parser.add_argument("--leave-out", action="append", default=[], metavar="ARM")
    return parser.parse_args()


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def read_qrels(path: Path) -> Judgments:
    """The positives of each query (grade above 0), in file order."""
    found: Judgments = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            found.setdefault(query, []).append(document)
    return found


def split(source: Path, queries: dict[str, str]) -> tuple[Judgments, Judgments]:
    """The judgments to train and to test on; no training query has the text of a test query."""
    test = read_qrels(source / "qrels" / "test.tsv")
    if (source / "qrels" / "train.tsv").exists():
        train = read_qrels(source / "qrels" / "train.tsv")
    else:
        held_out = {query for query in test if keyed_hash(0, "test", query) % 5 == 0}
        train = {query: positives for query, positives in test.items() if query not in held_out}
        test = {query: test[query] for query in test if query in held_out}
    texts = {text_key(queries[query]) for query in test}
    return {query: found for query, found in train.items() if text_key(queries[query]) not in texts}, test


def cut(judgments: Judgments, limit: int | None) -> Judgments:
    """A keyed sample of the queries, in the order they came in."""
    kept = set(sorted(judgments, key=lambda query: keyed_hash(0, "query", query))[:limit])
    return {query: positives for query, positives in judgments.items() if query in kept}


def prepare(source: Path, folder: Path, settings: Settings) -> Task:
    """Cut a collection to size and write it as a BEIR directory; the miners see no judgment of the test split."""
    corpus = read_lines(source / "corpus.jsonl")
    queries = {row["_id"]: row["text"] for row in read_lines(source / "queries.jsonl")}
    train, test = split(source, queries)
    train, test = cut(train, settings.limit), cut(test, settings.test_queries)
    judged = {document for judgments in (train, test) for positives in judgments.values() for document in positives}
    corpus = [r for r in corpus if r["_id"] in judged or keyed_hash(0, "doc", r["_id"]) < settings.sample * 2**64]
    (folder / "data" / "qrels").mkdir(parents=True, exist_ok=True)
    write(folder / "data" / "corpus.jsonl", "".join(json.dumps(row) + "\n" for row in corpus))
    rows = "".join(json.dumps({"_id": query, "text": queries[query]}) + "\n" for query in train)
    write(folder / "data" / "queries.jsonl", rows)
    lines = "".join(f"{query}\t{document}\t1\n" for query, found in train.items() for document in found)
    write(folder / "data" / "qrels" / "train.tsv", "query-id\tcorpus-id\tscore\n" + lines)
    documents = {row["_id"]: f"{row.get('title') or ''} {row['text']}".strip() for row in corpus}
    return Task(folder=folder, documents=documents, queries=queries, train=train, test=test)


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def hnmine(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "hnmine", *map(str, words), "-q"], check=True, stdin=subprocess.DEVNULL)


def called(arm: str, flags: str | None) -> str:
    """The arm in file names: other flags are another arm."""
    return arm if flags is None else f"{arm}-{keyed_hash(0, flags):016x}"


def mine(arm: str, flags: str | None, task: Task, settings: Settings) -> Path:
    """The training file of an arm: anchor, positive, negative_1, ..., as the tool writes it. Made once."""
    label = called(arm, flags)
    file = task.folder / "files" / f"{label}.parquet"
    if file.exists():
        return file
    file.parent.mkdir(exist_ok=True)
    wanted, shape = ("-n", settings.negatives), ("--format", "n-tuple")
    length = ("--max-length", settings.max_length) if settings.max_length else ()
    unfinished = file.with_name(f"{label}.unfinished.parquet")
    if arm == "sentence-transformers":
        peer(task, settings, unfinished)
    elif flags is None:
        own = {
            OURS: ("--model", settings.model, *length),
            "bm25": ("--no-dense", "--no-margin"),
            "random": ("--no-dense", "--no-bm25", "--random", settings.negatives, "--short", "random"),
        }[arm]
        hnmine("run", task.data, "-o", unfinished, *wanted, *shape, *own)
    else:
        mine(OURS, None, task, settings)
        candidates = task.folder / "files" / f"{OURS}.unfinished.hnmine" / "candidates"
        decisions = task.folder / "files" / f"{label}.decisions"
        hnmine("filter", candidates, "-o", decisions, *wanted, *shlex.split(flags))
        hnmine("export", decisions, "-o", unfinished, *shape)
    unfinished.replace(file)
    return file


def peer(task: Task, settings: Settings, file: Path) -> None:
    """The negatives of sentence-transformers' own function, in the same arithmetic as hnmine's."""
    import datasets
    from sentence_transformers.util import mine_hard_negatives

    pairs = [(task.queries[query], task.documents[doc]) for query, found in task.train.items() for doc in found]
    anchors, positives = zip(*pairs, strict=True)
    with autocast(*resolve_arithmetic(DenseOptions())):
        mined = mine_hard_negatives(
            datasets.Dataset.from_dict({"anchor": anchors, "positive": positives}),
            student(settings),
            corpus=list(dict.fromkeys(task.documents.values())),
            relative_margin=0.05,
            num_negatives=settings.negatives,
            sampling_strategy="top",
            output_format="n-tuple",
            verbose=False,
        )
    mined.to_parquet(str(file))


def student(settings: Settings) -> Any:
    """The model that every cell starts from."""
    import sentence_transformers

    device, _ = resolve_arithmetic(DenseOptions())
    model = sentence_transformers.SentenceTransformer(resolve_model(settings.model, revision=None).path, device=device)
    if settings.max_length:
        model.max_seq_length = settings.max_length
    return model


def train(model: Any, file: Path, seed: int, settings: Settings, folder: Path) -> dict[str, Any]:
    """Train the model in place on a file; returns what is worth knowing about it."""
    import datasets
    import sentence_transformers as st
    import transformers
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    device, dtype = resolve_arithmetic(DenseOptions())
    data = datasets.Dataset.from_list(pq.read_table(file).to_pylist())
    transformers.set_seed(seed)
    how = st.SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.steps // 10,
        batch_sampler="no_duplicates",
        bf16=dtype == "bf16",
        fp16=dtype == "fp16",
        use_cpu=device == "cpu",
        seed=seed,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    loss = MultipleNegativesRankingLoss(model)
    with contextlib.redirect_stdout(sys.stderr):
        st.SentenceTransformerTrainer(model=model, args=how, train_dataset=data, loss=loss).train()
    return {"rows": len(data), "negatives": len(data.column_names) - 2}


def test(model: Any, task: Task) -> dict[str, dict[str, float]]:
    """nDCG@10 and Recall@100 of every test query, from an exact search of the whole corpus."""
    import ir_measures
    from ir_measures import R, nDCG

    ids, asked = list(task.documents), list(task.test)
    with autocast(*resolve_arithmetic(DenseOptions())):
        vectors, questions = (
            model.encode(texts, batch_size=32, normalize_embeddings=True, show_progress_bar=False).astype(np.float32)
            for texts in (list(task.documents.values()), [task.queries[query] for query in asked])
        )
    run = []
    for query, question in zip(asked, questions, strict=True):
        scores = vectors @ question
        best = np.argsort(-scores, kind="stable")[:DEPTH]
        run += [ir_measures.ScoredDoc(query, ids[row], float(scores[row])) for row in best]
    qrels = [ir_measures.Qrel(query, document, 1) for query, found in task.test.items() for document in found]
    found: dict[str, dict[str, float]] = {query: {} for query in asked}
    for metric in ir_measures.iter_calc([nDCG @ 10, R @ DEPTH], qrels, run):
        found[metric.query_id][str(metric.measure)] = metric.value
    return found


def cell(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A finished cell, read or made."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        made = make()
        write(path, json.dumps({**made, "seconds": round(time.monotonic() - started, 1)}))
        print(f"{path}: {made.get('rows', '')} rows, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def sign_flips(differences: Values, draws: int = DRAWS) -> float:
    """Two-sided p of a paired randomisation test: how often random signs give a mean at least as far from 0.

    Smucker et al., CIKM 2007; the observed signs count as one of the draws, so p is never 0.
    """
    generator = np.random.default_rng(0)
    observed = abs(differences.mean()) - 1e-12  # equal sums in another order are equal
    extreme = 0
    for _ in range(draws):
        signs = generator.integers(0, 2, len(differences)) * 2 - 1
        extreme += abs((signs * differences).mean()) >= observed
    return float((extreme + 1) / (draws + 1))


def interval(differences: Values, draws: int = DRAWS) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean over queries."""
    generator = np.random.default_rng(0)
    means = [generator.choice(differences, len(differences)).mean() for _ in range(draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def per_query(cells: list[dict[str, Any]], measure: str) -> Values:
    """The mean over seeds, query by query."""
    queries = list(cells[0]["queries"])
    return np.array([statistics.fmean(one["queries"][query][measure] for one in cells) for query in queries])


def compare(arms: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Means of every arm, their spread over seeds, and its difference to hnmine's."""
    found: dict[str, Any] = {}
    for arm, cells in arms.items():
        row: dict[str, Any] = {"seeds": len(cells), "rows": cells[0].get("rows")}
        for measure in cells[0]["queries"][next(iter(cells[0]["queries"]))]:
            values = per_query(cells, measure)
            seeds = [statistics.fmean(query[measure] for query in one["queries"].values()) for one in cells]
            row[measure] = {
                "mean": float(values.mean()),
                "sd_over_seeds": statistics.stdev(seeds) if len(seeds) > 1 else None,
            }
            if OURS in arms and arm != OURS:
                difference = per_query(arms[OURS], measure) - values
                row[measure] |= {
                    "hnmine_minus_this": float(difference.mean()),
                    "interval": interval(difference),
                    "p": sign_flips(difference),
                }
        found[arm] = row
    return found


def spread(row: dict[str, Any]) -> str:
    """The mean, and the standard deviation over seeds where there are several."""
    deviation = row["sd_over_seeds"]
    return f"{row['mean']:.4f}" + (f" ± {deviation:.4f}" if deviation is not None else "")


def markdown(results: dict[str, Any]) -> str:
    """The results as a page: settings, machine, one table."""
    settings = ", ".join(f"{name} {value}" for name, value in results["settings"].items() if value is not None)
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [f"Settings: {settings}.", "", f"Machine: {results['machine']}. {versions}.", ""]
    lines += ["Command:", "", "```bash", results["command"], "```", ""]
    lines += ["| collection | negatives of | training rows | nDCG@10 | hnmine minus this | p | Recall@100 |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, task in results["collections"].items():
        for arm, row in task["arms"].items():
            ndcg, recall = row["nDCG@10"], row[f"R@{DEPTH}"]
            gap = ("", "")
            if "p" in ndcg:
                low, high = ndcg["interval"]
                gap = (f"{ndcg['hnmine_minus_this']:+.4f} [{low:+.4f}, {high:+.4f}]", f"{ndcg['p']:.3f}")
            cells = [name, arm, f"{row['rows'] or 0:,}", spread(ndcg), *gap, spread(recall)]
            lines.append("| " + " | ".join(cells) + " |")
    sizes = [
        f"{name}: {task['documents']:,} documents, {task['training_queries']:,} training and "
        f"{task['test_queries']:,} test queries"
        for name, task in results["collections"].items()
    ]
    return "\n".join([*lines, "", "; ".join(sizes) + ".", ""])


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    device, dtype = resolve_arithmetic(DenseOptions())
    return f"{cpu}, {os.cpu_count()} cores, {device} {dtype}, Python {platform.python_version()}"


def check_settings(out: Path, settings: Settings) -> None:
    """Cells of other settings are not mixed into one table."""
    path, text = out / "settings.json", json.dumps(asdict(settings), indent=2)
    out.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        sys.exit(f"{out} was made with other settings:\n{path.read_text(encoding='utf-8')}\nTake another OUT.")
    write(path, text)


def bench(task: Task, arms: dict[str, str | None], seeds: int, settings: Settings) -> dict[str, Any]:
    """Every cell of a collection, and their comparison; finished cells are read."""

    def trained(arm: str, seed: int) -> dict[str, Any]:
        model = student(settings)
        about = train(model, mine(arm, arms[arm], task, settings), seed, settings, task.folder / "trainer")
        return {**about, "queries": test(model, task)}

    cells = task.folder / "cells"
    found = {"untrained": [cell(cells / "untrained.json", lambda: {"queries": test(student(settings), task)})]}
    for seed in range(seeds):
        for arm in arms:
            made = cell(cells / f"{called(arm, arms[arm])}-{seed}.json", partial(trained, arm, seed))
            found.setdefault(arm, []).append(made)
    return {
        "documents": len(task.documents),
        "training_queries": len(task.train),
        "test_queries": len(task.test),
        "arms": compare(found),
    }


def main() -> None:
    args = arguments()
    names = [item.name for item in fields(Settings)]
    settings = Settings(**{name: getattr(args, name) for name in names})
    check_settings(args.out, settings)
    further = dict(arm.partition("=")[::2] for arm in args.arm)
    flags: dict[str, str | None] = {OURS: None, "sentence-transformers": None, "bm25": None, "random": None, **further}
    flags = {arm: given for arm, given in flags.items() if arm not in args.leave_out}
    results: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "settings": asdict(settings) | {"seeds": args.seeds} | ({"arms": further} if further else {}),
        "machine": machine(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "collections": {},
    }
    for spec in args.collections:
        name, _, source = spec.partition("=")
        results["collections"][name] = bench(
            prepare(Path(source), args.out / name, settings), flags, args.seeds, settings
        )
    write(args.out / "results.json", json.dumps(results, indent=2))
    write(args.out / "results.md", markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
