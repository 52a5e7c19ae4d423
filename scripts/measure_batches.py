"""How hard, and how clean, the in-batch negatives of every batch plan are.

    python scripts/measure_batches.py RUN [--format triplet] [--batch-size 64] [--json FILE]

RUN is a run directory with a dense index, such as `hnmine run stdlib --sample 0.3 -o RUN` makes. A plan's batches are
compared with those that a shuffled file gives. For each row, its query is scored (by the index's vectors) against the
positives of the other rows of its batch:

- mean: the mean of these scores over all rows;
- hardest: the highest of each row, averaged;
- collisions: pairs of rows in a batch of which one holds a document that the other's query must not see;
- doubted: of the documents of the other rows, the sum of the estimated probabilities of being relevant, a row.
At the end: how alike the queries of a cluster are, collisions or not, where clusters are told from what queries found
(as a plan's are), and where they are told from the index's vectors, one positive a query.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from hnmine.core.batches.clusters import clustered, sketches
from hnmine.core.batches.collisions import collisions_within
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection
from hnmine.options import ExportOptions
from hnmine.schema import Kind
from hnmine.stages.batch_plan import read_graph
from hnmine.stages.export import Export
from hnmine.stages.places import open_artefact

Ints = npt.NDArray[np.int64]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"batch_plan": "random"},
    {"batch_plan": "walk"},
    {"batch_plan": "snowball"},
    {"batch_plan": "cluster", "cluster_size": 8},
    {"batch_plan": "cluster", "cluster_size": 256},
    {"batch_plan": "cluster"},
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--format", default="triplet")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    collection = Collection.open(given.run / "collection")
    decisions = open_artefact(given.run, Kind.DECISIONS)
    vectors = {side: read_vectors(given.run, side) for side in ("queries", "documents")}
    doubt = read_doubt(collection, decisions)
    found = []
    print(f"{'plan':<24} {'mean':>7} {'hardest':>8} {'collisions':>11} {'doubted':>8} {'not full':>9} {'seconds':>8}")
    for setting in SETTINGS:
        measured = measure(collection, decisions, vectors, doubt, setting, given.format, given.batch_size)
        found.append(measured)
        name = " ".join(str(value) for value in setting.values()) or "the shuffled file"
        print(
            f"{name:<24} {measured['mean']:>7.3f} {measured['hardest']:>8.3f} {measured['collisions']:>11,}"
            f" {measured['doubted']:>8.3f} {measured['not_full']:>9,} {measured['seconds']:>8.1f}"
        )
    alone = clusters_alone(collection, decisions, vectors, given.batch_size)
    for name, (mean, hardest) in alone.items():
        print(f"clusters by {name:<12} {mean:>7.3f} {hardest:>8.3f}")
    if given.json:
        about = {
            "clusters_alone": alone,
            "format": given.format,
            "batch_size": given.batch_size,
            "queries": len(vectors["queries"]),
        }
        given.json.write_text(json.dumps({**about, "plans": found}, indent=1) + "\n", encoding="utf-8")
    return 0


def read_vectors(run: Path, side: str) -> npt.NDArray[np.float32]:
    """The vectors of the run's first dense index, by row of the collection."""
    index = sorted(path.parent for path in (run / "indexes").glob("*/vectors"))[0]
    return np.concatenate([np.load(path) for path in sorted((index / "vectors").glob(f"{side}-*.npy"))]).astype("f4")


def read_doubt(collection: Collection, decisions: Artefact) -> dict[tuple[str, str], float]:
    """The probability of being relevant of each (query, document) of the evidence; 1 of positives."""
    columns = ["query_id", "doc_id", "is_positive", "p_false_negative"]
    doubt = {}
    for part in decisions.files():
        for query, document, is_positive, probability in zip(
            *(column.to_pylist() for column in pq.read_table(part, columns=columns).columns), strict=True
        ):
            doubt[query, document] = 1.0 if is_positive else probability or 0.0
    return doubt


