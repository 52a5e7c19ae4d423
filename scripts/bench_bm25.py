"""BM25 beside bm25s and rank-bm25: the kernels, the search, and the whole `mine` command.

    python scripts/bench_bm25.py OUT beir/medquad beir/scifact ... [--documents 50000 1000000] [--queries 20000]
        [-k 100] [--rounds 5] [--json FILE]

The corpora are made of real sentences: every document is three of them, drawn with a seed from the corpora of the BEIR
directories given; the queries are theirs, so many from each as there are. OUT keeps collections and indexes.

Processor seconds on one core; a ratio is the median over alternating rounds of the two contenders' seconds in the same
round. `kernel`: k + 32 candidates in float32, ours (maxscore) beside bm25s', over a sample of the queries. `search`:
the same with exact scores and order. `mine`: queries a second of the whole command, process start included, beside
those of bm25s' own `retrieve` (numba, k results, over the same postings, from token numbers: no texts, no files), and
of rank-bm25's `get_scores` (at most --rank-bm25-documents; it takes 5 KB of memory a document). `same documents and
scores`: what both engines' search gives is equal to the last bit.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

import hnmine
from hnmine.engines.analysis import Analyser
from hnmine.engines.bm25 import Bm25sIndex, MaxScoreIndex
from hnmine.engines.retriever import OVERFETCH, Queries
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.stages.index_bm25 import POSTINGS

SENTENCES = 3
SPLIT = re.compile(r"(?<=[.!?;:])\s+")
CONTENDERS = {"bm25s": Bm25sIndex, "maxscore": MaxScoreIndex}
SAMPLE = 1_000
"""Queries for the kernels and the search."""
SLOW_SAMPLE = 10
"""Queries for rank-bm25."""
Seconds = dict[str, list[float]]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file, gzipped or not."""
    packed = path.with_name(path.name + ".gz")
    raw = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    return [json.loads(line) for line in raw.splitlines()]


def write_data(sources: Iterable[Path], out: Path, documents: int, queries: int) -> None:
    """A BEIR directory of drawn sentences and real queries, in chance order; the positive of each is any document."""
    draw = random.Random(0)
    sentences, asked = [], []
    for source in sources:
        sentences += [s for row in lines_of(source / "corpus.jsonl") for s in SPLIT.split(row["text"]) if len(s) > 20]
        asked += [row["text"] for row in lines_of(source / "queries.jsonl")]
    draw.shuffle(asked)
    asked = list(dict.fromkeys(asked))[:queries]
    (out / "qrels").mkdir(parents=True, exist_ok=True)
    with (out / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for number in range(documents):
            text = " ".join(draw.choice(sentences) for _ in range(SENTENCES))
            file.write(json.dumps({"_id": f"d{number}", "text": text}) + "\n")
    rows = [json.dumps({"_id": f"q{number}", "text": text}) for number, text in enumerate(asked)]
    (out / "queries.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    pairs = [f"q{number}\td{draw.randrange(documents)}\t1" for number in range(len(rows))]
    (out / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *pairs]) + "\n", encoding="utf-8")


