"""The evidence table on disk: candidates and decisions, read block by block.

Parts hold whole queries, contiguous, in the collection's order; rows of a query are in rank-by order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact
from hnmine.files.tables import read_table
from hnmine.hashing import keyed_hash
from hnmine.schema import HAS_ANSWER, QUERY_ID, Scale, rank_column, score_column


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreInfo:
    """One score of the table: its name, scale, and what made it (`bm25`, `dense`, `sparse`, `run`, `reranker`)."""

    name: str
    scale: Scale
    origin: str

    def to_plan(self) -> dict[str, str]:
        """As JSON values, for the plan."""
        return {"name": self.name, "scale": str(self.scale), "origin": self.origin}


class CandidatesTable:
    """A finished candidates or decisions artefact, seen as a list of queries, each with its rows."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self.scores = [
            ScoreInfo(name=s["name"], scale=Scale(s["scale"]), origin=s["origin"]) for s in artefact.plan["scores"]
        ]
        self._parts = artefact.files()
        self._held: tuple[int, pa.Table] | None = None
        ids: list[str] = []
        places: list[npt.NDArray[np.int64]] = []
        for index, path in enumerate(self._parts):
            column = read_table([path], [QUERY_ID])[QUERY_ID]
            offsets = query_offsets(column)
            if len(offsets) > 1:
                ids += column.take(pa.array(offsets[:-1])).to_pylist()
                places.append(np.stack([np.full(len(offsets) - 1, index), offsets[:-1], offsets[1:]], axis=1))
        self.query_ids = ids
        self._places = np.concatenate(places) if places else np.empty((0, 3), np.int64)

    def score(self, name: str) -> ScoreInfo | None:
        """The score called `name`, if the table has one."""
        return next((score for score in self.scores if score.name == name), None)

    @property
    def column_names(self) -> list[str]:
        """The columns of the table, in order."""
        return list(pq.read_schema(self._parts[0]).names)

    def has_values(self, column: str) -> bool:
        """Whether any row has a value in the column."""
        return any(read_table([path], [column])[column].null_count < self.artefact.rows(path) for path in self._parts)

    @property
    def null_scores(self) -> dict[str, int]:
        """How many rows have no score, by score name."""
        return dict(self.artefact.counts["null_scores"])

    def sample(self, limit: int | None, seed: int) -> npt.NDArray[np.int64]:
        """The positions of the queries that a keyed sample keeps; all of them without a limit."""
        return np.flatnonzero(keyed_sample(self.query_ids, limit, seed))

    def size(self, queries: npt.NDArray[np.int64]) -> int:
        """How many rows the given queries have."""
        chosen = self._places[queries]
        return int((chosen[:, 2] - chosen[:, 1]).sum())

    def read(self, queries: npt.NDArray[np.int64]) -> pa.Table:
        """All rows of the queries at the given (ascending) positions, in order."""
        pieces = []
        for part, start, stop in self._places[queries].tolist():
            if self._held is None or self._held[0] != part:
                self._held = (part, read_table([self._parts[part]]))
            pieces.append(self._held[1].slice(start, stop - start))
        if not pieces:
            return read_table(self._parts[:1]).slice(0, 0)
        return pa.concat_tables(pieces).combine_chunks()


def query_offsets(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Where each query's rows begin in a column of contiguous query ids, and where the last ends."""
    codes = column.combine_chunks().dictionary_encode().indices.to_numpy() if len(column) else np.empty(0, np.int64)
    if not len(codes):
        return np.zeros(1, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    return np.concatenate([starts, [len(codes)]]).astype(np.int64)


def floats(table: pa.Table, name: str) -> npt.NDArray[np.float64]:
    """A score column as float64 with NaN for null."""
    values = table[score_column(name)].to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64)


def ranks(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """A rank column as int64 with 0 for null; all 0 if the table has no such rank."""
    column = rank_column(name)
    if column not in table.column_names:
        return np.zeros(table.num_rows, np.int64)
    return np.asarray(table[column].fill_null(0).to_numpy(), np.int64)


def similarities(table: pa.Table, prefix: str) -> dict[str, npt.NDArray[np.float64]]:
    """The columns of a prefix such as `sim_positive_` by the names behind it, as float64 with NaN for null."""
    return {
        name: np.asarray(table[prefix + name].to_numpy(zero_copy_only=False), np.float64)
        for name in names_of(table, prefix)
    }


def whole_numbers(table: pa.Table, prefix: str) -> dict[str, npt.NDArray[np.int64]]:
    """The columns of a prefix such as `cluster_` by the names behind it, as int64 with 0 for null."""
    return {
        name: np.asarray(table[prefix + name].fill_null(0).to_numpy(), np.int64) for name in names_of(table, prefix)
    }


def has_answer(table: pa.Table) -> npt.NDArray[np.bool_] | None:
    """Which rows contain an answer to their query, null as no; None if the table does not say."""
    if HAS_ANSWER not in table.column_names:
        return None
    return np.asarray(table[HAS_ANSWER].fill_null(False).to_numpy(), np.bool_)


def names_of(table: pa.Table, prefix: str) -> list[str]:
    """The names behind a table's columns of a prefix such as `rank_`, in the table's order."""
    return [column.removeprefix(prefix) for column in table.column_names if column.startswith(prefix)]


def nullable_floats(values: npt.NDArray[np.floating[Any]]) -> pa.Array:
    """A float32 column in which NaN is null."""
    return pa.array(values.astype(np.float32), pa.float32(), mask=~np.isfinite(values))


def keyed_sample(ids: list[str], limit: int | None, seed: int) -> npt.NDArray[np.bool_]:
    """Which ids a keyed sample of `limit` keeps: those with the smallest hashes of (seed, id). All if None."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: at least 1")
    keep = np.ones(len(ids), np.bool_)
    if limit is not None and limit < len(ids):
        draws = np.fromiter((keyed_hash(seed, "limit", i) for i in ids), np.uint64, len(ids))
        keep[:] = False
        keep[np.argsort(draws, kind="stable")[:limit]] = True
    return keep
