"""Vectors on disk: memory-mapped shards addressed by row, and ready-made vectors that a user brings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hnmine.errors import FIRST_PROBLEMS, ArtefactError, InputError
from hnmine.files.remote import fetch
from hnmine.schema import Scale

if TYPE_CHECKING:
    import pyarrow as pa

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

ID_COLUMNS = ("_id", "id", "doc_id", "query_id")
VECTOR_COLUMNS = ("vector", "embedding", "embeddings")
_CHECKED_ROWS = 65_536
_UNIT_TOLERANCE = 1e-3


class VectorStore:
    """The rows of several `.npy` shards (fp16 or fp32) as one table, read as float32, never held in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Raises `ArtefactError` if a shard is missing, unreadable, or of another shape than the first."""
        if not paths:
            raise ArtefactError("a dense index without vectors", expected="at least one .npy shard")
        fetch(paths)
        self._shards = [open_shard(path) for path in paths]
        self.dimension = int(self._shards[0].shape[1])
        for path, shard in zip(paths, self._shards, strict=True):
            if shard.shape[1] != self.dimension:
                raise ArtefactError(
                    f"{path}: vectors of {shard.shape[1]} dimensions", expected=f"{self.dimension}, as in {paths[0]}"
                )
        self._starts = np.cumsum([0, *(len(shard) for shard in self._shards)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 if any shard is, else float16: what holds every value as it is."""
        return np.result_type(*self._shards)

    def take(self, rows: Rows) -> Vectors:
        """The vectors of `rows` (any order, repeats allowed) as float32 [len(rows), dimension]."""
        if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= len(self)):
            raise IndexError(f"row out of range for {len(self)} vectors")
        out = np.empty((len(rows), self.dimension), np.float32)
        order = np.argsort(rows, kind="stable")  # ascending rows touch each page of the map once
        ascending = rows[order]
        bounds = np.searchsorted(ascending, self._starts)
        for shard, start, low, high in zip(self._shards, self._starts, bounds, bounds[1:], strict=False):
            if high > low:
                out[order[low:high]] = shard[ascending[low:high] - start]
        return out

    def read(self, start: int, stop: int, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        """The contiguous rows start..stop, as float32 unless another dtype is asked for."""
        out = np.empty((stop - start, self.dimension), dtype)
        for shard, first in zip(self._shards, self._starts, strict=False):
            low, high = max(start, int(first)), min(stop, int(first) + len(shard))
            if high > low:
                out[low - start : high - start] = shard[low - int(first) : high - int(first)]
        return out

    def chunks(self, size: int, dtype: npt.DTypeLike = np.float32) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """(first row, vectors) of consecutive chunks of at most `size` rows; shards do not limit a chunk."""
        for start in range(0, len(self), size):
            yield start, self.read(start, min(start + size, len(self)), dtype)

    def spread(self, count: int) -> Vectors:
        """At most `count` vectors, evenly spaced over the rows, as float32."""
        return self.take(np.linspace(0, len(self), min(count, len(self)), endpoint=False).astype(np.int64))


def open_shard(path: Path) -> npt.NDArray[Any]:
    """One memory-mapped `.npy` file: rows of float16 or float32; raises `ArtefactError` for anything else."""
    array = open_array(path, None, 2)
    if array.dtype not in (np.float16, np.float32):
        raise ArtefactError(f"{path}: {array.dtype} of shape {array.shape}", expected="rows of float16 or float32")
    return array


def open_array(path: Path, dtype: npt.DTypeLike | None, axes: int) -> npt.NDArray[Any]:
    """One memory-mapped `.npy` file of the given dtype (None: any) and number of axes; else `ArtefactError`."""
    try:
        array = _load_npy(path)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path}: not a readable .npy file: {error}") from error
    if array.ndim != axes or (dtype is not None and array.dtype != dtype):
        wanted = f"{axes} axes" if dtype is None else f"{axes} axes of {np.dtype(dtype)}"
        raise ArtefactError(f"{path}: {array.dtype} of shape {array.shape}", expected=wanted)
    return array


def _load_npy(path: Path) -> npt.NDArray[Any]:
    with open(path, "rb") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, in_columns, dtype = read(stream)
        start = stream.tell()
    if 0 in shape or in_columns or dtype.hasobject:  # the operating system refuses to map an empty file
        loaded: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        return loaded
    from hnmine.files.tables import mapped

    return np.frombuffer(mapped(path), dtype, math.prod(shape), start).reshape(shape)


