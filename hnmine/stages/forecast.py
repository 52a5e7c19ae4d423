"""What a stage, or a whole run, will take on this machine: rows, bytes, operations, time, and hours of a GPU.

Sizes are counted, in the collection or in DATA; rates are measured in a few seconds, by a rehearsal of the stages and
by letting the models read a few texts. One process is assumed, and rows that are only bounded count in full.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.core.ann import search_operations
from hnmine.core.estimate import Estimate, bm25_seconds
from hnmine.engines.nearest import nearest
from hnmine.engines.reranker import CrossEncoderReranker
from hnmine.engines.text_model import TextModel
from hnmine.errors import InputError, MissingDependencyError, ProblemLog
from hnmine.files.artefact import MANIFEST, Artefact
from hnmine.files.collection import Collection
from hnmine.files.readers import Source
from hnmine.options import Ann, Bm25Options, DenseOptions, MineOptions, ScoreOptions, Store
from hnmine.schema import Kind, Side
from hnmine.stages.chain import Chain
from hnmine.stages.export import Export
from hnmine.stages.filter import Filter
from hnmine.stages.index_bm25 import IndexBm25
from hnmine.stages.index_dense import IndexDense
from hnmine.stages.index_late import IndexLate
from hnmine.stages.index_sparse import IndexSparse
from hnmine.stages.indexes import TOP_K, named_index
from hnmine.stages.ingest import Ingest
from hnmine.stages.mine import Mine
from hnmine.stages.places import COLLECTION, find_collection
from hnmine.stages.rehearsal import Rehearsal, Sample, model_line, timed
from hnmine.stages.score import Score
from hnmine.stages.searching import facts_of
from hnmine.stages.stage import Stage

_SAMPLED = 2_000
_DIMENSION = 384
"""Of vectors of which nothing is known yet."""
_PAIRS = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much there is: documents, queries, and how many of these have a positive."""

    documents: int
    queries: int
    searched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """One index as `mine` will search it; `dimension` and `ann` of a dense one."""

    kind: Kind
    dimension: int = _DIMENSION
    ann: Ann = Ann.FLAT