def prepare(sources: Iterable[Path], place: Path, documents: int, queries: int) -> None:
    """Data, collection and index below `place`, where they are not there."""
    if (place / "bm25" / "manifest.json").exists():
        return
    write_data(sources, place / "data", documents, queries)
    hnmine.ingest(place / "data", place / "collection")
    hnmine.index_bm25(place / "collection", place / "bm25", options=hnmine.Bm25Options(language="english"))
    shutil.rmtree(place / "data")


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def mine(place: Path, k: int, *more: str) -> float:
    """Processor seconds, user and system, of one `mine`."""
    out = place / "candidates"
    shutil.rmtree(out, ignore_errors=True)
    line = ["mine", place / "collection", "--index", place / "bm25", "-o", out, "--top-k", k, "--quiet", *more]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # With the compiled modules that pip leaves behind, whatever the environment says.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "hnmine", *map(str, line)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(place: Path, k: int, rounds: int, *, with_rank_bm25: bool) -> dict[str, Any]:
    """All figures of one corpus."""
    collection, index = Collection.open(place / "collection"), Artefact.open(place / "bm25")
    rows = np.arange(len(collection.query_ids))
    queries = Queries(rows=rows, texts=collection.query_texts(rows))
    some = Queries(rows=rows[:SAMPLE], texts=queries.texts[:SAMPLE])
    size = len(collection.documents)
    analyser = Analyser(index.plan["analyser"]["language"])
    engines = {
        name: kind(index.path / POSTINGS, analyser=analyser, name=name, tie_order=collection.tie_order)
        for name, kind in CONTENDERS.items()
    }
    one, other = (engine.search(some, k) for engine in engines.values())  # compiles, and warms up
    same = one.rows.tobytes() == other.rows.tobytes() and one.scores.tobytes() == other.scores.tobytes()
    bags = [bag for bag in engines["bm25s"]._bags(queries).lists() if bag]
    few = engines["bm25s"]._bags(some)
    wanted = min(size, k + OVERFETCH)
    retriever = engines["bm25s"]._bm25s()

    def retrieve() -> None:
        retriever.retrieve(bags, k=k, show_progress=False, n_threads=1)

    def slowly() -> None:
        for bag in bags[:SLOW_SAMPLE]:
            slow.get_scores(bag)

    mine(place, k, "--limit", "1")
    taken: dict[str, Seconds] = {"kernel": {}, "search": {}, "mine": {}}
    for _ in range(rounds):
        for name, engine in engines.items():
            kernel = engine._kernel
            assert kernel is not None
            taken["kernel"].setdefault(name, []).append(seconds(lambda: kernel(few, wanted, None)))  # noqa: B023
            taken["search"].setdefault(name, []).append(seconds(lambda: engine.search(some, k)))  # noqa: B023
        taken["mine"].setdefault("bm25s", []).append(seconds(retrieve))
        taken["mine"].setdefault("hnmine", []).append(mine(place, k))
    rates = {
        what: {
            name: round((len(queries) if what == "mine" else len(some)) / median(own)) for name, own in times.items()
        }
        for what, times in taken.items()
    }
    ratios = {what: ratio(times, "bm25s", ours(times)) for what, times in taken.items()}
    if with_rank_bm25:
        from rank_bm25 import BM25Okapi

        texts = collection.document_texts_between(0, size)
        slow = BM25Okapi([analyser.tokens(text) for text in texts])
        bags = [analyser.tokens(text) for text in queries.texts[:SLOW_SAMPLE]]
        own = [seconds(slowly) / SLOW_SAMPLE for _ in range(rounds)]
        rates["mine"]["rank-bm25"] = round(1 / median(own), 2)
        ratios["mine against rank-bm25"] = round(median(own) / (median(taken["mine"]["hnmine"]) / len(queries)))
    return {
        "documents": size,
        "queries": len(queries),
        "tokens a query": round(float(np.mean(few.lengths())), 2),
        "same documents and scores": same,
        "queries a second": rates,
        "ratios": ratios,
        "seconds": taken,
    }


def ours(times: Seconds) -> str:
    """The contender that is not bm25s."""
    return next(name for name in times if name != "bm25s")


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def ratio(times: Seconds, slow: str, fast: str) -> float:
    """How many times as fast: the median over rounds."""
    return round(median([a / b for a, b in zip(times[slow], times[fast], strict=True)]), 3)


def main() -> None:
    """Measure every size and print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("sources", nargs="+", type=Path)
    parser.add_argument("--documents", type=int, nargs="+", default=[50_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rank-bm25-documents", type=int, default=50_000, help="Largest corpus for rank-bm25.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    report: dict[str, Any] = {
        "machine": {
            "platform": platform.platform(),
            "load": [round(load, 1) for load in os.getloadavg()],
            "versions": {
                "python": platform.python_version(),
                "hnmine": hnmine.__version__,
                **{name: version(name) for name in ("bm25s", "rank-bm25", "numba", "numpy", "pyarrow")},
            },
        },
        "k": given.k,
        "sizes": [],
    }
    for documents in given.documents:
        place = given.out / f"{documents}-{given.queries}"
        prepare(given.sources, place, documents, given.queries)
        few = documents <= given.rank_bm25_documents
        report["sizes"].append(measure(place, given.k, given.rounds, with_rank_bm25=few))
        print(json.dumps(report["sizes"][-1]["ratios"]), file=sys.stderr, flush=True)
    text = json.dumps(report, indent=1)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
