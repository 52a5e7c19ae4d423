"""Documents in lists by their nearest centre; a query looks into a few of them (IVF).

Searched for many queries at once: every list is read once and compared with all queries that look into it, as one
matrix product.

Sivic & Zisserman 2003; Jégou, Douze & Schmid 2011, "Product quantization for nearest neighbor search", for the codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.recall import doubling
from hnmine.engines.approximate.base import CHUNK, Approximate
from hnmine.engines.nearest import import_faiss
from hnmine.engines.retriever import Rows, Scores
from hnmine.engines.vectors import Vectors, VectorStore, open_array
from hnmine.files.tables import write_array, write_array_parts
from hnmine.options import Ann

CENTRES, OFFSETS, ROWS, CODES, BOOK = "centres.npy", "offsets.npy", "rows.npy", "codes.npy", "book.npy"

_SAMPLE = 64
"""Documents a centre that k-means looks at."""
_ROUNDS = 10
_SEED = 1234
_QUERIES = 1_024  # whose nearness to all centres is in memory at a time, in float64
_LIST_CHUNK = 4_096
_CODE_WIDTH = 4  # dimensions a byte of a product code stands for, at least
_BOOK_SIZE = 256
_BOOK_SAMPLE = 40 * _BOOK_SIZE


class Lists(Approximate):
    """IVF: the vectors once more as they are stored, list by list, so that a list is read in one go."""

    is_exact = True

    def __init__(self, facts: dict[str, Any], folder: Path) -> None:
        super().__init__(facts, folder)
        self._centres = np.array(open_array(folder / CENTRES, np.float32, 2))
        self._offsets = np.array(open_array(folder / OFFSETS, np.int64, 1))
        self._rows = open_array(folder / ROWS, np.int32, 1)
        self._codes = open_array(folder / CODES, None, 2)

    @classmethod
    def facts_of(cls, documents: int, dimension: int) -> dict[str, Any]:
        """4·√documents lists, and what k-means is told."""
        lists = max(1, min(documents, int(4 * documents**0.5)))
        facts = {"kind": Ann.IVF, "lists": lists, "rounds": _ROUNDS, "sample": _SAMPLE * lists, "seed": _SEED}
        return {**facts, "faiss": import_faiss().__version__}

    @classmethod
    def build(cls, facts: dict[str, Any], vectors: VectorStore, folder: Path) -> list[str]:
        """k-means on a sample, every document to its nearest centre, codes in the order of the lists."""
        centres = _k_means(vectors.spread(facts["sample"]), facts)
        owner = np.concatenate([_nearest_centre(chunk, centres) for _, chunk in vectors.chunks(CHUNK)])
        rows = np.argsort(owner, kind="stable")
        offsets = np.searchsorted(owner[rows], np.arange(len(centres) + 1)).astype(np.int64)
        write_array(folder / CENTRES, centres)
        write_array(folder / OFFSETS, offsets)
        write_array(folder / ROWS, rows.astype(np.int32))
        more = cls._write_codes(facts, vectors, folder, rows, owner, centres)
        return [CENTRES, OFFSETS, ROWS, CODES, *more]

    @classmethod
    def _write_codes(
        cls, facts: dict[str, Any], vectors: VectorStore, folder: Path, rows: Rows, owner: Rows, centres: Vectors
    ) -> list[str]:
        parts = (vectors.take(part) for part in _cut(rows))
        write_array_parts(folder / CODES, (len(rows), vectors.dimension), vectors.dtype, parts)
        return []

    def breadths(self) -> Sequence[int]:
        """Lists looked into: up to half of them, beyond which the exact search is as fast."""
        return list(doubling(max(1, len(self._centres) // 2)))

    def search(self, wanted: Vectors, depth: int, breadth: int) -> tuple[Rows, Scores]:
        """See `Approximate.search`; less than `depth` where the lists hold less."""
        heap = import_faiss().ResultHeap(len(wanted), depth, keep_max=True)
        owner, lists = self._probed(wanted, breadth)
        order = np.argsort(lists, kind="stable")
        owner, lists = owner[order], lists[order]
        bounds = np.flatnonzero(np.diff(lists, prepend=-1, append=-1))
        for low, high in pairwise(bounds.tolist()):
            queries, one = owner[low:high], int(lists[low])
            for rows, vectors in self._decoded(one):
                heap.add_result_subset(queries, wanted[queries] @ vectors.T, rows)
        heap.finalize()
        return heap.I, np.where(heap.I < 0, -np.inf, heap.D)

    def seen(self, wanted: Vectors, breadth: int) -> Rows:
        """See `Approximate.seen`."""
        _, lists = self._probed(wanted, breadth)
        return np.concatenate([self._rows[self._offsets[i] : self._offsets[i + 1]] for i in lists]).astype(np.int64)

    def _probed(self, wanted: Vectors, breadth: int) -> tuple[Rows, Rows]:
        """(query, list): the `breadth` lists nearest to each query, of those that hold anything.

        Near is a large inner product with the centre, which is about the mean of those with the list's documents.
        """
        full = np.flatnonzero(np.diff(self._offsets))
        centres, breadth = self._centres[full].astype(np.float64), min(breadth, len(full))
        taken = [np.empty((0, breadth), np.int64)]
        for start in range(0, len(wanted), _QUERIES):
            # In double precision, so that which lists are taken does not depend on the batch.
            near = wanted[start : start + _QUERIES].astype(np.float64) @ centres.T
            taken.append(full[np.argpartition(-near, breadth - 1, axis=1)[:, :breadth]])
        return np.repeat(np.arange(len(wanted)), breadth), np.concatenate(taken).ravel()

    def _decoded(self, one: int) -> Iterator[tuple[Rows, Vectors]]:
        """The rows and vectors of a list, a few thousand at a time."""
        for low in range(int(self._offsets[one]), int(self._offsets[one + 1]), _LIST_CHUNK):
            part = slice(low, min(low + _LIST_CHUNK, int(self._offsets[one + 1])))
            yield self._rows[part].astype(np.int64), self._vectors(self._codes[part], one)

    def _vectors(self, codes: npt.NDArray[Any], one: int) -> Vectors:
        if codes.dtype != np.float16:
            return codes.astype(np.float32)
        # One and a half times as fast as NumPy, and on all cores.
        return np.asarray(self._halves.decode(np.ascontiguousarray(codes).view(np.uint8)), np.float32)

    @cached_property
    def _halves(self) -> Any:
        faiss = import_faiss()
        return faiss.ScalarQuantizer(self._centres.shape[1], faiss.ScalarQuantizer.QT_fp16)

    def words(self, breadth: int, depth: int) -> str:
        """What a search of this effort does, for people."""
        scored = f", {depth:,} scored exactly" if self.deepest > 1 else ""
        return f"{self.facts['kind']}, {breadth:,} of {len(self._centres):,} lists{scored}"


class ProductLists(Lists):
    """IVF-PQ: in the lists one byte for four dimensions or more, of what the vector differs from its centre."""

    deepest, is_exact = 32, False

    def __init__(self, facts: dict[str, Any], folder: Path) -> None:
        super().__init__(facts, folder)
        self._quantiser = _quantiser(facts, self._centres.shape[1])
        import_faiss().copy_array_to_vector(
            np.array(open_array(folder / BOOK, np.float32, 1)), self._quantiser.centroids
        )

    @classmethod
    def facts_of(cls, documents: int, dimension: int) -> dict[str, Any]:
        """As for IVF, and the bytes of a code."""
        code_bytes = max(n for n in range(1, dimension + 1) if dimension % n == 0 and n <= max(1, dimension // 4))
        return {**super().facts_of(documents, dimension), "kind": Ann.IVF_PQ, "code_bytes": code_bytes}

    @classmethod
    def _write_codes(
        cls, facts: dict[str, Any], vectors: VectorStore, folder: Path, rows: Rows, owner: Rows, centres: Vectors
    ) -> list[str]:
        quantiser = _quantiser(facts, vectors.dimension)
        sample = np.linspace(0, len(rows), min(_BOOK_SAMPLE, len(rows)), endpoint=False).astype(np.int64)
        residuals = vectors.take(sample) - centres[owner[sample]]
        # FAISS wants as many vectors as the book has entries.
        quantiser.train(np.resize(residuals, (max(len(residuals), _BOOK_SIZE), vectors.dimension)))
        book = import_faiss().vector_to_array(quantiser.centroids)
        write_array(folder / BOOK, book)
        parts = (quantiser.compute_codes(vectors.take(part) - centres[owner[part]]) for part in _cut(rows))
        write_array_parts(folder / CODES, (len(rows), facts["code_bytes"]), np.uint8, parts)
        return [BOOK]

    def _vectors(self, codes: npt.NDArray[Any], one: int) -> Vectors:
        found = self._quantiser.decode(np.ascontiguousarray(codes))
        found += self._centres[one]
        return np.asarray(found, np.float32)


def _cut(rows: Rows) -> Iterator[Rows]:
    return (rows[low : low + CHUNK] for low in range(0, len(rows), CHUNK))


def _k_means(sample: Vectors, facts: dict[str, Any]) -> Vectors:
    faiss = import_faiss()
    run = faiss.Kmeans(
        sample.shape[1],
        facts["lists"],
        niter=facts["rounds"],
        seed=facts["seed"],
        min_points_per_centroid=1,
        max_points_per_centroid=_SAMPLE,
    )
    run.train(sample)
    return np.asarray(run.centroids, np.float32)


def _nearest_centre(vectors: Vectors, centres: Vectors) -> Rows:
    faiss = import_faiss()
    _, found = faiss.knn(vectors, centres, 1, metric=faiss.METRIC_L2)
    return np.asarray(found[:, 0], np.int64)


def _quantiser(facts: dict[str, Any], dimension: int) -> Any:
    found = import_faiss().ProductQuantizer(dimension, facts["code_bytes"], 8)
    found.cp.niter, found.cp.seed, found.cp.min_points_per_centroid = facts["rounds"], facts["seed"], 1
    return found