class Forecast:
    """Estimates for one collection, or for DATA that is none yet; rates are measured when the first asks for them."""

    def __init__(
        self,
        amount: Amount,
        sample: Sample,
        folder: Path,
        *,
        top_k: int = TOP_K,
        bm25: Bm25Options | None = None,
        dimension: int | None = None,
        last: str = "export",
    ) -> None:
        """`dimension` of the vectors, None without any; `last`: the step up to which is rehearsed."""
        self.amount = amount
        self.sample = sample
        self.dimension = dimension
        self._last = last
        self.reading = 0.0
        """Seconds that it took to read DATA."""
        self._folder = folder
        self._top_k = top_k
        self._bm25 = bm25 or Bm25Options()

    @classmethod
    def of_collection(cls, collection: Collection, folder: Path, **more: Any) -> Forecast:
        """From the sizes and evenly spaced texts of a collection."""
        documents = _spread(len(collection.documents))
        queries = _spread(len(collection.queries))
        qrels = collection.qrels
        amount = Amount(
            documents=len(collection.documents),
            queries=len(collection.queries),
            searched=len(np.unique(qrels.query_rows[qrels.grades >= 1])),
        )
        sample = Sample(
            documents=collection.document_texts(documents) or [""],
            queries=collection.query_texts(queries) if len(queries) else [],
        )
        return cls(amount, sample, folder, **more)

    @classmethod
    def of_source(cls, source: Source, fraction: float | None, folder: Path, **more: Any) -> Forecast:
        """From all records of DATA, which are counted, and the texts of the first ones."""
        problems, began = ProblemLog(), time.perf_counter()
        documents = source.documents(problems)
        first = list(itertools.islice(documents, _SAMPLED))
        if not first:
            raise InputError("there is no document in DATA")
        count = len(first) + sum(1 for _ in documents)
        queries = source.queries(problems)
        few = list(itertools.islice(queries, _SAMPLED))
        share = 1.0 if fraction is None else fraction
        judged = len({found.query_id for found in source.qrels(problems) if found.grade >= 1})
        amount = Amount(
            documents=round(count * share),
            queries=round((len(few) + sum(1 for _ in queries)) * share),
            searched=round(judged * share),
        )
        sample = Sample(
            documents=[f"{one.title} {one.text}".strip() for one in first],
            queries=[one.text for one in few],
        )
        found = cls(amount, sample, folder, **more)
        found.reading = time.perf_counter() - began
        return found

    @cached_property
    def rehearsal(self) -> Rehearsal:
        """The stages over the sample."""
        how: dict[str, Any] = {"top_k": self._top_k, "bm25": self._bm25, "last": self._last}
        with suppress(MissingDependencyError):
            return Rehearsal(self.sample, self._folder / "with vectors", dimension=self.dimension, **how)
        return Rehearsal(self.sample, self._folder / "without vectors", dimension=None, **how)

    def _step(self, step: str, rows: int, unit: str, *, more: float = 0.0) -> Estimate | None:
        """A step by its line; None if the rehearsal did not get that far."""
        line = self.rehearsal.lines.get(step)
        if line is None:
            return None
        size = round(self.rehearsal.bytes[step] * rows)
        return Estimate(rows=rows, unit=unit, seconds=line(rows) + more, bytes=size)

    def ingest(self) -> Estimate | None:
        """Reading all of DATA once more, and writing what is wanted of it."""
        return self._step("ingest", self.amount.documents + self.amount.queries, "records", more=self.reading)

    def bm25(self) -> Estimate | None:
        """Counting and merging."""
        return self._step("bm25", self.amount.documents, "documents")

    def encoding(self, model: Any, *, width: int | None = None, read: Sequence[Side] = tuple(Side)) -> Estimate | None:
        """Reading all texts with a model, or those of one side; `width`: bytes of a text's vector.

        None for a model behind a URL.
        """
        if not isinstance(model, TextModel):
            return None
        encoder: Any = model
        start, seconds, operations = 0.0, 0.0, 0.0
        sides = (
            (Side.DOCUMENT, self.sample.documents, self.amount.documents),
            (Side.QUERY, self.sample.queries, self.amount.queries),
        )
        for side, texts, count in sides:
            if side not in read or not count or not texts:
                continue
            drawn = random.Random(0).sample(list(texts), len(texts))
            line = model_line(partial(encoder.encode, side=side), drawn)
            start += line.start
            seconds += line.each * count
            operations += encoder.operations(drawn[:256], side) / len(drawn[:256]) * count
        rows = self.amount.documents + self.amount.queries
        return Estimate(
            rows=rows,
            unit="texts",
            seconds=start + seconds,
            bytes=rows * (width or 0),
            operations=operations,
            on_gpu=encoder.device.startswith("cuda"),
            runs_model=True,
        )

    def dense(self, stage: IndexDense) -> Estimate | None:
        """Encoding, or copying ready-made vectors; of queries alone, where the documents are kept."""
        if stage.options.vectors:
            return self._step("dense", self.amount.documents + self.amount.queries, "vectors")
        if not isinstance(stage._encoder, TextModel):
            return None
        width = 4 if stage.options.store is Store.FP32 else 2
        self.dimension = stage._dimension()
        read = tuple(Side) if stage.options.keep_documents is None else (Side.QUERY,)
        return self.encoding(stage._encoder, width=width * self.dimension, read=read)

    def planned_dense(self, options: DenseOptions) -> Estimate | None:
        """As `dense`, where there is no collection yet: the model is tried on the sample."""
        if options.vectors:
            return self._step("dense", self.amount.documents + self.amount.queries, "vectors")
        # The documents that are to be kept are of DATA's collection, which is not there yet.
        unkept = replace(options, keep_documents=None, compensate_drift=False)
        stage = IndexDense(self.rehearsal.collection, unkept)
        stage.options = options
        return self.dense(stage)

    def searched_dense(self, options: DenseOptions) -> Searched:
        """A dense index that is yet to be built, as it will be searched."""
        dimension = self.dimension or _DIMENSION
        facts = facts_of(options.ann, self.amount.documents, self.amount.queries, dimension)
        return Searched(kind=Kind.DENSE_INDEX, dimension=dimension, ann=Ann(facts["kind"]))

    def mined(self, options: MineOptions) -> int:
        """How many queries `mine` searches for."""
        return self.amount.searched if options.limit is None else min(options.limit, self.amount.searched)

    def candidates(self, indexes: Sequence[Searched], options: MineOptions, runs: int = 0) -> int:
        """The most rows that there can be."""
        depth = min(TOP_K if options.top_k is None else options.top_k, self.amount.documents)
        return self.mined(options) * ((len(indexes) + runs) * depth + options.random + options.random_near + 1)

    def mine(self, indexes: Sequence[Searched], options: MineOptions, runs: int = 0) -> Estimate | None:
        """Searching, and writing the evidence down; a late-interaction or sparse search is not in it."""
        queries, documents = self.mined(options), self.amount.documents
        operations, seconds = 0.0, 0.0
        for index in indexes if options.top_k != 0 else ():
            if index.kind is Kind.BM25_INDEX:
                own = self.rehearsal.bm25_query
                seconds += queries * bm25_seconds(own, self.rehearsal.documents, documents)
            elif index.kind is Kind.DENSE_INDEX:
                operations += search_operations(index.ann, documents, queries, index.dimension)
        if operations:
            seconds += operations / self._search_rate
        found = self._step("mine", self.candidates(indexes, options, runs), "candidates at most", more=seconds)
        return replace(found, operations=operations) if found is not None else None

    @cached_property
    def _search_rate(self) -> float:
        """Operations a second of an exact search."""
        dimension = self.dimension or _DIMENSION
        draw = np.random.default_rng(0)
        queries = draw.standard_normal((1_024, dimension), np.float32)
        vectors = draw.standard_normal((16_384, dimension), np.float32)
        k = min(self._top_k, len(vectors))

        def search() -> None:
            nearest(queries, [(np.arange(len(vectors)), vectors)], k)

        search()
        seconds, _ = timed(search)
        return 2.0 * len(queries) * len(vectors) * dimension / seconds

    def planned_score(self, options: ScoreOptions, rows: int) -> Estimate | None:
        """As `score`, where there may be no candidates yet: all `rows`, or those of each query that --top asks for."""
        candidates = self.rehearsal.candidates
        if candidates is None:
            return None
        stage = Score(self.rehearsal.collection, candidates, replace(options, until=None, top=None, limit=None))
        pairs = rows if options.top is None else min(rows, self.amount.searched * (options.top + 1))
        return self.score(stage.reranker, pairs, rows, exact=False)

    def score(self, reranker: Any, pairs: int, rows: int, *, exact: bool) -> Estimate | None:
        """Reading pairs with a cross-encoder, and writing all rows again; None for one behind a URL."""
        if not isinstance(reranker, CrossEncoderReranker) or not self.sample.queries:
            return None
        draw = random.Random(0)
        few = [(draw.choice(self.sample.queries), draw.choice(self.sample.documents)) for _ in range(_PAIRS)]
        line = model_line(reranker.score, few)
        return Estimate(
            rows=pairs,
            unit="pairs" if exact else "pairs at most",
            seconds=line(pairs),
            bytes=round(self.rehearsal.bytes.get("mine", 0) * rows),
            operations=reranker.operations(few[:256]) / 256 * pairs,
            on_gpu=reranker.device.startswith("cuda"),
            runs_model=True,
        )

    def filter(self, rows: int) -> Estimate | None:
        """Deciding."""
        return self._step("filter", rows, "candidates")

    def export(self, rows: int) -> Estimate | None:
        """Writing the training file."""
        return self._step("export", rows, "rows")


