"""BM25 search: the MaxScore kernel beside bm25s' own, over the same postings.

    python scripts/bench_bm25.py OUT beir/medquad beir/scifact ... [--documents 1000000] [--queries 1000] [-k 100]

The corpus is made of real sentences: every document is three of them, drawn with a seed from the corpora of the BEIR
directories given; the queries are theirs, so many from each. OUT keeps the collection and the index for the next run.

Processor seconds of one thread, medians of alternating rounds: of the kernels alone, which find k + 32 candidates in
float32, and of the whole search, which scores them exactly and orders them. The results of both are compared to the
last bit. One JSON object on stdout.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import hnmine
from hnmine.engines.bm25 import Bm25sIndex, MaxScoreIndex
from hnmine.engines.retriever import OVERFETCH, Queries
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.stages.index_bm25 import POSTINGS, Analyser

SENTENCES = 3
SPLIT = re.compile(r"(?<=[.!?;:])\s+")
CONTENDERS = {"bm25s": Bm25sIndex, "maxscore": MaxScoreIndex}


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file, gzipped or not."""
    packed = path.with_name(path.name + ".gz")
    raw = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    return [json.loads(line) for line in raw.splitlines()]


def make(sources: list[Path], out: Path, documents: int, queries: int) -> None:
    """Write a BEIR directory of drawn sentences and real queries."""
    draw = random.Random(0)
    sentences = [s for source in sources for row in lines_of(source / "corpus.jsonl") for s in SPLIT.split(row["text"])]
    sentences = [sentence for sentence in sentences if len(sentence) > 20]
    asked = []
    for source in sources:
        texts = [row["text"] for row in lines_of(source / "queries.jsonl")]
        asked += draw.sample(texts, min(len(texts), -(-queries // len(sources))))
    (out / "qrels").mkdir(parents=True, exist_ok=True)
    with (out / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for number in range(documents):
            text = " ".join(draw.choice(sentences) for _ in range(SENTENCES))
            file.write(json.dumps({"_id": f"d{number}", "text": text}) + "\n")
    rows = [json.dumps({"_id": f"q{number}", "text": text}) for number, text in enumerate(asked[:queries])]
    (out / "queries.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    pairs = [f"q{number}\td{draw.randrange(documents)}\t1" for number in range(len(rows))]
    header = "query-id\tcorpus-id\tscore"
    (out / "qrels" / "train.tsv").write_text("\n".join([header, *pairs]) + "\n", encoding="utf-8")


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    data, work = given.out / "data", given.out / "work"
    if not (work / "bm25" / "manifest.json").exists():
        make(given.sources, data, given.documents, given.queries)
        hnmine.ingest(data, work / "collection")
        hnmine.index_bm25(work / "collection", work / "bm25", options=hnmine.Bm25Options(language="english"))
    collection, index = Collection.open(work / "collection"), Artefact.open(work / "bm25")
    rows = np.arange(len(collection.query_ids))
    queries = Queries(rows=rows, texts=collection.query_texts(rows))
    size = len(collection.documents)
    analyser = Analyser(index.plan["analyser"]["language"])
    opened = {
        name: kind(index.path / POSTINGS, analyser=analyser, name=name, tie_order=np.arange(size))
        for name, kind in CONTENDERS.items()
    }
    found = {name: engine.search(queries, given.k) for name, engine in opened.items()}  # compiles, and warms up
    one, other = found.values()
    same = one.rows.tobytes() == other.rows.tobytes() and one.scores.tobytes() == other.scores.tobytes()
    bags = [bag for bag in opened["bm25s"]._bags(queries) if bag]
    taken: dict[str, dict[str, list[float]]] = {"kernel": {}, "search": {}}
    for _ in range(given.rounds):
        for name, engine in opened.items():
            kernel = engine._kernel
            assert kernel is not None
            wanted = min(size, given.k + OVERFETCH)
            taken["kernel"].setdefault(name, []).append(seconds(lambda: kernel(bags, wanted, None)))  # noqa: B023
            taken["search"].setdefault(name, []).append(seconds(lambda: engine.search(queries, given.k)))  # noqa: B023
    report = {
        "documents": size,
        "queries": len(queries),
        "tokens a query": round(float(np.mean([len(bag) for bag in bags])), 2),
        "k": given.k,
        "same documents and scores": same,
    }
    for what, times in taken.items():
        middle = {name: statistics.median(values) for name, values in times.items()}
        report[what] = {
            **{f"{name}, queries a second": round(len(queries) / value) for name, value in middle.items()},
            "times as fast": round(middle["bm25s"] / middle["maxscore"], 2),
        }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
