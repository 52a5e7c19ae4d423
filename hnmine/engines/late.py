"""Exact late interaction over token vectors on disk: MaxSim of every pair, from one kernel.

Late interaction: Khattab and Zaharia, "ColBERT", SIGIR 2020, arXiv 2004.12832.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hnmine.engines.kernels import compiled, in_threads
from hnmine.engines.retriever import Bools, Queries, Retriever, Rows, Scores
from hnmine.engines.token_vectors import TokenRows, TokenStore, runs
from hnmine.engines.vectors import Vectors
from hnmine.errors import ArtefactError
from hnmine.hashing import digest_bytes
from hnmine.schema import Scale

CHUNK_TOKENS = 65_536
"""Tokens of documents in memory at a time: 32 MiB of float32 at 128 dimensions."""

CHUNK_TEXTS = 4_096
"""Documents of a chunk at most, which bounds the table of scores where documents are short."""

_PAIR_TOKENS = 16_384
"""As `CHUNK_TOKENS`, for each thread that scores pairs."""

_GROUP = 8
"""Queries a thread scores at once: their tokens stay in its cache while the documents pass."""


class LateIndex(Retriever):
    """Exact search by MaxSim: the sum over the query's tokens of the largest inner product with a document's token.

    Search and pairs use the same kernel, which adds up a pair in the same order whatever else it is given: inner
    products in float32, dimension by dimension; their sum over the query's tokens in float64. So search needs no second
    scoring and no over-fetch, and ties are true ties. Without a token on either side there is no score (NaN).
    """

    scale = Scale.DOT

    def __init__(
        self,
        documents: tuple[Sequence[Path], Sequence[Path]],
        queries: tuple[Sequence[Path], Sequence[Path]],
        *,
        name: str,
        tie_order: Rows,
    ) -> None:
        """Open shards (files of vectors, files of lengths) whose texts, in order, are those of the collection.

        Raises `ArtefactError` if they do not fit each other or the collection.
        """
        super().__init__(name=name, tie_order=tie_order)
        self._documents, self._queries = TokenStore(*documents), TokenStore(*queries)
        if len(self._documents) != self.size:
            raise ArtefactError(
                f"index {name}: token vectors of {len(self._documents):,} documents",
                expected=f"{self.size:,} documents",
            )
        if self._documents.dimension != self._queries.dimension:
            raise ArtefactError(
                f"index {name}: query vectors of {self._queries.dimension} dimensions",
                expected=f"{self._documents.dimension}, as the documents",
            )

    def _search(self, queries: Queries, k: int) -> tuple[Rows, Scores]:
        return self._found(queries, k, None)

    def _search_among(self, queries: Queries, k: int, among: Bools) -> tuple[Rows, Scores]:
        return self._found(queries, k, np.flatnonzero(among))

    def _found(self, queries: Queries, k: int, among: Rows | None) -> tuple[Rows, Scores]:
        rows = np.full((len(queries), k), -1, np.int64)
        best = np.full((len(queries), k), -np.inf, np.float32)
        groups = [slice(low, min(low + _GROUP, len(queries))) for low in range(0, len(queries), _GROUP)]
        wanted = {group.start: self._queries.take(queries.rows[group]) for group in groups}
        for numbers, documents in self._documents.chunks(CHUNK_TOKENS, CHUNK_TEXTS, among):

            def fill(group: slice, numbers: Rows = numbers, documents: TokenRows = documents) -> None:
                found = max_similarities(wanted[group.start], documents)
                for query, scores in zip(range(group.start, group.stop), found, strict=True):
                    self._keep_best(rows[query], best[query], numbers, scores)

            in_threads(fill, groups)
        return rows, best

    def _keep_best(self, rows: Rows, best: Scores, numbers: Rows, scores: Scores) -> None:
        """Merge the scores of the documents `numbers` into a query's best rows, by (score descending, tie order)."""
        with np.errstate(invalid="ignore"):
            near = np.flatnonzero(scores >= best[-1])  # -inf while there are fewer than k; a NaN never
        held = rows >= 0
        merged_rows = np.concatenate([rows[held], numbers[near]])
        merged = np.concatenate([best[held], scores[near]])
        order = np.lexsort((self.tie_order[merged_rows], -merged))[: len(rows)]
        rows[: len(order)], best[: len(order)] = merged_rows[order], merged[order]

    def queries_digest(self, rows: Rows) -> str:
        """Digest of the queries' token vectors."""
        found = self._queries.take(rows)
        return digest_bytes(found.offsets.tobytes() + found.vectors.tobytes())

    def same_documents(self, earlier: Retriever) -> Bools | None:
        """Which documents have the token vectors that they had; see `Retriever.same_documents`."""
        if not isinstance(earlier, LateIndex):
            return None
        both = np.arange(min(self.size, earlier.size))
        same = np.zeros(self.size, np.bool_)
        same[both] = self._documents.equal(both, earlier._documents, both)
        return same

    def same_queries(self, rows: Rows, earlier: Retriever, earlier_rows: Rows) -> Bools:
        """Which queries have the token vectors that they had."""
        assert isinstance(earlier, LateIndex)
        return self._queries.equal(rows, earlier._queries, earlier_rows)

    def pair_scores(self, queries: Queries, offsets: Rows, rows: Rows) -> Scores:
        """MaxSim of each pair, the same bits as in search; see `Retriever.pair_scores`."""
        scores = np.full(len(rows), np.nan, np.float32)
        lengths = np.diff(self._documents.offsets)

        def fill(part: slice) -> None:
            query = self._queries.take(queries.rows[part])
            own = np.arange(offsets[part.start], offsets[part.stop])
            for low, high in runs(lengths[rows[own]], _PAIR_TOKENS, CHUNK_TEXTS):
                scores[own[low:high]] = max_similarities(query, self._documents.take(rows[own[low:high]]))[0]

        in_threads(fill, [slice(query, query + 1) for query in range(len(queries))])
        return scores