def normalise_rows(vectors: Vectors) -> Vectors:
    """Each row divided by its length, in float32; a row of zeros stays zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    norms[norms == 0] = 1
    return np.asarray(vectors / norms[:, None], np.float32)


def open_vectors(path: Path, ids: pa.ChunkedArray | None) -> npt.NDArray[Any]:
    """Ready-made vectors in the order of `ids`: floats [len(ids), dimension], checked to be finite.

    `.npy`: row order is the collection's order and the count must match; memory-mapped, in its own dtype. `.parquet`:
    a text column (`_id`, `id`, `doc_id` or `query_id`) matched by id and a list column (`vector`, `embedding` or
    `embeddings`); float32, in memory; without `ids` in the file's order. Raises `InputError`, naming the row or the
    first ten ids, for a wrong count, missing, unknown or repeated ids, uneven dimensions, values that are not finite.
    """
    readers = {".npy": _read_npy_vectors, ".parquet": _read_parquet_vectors}
    if path.suffix not in readers:
        raise InputError(f"{path}: unknown kind of vectors file", expected=" or ".join(readers))
    vectors = readers[path.suffix](path, ids)
    if vectors.ndim != 2 or vectors.shape[1] == 0 or vectors.dtype.kind != "f":
        raise InputError(f"{path}: {vectors.dtype} of shape {vectors.shape}", expected="one row of floats per text")
    for start in range(0, len(vectors), _CHECKED_ROWS):
        bad = ~np.isfinite(vectors[start : start + _CHECKED_ROWS]).all(axis=1)
        if bad.any():
            row = start + int(bad.argmax())
            label = f" (id {ids[row].as_py()!r})" if ids is not None else ""
            raise InputError(f"{path}: row {row}{label} has values that are not finite", expected="finite floats")
    return vectors


def _read_npy_vectors(path: Path, ids: pa.ChunkedArray | None) -> npt.NDArray[Any]:
    try:
        vectors = _load_npy(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable .npy file: {error}") from error
    if ids is not None and (vectors.ndim == 0 or len(vectors) != len(ids)):
        raise InputError(
            f"{path}: shape {vectors.shape}",
            expected=f"{len(ids):,} rows, in the order of the collection",
            remedy="a .parquet file with an id column, which is matched by id",
        )
    return vectors


def _read_parquet_vectors(path: Path, ids: pa.ChunkedArray | None) -> npt.NDArray[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: not a readable Parquet file: {error}") from error
    with file:
        columns = file.schema_arrow.names
        id_column = _only_column(path, columns, ID_COLUMNS)
        vector_column = _only_column(path, columns, VECTOR_COLUMNS)
        place: dict[str, int] | None = None
        total = file.metadata.num_rows if ids is None else len(ids)
        out: Vectors | None = None
        seen = np.zeros(total, np.bool_)
        unknown, repeated = [], []
        position = 0
        for batch in file.iter_batches(columns=[id_column, vector_column]):
            block = _vectors_of(path, position, batch.column(vector_column))
            if out is None:
                out = np.empty((total, block.shape[1]), np.float32)
            if len(block) and block.shape[1] != out.shape[1]:
                raise InputError(
                    f"{path}: row {position} has {block.shape[1]} dimensions", expected=f"{out.shape[1]}, as above it"
                )
            keys = batch.column(id_column).cast(pa.string())
            is_in_order = ids is None or ids.slice(position, len(keys)).equals(pa.chunked_array([keys]))
            if not is_in_order and place is None and ids is not None:
                place = {key: row for row, key in enumerate(ids.to_pylist())}
            for index, key in enumerate(keys.to_pylist()):
                row = position + index if is_in_order or place is None else place.get(key, -1)
                if row < 0:
                    unknown.append(key)
                elif seen[row]:
                    repeated.append(key)
                else:
                    seen[row] = True
                    out[row] = block[index]
            position += len(block)
    problems = [("unknown ids", unknown), ("repeated ids", repeated)]
    if ids is not None:
        problems.append(("ids without a vector", [ids[int(row)].as_py() for row in np.flatnonzero(~seen)]))
    lines = [
        f"{len(keys):,} {kind}: {', '.join(map(repr, keys[:FIRST_PROBLEMS]))}"
        + (", ..." if len(keys) > FIRST_PROBLEMS else "")
        for kind, keys in problems
        if keys
    ]
    if lines:
        raise InputError(f"{path}: the vectors do not match the collection\n" + "\n".join(lines))
    return np.empty((0, 0), np.float32) if out is None else out


def _only_column(path: Path, columns: Sequence[str], known: Sequence[str]) -> str:
    found = [name for name in known if name in columns]
    if len(found) != 1:
        raise InputError(
            f"{path}: columns {', '.join(columns)}", expected=f"exactly one column called {', '.join(known)}"
        )
    return found[0]


def _vectors_of(path: Path, position: int, column: Any) -> Vectors:
    import pyarrow.compute as pc

    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), -1))
    if not len(lengths):
        return np.empty((0, 0), np.float32)
    uneven = np.flatnonzero((lengths != lengths[0]) | (lengths <= 0))
    if len(uneven):
        row = int(uneven[0])
        found = "no vector" if lengths[row] <= 0 else f"{lengths[row]} dimensions"
        raise InputError(f"{path}: row {position + row} has {found}", expected="the same dimension in every row")
    flat = pc.fill_null(pc.list_flatten(column).cast("float32"), float("nan"))
    return np.asarray(flat, np.float32).reshape(len(lengths), -1)


def scale_of(vectors: npt.NDArray[Any]) -> Scale:
    """`cosine` if every vector's length is within 1e-3 of 1, else `dot`."""
    for start in range(0, len(vectors), _CHECKED_ROWS):
        part = np.asarray(vectors[start : start + _CHECKED_ROWS], np.float64)
        if (np.abs(np.linalg.norm(part, axis=1) - 1) > _UNIT_TOLERANCE).any():
            return Scale.DOT
    return Scale.COSINE