def _spread(total: int) -> Any:
    return np.unique(np.linspace(0, total, min(_SAMPLED, total), endpoint=False).astype(np.int64))


def of_stage(stage: Stage | Ingest, folder: Path) -> Estimate | None:
    """What a stage whose inputs are there will take; None where that cannot be told. What it tries goes to `folder`."""
    if isinstance(stage, Ingest):
        return Forecast.of_source(stage.source, stage.options.sample, folder, last="ingest").ingest()
    collection = getattr(stage, "collection", None)
    if not isinstance(collection, Collection):
        return None
    forecast = partial(Forecast.of_collection, collection, folder)
    if isinstance(stage, IndexBm25):
        return forecast(bm25=stage.options, last="bm25").bm25()
    if isinstance(stage, IndexDense):
        return forecast(dimension=_DIMENSION, last="dense").dense(stage)
    if isinstance(stage, IndexSparse | IndexLate):
        return forecast().encoding(stage._encoder)
    if isinstance(stage, Mine):
        indexes = [searched(index.artefact) for index in stage.indexes]
        dimension = max((index.dimension for index in indexes if index.kind is Kind.DENSE_INDEX), default=None)
        rates = forecast(top_k=stage.top_k or TOP_K, dimension=dimension, last="mine")
        return rates.mine(indexes, stage.options, len(stage.runs))
    if isinstance(stage, Score):
        (pairs,) = (size for name, size in stage.sizes().items() if name.startswith("pairs"))
        rows = stage.table.size(stage.chosen)
        return forecast(last="mine").score(stage.reranker, pairs, rows, exact=stage.rules is None)
    if isinstance(stage, Filter):
        return forecast().filter(stage.sizes()["candidates"])
    return forecast().export(stage.sizes()["rows"]) if isinstance(stage, Export) else None


