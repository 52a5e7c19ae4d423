"""Dense retrieval over vectors on disk: a streaming k-nearest-neighbour join, or an approximate one; the pair kernel.

The searches find, NumPy scores: the stored vectors alone decide a score, so a score never depends on the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hnmine.core import kmeans
from hnmine.core.recall import Effort, effort_for
from hnmine.engines.approximate.base import Approximate
from hnmine.engines.nearest import Chunks, gpu, nearest
from hnmine.engines.retriever import OVERFETCH, Bools, Queries, Retriever, Rows, Scores
from hnmine.engines.similarity import nearest_earlier, nearest_positive, products
from hnmine.engines.vectors import Vectors, VectorStore
from hnmine.errors import ArtefactError
from hnmine.hashing import digest_bytes
from hnmine.schema import Scale

SEARCH_CHUNK = 50_000
"""Documents in memory at a time; larger chunks fall out of the caches and were measured slower."""

CLUSTER_SAMPLE = 64
"""Documents a cluster that k-means looks at."""

_PAIR_BYTES = 1 << 25  # per operand of the pair kernel
_TIE_BLOCK = 64
_TIE_TOLERANCE = 1e-5
_STRUCK = 2.5 * 2.0**-23  # each of two rows may be off by 2^-23 a dimension; lengths of 1 by 1e-3
_SCORED_ROWS = 1 << 22  # candidates of an approximate search in memory at a time


class DenseIndex(Retriever):
    """Inner-product search over shards of vectors; with unit vectors the score is the cosine.

    Exact, unless there is an approximate search and an effort of it that suffices for the k that is asked for; with
    `among` always exact. A query that finds less than k is searched more broadly, at last exactly.
    """

    def __init__(
        self,
        documents: Sequence[Path],
        queries: Sequence[Path],
        *,
        name: str,
        tie_order: Rows,
        scale: Scale,
        approximate: Approximate | None = None,
        efforts: Sequence[Effort] = (),
    ) -> None:
        """Open `.npy` shards (fp16 or fp32) whose rows, in order, are the collection's documents and queries.

        Raises `ArtefactError` if the shards do not fit each other or the collection.
        """
        super().__init__(name=name, tie_order=tie_order)
        self.scale = scale
        self._documents = VectorStore(documents)
        self._queries = VectorStore(queries)
        self._clusters: tuple[int, Vectors] | None = None
        self._cluster_of_all: tuple[int, Rows] | None = None
        self._approximate = approximate
        self._efforts = tuple(efforts)
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
        effort = effort_for(self._efforts, k - OVERFETCH) if k < self.size else None
        wanted = self._queries.take(queries.rows)
        if self._approximate is None or effort is None:
            return self._found(wanted, k, None)
        rows, scores = self._approximately(self._approximate, wanted, k, effort.depth, effort.breadth)
        breadth, broadest = effort.breadth, max(self._approximate.breadths())
        while len(short := np.flatnonzero((rows < 0).any(axis=1))):
            breadth *= 2
            if breadth > broadest:
                rows[short], scores[short] = self._found(wanted[short], k, None)
                break
            more = self._approximately(self._approximate, wanted[short], k, effort.depth, breadth)
            rows[short], scores[short] = more
        return rows, scores

    def _search_among(self, queries: Queries, k: int, among: Bools) -> tuple[Rows, Scores]:
        return self._found(self._queries.take(queries.rows), k, np.flatnonzero(among))

    def _found(self, wanted: Vectors, k: int, among: Rows | None) -> tuple[Rows, Scores]:
        rows, scores = nearest(wanted, self._chunks(among, is_raw=gpu() is not None), k)
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

    def _approximately(
        self, approximate: Approximate, wanted: Vectors, k: int, depth: int, breadth: int
    ) -> tuple[Rows, Scores]:
        """The best k of what an approximate search finds, by the pair kernel if it finds more; row -1 for nothing."""
        depth = min(self.size, max(k, depth))
        rows = np.empty((len(wanted), k), np.int64)
        scores = np.empty((len(wanted), k), np.float32)
        step = max(1, _SCORED_ROWS // depth)
        for low in range(0, len(wanted), step):
            part = wanted[low : low + step]
            found, measured = approximate.search(part, depth, breadth)
            if depth > k:
                found, measured = self._ordered(part, found)
            cut, last = measured[:, k - OVERFETCH - 1], measured[:, -1]
            tied = np.flatnonzero(last >= cut - _tolerance(cut)) if approximate.is_exact else ()
            for query in tied:  # as in _settle_ties
                own = part[query : query + 1]
                best, best_scores = self._ordered(own, approximate.seen(own, breadth)[None])
                enough = min(depth, best.shape[1])
                found[query, :enough], measured[query, :enough] = best[0, :enough], best_scores[0, :enough]
            rows[low : low + step], scores[low : low + step] = found[:, :k], measured[:, :k]
        return rows, scores

    def _ordered(self, wanted: Vectors, rows: Rows) -> tuple[Rows, Scores]:
        """Each query's `rows` by (score by the pair kernel descending, doc_id), and the scores; -inf for row -1."""
        scores = np.full(rows.shape, -np.inf, np.float32)
        owner, place = np.nonzero(rows >= 0)
        step = max(1, _PAIR_BYTES // (4 * self.dimension))
        for low in range(0, len(owner), step):
            own, at = owner[low : low + step], place[low : low + step]
            scores[own, at] = products(wanted[own], self._documents.take(rows[own, at]))
        order = np.lexsort((self.tie_order[rows], -scores))
        return np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)

    def _chunks(self, among: Rows | None, *, is_raw: bool = False) -> Chunks:
        """Document rows and their vectors, a chunk at a time: of all documents, or of the given (ascending) rows.

        Vectors are float32, or, if `is_raw`, as they are stored.
        """
        if among is None:
            dtype = self._documents.dtype if is_raw else np.float32
            for start, chunk in self._documents.chunks(SEARCH_CHUNK, dtype):
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
        tolerance = _tolerance(cut)
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

    def queries_digest(self, rows: Rows) -> str:
        """Digest of the queries' vectors."""
        return digest_bytes(self._queries.take(rows).tobytes())

    def same_documents(self, earlier: Retriever) -> Bools | None:
        """Which documents have the vectors that they had; None for approximate search, whose hits others change.

        See `Retriever.same_documents`.
        """
        if not isinstance(earlier, DenseIndex) or self._approximate is not None or earlier._approximate is not None:
            return None
        same = np.zeros(self.size, np.bool_)
        both = min(self.size, earlier.size) if self.dimension == earlier.dimension else 0
        for start in range(0, both, SEARCH_CHUNK):
            part = slice(start, min(start + SEARCH_CHUNK, both))
            here, there = (store.read(part.start, part.stop) for store in (self._documents, earlier._documents))
            same[part] = (here == there).all(axis=1)
        return same

    def same_queries(self, rows: Rows, earlier: Retriever, earlier_rows: Rows) -> Bools:
        """Which queries have the vectors that they had."""
        assert isinstance(earlier, DenseIndex)
        return np.asarray((self._queries.take(rows) == earlier._queries.take(earlier_rows)).all(axis=1), np.bool_)

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
            found[part] = kmeans.nearest(self._documents.take(documents[part]), centres)
        cluster = found[place]
        owner = np.repeat(np.arange(len(queries)), np.diff(offsets))
        places = kmeans.order_of_centres(self._queries.take(queries.rows), centres)
        return cluster + 1, places[owner, cluster] + 1

    def cluster_of_all(self, count: int) -> Rows:
        """The cluster of every document, found once; see `Retriever.cluster_of_all`."""
        if self._cluster_of_all is None or self._cluster_of_all[0] != count:
            centres = self._centres(count)
            found = [kmeans.nearest(chunk, centres) for _, chunk in self._documents.chunks(SEARCH_CHUNK)]
            self._cluster_of_all = (count, np.concatenate([np.empty(0, np.int64), *found]))
        return self._cluster_of_all[1]

    def clusters_around(self, rows: Rows, count: int, nearest: int) -> Rows:
        """The clusters around each document; see `Retriever.clusters_around`."""
        places = kmeans.order_of_centres(self._documents.take(rows), self._centres(count))
        return np.argsort(places, axis=1)[:, :nearest]

    def _centres(self, count: int) -> Vectors:
        if self._clusters is None or self._clusters[0] != count:
            wanted = min(self.size, CLUSTER_SAMPLE * count)
            rows = np.linspace(0, self.size, wanted, endpoint=False).astype(np.int64)
            self._clusters = (count, kmeans.centroids(self._documents.take(rows), count))
        return self._clusters[1]

    def better_similarity(self, offsets: Rows, rows: Rows, counts: Bools) -> Scores:
        """Highest inner product of each row with an earlier row of its query; see `Retriever.better_similarity`."""
        return nearest_earlier(self._documents, offsets, rows, counts)


def _one_to_many(vector: Vectors, chunk: Vectors, rows: Rows) -> Scores:
    step = max(1, _PAIR_BYTES // (4 * len(vector)))
    parts = [rows[low : low + step] for low in range(0, len(rows), step)]
    done = [products(np.repeat(vector[None, :], len(part), axis=0), chunk[part]) for part in parts]
    return np.concatenate([np.empty(0, np.float32), *done])


def _tolerance(cut: Scores) -> Scores:
    """How far from a score the search kernels may be."""
    return np.asarray(_TIE_TOLERANCE * np.maximum(1, np.abs(cut)), np.float32)
