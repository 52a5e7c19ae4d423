"""Every document looked at, in fewer bytes: one a dimension (BiDR) or one bit a dimension (BEBR), read as a stream.

For corpora larger than memory: codes are a half or a sixteenth of the vectors as they are stored, and of the vectors
only the best candidates' are read, to score them exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.engines.approximate.base import CHUNK, Approximate, best_first
from hnmine.engines.nearest import import_faiss, nearest
from hnmine.engines.retriever import Rows, Scores
from hnmine.engines.vectors import Vectors, VectorStore, open_array
from hnmine.files.tables import write_array, write_array_parts
from hnmine.options import Ann

CODES, SCALES = "codes.npy", "scales.npy"
_BINARY_CHUNK = 262_144
_ROW_BITS = 40  # of a key: the distance above, the row below


class Int8Codes(Approximate):
    """A signed byte a dimension, all dimensions scaled by their own largest value.

    The bounded scores of Xiao et al. 2022, "Progressively Optimized Bi-Granular Document Representation" (BiDR), with
    a scalar quantiser.
    """

    deepest = 8

    def __init__(self, facts: dict[str, Any], folder: Path) -> None:
        super().__init__(facts, folder)
        self._codes = open_array(folder / CODES, np.int8, 2)
        self._scales = np.array(open_array(folder / SCALES, np.float32, 1))

    @classmethod
    def facts_of(cls, documents: int, dimension: int) -> dict[str, Any]:
        """Nothing but the kind."""
        return {"kind": Ann.INT8}

    @classmethod
    def build(cls, facts: dict[str, Any], vectors: VectorStore, folder: Path) -> list[str]:
        """Two passes over the vectors: scales, codes."""
        largest = np.zeros(vectors.dimension, np.float32)
        for _, chunk in vectors.chunks(CHUNK):
            np.maximum(largest, np.abs(chunk).max(axis=0, initial=0), out=largest)
        scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        write_array(folder / SCALES, scales)
        parts = (np.rint(chunk / scales).astype(np.int8) for _, chunk in vectors.chunks(CHUNK))
        write_array_parts(folder / CODES, (len(vectors), vectors.dimension), np.int8, parts)
        return [CODES, SCALES]

    def breadths(self) -> Sequence[int]:
        """One: all documents."""
        return [len(self._codes)]

    def search(self, wanted: Vectors, depth: int, breadth: int) -> tuple[Rows, Scores]:
        """See `Approximate.search`."""
        return best_first(*nearest(wanted * self._scales, self._chunks(), min(depth, len(self._codes))))

    def _chunks(self) -> Iterator[tuple[Rows, Vectors]]:
        for start in range(0, len(self._codes), CHUNK):
            part = self._codes[start : start + CHUNK].astype(np.float32)
            yield np.arange(start, start + len(part)), part


class BinaryCodes(Approximate):
    """The signs of the dimensions, compared by Hamming distance.

    Gan et al. 2023, "Binary Embedding-based Retrieval at Tencent" (BEBR), without the learned projection.
    """

    deepest = 64

    def __init__(self, facts: dict[str, Any], folder: Path) -> None:
        super().__init__(facts, folder)
        self._codes = open_array(folder / CODES, np.uint8, 2)

    @classmethod
    def facts_of(cls, documents: int, dimension: int) -> dict[str, Any]:
        """Nothing but the kind."""
        return {"kind": Ann.BINARY}

    @classmethod
    def build(cls, facts: dict[str, Any], vectors: VectorStore, folder: Path) -> list[str]:
        """One pass over the vectors."""
        parts = (_signs(chunk) for _, chunk in vectors.chunks(CHUNK))
        write_array_parts(folder / CODES, (len(vectors), -(-vectors.dimension // 8)), np.uint8, parts)
        return [CODES]

    def breadths(self) -> Sequence[int]:
        """One: all documents."""
        return [len(self._codes)]

    def search(self, wanted: Vectors, depth: int, breadth: int) -> tuple[Rows, Scores]:
        """See `Approximate.search`; equal distances by row."""
        faiss = import_faiss()
        depth = min(depth, len(self._codes))
        signs = _signs(wanted)
        best = np.empty((len(wanted), 0), np.int64)
        for start in range(0, len(self._codes), _BINARY_CHUNK):
            part = np.ascontiguousarray(self._codes[start : start + _BINARY_CHUNK])
            distances, found = faiss.knn_hamming(signs, part, min(depth, len(part)))
            keys = (distances.astype(np.int64) << _ROW_BITS) | (found + start)
            best = np.concatenate([best, keys], axis=1)
            if best.shape[1] > depth:
                best = np.partition(best, depth - 1, axis=1)[:, :depth]
        best.sort(axis=1)
        return best & ((1 << _ROW_BITS) - 1), -(best >> _ROW_BITS).astype(np.float32)


def _signs(vectors: Vectors) -> npt.NDArray[np.uint8]:
    return np.packbits(vectors > 0, axis=1)
