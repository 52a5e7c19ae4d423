"""The evidence table on disk: candidates and decisions, read block by block.

Parts hold whole queries, contiguous, in the collection's order; rows of a query are in rank-by order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact
from hnmine.files.collection import rows_in_order
from hnmine.files.tables import read_table
from hnmine.hashing import keyed_hashes
from hnmine.schema import (
    DOC_ID,
    HAS_ANSWER,
    IS_POSITIVE,
    QUERY_ID,
    REASON,
    SOURCES,
    STEP,
    TEXT_KEY,
    VERDICT,
    Scale,
    grade_column,
    rank_column,
    score_column,
)

CODED = (QUERY_ID, VERDICT, REASON, STEP, f"{SOURCES}.list.element")
"""Columns of few different words, written through a dictionary: read as one, they cost a third."""
NEVER_NULL = frozenset({QUERY_ID, DOC_ID, IS_POSITIVE, TEXT_KEY, VERDICT, REASON, STEP})
"""Columns in which every row has a value. That a file says so makes them quicker to write and to read."""
_HASHED = 65_536
"""Ids that are Python strings at a time."""

A = TypeVar("A")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreInfo:
    """One score of the table: name, scale, and what made it (`bm25`, `dense`, `sparse`, `late`, `run`, `reranker`,
    `imported`)."""

    name: str
    scale: Scale
    origin: str
    until: Mapping[str, Any] = field(default_factory=dict)
    """Of a partial score: what `score --until` recorded of the rules that needed no more rows."""

    @property
    def is_partial(self) -> bool:
        """Whether rows have no such score because certain rules did not need it."""
        return bool(self.until)

    def to_plan(self) -> dict[str, Any]:
        """As JSON values, for the plan."""
        plain: dict[str, Any] = {"name": self.name, "scale": str(self.scale), "origin": self.origin}
        return {**plain, "until": dict(self.until)} if self.is_partial else plain


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeInfo:
    """One judge of the table, whose grades are in `grade_NAME`: name, model, and digest of its prompt."""

    name: str
    model: str
    prompt: str

    def to_plan(self) -> dict[str, Any]:
        """As JSON values, for the plan."""
        return {"name": self.name, "model": self.model, "prompt": self.prompt}


PICKED = "picked"
"""Where decisions have the positives and the negatives once more, without the other rows: what an export reads.

