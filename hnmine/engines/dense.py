"""Exact dense retrieval over vectors on disk: a streaming k-nearest-neighbour join, and the pair kernel.

FAISS finds, NumPy scores: the stored vectors alone decide a score, so a score never depends on the search.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.core.kmeans import centroids, nearest, order_of_centres
from hnmine.engines.models import missing_extra
from hnmine.engines.retriever import OVERFETCH, Bools, Queries, Retriever, Rows, Scores
from hnmine.engines.similarity import nearest_earlier, nearest_positive, products
from hnmine.engines.vectors import Vectors, VectorStore
from hnmine.errors import ArtefactError
from hnmine.schema import Scale

SEARCH_CHUNK = 50_000
"""Documents in memory at a time; larger chunks fall out of the caches and were measured slower."""

CLUSTER_SAMPLE = 64
"""Documents a cluster that k-means looks at."""

_SMALLEST_BATCH = 20  # below it FAISS uses another kernel, whose last bits differ
_PAIR_BYTES = 1 << 25  # per operand of the pair kernel
_TIE_BLOCK = 64
_TIE_TOLERANCE = 1e-5
_STRUCK = 2.5 * 2.0**-23  # each of two rows may be off by 2^-23 a dimension; lengths of 1 by 1e-3


class DenseIndex(Retriever):
    """Exact inner-product search over shards of vectors; with unit vectors the score is the cosine."""

    def __init__(
        self, documents: Sequence[Path], queries: Sequence[Path], *, name: str, tie_order: Rows, scale: Scale
    ) -> None:
        """Open `.npy` shards (fp16 or fp32) whose rows, in order, are the collection's documents and queries.

        Raises `ArtefactError` if the shards do not fit each other or the collection.
        """
        super().__init__(name=name, tie_order=tie_order)
        self.scale = scale
        self._documents = VectorStore(documents)
        self._queries = VectorStore(queries)
        self._clusters: tuple[int, Vectors] | None = None
        if len(self._documents) != self.size:
            raise ArtefactError(
                f"index {name}: {len(self._documents):,} document vectors", expected=f"{self.size:,} documents"
            )
        if self._documents.dimension != self._queries.dimension:
            raise ArtefactError(
                f"index {name}: query vectors of {self._queries.dimension} dimensions",
                expected=f"{self._documents.dimension}, as the documents",
            )

    @property
    def dimension(self) -> int:
        """Number of dimensions of a vector."""
        return self._documents.dimension

    def _search(self, queries: Queries, k: int) -> tuple[Rows, Scores]:
        return self._found(queries, k, None)

    def _search_among(self, queries: Queries, k: int, among: Bools) -> tuple[Rows, Scores]:
        return self._found(queries, k, np.flatnonzero(among))

    def _found(self, queries: Queries, k: int, among: Rows | None) -> tuple[Rows, Scores]:
        wanted = self._queries.take(queries.rows)
        rows, scores = _nearest(wanted, self._chunks(among), k)
        if k < (self.size if among is None else len(among)):
            self._settle_ties(wanted, rows, scores, among)
            self._leave_hopeless(rows, scores)
        return rows, scores

    def _leave_hopeless(self, rows: Rows, scores: Scores) -> None:
        """Strike the over-fetched rows that are not among the first k whichever kernel scores them.

        Two sums of n products of unit vectors' elements differ by n * 2^-23 at most, whatever their order (Higham 2002,
        3.1); of other vectors the lengths would have to be known, and nothing is struck.
        """
        if self.scale is Scale.COSINE and scores.shape[1] > OVERFETCH:
            least = -np.partition(-scores, scores.shape[1] - OVERFETCH - 1, axis=1)[:, -OVERFETCH - 1]
            rows[scores < least[:, None] - _STRUCK * self.dimension] = -1

    def _chunks(self, among: Rows | None) -> Iterator[tuple[Rows, Vectors]]:
        """Document rows and their vectors, a chunk at a time: of all documents, or of the given (ascending) rows."""
        if among is None:
            for start, chunk in self._documents.chunks(SEARCH_CHUNK):
                yield np.arange(start, start + len(chunk)), chunk
            return
        for low in range(0, len(among), SEARCH_CHUNK):
            part = among[low : low + SEARCH_CHUNK]
            yield part, self._documents.take(part)

    def _settle_ties(self, wanted: Vectors, rows: Rows, scores: Scores, among: Rows | None) -> None:
        """Where more documents tie at the cut than were over-fetched, keep those that come first by doc_id.

        FAISS keeps an arbitrary few of, say, a thousand identical documents; the promise of `search` is the first
        by doc_id. Such queries are scanned once more, and the candidates above the cut ordered by the pair kernel.
        """
        width = rows.shape[1]
        descending = -np.sort(-scores, axis=1)
        cut, last = descending[:, width - OVERFETCH - 1], descending[:, -1]
        tolerance = _TIE_TOLERANCE * np.maximum(1, np.abs(cut))
        tied = np.flatnonzero(last >= cut - tolerance)
        if not len(tied):
            return
        threshold = last - tolerance
        best_rows = {int(query): np.empty(0, np.int64) for query in tied}
        best_scores = {int(query): np.empty(0, np.float32) for query in tied}
        for chunk_rows, chunk in self._chunks(among):
            for low in range(0, len(tied), _TIE_BLOCK):
                block = tied[low : low + _TIE_BLOCK]
                above = wanted[block] @ chunk.T >= threshold[block, None]
                for query, mask in zip(map(int, block), above, strict=True):
                    near = np.flatnonzero(mask)
                    merged_rows = np.concatenate([best_rows[query], chunk_rows[near]])
                    merged = np.concatenate([best_scores[query], _one_to_many(wanted[query], chunk, near)])
                    keep = np.lexsort((self.tie_order[merged_rows], -merged))[:width]
                    best_rows[query], best_scores[query] = merged_rows[keep], merged[keep]
        for query, found in best_rows.items():
            rows[query, : len(found)], rows[query, len(found) :] = found, -1
            scores[query, : len(found)] = best_scores[query]

    def pair_scores(self, queries: Queries, offsets: Rows, rows: Rows) -> Scores:
        """The inner product of each pair's stored vectors, in float32; see `Retriever.pair_scores`."""
        wanted = self._queries.take(queries.rows)
        owner = np.repeat(np.arange(len(queries)), np.diff(offsets))
        out = np.empty(len(rows), np.float32)
        step = max(1, _PAIR_BYTES // (4 * self.dimension))
        for low in range(0, len(rows), step):
            part = slice(low, low + step)
            out[part] = products(wanted[owner[part]], self._documents.take(rows[part]))
        return out

    def positive_similarity(self, offsets: Rows, rows: Rows, positives: Rows, positive_offsets: Rows) -> Scores:
        """Highest inner product of each row with another document that is a positive of its query.

        NaN where the query has no positive but the row itself. Depends on the query's own rows and positives only.
        """
        return nearest_positive(self._documents, offsets, rows, positives, positive_offsets)

    def clusters(self, queries: Queries, offsets: Rows, rows: Rows, count: int) -> tuple[Rows, Rows]:
        """k-means over at most 64 documents a cluster, evenly spaced; see `Retriever.clusters`."""
        centres = self._centres(count)
        documents, place = np.unique(rows, return_inverse=True)
        found = np.empty(len(documents), np.int64)
        for low in range(0, len(documents), SEARCH_CHUNK):
            part = slice(low, low + SEARCH_CHUNK)
            found[part] = nearest(self._documents.take(documents[part]), centres)
        cluster = found[place]
        owner = np.repeat(np.arange(len(queries)), np.diff(offsets))
        places = order_of_centres(self._queries.take(queries.rows), centres)
        return cluster + 1, places[owner, cluster] + 1

    def _centres(self, count: int) -> Vectors:
        if self._clusters is None or self._clusters[0] != count:
            wanted = min(self.size, CLUSTER_SAMPLE * count)
            rows = np.linspace(0, self.size, wanted, endpoint=False).astype(np.int64)
            self._clusters = (count, centroids(self._documents.take(rows), count))
        return self._clusters[1]

    def better_similarity(self, offsets: Rows, rows: Rows, counts: Bools) -> Scores:
        """Highest inner product of each row with an earlier row of its query; see `Retriever.better_similarity`."""
        return nearest_earlier(self._documents, offsets, rows, counts)


def _one_to_many(vector: Vectors, chunk: Vectors, rows: Rows) -> Scores:
    step = max(1, _PAIR_BYTES // (4 * len(vector)))
    parts = [rows[low : low + step] for low in range(0, len(rows), step)]
    done = [products(np.repeat(vector[None, :], len(part), axis=0), chunk[part]) for part in parts]
    return np.concatenate([np.empty(0, np.float32), *done])


def _nearest(wanted: Vectors, chunks: Iterable[tuple[Rows, Vectors]], k: int) -> tuple[Rows, Scores]:
    """The k rows with the largest inner product: (rows, scores) of shape [len(wanted), k], any order, -1 = nothing."""
    faiss = _import_faiss()
    count = len(wanted)
    missing = max(0, _SMALLEST_BATCH - count)
    if missing:
        wanted = np.concatenate([wanted, np.zeros((missing, wanted.shape[1]), np.float32)])
    rows = np.full((count, k), -1, np.int64)
    scores = np.full((count, k), -np.inf, np.float32)
    for chunk_rows, chunk in chunks:
        found_scores, found = faiss.knn(wanted, chunk, min(k, len(chunk)), metric=faiss.METRIC_INNER_PRODUCT)
        found = np.where(found < 0, -1, chunk_rows[found])[:count]
        rows = np.concatenate([rows, found], axis=1)
        scores = np.concatenate([scores, found_scores[:count]], axis=1)
        if rows.shape[1] > k:
            kept = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            rows, scores = np.take_along_axis(rows, kept, 1), np.take_along_axis(scores, kept, 1)
    return rows, scores


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise missing_extra("faiss", error) from None
    return faiss
