"""Exact learned sparse retrieval over postings on disk: the score of a pair is an inner product over shared terms."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.sparse import SparsePostings, SparseRows
from hnmine.engines.kernels import compiled, in_threads
from hnmine.engines.retriever import Bools, Queries, Retriever, Rows, Scores
from hnmine.errors import ArtefactError
from hnmine.files.tables import write_array
from hnmine.hashing import digest_bytes
from hnmine.schema import Scale

_SLICE = 64
"""Queries a thread takes at a time."""
_ARRAYS: dict[str, type[np.generic]] = {
    "postings/offsets": np.int64,
    "postings/documents": np.int32,
    "postings/impacts": np.float32,
    "queries/offsets": np.int64,
    "queries/terms": np.int32,
    "queries/weights": np.float32,
}


def write_sparse(directory: Path, documents: SparsePostings, queries: SparseRows) -> dict[str, int]:
    """Write an index's arrays as `.npy` files into a directory; returns their names with their lengths."""
    arrays: list[npt.NDArray[Any]] = [documents.offsets, documents.documents, documents.impacts]
    arrays += [queries.offsets, queries.terms, queries.weights]
    names = [f"{name}.npy" for name in _ARRAYS]
    return {name: write_array(directory / name, array) for name, array in zip(names, arrays, strict=True)}


def read_postings(directory: Path) -> SparsePostings:
    """The documents of a written index, memory-mapped."""
    return SparsePostings(
        offsets=_open(directory, "postings/offsets"),
        documents=_open(directory, "postings/documents"),
        impacts=_open(directory, "postings/impacts"),
    )


def read_queries(directory: Path) -> SparseRows:
    """The queries of a written index, memory-mapped."""
    return SparseRows(
        offsets=_open(directory, "queries/offsets"),
        terms=_open(directory, "queries/terms"),
        weights=_open(directory, "queries/weights"),
    )


class SparseIndex(Retriever):
    """Exact search over postings, with every score from the same sums.

    A score is the sum in float64, over the terms that query and document share in ascending order, of the products of
    their weights (exact in float64, for weights are float32), rounded to float32 once. Search adds up in the same
    order, so it needs no second scoring and no over-fetch. A score of 0 or less is no hit: nothing shared, mostly.
    """

    scale = Scale.DOT

    def __init__(self, directory: Path, *, name: str, tie_order: Rows) -> None:
        """Raises `ArtefactError` if an array is missing, or if they do not fit each other or the collection."""
        super().__init__(name=name, tie_order=tie_order)
        postings = read_postings(directory)
        offsets, documents, impacts = postings.offsets, postings.documents, postings.impacts
        self._postings = (offsets, documents, impacts)
        self._queries = read_queries(directory)
        held = [int(a[-1]) if len(a) else -1 for a in (offsets, self._queries.offsets)]
        lengths = [len(documents), len(impacts), len(self._queries.terms), len(self._queries.weights)]
        if lengths != [held[0], held[0], held[1], held[1]] or (
            len(documents) and not 0 <= int(documents.max()) < self.size
        ):
            raise ArtefactError(
                f"{directory}: the index's arrays do not fit each other or the collection: {lengths}",
                expected=f"{held[0]:,} postings of {self.size:,} documents and {held[1]:,} query weights",
                remedy="build the index again from this collection",
            )

    def _is_hit(self, scores: Scores) -> npt.NDArray[np.bool_]:
        return scores > 0

    def _search(self, queries: Queries, k: int) -> tuple[Rows, Scores]:
        return self._found(queries, k, None)

    def _search_among(self, queries: Queries, k: int, among: Bools) -> tuple[Rows, Scores]:
        return self._found(queries, k, among)

    def _found(self, queries: Queries, k: int, among: Bools | None) -> tuple[Rows, Scores]:
        rows = np.full((len(queries), k), -1, np.int64)
        best = np.zeros((len(queries), k), np.float32)
        wanted = self._queries.take(queries.rows)
        add = _adding_kernel()

        def fill(part: slice) -> None:
            for query in range(part.start, part.stop):
                own = slice(wanted.offsets[query], wanted.offsets[query + 1])
                sums = np.zeros(self.size, np.float64)
                add(*self._postings, wanted.terms[own], wanted.weights[own], sums)
                if among is not None:
                    sums[~among] = 0
                found, scores = self._top(sums.astype(np.float32), k)
                rows[query, : len(found)], best[query, : len(found)] = found, scores

        in_threads(fill, _slices(len(queries)))
        return rows, best

    def _top(self, scores: Scores, k: int) -> tuple[Rows, Scores]:
        hits = np.flatnonzero(scores > 0)
        if len(hits) > k:
            cut = np.partition(scores[hits], len(hits) - k)[len(hits) - k]
            hits = hits[scores[hits] >= cut]
        order = np.lexsort((self.tie_order[hits], -scores[hits]))[:k]
        return hits[order], scores[hits[order]]

    def queries_digest(self, rows: Rows) -> str:
        """Digest of the queries' terms and weights."""
        found = self._queries.take(rows)
        return digest_bytes(found.offsets.tobytes() + found.terms.tobytes() + found.weights.tobytes())

    def pair_scores(self, queries: Queries, offsets: Rows, rows: Rows) -> Scores:
        """The score of each pair, the same bits whatever the batch or the threads; 0 without a shared term."""
        kernel = _pair_kernel()
        wanted = self._queries.take(queries.rows)
        offsets, rows = np.array(offsets, np.int64), np.array(rows, np.int64)
        scores = np.zeros(len(rows), np.float32)

        def fill(part: slice) -> None:
            kernel(
                *self._postings,
                wanted.terms,
                wanted.weights,
                wanted.offsets,
                offsets,
                rows,
                part.start,
                part.stop,
                scores,
            )

        in_threads(fill, _slices(len(queries)))
        return scores