Queries that a rule dropped as a whole have none there.
"""


class CandidatesTable:
    """A finished candidates or decisions artefact, seen as a list of queries, each with its rows.

    `adding` is a score that is still to be made: the table is shown as if it had it, with a value for no row.
    `picked_of` are the queries of decisions, of whose rows only those are shown that were picked.
    """

    def __init__(
        self, artefact: Artefact, *, adding: ScoreInfo | None = None, picked_of: pa.StringArray | None = None
    ) -> None:
        self.artefact = artefact
        self.scores = [
            ScoreInfo(name=s["name"], scale=Scale(s["scale"]), origin=s["origin"], until=s.get("until", {}))
            for s in artefact.plan["scores"]
        ]
        self.judges = [JudgeInfo(**judge) for judge in artefact.plan.get("judges", [])]
        """In the order in which they were asked; where two have a grade, the later one's counts (`grades`)."""
        self._adding = adding
        if adding is not None:
            self.scores.append(adding)
        self._parts = artefact.files() if picked_of is None else artefact.files(f"{PICKED}/")
        self._groups = _RowGroups(self._parts)
        ids: list[pa.Array] = []
        places: list[npt.NDArray[np.int64]] = []
        for index, path in enumerate(self._parts):
            # As a dictionary: whole numbers tell sooner than strings where a query begins.
            file = pq.ParquetFile(path, read_dictionary=[QUERY_ID])
            column = file.read([QUERY_ID])[QUERY_ID].unify_dictionaries().combine_chunks()
            offsets = query_offsets(column)
            if len(offsets) > 1:
                ids.append(column.take(pa.array(offsets[:-1])).cast(pa.string()))
                places.append(np.stack([np.full(len(offsets) - 1, index), offsets[:-1], offsets[1:]], axis=1))
        self.query_ids: pa.StringArray = pa.concat_arrays(ids) if ids else pa.array([], pa.string())
        self._places = np.concatenate(places) if places else np.empty((0, 3), np.int64)
        if picked_of is not None:
            found, self._places = self._places, np.zeros((len(picked_of), 3), np.int64)
            self._places[rows_in_order(pa.chunked_array([picked_of]), self.query_ids)] = found
            self.query_ids = picked_of

    @cached_property
    def picked(self) -> CandidatesTable:
        """The same queries with the rows alone that were picked; all rows of decisions that keep them nowhere apart."""
        if not self.artefact.files(f"{PICKED}/"):
            return self
        return CandidatesTable(self.artefact, picked_of=self.query_ids)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(CandidatesTable, adding=self._adding), (self.artefact,)  # another process opens the files itself

    def judges_to_plan(self, *more: JudgeInfo) -> dict[str, Any]:
        """The judges, and those that a stage adds, as an entry of its plan; no entry if there are none."""
        judges = [judge.to_plan() for judge in [*self.judges, *more]]
        return {"judges": judges} if judges else {}

    def score(self, name: str) -> ScoreInfo | None:
        """The score called `name`, if the table has one."""
        return next((score for score in self.scores if score.name == name), None)

    @property
    def column_names(self) -> list[str]:
        """The columns of the table, in order."""
        own = list(pq.read_schema(self._parts[0]).names)
        return own if self._adding is None else [*own, score_column(self._adding.name)]

    def has_values(self, column: str) -> bool:
        """Whether any row has a value in the column."""
        return any(read_table([path], [column])[column].null_count < self.artefact.rows(path) for path in self._parts)

    @property
    def null_scores(self) -> dict[str, int]:
        """How many rows have no score, by score name."""
        own = dict(self.artefact.counts["null_scores"])
        return own if self._adding is None else {**own, self._adding.name: self.artefact.counts["candidates"]}

    def sample(self, limit: int | None, seed: int) -> npt.NDArray[np.int64]:
        """The positions of the queries that a keyed sample keeps; all of them without a limit."""
        return np.flatnonzero(keyed_sample(self.query_ids, limit, seed))

    def size(self, queries: npt.NDArray[np.int64]) -> int:
        """How many rows the given queries have."""
        chosen = self._places[queries]
        return int((chosen[:, 2] - chosen[:, 1]).sum())

    def offsets(self, queries: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where the rows of each of the queries begin in `read(queries)`, and where the last ends."""
        chosen = self._places[queries]
        return np.concatenate([[0], np.cumsum(chosen[:, 2] - chosen[:, 1])]).astype(np.int64)

    def pieces(self, queries: npt.NDArray[np.int64], rows: int) -> Iterator[npt.NDArray[np.int64]]:
        """The queries a few at a time, `rows` rows together or a little more; one empty piece if there are none."""
        offsets = self.offsets(queries)
        first = 0
        while first < len(queries) or first == 0:
            last = int(np.searchsorted(offsets[1:], offsets[first] + rows)) + 1
            yield queries[first:last]
            first = last

    def read(
        self, queries: npt.NDArray[np.int64], columns: Sequence[str] | None = None, *, coded: bool = False
    ) -> pa.Table:
        """All rows of the queries at the given (ascending) positions, in order; all columns unless some are named.

        `coded` leaves words of which few are different (`CODED`) as dictionaries, each the same in all chunks.
        """
        pieces = [
            piece
            for part, start, stop in _runs(self._places[queries])
            for piece in self._groups.read(part, start, stop, columns, coded=coded)
        ]
        if not pieces:
            table = _open(self._parts[0], coded=coded).schema_arrow.empty_table()
            table = table if columns is None else table.select([n for n in columns if n in table.column_names])
        else:
            table = pa.concat_tables(pieces, promote_options="default")
            table = table.unify_dictionaries() if coded else table
            table = table if len(pieces) <= 2 else table.combine_chunks()  # a copy that two pieces are not worth
        if self._adding is None or (columns is not None and score_column(self._adding.name) not in columns):
            return table
        return table.append_column(score_column(self._adding.name), pa.nulls(table.num_rows, pa.float32()))


class _RowGroups:
    """Rows of Parquet files by number, read a row group at a time; the last one is held, for readers that go on."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._open: tuple[tuple[int, bool], pq.ParquetFile, npt.NDArray[np.int64]] | None = None
        self._held: tuple[tuple[int, int, bool, tuple[str, ...] | None], pa.Table] | None = None

    def read(
        self, part: int, start: int, stop: int, columns: Sequence[str] | None, *, coded: bool
    ) -> Iterator[pa.Table]:
        """Rows `start` to `stop` (exclusive) of a file, in tables that follow on each other."""
        if self._open is None or self._open[0] != (part, coded):
            file = _open(self._paths[part], coded=coded)
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            self._open = ((part, coded), file, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64))
        _, file, starts = self._open
        first = int(np.searchsorted(starts, start, side="right")) - 1
        for group in range(first, int(np.searchsorted(starts, stop))):
            key = (part, group, coded, None if columns is None else tuple(columns))
            if self._held is None or self._held[0] != key:
                self._held = (key, file.read_row_group(group, columns=columns, use_threads=False))
            whole = self._held[1]
            low = max(start - int(starts[group]), 0)
            rows = whole.slice(low, stop - int(starts[group]) - low)
            # A few rows are copied: a slice would hold on to the whole group, and a sample reads from many.
            yield rows if 4 * rows.num_rows > whole.num_rows else rows.take(pa.array(np.arange(rows.num_rows)))