def max_similarities(queries: TokenRows, documents: TokenRows) -> Scores:
    """MaxSim of every query with every document: float32 [queries, documents]; NaN where either has no token."""
    scores = np.empty((len(queries.offsets) - 1, len(documents.offsets) - 1), np.float32)
    columns = np.ascontiguousarray(queries.vectors.T)
    _kernel()(columns, queries.offsets, documents.vectors, documents.offsets, scores)
    return scores


@lru_cache(maxsize=1)
def _kernel() -> Callable[..., None]:
    return compiled(_score_all)


def _score_all(
    columns: Vectors, query_offsets: Rows, tokens: Vectors, offsets: Rows, scores: npt.NDArray[np.float32]
) -> None:
    # Compiled by numba. `columns` are the queries' tokens, one a column: the innermost loop runs over them, so it is
    # done with vector instructions though each sum keeps its order.
    dimension, width = columns.shape
    by_four = dimension - dimension % 4
    products = np.empty(width, np.float32)
    best = np.empty(width, np.float32)
    for document in range(len(offsets) - 1):
        best[:] = -np.inf
        for row in range(offsets[document], offsets[document + 1]):
            token = tokens[row]
            products[:] = 0
            for i in range(0, by_four, 4):
                a, b, c, d = token[i], token[i + 1], token[i + 2], token[i + 3]
                p, q, r, s = columns[i], columns[i + 1], columns[i + 2], columns[i + 3]
                for j in range(width):
                    products[j] = (((products[j] + a * p[j]) + b * q[j]) + c * r[j]) + d * s[j]
            for i in range(by_four, dimension):
                for j in range(width):
                    products[j] += token[i] * columns[i, j]
            for j in range(width):
                if products[j] > best[j]:
                    best[j] = products[j]
        for query in range(len(query_offsets) - 1):
            total = np.float64(0)
            for j in range(query_offsets[query], query_offsets[query + 1]):
                total += np.float64(best[j])
            scores[query, document] = total
            if query_offsets[query] == query_offsets[query + 1] or offsets[document] == offsets[document + 1]:
                scores[query, document] = np.nan