def searched(artefact: Artefact) -> Searched:
    """A finished index as `mine` searches it."""
    dimension = artefact.counts.get("dimension", _DIMENSION)
    ann = Ann(artefact.plan["ann"]["kind"]) if "ann" in artefact.plan else Ann.FLAT
    return Searched(kind=artefact.kind, dimension=dimension, ann=ann)


def of_chain(chain: Chain, folder: Path) -> dict[str, Estimate | None]:
    """What each step of a run will take, by its name, finished or not, whether its inputs are there or not."""
    options = chain.options
    more: dict[str, Any] = {"top_k": options.mine.top_k or TOP_K, "bm25": options.bm25}
    more["dimension"] = _DIMENSION if options.dense is not None else None
    place = find_collection(chain.data) or chain.directory / COLLECTION
    if is_finished(place):
        forecast = Forecast.of_collection(Collection.open(place), folder, **more)
    else:
        forecast = Forecast.of_source(Ingest(chain.data, options.input).source, options.input.sample, folder, **more)
    indexes = [searched(named_index(spec).artefact) for spec in options.indexes]
    found: dict[str, Estimate | None] = {}
    rows = 0
    for step in chain.steps():
        if step.key == "ingest":
            found[step.name] = forecast.ingest()
        elif step.key == "bm25":
            indexes.append(Searched(kind=Kind.BM25_INDEX))
            found[step.name] = forecast.bm25()
        elif step.key == "dense" and options.dense is not None:
            found[step.name] = None
            with suppress(MissingDependencyError):  # a model that is not on this machine
                found[step.name] = forecast.planned_dense(options.dense)
            indexes.append(forecast.searched_dense(options.dense))
        elif step.key == "mine":
            found[step.name] = forecast.mine(indexes, options.mine, len(options.mine.run))
            rows = forecast.candidates(indexes, options.mine, len(options.mine.run))
            if is_finished(step.path):
                rows = int(Artefact.open(step.path).counts["candidates"])
        elif step.key == "score" and options.score is not None:
            found[step.name] = None
            with suppress(MissingDependencyError):
                found[step.name] = forecast.planned_score(options.score, rows)
        elif step.key == "filter":
            found[step.name] = forecast.filter(rows)
        else:
            queries = forecast.mined(options.mine)
            found[step.name] = forecast.export(queries * options.filter.num_negatives * options.filter.epochs)
    return found


def is_finished(path: Path) -> bool:
    """Whether there is a finished artefact."""
    return (path / MANIFEST).exists()
