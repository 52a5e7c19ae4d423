"""How near the documents of a query are to each other: many queries of one shape at a time.

A matrix product finds which document is the nearest, the pair kernel gives the value. The matrix product of a query has
the same shape and so the same bits in any company, so a value depends on the query's own documents alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hnmine.engines.vectors import Vectors, VectorStore

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float32]

_ROW_BLOCK = 2_048
_POSITIVE_BLOCK = 4_096
_PIECE_BYTES = 1 << 24  # of vectors, and of their products
_KERNEL_WIDTH = 4_096  # einsum sums a lone row in another order once it is longer than its buffer of 8,192


def products(left: Vectors, right: Vectors) -> Scores:
    """Row by row inner product: the pair kernel. A row's bits do not depend on the other rows (tested)."""
    total = np.zeros(len(left), np.float32)
    for low in range(0, left.shape[1], _KERNEL_WIDTH):
        part = slice(low, low + _KERNEL_WIDTH)
        total += np.einsum("ij,ij->i", left[:, part], right[:, part])
    return total


def nearest_positive(
    documents: VectorStore, offsets: Ints, rows: Ints, positives: Ints, positive_offsets: Ints
) -> Scores:
    """Highest inner product of each row with another document that is a positive of its query; NaN if there is none.

    Query i owns rows[offsets[i]:offsets[i+1]] and positives[positive_offsets[i]:positive_offsets[i+1]].
    """
    out = np.full(len(rows), np.nan, np.float32)
    for queries, count, others in _alike(np.diff(offsets), np.diff(positive_offsets), documents.dimension):
        if not others:
            continue
        place = offsets[queries, None] + np.arange(count)
        positive = positives[positive_offsets[queries, None] + np.arange(others)]
        for low in range(0, count, _ROW_BLOCK):
            part = place[:, low : low + _ROW_BLOCK]
            own = rows[part]
            vectors = _take(documents, own)
            for other_low in range(0, others, _POSITIVE_BLOCK):
                other = positive[:, other_low : other_low + _POSITIVE_BLOCK]
                same = own[:, :, None] == other[:, None, :]
                out[part] = np.fmax(out[part], _best(vectors, _take(documents, other), same))
    return out


def nearest_earlier(documents: VectorStore, offsets: Ints, rows: Ints, counts: Bools) -> Scores:
    """Highest inner product of each row with an earlier row of its query for which `counts`; NaN if there is none.

    Query i owns rows[offsets[i]:offsets[i+1]]. Memory: two blocks of 2,048 vectors and their products, however many
    rows a query has.
    """
    out = np.full(len(rows), np.nan, np.float32)
    lengths = np.diff(offsets)
    for queries, count, _ in _alike(lengths, lengths, documents.dimension):
        place = offsets[queries, None] + np.arange(count)
        for low in range(0, count, _ROW_BLOCK):
            part = place[:, low : low + _ROW_BLOCK]
            vectors = _take(documents, rows[part])
            for earlier in range(0, low + 1, _ROW_BLOCK):
                other = place[:, earlier : earlier + _ROW_BLOCK]
                others = vectors if earlier == low else _take(documents, rows[other])
                later = np.arange(earlier, earlier + other.shape[1]) >= np.arange(low, low + part.shape[1])[:, None]
                out[part] = np.fmax(out[part], _best(vectors, others, later | ~counts[other][:, None, :]))
    return out


def _alike(counts: Ints, others: Ints, dimension: int) -> Iterator[tuple[Ints, int, int]]:
    """(queries, count, others) of queries that have equally many of both, a few at a time; none without a row."""
    shapes, shape_of = np.unique(np.stack([counts, others]), axis=1, return_inverse=True)
    order = np.argsort(shape_of.reshape(-1), kind="stable")
    bounds = np.searchsorted(shape_of.reshape(-1)[order], np.arange(shapes.shape[1] + 1))
    for (count, other), start, stop in zip(shapes.T.tolist(), bounds, bounds[1:], strict=False):
        widest = min(count, _ROW_BLOCK) * max(dimension, min(other, _POSITIVE_BLOCK))
        step = max(1, _PIECE_BYTES // (4 * max(widest, 1)))
        for low in range(int(start), int(stop) if count else 0, step):
            yield order[low : min(low + step, int(stop))], count, other


def _best(vectors: Vectors, others: Vectors, banned: Bools) -> Scores:
    """Highest inner product of each vector [query, row, dimension] with those of the same query that are not banned.

    `banned` is [query, row, other]; NaN where all are.
    """
    found = vectors @ others.transpose(0, 2, 1)
    np.copyto(found, -np.inf, where=banned)
    nearest = found.argmax(axis=2)[:, :, None]
    dimension = vectors.shape[2]
    best = np.take_along_axis(others, nearest, axis=1)
    exact = products(vectors.reshape(-1, dimension), best.reshape(-1, dimension)).reshape(nearest.shape[:2])
    exact[np.isneginf(np.take_along_axis(found, nearest, axis=2)[:, :, 0])] = np.nan
    return exact


def _take(documents: VectorStore, rows: Ints) -> Vectors:
    return documents.take(rows.reshape(-1)).reshape(*rows.shape, documents.dimension)
