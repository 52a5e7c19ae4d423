"""The stages over a few texts of a collection, on this machine, to learn what each takes; nothing of it is kept.

Three times: once so that everything is loaded and compiled, then over few and over many texts, so that what a stage
takes at the start and what it takes for each row can be told apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hnmine.core.estimate import Line
from hnmine.engines.retriever import Queries
from hnmine.errors import HnmineError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.files.readers.memory import MemorySource
from hnmine.options import (
    Ann,
    Bm25Options,
    DenseOptions,
    ExportOptions,
    FilterOptions,
    InputOptions,
    MineOptions,
)
from hnmine.stages.export import Export
from hnmine.stages.filter import Filter
from hnmine.stages.index_bm25 import IndexBm25
from hnmine.stages.index_dense import IndexDense
from hnmine.stages.indexes import named_index
from hnmine.stages.ingest import Ingest
from hnmine.stages.mine import Mine
from hnmine.stages.stage import Stage

T = TypeVar("T")

PASSES = ((32, 8), (250, 32), (2_000, 256))
"""(documents, queries) of each time."""
MODEL_SECONDS = 2.0
"""For which a model is tried, once it is loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A few texts of a collection."""

    documents: Sequence[str]
    queries: Sequence[str]


@dataclass(slots=True)
class _Took:
    rows: int
    seconds: float
    bytes: int


class Rehearsal:
    """What the stages took: by step, seconds as a `Line` over rows, and bytes a row.

    Rows are texts (`ingest`, `dense`: ready-made vectors), documents (`bm25`), candidates (`mine`, `filter`) or rows of
    a training file (`export`). A step is missing where it could not be done, for want of queries or of a package.
    """

    def __init__(
        self,
        sample: Sample,
        folder: Path,
        *,
        top_k: int,
        dimension: int | None,
        bm25: Bm25Options | None,
        last: str = "export",
    ) -> None:
        """Rehearse up to the step `last`; without a `dimension` there are no vectors, without `bm25` no such index."""
        self._sample = sample
        self._last = last
        self._top_k = top_k
        self._dimension = dimension
        self._bm25 = bm25
        self.bm25_query = 0.0
        """Seconds of a query's search among so many `documents`."""
        self.documents = 0
        self.candidates: Artefact | None = None
        took: list[dict[str, _Took]] = []
        for number, (documents, queries) in enumerate(PASSES):
            took.append({})
            self._carry_out(folder / str(number), documents, queries, took[-1])
        _, few, many = took
        self.lines = {
            step: Line.through((few[step].rows, few[step].seconds), (found.rows, found.seconds))
            for step, found in many.items()
            if step in few
        }
        self.bytes = {step: found.bytes / max(found.rows, 1) for step, found in many.items()}

    def _carry_out(self, folder: Path, documents: int, queries: int, took: dict[str, _Took]) -> None:
        corpus = list(self._sample.documents[:documents])
        anchors = list(dict.fromkeys(self._sample.queries[:queries]))

        def run(step: str, stage: Stage | Ingest, path: Path, rows: Callable[[Any], int]) -> Artefact:
            seconds, artefact = timed(lambda: stage.run(path, Execution()).artefact)
            assert artefact is not None
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            took[step] = _Took(rows(artefact.counts), seconds, size)
            return artefact

        positives = [corpus[place % len(corpus)] for place in range(len(anchors))]
        source = MemorySource(anchors, positives, corpus)
        run("ingest", Ingest(source, InputOptions()), folder / "collection", lambda c: c["documents"] + c["queries"])
        self.collection = collection = Collection.open(folder / "collection")
        self.documents = len(collection.documents)
        indexes: list[Path] = []
        if self._last == "ingest":
            return
        if self._bm25 is not None:
            run("bm25", IndexBm25(collection, self._bm25), folder / "bm25", lambda c: c["documents"])
            indexes.append(folder / "bm25")
        if self._dimension is not None:
            options = _vectors(collection, self._dimension, folder)
            run("dense", IndexDense(collection, options), folder / "dense", lambda c: c["documents"] + c["queries"])
            indexes.append(folder / "dense")
        if not anchors or not indexes or self._last in ("bm25", "dense"):
            return
        depth = min(self._top_k, self.documents)
        mine = Mine(collection, [named_index(str(path)) for path in indexes], MineOptions(top_k=depth))
        candidates = run("mine", mine, folder / "candidates", lambda c: int(c["candidates"]))
        self.candidates = candidates
        if self._bm25 is not None:
            asked = Queries(rows=mine.query_rows, texts=collection.query_texts(mine.query_rows))
            seconds, _ = timed(lambda: mine.retrievers()[0].search(asked, depth))
            self.bm25_query = seconds / len(asked)
        if self._last == "mine":
            return
        rules = Filter(collection, candidates, FilterOptions(no_margin=True))
        decisions = run("filter", rules, folder / "decisions", lambda c: int(c["candidates"]))
        try:
            layout = Export(collection, decisions, ExportOptions(), path=folder / "export", file=None)
            run("export", layout, folder / "export", lambda c: int(c["rows"]))
        except HnmineError:  # too few texts for a negative
            took.pop("export", None)


def _vectors(collection: Collection, dimension: int, folder: Path) -> DenseOptions:
    draw = np.random.default_rng(0)
    for name, rows in (("documents", len(collection.documents)), ("queries", len(collection.queries))):
        vectors = draw.standard_normal((rows, dimension), np.float32)
        np.save(folder / f"{name}.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    queries = str(folder / "queries.npy") if len(collection.queries) else None
    return DenseOptions(vectors=str(folder / "documents.npy"), query_vectors=queries, ann=Ann.FLAT)


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """(seconds, result) of a call."""
    began = time.perf_counter()
    result = call()
    return time.perf_counter() - began, result


def model_line(call: Callable[[Sequence[Any]], object], items: Sequence[Any]) -> Line:
    """What a model takes to be loaded, and for each item: it is given more and more of them for a few seconds."""
    start, _ = timed(lambda: call(items[:8]))
    done, seconds, size = 0, 0.0, 16
    while done < len(items) and seconds < MODEL_SECONDS:
        part = items[done : done + size]
        took, _ = timed(lambda part=part: call(part))  # type: ignore[misc]
        done, seconds, size = done + len(part), seconds + took, size * 2
    return Line(start=start, each=seconds / max(done, 1))
