"""The approximate search of a dense index: which one, built when the index is closed, and how far it has to look."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

import numpy as np

from hnmine.core.ann import choose
from hnmine.core.recall import LADDER, TARGET, Effort, calibrate, effort_for
from hnmine.engines.approximate import kind_of, open_approximate
from hnmine.engines.approximate.base import Approximate
from hnmine.engines.dense import DenseIndex
from hnmine.engines.nearest import gpu
from hnmine.engines.retriever import OVERFETCH, Queries, Rows
from hnmine.engines.vectors import VectorStore
from hnmine.files.artefact import Artefact, Draft, Json, pretty_json
from hnmine.files.atomic import write_text
from hnmine.options import Ann
from hnmine.schema import Scale

FOLDER = "ann"
CALIBRATION = "calibration.json"

SAMPLE = 256
"""Queries, evenly spaced, that are searched exactly too."""
_FOUND_ROWS = 1 << 22  # in memory at a time
_TOLD = (10, 100, 1_000)  # in the summary; the file has all


def facts_of(ann: Ann, documents: int, queries: int, dimension: int) -> Json:
    """What the plan says about the search; `auto` is decided here, for this machine's memory, cores and GPU."""
    if ann is Ann.AUTO:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        cores, has_gpu = os.cpu_count() or 1, gpu() is not None
        ann = choose(documents, queries, dimension, memory=memory, cores=cores, has_gpu=has_gpu)
    if ann is Ann.FLAT or not documents:
        return {"kind": Ann.FLAT}
    return kind_of(ann).facts_of(documents, dimension)


def build(draft: Draft) -> tuple[dict[str, Json], Json]:
    """Build and calibrate the search that the plan asks for, from the vectors in the directory.

    Returns the manifest's entries of the new files, and counts; nothing for an exact search.
    """
    facts = draft.plan["ann"]
    if facts["kind"] == Ann.FLAT:
        return {}, {}
    parts = [name for receipt in draft.receipts(draft.plan["blocks"]) for name in receipt["files"]]
    documents, queries = (
        [draft.path / name for name in parts if name.startswith(f"vectors/{side}-")]
        for side in ("documents", "queries")
    )
    folder = draft.path / FOLDER
    names = kind_of(Ann(facts["kind"])).build(facts, VectorStore(documents), folder)
    index = DenseIndex(
        documents,
        queries,
        name=FOLDER,
        tie_order=np.arange(len(VectorStore(documents))),
        scale=Scale(draft.plan["scale"]),
    )
    efforts, sample = measure(index, open_approximate(facts, folder), VectorStore(queries))
    record = {"queries": sample, "target": TARGET, "efforts": [effort.to_json() for effort in efforts]}
    write_text(folder / CALIBRATION, pretty_json(record))
    files = {f"{FOLDER}/{name}": draft.describe(f"{FOLDER}/{name}", 0) for name in [*names, CALIBRATION]}
    return files, {"recall": {f"@{effort.k}": effort.recall for effort in efforts if effort.k in _TOLD}}


def measure(index: DenseIndex, approximate: Approximate, queries: VectorStore) -> tuple[list[Effort], int]:
    """The efforts that a sample of the queries asks for, and its size; `index` searches exactly."""
    rows = np.unique(np.linspace(0, len(queries), min(SAMPLE, len(queries)), endpoint=False).astype(np.int64))
    k = max((k for k in LADDER if k <= index.size), default=0)
    if not len(rows) or not k:
        return [], 0
    hits = index.search(Queries(rows=rows, texts=[""] * len(rows)), k)
    exact = np.full((len(rows), k), -1, np.int64)
    exact[hits.owner, np.arange(len(hits.rows)) - hits.offsets[hits.owner]] = hits.rows
    wanted = queries.take(rows)

    def searches() -> Iterator[tuple[int, Rows]]:
        for breadth in approximate.breadths():
            depth = min(index.size, approximate.worth(k, breadth))
            step = max(1, _FOUND_ROWS // depth)
            parts = [wanted[low : low + step] for low in range(0, len(wanted), step)]
            yield breadth, np.concatenate([approximate.search(part, depth, breadth)[0] for part in parts])

    return calibrate(searches(), exact, OVERFETCH), len(rows)


def search_of(artefact: Artefact) -> tuple[Approximate | None, Sequence[Effort]]:
    """The approximate search of a dense index, and its efforts; none if it is searched exactly."""
    facts = artefact.plan.get("ann", {"kind": Ann.FLAT})
    if facts["kind"] == Ann.FLAT:
        return None, ()
    record = json.loads((artefact.path / FOLDER / CALIBRATION).read_text(encoding="utf-8"))
    return open_approximate(facts, artefact.path / FOLDER), [Effort(**effort) for effort in record["efforts"]]


def recall_of(artefact: Artefact, k: int) -> tuple[str, float] | None:
    """How an index is searched for k documents, in words, and the recall measured; None if it is always exact."""
    approximate, efforts = search_of(artefact)
    if approximate is None:
        return None
    effort = effort_for(efforts, k)
    if effort is None:
        return f"exact: {approximate.facts['kind']} does not find {TARGET:.0%} of the {k:,} nearest", 1.0
    words = approximate.words(effort.breadth, effort.depth)
    return f"{words}; recall@{effort.k} {effort.recall:.3f} on a sample of queries", effort.recall
