"""What `score --until` saves: pairs against the least possible, pairs a second against the peer's loop, the product.

    python scripts/bench_scoring.py RUN --reranker DIR [--queries 12] [--until 7] [--json OUT]

RUN is a run directory with a collection and candidates. On a keyed sample of its queries:

- *pairs*: how many `score --until N` scores, against the least (positives, and of what the rules leave that need no
  score the candidates down to the N-th that passes; told from a table in which all of these are scored), and against
  all candidates, which is what a peer scores. The negatives of both tables are compared row by row.
- *pairs a second*: the candidates of a few queries, by hnmine's reranker in its default arithmetic and in fp32, and by
  the loop of sentence-transformers' `mine_hard_negatives` (`CrossEncoder.predict`, a call a query), as it is (fp32) and
  with weights in bf16. Medians of alternating rounds, in processor time of one thread, so a busy machine counts less.

The rules are the default ones unless --rules names a file. Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # whoever imports this keeps an environment of his own
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq

from hnmine.cli.config import rules_of
from hnmine.engines.inference import import_sentence_transformers
from hnmine.engines.models import import_torch, resolve_model
from hnmine.engines.reranker import CrossEncoderReranker
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable, floats, query_offsets
from hnmine.files.collection import Collection, rows_of
from hnmine.options import Dtype, FilterOptions, ScoreOptions
from hnmine.schema import DOC_ID, QUERY_ID, Kind
from hnmine.stages.filter import Filter
from hnmine.stages.score import Score

EVERYTHING = 10**9
NAME = "reranker"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--reranker", type=Path, required=True)
    parser.add_argument("--until", type=int, default=7)
    parser.add_argument("--rules", help="as for hnmine score [default: the default rules]")
    parser.add_argument("--queries", type=int, default=12, help="queries whose pairs are counted")
    parser.add_argument("--timed", type=int, default=4, help="queries whose candidates are timed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--dtype", default="auto", help="arithmetic of the pairs that are counted")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    rules = FilterOptions(**(rules_of(asked.rules) if asked.rules else {"num_negatives": asked.until}))
    collection = Collection.open(asked.run / "collection")
    candidates = Artefact.open(asked.run / "candidates", Kind.CANDIDATES)
    report: dict[str, Any] = {
        "run": asked.run.name,
        "until": asked.until,
        "pairs": count_pairs(asked, collection, candidates, rules),
        "pairs_per_second": time_pairs(asked, collection, candidates),
        "machine": {"platform": platform.platform(), "python": platform.python_version(), "threads": 1},
    }
    speed, pairs = report["pairs_per_second"], report["pairs"]
    report["targets"] = {
        "pairs_over_minimum": pairs["scored"] / pairs["minimum"],
        "rate_over_peer": speed["hnmine"] / speed["peer"],
        "rate_over_peer_in_bf16": speed["hnmine"] / speed["peer in bf16"],
        "rate_over_peer_both_fp32": speed["hnmine in fp32"] / speed["peer"],
        "product": pairs["candidates"] / pairs["scored"] * speed["hnmine"] / speed["peer"],
    }
    json.dump(report, sys.stdout, indent=2)
    print()
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def count_pairs(
    asked: argparse.Namespace, collection: Collection, candidates: Artefact, rules: FilterOptions
) -> dict[str, Any]:
    """Pairs that `--until` scores, the least possible, all there are; and whether the negatives are the same."""
    tables, counts, negatives = {}, {}, {}
    with tempfile.TemporaryDirectory(prefix="hnmine-bench-") as folder:
        for name, until in (("part", asked.until), ("whole", EVERYTHING)):
            options = ScoreOptions(
                reranker=str(asked.reranker), name=NAME, until=until, limit=asked.queries, **arithmetic(asked)
            )
            stage = Score(collection, candidates, options, rules=rules)
            found = stage.run(Path(folder) / name, Execution()).artefact
            assert found is not None
            decided = Filter(collection, found, rules)
            decided.run(Path(folder) / f"{name}.decided", Execution())
            tables[name], counts[name] = decided, found.counts
            rows = pq.read_table(sorted((Path(folder) / f"{name}.decided").glob("part-*"))).to_pylist()
            negatives[name] = {(row["query_id"], row["doc_id"]) for row in rows if row["verdict"] == "negative"}
        noise = np.concatenate(
            [
                floats(part, NAME) - floats(whole, NAME)
                for (part, _), (whole, _) in zip(
                    tables["part"].blocks_of_evidence(), tables["whole"].blocks_of_evidence(), strict=True
                )
            ]
        )
        least = minimum(tables["whole"], asked.until)
    total = counts["part"]["candidates"]
    return {
        "queries": counts["part"]["queries"],
        "candidates": total,
        "scored": total - counts["part"]["not_scored"][NAME],
        "minimum": least,
        "left by the rules that need no score": total - counts["whole"]["not_scored"][NAME],
        "negatives": len(negatives["whole"]),
        "negatives that differ": len(negatives["part"] ^ negatives["whole"]),
        "largest difference of one pair's two scores": round(float(np.nanmax(np.abs(noise))), 5),
    }


def minimum(stage: Filter, enough: int) -> int:
    """Positives, and the candidates down to the N-th that passes, of those that the other rules leave."""
    least = 0
    for _, evidence in stage.blocks_of_evidence():
        open_rows, passes = np.ones(len(evidence.judge), np.bool_), np.ones(len(evidence.judge), np.bool_)
        for rule in stage.parted[0].free:
            open_rows &= ~rule.drops(evidence, open_rows)
        for rule in stage.parted[0].reading:
            passes &= ~rule.drops(evidence, passes)
        for start, stop in itertools.pairwise(evidence.offsets):
            rows = np.arange(start, stop)
            rows = rows[open_rows[rows] & ~evidence.is_positive[rows] & ~evidence.is_random[rows]]
            place = np.flatnonzero(np.cumsum(passes[rows]) == enough)
            least += int(evidence.is_positive[start:stop].sum()) + (int(place[0]) + 1 if len(place) else len(rows))
    return least


def arithmetic(asked: argparse.Namespace) -> dict[str, Any]:
    return {"max_length": asked.max_length, "dtype": asked.dtype}


def time_pairs(asked: argparse.Namespace, collection: Collection, candidates: Artefact) -> dict[str, float]:
    """Pairs a second of processor time, median of the rounds."""
    torch = import_torch()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _time_pairs(asked, collection, candidates)
    finally:
        torch.set_num_threads(threads)


def _time_pairs(asked: argparse.Namespace, collection: Collection, candidates: Artefact) -> dict[str, float]:
    torch = import_torch()
    table = CandidatesTable(candidates)
    rows = table.read(table.sample(asked.timed, 0))
    offsets = query_offsets(rows[QUERY_ID])
    queries = collection.query_texts(rows_of(collection.query_ids, rows[QUERY_ID]))
    documents = collection.document_texts(rows_of(collection.doc_ids, rows[DOC_ID]))
    pairs = list(zip(queries, documents, strict=True))
    lists = [pairs[start:stop] for start, stop in itertools.pairwise(offsets)]

    def own(dtype: Dtype) -> Callable[[], object]:
        options = ScoreOptions(max_length=asked.max_length, dtype=dtype, device="cpu")
        model = CrossEncoderReranker(resolve_model(str(asked.reranker), revision=None), options)
        return lambda: model.score(pairs)

    def peer(**loading: Any) -> Callable[[], object]:
        model = import_sentence_transformers().CrossEncoder(
            str(asked.reranker), device="cpu", max_length=asked.max_length, **loading
        )
        return lambda: [model.predict(one, batch_size=32, convert_to_tensor=True) for one in lists]

    ways = {
        "hnmine": own(Dtype.AUTO),
        "hnmine in fp32": own(Dtype.FP32),
        "peer": peer(),
        "peer in bf16": peer(model_kwargs={"torch_dtype": torch.bfloat16}),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(asked.rounds + 1):
        for name, way in ways.items():
            began = time.process_time()
            way()
            if round_:  # the first warms up
                seconds[name].append(time.process_time() - began)
    return {name: round(len(pairs) / statistics.median(took), 2) for name, took in seconds.items()}


if __name__ == "__main__":
    main()
