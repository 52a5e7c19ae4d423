"""What approximate search of dense vectors saves: time against the exact search, recall, bytes a document.

    python scripts/bench_search.py [--documents 200000] [--dimension 384] [--queries 4096] [--json FILE]

Clustered vectors are drawn, unit length, as fp16; a query is a document moved a little. Every kind of `index dense
--ann` is built and calibrated as the command does it, then all kinds search the same block of queries for --top-k
documents, --rounds times in turn; a ratio is the median over rounds of the exact search's seconds over the kind's, in
processor time of one thread, so a busy machine counts less. Recall is over all the queries, against the exact search.
`bytes a document` are those of the structure that is searched; the vectors themselves come on top, on disk.

With --index DIR the vectors of a dense index are taken.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # whoever imports this keeps an environment of his own
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

import hnmine
from hnmine.core.recall import effort_for
from hnmine.engines.approximate import kind_of, open_approximate
from hnmine.engines.dense import DenseIndex
from hnmine.engines.retriever import Queries, Ragged
from hnmine.engines.vectors import VectorStore
from hnmine.options import Ann
from hnmine.schema import Scale
from hnmine.stages.searching import measure

KINDS = tuple(ann.value for ann in Ann if ann not in (Ann.AUTO, Ann.FLAT))
_DRAWN = 50_000


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--queries", type=int, default=4_096)
    parser.add_argument("--clusters", type=int, default=2_000)
    parser.add_argument("--top-k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--index", type=Path, help="A dense index whose vectors are taken.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hnmine-bench-") as folder:
        places = vectors_of(given.index) if given.index else draw(Path(folder), given)
        report = compare(Path(folder), *places, given)
    if given.json:
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(table(report))


def vectors_of(index: Path) -> tuple[list[Path], list[Path]]:
    documents, queries = (sorted((index / "vectors").glob(f"{side}-*.npy")) for side in ("documents", "queries"))
    return documents, queries


def draw(folder: Path, given: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    """Documents around centres of two levels, in a space of fewer dimensions, with some noise in all of them."""
    rng = np.random.default_rng(0)
    inner = min(32, given.dimension)
    spread = rng.standard_normal((inner, given.dimension)) / np.sqrt(inner)
    topics = rng.standard_normal((max(1, given.clusters // 20), inner))
    centres = topics[rng.integers(0, len(topics), given.clusters)] + 0.6 * rng.standard_normal((given.clusters, inner))

    def around(points: npt.NDArray[Any], distance: float) -> npt.NDArray[Any]:
        moved = points + distance * rng.standard_normal(points.shape)
        found = moved @ spread + 0.1 * rng.standard_normal((len(points), given.dimension))
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)

    documents = []
    for low in range(0, given.documents, _DRAWN):
        count = min(_DRAWN, given.documents - low)
        documents.append(folder / f"documents-{low:010d}.npy")
        np.save(documents[-1], around(centres[rng.integers(0, len(centres), count)], 0.5))
    queries = folder / "queries.npy"
    np.save(queries, around(centres[rng.integers(0, len(centres), given.queries)], 0.6))
    return documents, [queries]


def compare(folder: Path, documents: list[Path], queries: list[Path], given: argparse.Namespace) -> dict[str, Any]:
    """Everything that is reported."""
    stored, asked = VectorStore(documents), VectorStore(queries)
    size, dimension = len(stored), stored.dimension

    def index(**more: Any) -> DenseIndex:
        return DenseIndex(documents, queries, name="bench", tie_order=np.arange(size), scale=Scale.COSINE, **more)

    block = Queries(rows=np.arange(min(given.queries, len(asked))), texts=[""] * min(given.queries, len(asked)))
    ways = {"flat": index()}
    facts: dict[str, dict[str, Any]] = {"flat": {"bytes": stored.dtype.itemsize * dimension, "search": "all"}}
    for kind in given.kinds.split(","):
        built = kind_of(Ann(kind)).facts_of(size, dimension)
        place = folder / kind
        place.mkdir()
        began = time.process_time()
        kind_of(Ann(kind)).build(built, stored, place)
        middle = time.process_time()
        approximate = open_approximate(built, place)
        efforts, _ = measure(ways["flat"], approximate, asked)
        effort = effort_for(efforts, given.top_k)
        facts[kind] = {
            "bytes": sum(file.stat().st_size for file in place.iterdir()) / size,
            "build_seconds": middle - began,
            "calibration_seconds": time.process_time() - middle,
            "search": approximate.words(effort.breadth, effort.depth) if effort else "exact: it does not suffice",
            "recall_of_the_sample": effort.recall if effort else 1.0,
        }
        ways[kind] = index(approximate=approximate, efforts=efforts)
        print(kind, facts[kind], file=sys.stderr)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Ragged] = {}
    for name, way in ways.items():  # warms up
        found[name] = way.search(block, given.top_k)
    for _ in range(given.rounds):
        for name, way in ways.items():
            began = time.process_time()
            way.search(block, given.top_k)
            seconds[name].append(time.process_time() - began)
    for name in ways:
        ratios = [exact / own for exact, own in zip(seconds["flat"], seconds[name], strict=True)]
        facts[name] |= {
            "seconds": statistics.median(seconds[name]),
            "times_as_fast": statistics.median(ratios),
            "recall": recall(found["flat"], found[name], given.top_k),
        }
    import faiss

    return {
        "documents": size,
        "dimension": dimension,
        "queries": len(block),
        "top_k": given.top_k,
        "rounds": given.rounds,
        "kinds": facts,
        "machine": {
            "platform": platform.platform(),
            "processor": processor(),
            "threads": 1,
            "versions": {"hnmine": hnmine.__version__, "numpy": np.__version__, "faiss": faiss.__version__},
        },
    }


def recall(exact: Ragged, found: Ragged, k: int) -> float:
    """Share of each query's exact rows that were found."""
    pairs = {(int(o), int(r)) for o, r in zip(exact.owner, exact.rows, strict=True)}
    hits = sum((int(o), int(r)) in pairs for o, r in zip(found.owner, found.rows, strict=True))
    return hits / len(pairs)


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def table(report: dict[str, Any]) -> str:
    """The kinds as a Markdown table."""
    k = report["top_k"]
    lines = [
        f"{report['documents']:,} documents of {report['dimension']} dimensions, {report['queries']:,} queries",
        "",
        f"| | times as fast | recall@{k} | bytes a document | build, s | what a search does |",
        "|---|---|---|---|---|---|",
    ]
    for name, facts in report["kinds"].items():
        build = facts.get("build_seconds")
        lines.append(
            f"| {name} | {facts['times_as_fast']:.2f} | {facts['recall']:.4f} | {facts['bytes']:,.0f} | "
            f"{'' if build is None else f'{build:,.0f}'} | {facts['search']} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