def measure(
    collection: Collection,
    decisions: Artefact,
    vectors: dict[str, npt.NDArray[np.float32]],
    doubt: dict[tuple[str, str], float],
    setting: dict[str, Any],
    form: str,
    size: int,
) -> dict[str, Any]:
    """The figures of one plan; without one, of the file cut into batches as it is."""
    options = ExportOptions(format=form, collisions=True, batch_size=size if setting else None, **setting)
    began = time.perf_counter()
    export = Export(collection, decisions, options, path=Path("unused"), file=None)
    seconds = time.perf_counter() - began
    layout, picked = export.layout, export.picked
    assert export.collisions is not None
    held = export.collisions.held
    order = export.planned.order if export.planned else np.arange(len(layout))
    query_rows = picked.query_rows[layout.query]
    documents = picked.documents(layout.places)
    positives = documents[layout.offsets[:-1]]
    query_ids, doc_ids = collection.query_ids.to_pylist(), collection.doc_ids.to_pylist()
    means: list[float] = []
    hardest: list[float] = []
    doubted = collisions = 0.0
    sizes = []
    for batch in batches(export, size):
        sizes.append(len(batch))
        collisions += collisions_within(held, order[batch].tolist())
        for one in batch:
            query = query_ids[query_rows[one]]
            others = [documents[layout.offsets[other] : layout.offsets[other + 1]] for other in batch if other != one]
            doubted += sum(doubt.get((query, doc_ids[d]), 0.0) for own in others for d in own)
        if len(batch) > 1:
            scores = vectors["queries"][query_rows[batch]] @ vectors["documents"][positives[batch]].T
            is_other = ~np.eye(len(batch), dtype=bool)
            means += scores[is_other].tolist()
            hardest += np.where(is_other, scores, -np.inf).max(axis=1).tolist()
    return {
        **setting,
        "mean": round(float(np.mean(means)), 4),
        "hardest": round(float(np.mean(hardest)), 4),
        "collisions": int(collisions),
        "doubted": round(doubted / len(layout), 4),
        "batches": len(sizes),
        "not_full": sum(own < size for own in sizes),
        "rows_not_in_full_ones": sum(own for own in sizes if own < size),
        "rows": len(layout),
        "seconds": round(seconds, 2),
    }


def clusters_alone(
    collection: Collection, decisions: Artefact, vectors: dict[str, npt.NDArray[np.float32]], size: int
) -> dict[str, tuple[float, float]]:
    """(mean, hardest) in clusters by what queries found, by vectors, and in random ones; a positive for each query."""
    export = Export(collection, decisions, ExportOptions(collisions=True), path=Path("unused"), file=None)
    assert export.collisions is not None
    queries = export.collisions.rows.queries
    positive = dict(
        zip(collection.qrels.query_rows[::-1].tolist(), collection.qrels.doc_rows[::-1].tolist(), strict=True)
    )
    positives = vectors["documents"][[positive[row] for row in queries.tolist()]]
    table = CandidatesTable(decisions)
    position = {query: place for place, query in enumerate(table.query_ids.to_pylist())}
    ids = collection.query_ids.to_pylist()
    graph = read_graph(table, np.array([position[ids[row]] for row in queries.tolist()]))
    own = vectors["queries"][queries]
    orders = {
        "evidence": clustered(sketches(graph), size),
        "vectors": clustered(np.rint(512 * own).astype(np.int16), size),
        "chance": np.arange(len(queries)),
    }
    found = {}
    for name, order in orders.items():
        means, hardest = [], []
        for batch in np.split(order, range(size, len(order), size)):
            scores = own[batch] @ positives[batch].T
            is_other = ~np.eye(len(batch), dtype=bool)
            means += scores[is_other].tolist()
            hardest += np.where(is_other, scores, -np.inf).max(axis=1).tolist()
        found[name] = (round(float(np.mean(means)), 4), round(float(np.mean(hardest)), 4))
    return found


def batches(export: Export, size: int) -> Iterator[Ints]:
    """The rows of each batch."""
    rows = np.arange(len(export.layout))
    if export.planned is None:
        yield from np.split(rows, range(size, len(rows), size))
    else:
        yield from np.split(rows, np.flatnonzero(np.diff(export.planned.batch)) + 1)


if __name__ == "__main__":
    sys.exit(main())