def _slices(queries: int) -> list[slice]:
    stops = [*range(0, queries, _SLICE), queries]
    return [slice(start, stop) for start, stop in pairwise(stops)]


def _open(directory: Path, name: str) -> npt.NDArray[Any]:
    path, kind = directory / f"{name}.npy", _ARRAYS[name]
    try:
        # An empty file cannot be mapped. A plain array over the map: numba does not take a `memmap`.
        array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (FileNotFoundError, ValueError, EOFError) as error:
        raise ArtefactError(f"{path}: {error}", remedy="build the index again") from error
    if array.dtype != kind or array.ndim != 1:
        raise ArtefactError(
            f"{path}: {array.dtype} of shape {array.shape}",
            expected=f"one dimension of {np.dtype(kind)}",
            remedy="build the index again",
        )
    return array


@lru_cache(maxsize=1)
def _adding_kernel() -> Callable[..., None]:
    return compiled(_add_up)


@lru_cache(maxsize=1)
def _pair_kernel() -> Callable[..., None]:
    return compiled(_score_pairs)


def _add_up(
    offsets: Rows,
    documents: npt.NDArray[np.int32],
    impacts: Scores,
    terms: npt.NDArray[np.int32],
    weights: Scores,
    sums: npt.NDArray[np.float64],
) -> None:
    # Compiled by numba: adds one query's products to the sums of all documents.
    for position in range(len(terms)):
        term = terms[position]
        weight = np.float64(weights[position])
        for posting in range(offsets[term], offsets[term + 1]):
            sums[documents[posting]] += weight * np.float64(impacts[posting])


def _score_pairs(
    offsets: Rows,
    documents: npt.NDArray[np.int32],
    impacts: Scores,
    terms: npt.NDArray[np.int32],
    weights: Scores,
    term_offsets: Rows,
    pair_offsets: Rows,
    rows: Rows,
    first: int,
    last: int,
    scores: Scores,
) -> None:
    # Compiled by numba: fills in the scores of the pairs of queries first..last.
    for query in range(first, last):
        for pair in range(pair_offsets[query], pair_offsets[query + 1]):
            row = rows[pair]
            score = 0.0
            for position in range(term_offsets[query], term_offsets[query + 1]):
                term = terms[position]
                low = offsets[term]
                end = offsets[term + 1]
                high = end
                while low < high:
                    middle = (low + high) // 2
                    if documents[middle] < row:
                        low = middle + 1
                    else:
                        high = middle
                if low < end and documents[low] == row:
                    score += np.float64(weights[position]) * np.float64(impacts[low])
            scores[pair] = score