def _open(path: Path, *, coded: bool) -> pq.ParquetFile:
    metadata = pq.read_metadata(path)
    paths = {metadata.schema.column(i).path for i in range(metadata.num_columns)}
    return pq.ParquetFile(path, metadata=metadata, read_dictionary=[name for name in CODED if coded and name in paths])


def _runs(places: npt.NDArray[np.int64]) -> list[list[int]]:
    """Places (part, start, stop) of queries, those that follow on each other in one; without those of no rows."""
    places = places[places[:, 2] > places[:, 1]]
    if not len(places):
        return []
    follows = (places[1:, 0] == places[:-1, 0]) & (places[1:, 1] == places[:-1, 2])
    first = np.concatenate([[True], ~follows])
    last = np.concatenate([~follows, [True]])
    runs: list[list[int]] = np.concatenate([places[first, :2], places[last, 2:]], axis=1).tolist()
    return runs


def as_written(table: pa.Table) -> pa.Table:
    """Rows of candidates or decisions with a schema that says which columns have no nulls."""
    return table.cast(pa.schema([field.with_nullable(field.name not in NEVER_NULL) for field in table.schema]))


def query_offsets(column: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.int64]:
    """Where each query's rows begin in a column of contiguous query ids, and where the last ends."""
    ids = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    ids = ids.indices if pa.types.is_dictionary(ids.type) else ids
    if not len(ids):
        return np.zeros(1, np.int64)
    is_new = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(is_new) + 1, [len(ids)]]).astype(np.int64)


def among(column: pa.ChunkedArray, *words: str) -> npt.NDArray[np.bool_]:
    """Which rows of a column of words, coded or not, have one of the given words."""
    array = column.combine_chunks()
    array = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    wanted: npt.NDArray[np.bool_] = np.array([word in words for word in array.dictionary.to_pylist()], np.bool_)
    return np.asarray(wanted[array.indices.to_numpy()], np.bool_)


