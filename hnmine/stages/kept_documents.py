"""`index dense --keep-documents`: the document vectors of an earlier index under queries of a newer model.

ADORE (arXiv 2104.08051) trains the query encoder alone, so that the documents need not be encoded again. Where the
documents' side was trained too, Query Drift Compensation (arXiv 2506.00037) takes the mean drift of training queries,
mean(f_new(q) - f_old(q)), off every query.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.engines.encoder import Encoder
from hnmine.engines.retriever import Rows
from hnmine.engines.vectors import Vectors, VectorStore, normalise_rows
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact, Json
from hnmine.files.collection import Collection
from hnmine.files.remote import as_path
from hnmine.options import DenseOptions
from hnmine.schema import Kind, Scale, Side
from hnmine.stages.places import indexes_of, is_artefact, locate
from hnmine.stages.stage import require_made_from

DRIFT_QUERIES = 2_048
"""Queries whose drift is averaged; more move the mean by less than a fiftieth of one query's deviation."""


class KeptDocuments:
    """An earlier index whose document vectors are taken over."""

    def __init__(self, index: Artefact, collection: Collection, *, compensate: bool) -> None:
        """Raises `ArtefactError` for an index of another collection, `UsageError` where there is no query."""
        require_made_from(collection.artefact, index)
        if not len(collection.queries):
            raise UsageError("--keep-documents encodes queries, and the collection has none")
        self.index = index
        self.scale = Scale(index.plan["scale"])
        self.compensate = compensate
        self._collection = collection
        self._drift: tuple[Encoder, Vectors] | None = None

    def __getstate__(self) -> dict[str, Any]:
        own = {name: value for name, value in self.__dict__.items() if name not in ("_documents", "_queries")}
        return {**own, "_drift": None}  # another process opens the vectors itself

    @classmethod
    def open(cls, place: str, collection: Collection, *, compensate: bool) -> KeptDocuments:
        """The dense index at a place, or the only one of the run directory there."""
        return cls(Artefact.open(find_index(place), Kind.DENSE_INDEX), collection, compensate=compensate)

    @cached_property
    def _documents(self) -> VectorStore:
        return VectorStore(self.index.files("vectors/documents-", ".npy"))

    @cached_property
    def _queries(self) -> VectorStore:
        return VectorStore(self.index.files("vectors/queries-", ".npy"))

    def check(self, encoder: Encoder) -> None:
        """Raise `UsageError` unless the encoder's vectors have as many dimensions as the documents'."""
        if encoder.dimension != self._documents.dimension:
            raise UsageError(
                f"--keep-documents: its documents have {self._documents.dimension} dimensions, and the model's queries"
                f" {encoder.dimension}",
                expected="a later checkpoint of the model that made the index, and the same --truncate-dim",
                remedy="leave out --keep-documents: the documents are encoded again",
            )

    def documents(self, start: int, stop: int) -> Vectors:
        """The vectors of documents start..stop, as they were."""
        return self._documents.read(start, stop)

    def queries(self, vectors: Vectors, encoder: Encoder) -> Vectors:
        """Vectors of queries as they are searched with: the drift taken off, if that was asked for, at unit length.

        The length changes no order of documents; with it scores stay cosines.
        """
        return normalise_rows(vectors - self._mean_drift(encoder)) if self.compensate else vectors

    def _mean_drift(self, encoder: Encoder) -> Vectors:
        """The mean drift of at most 2,048 queries, evenly spaced over those that have a judgment."""
        if self._drift is None or self._drift[0] is not encoder:
            rows: Rows = np.unique(self._collection.qrels.query_rows)
            rows = rows if len(rows) else np.arange(len(self._collection.queries))
            rows = rows[np.linspace(0, len(rows), min(DRIFT_QUERIES, len(rows)), endpoint=False).astype(np.int64)]
            now = encoder.encode(self._collection.query_texts(rows), Side.QUERY).vectors
            drift = (now.astype(np.float64) - self._queries.take(rows)).mean(axis=0)
            self._drift = (encoder, np.asarray(drift, np.float32))
        return self._drift[1]

    def notes(self) -> Json:
        """Whose documents these are."""
        return {"documents": f"kept from {self.index.path}; only queries are encoded"}


def check_kept(options: DenseOptions) -> None:
    """Raise `UsageError` for options that contradict each other, `ArtefactError` where there is no such index."""
    if options.keep_documents is None:
        if options.compensate_drift:
            raise UsageError("--compensate-drift goes with --keep-documents")
        return
    if options.vectors:
        raise UsageError("--keep-documents and --vectors both say where the documents' vectors come from")
    find_index(options.keep_documents)


def find_index(place: str) -> Path:
    """The dense index at a place, or the only one of the run directory there; `UsageError` if it has several."""
    path = as_path(place)
    if is_artefact(path):
        return path
    found = [one for one in indexes_of(path) if Artefact.open(one, verify=False).kind is Kind.DENSE_INDEX]
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise UsageError(f"--keep-documents {place} has several dense indexes: {names}", remedy=f"name one: {found[0]}")
    return found[0] if found else locate(path, Kind.DENSE_INDEX)