class Sources:
    """The column that says of each row which sources brought it."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._lists = column.combine_chunks()
        names = self._lists.flatten()
        names = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
        self._codes = names.indices.to_numpy()
        self._known = {name: code for code, name in enumerate(names.dictionary.to_pylist())}

    def name(self, source: str) -> npt.NDArray[np.bool_]:
        """Which rows name `source` among their sources."""
        found: npt.NDArray[np.bool_] = np.zeros(len(self._lists), np.bool_)
        if source in self._known:
            rows = pc.list_parent_indices(self._lists).to_numpy()
            found[rows[self._codes == self._known[source]]] = True
        return found

    def are(self, source: str) -> npt.NDArray[np.bool_]:
        """Which rows have `source` for their only one."""
        if source not in self._known:
            return self.name(source)
        return np.asarray(self.name(source) & (pc.list_value_length(self._lists).to_numpy() == 1), np.bool_)


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


def grades(table: pa.Table, judges: Sequence[JudgeInfo]) -> npt.NDArray[np.int64]:
    """What the judges say of each row, 0 to 3, the last one that has a say; -1 where none has."""
    found: npt.NDArray[np.int64] = np.full(table.num_rows, -1, np.int64)
    for judge in judges:
        own = np.asarray(table[grade_column(judge.name)].fill_null(-1).to_numpy(), np.int64)
        found = np.where(own >= 0, own, found)
    return found


class ByName(Mapping[str, A]):
    """Columns by name, each made into an array when it is first asked for."""

    def __init__(self, names: Iterable[str], make: Callable[[str], A]) -> None:
        self._made: dict[str, A | None] = dict.fromkeys(names)
        self._make = make

    def __getitem__(self, name: str) -> A:
        found = self._made[name]
        if found is None:
            self._made[name] = found = self._make(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)


def similarities(table: pa.Table, prefix: str) -> ByName[npt.NDArray[np.float64]]:
    """The columns of a prefix such as `sim_positive_` by the names behind it, as float64 with NaN for null."""
    return ByName(
        names_of(table, prefix),
        lambda name: np.asarray(table[prefix + name].to_numpy(zero_copy_only=False), np.float64),
    )


def whole_numbers(table: pa.Table, prefix: str) -> ByName[npt.NDArray[np.int64]]:
    """The columns of a prefix such as `cluster_` by the names behind it, as int64 with 0 for null."""
    return ByName(
        names_of(table, prefix), lambda name: np.asarray(table[prefix + name].fill_null(0).to_numpy(), np.int64)
    )


def has_answer(table: pa.Table) -> npt.NDArray[np.bool_] | None:
    """Which rows contain an answer to their query, null as no; None if the table does not say of any row."""
    if HAS_ANSWER not in table.column_names or table[HAS_ANSWER].null_count == len(table):
        return None
    return np.asarray(table[HAS_ANSWER].fill_null(False).to_numpy(), np.bool_)


def names_of(table: pa.Table, prefix: str) -> list[str]:
    """The names behind a table's columns of a prefix such as `rank_`, in the table's order."""
    return [column.removeprefix(prefix) for column in table.column_names if column.startswith(prefix)]


def nullable_floats(values: npt.NDArray[np.floating[Any]]) -> pa.Array:
    """A float32 column in which NaN is null."""
    return pa.array(values.astype(np.float32), pa.float32(), mask=~np.isfinite(values))


def keyed_sample(ids: pa.Array | pa.ChunkedArray, limit: int | None, seed: int) -> npt.NDArray[np.bool_]:
    """Which ids a keyed sample of `limit` keeps: those with the smallest hashes of (seed, id). All if None."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: at least 1")
    keep = np.ones(len(ids), np.bool_)
    if limit is not None and limit < len(ids):
        draws = keyed_draws(ids, seed, "limit")
        keep[:] = False
        keep[np.argsort(draws, kind="stable")[:limit]] = True
    return keep


def keyed_draws(ids: pa.Array | pa.ChunkedArray, seed: int, *parts: str) -> npt.NDArray[np.uint64]:
    """The keyed hash of (seed, parts, id) for each id."""
    pieces = (ids.slice(low, _HASHED).to_pylist() for low in range(0, len(ids), _HASHED))
    return np.concatenate(
        [np.empty(0, np.uint64), *(np.array(keyed_hashes(seed, *parts, last=piece), np.uint64) for piece in pieces)]
    )
