"""Reads what other searchers found, at any size: TREC runs, and Parquet with the columns of a run.

A Parquet run has `query_id`, `doc_id`, and `rank`, `score` or both; with a `source` column one file holds several
searchers' rows. It may be a directory of such files, which are read in the order of their names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.layout import existing_file, files_under
from hnmine.files.readers.source import digest_files
from hnmine.files.readers.streams import InputFile
from hnmine.files.readers.trec import read_trec_run
from hnmine.files.tables import chunks
from hnmine.schema import DOC_ID, QUERY_ID

RANK, SCORE, SOURCE = "rank", "score", "source"
CHUNK = 1 << 20
"""Rows that are looked up in a collection at a time: many, since each time the whole corpus' ids are gone through."""
_BATCH = 1 << 16
"""Rows that are Python objects, or decoded, at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRows:
    """Consecutive rows of a run as columns of equal length, with the file and line (row, in Parquet) of each."""

    query_ids: pa.ChunkedArray
    doc_ids: pa.ChunkedArray
    ranks: npt.NDArray[np.int64]
    """-1 where there is none."""
    scores: npt.NDArray[np.float32]
    """NaN where there is none; a row has a rank or a score."""
    sources: pa.ChunkedArray | None
    file: int
    lines: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lines)


class RunFile:
    """A run on disk whose files and columns were looked at; its rows are still unread."""

    def __init__(self, given: str) -> None:
        """Raises `InputError` if there is no such file or directory, or if it has not the columns of a run."""
        file = existing_file(given)
        self.files: tuple[InputFile, ...] = (file,)
        if file.path.is_dir():
            self.files = tuple(part for part in files_under(file.path, given) if part.name.endswith(".parquet"))
            if not self.files:
                raise InputError(f"{given}: no Parquet file in this directory", expected="a run, or parts of one")
        self.name = Path(given).name.split(".")[0]
        self.is_parquet = file.path.is_dir() or _is_parquet(file.path)
        if self.is_parquet:
            columns = {_columns(part) for part in self.files}
            if len(columns) > 1:
                raise InputError(f"{given}: the files of this run have different columns", expected="the same in all")
            self.columns = columns.pop()

    @property
    def has_sources(self) -> bool:
        """Whether its rows say which searcher found them."""
        return self.is_parquet and SOURCE in self.columns

    def fingerprint(self) -> str:
        """SHA-256 (hex) of its bytes."""
        return digest_files(self.files)

    def where(self, file: int, line: int) -> str:
        """A row's place, as messages name it."""
        return f"{self.files[file].shown}:{line}"

    def rows(self, problems: ProblemLog) -> Iterator[RunRows]:
        """All rows in file order, about a million at a time; those that are none go to `problems`."""
        for number, file in enumerate(self.files):
            if self.is_parquet:
                yield from _parquet_rows(file, number, self.columns, problems)
            else:
                yield from _trec_rows(file, number, problems)


def _is_parquet(path: Path) -> bool:
    with open(path, "rb") as stream:
        return stream.read(4) == b"PAR1"


def _columns(file: InputFile) -> frozenset[str]:
    try:
        schema = pq.read_schema(file.path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file.shown}: broken Parquet ({error})", remedy="write the file again") from error
    found = frozenset(schema.names)
    missing = [name for name in (QUERY_ID, DOC_ID) if name not in found]
    if not found & {RANK, SCORE}:
        missing.append(f"{RANK} or {SCORE}")
    if missing:
        raise InputError(
            f"{file.shown}: no column {', '.join(missing)}; there are {', '.join(schema.names)}",
            expected=f"{QUERY_ID}, {DOC_ID}, {RANK} and/or {SCORE}, and {SOURCE} if it holds several searchers' rows",
        )
    return found & {QUERY_ID, DOC_ID, RANK, SCORE, SOURCE}


def _trec_rows(file: InputFile, number: int, problems: ProblemLog) -> Iterator[RunRows]:
    held: list[tuple[pa.Array, pa.Array, npt.NDArray[np.float32], npt.NDArray[np.int64]]] = []

    def together() -> RunRows:
        queries, documents, scores, lines = zip(*held, strict=True)
        return RunRows(
            query_ids=pa.chunked_array(queries, pa.string()),
            doc_ids=pa.chunked_array(documents, pa.string()),
            ranks=np.full(sum(map(len, lines)), -1, np.int64),  # TREC orders by score, whatever the rank says
            scores=np.concatenate(scores),
            sources=None,
            file=number,
            lines=np.concatenate(lines),
        )

    for part in chunks(read_trec_run(file.path, problems), _BATCH):
        ids = (pa.array([getattr(row, name) for row in part], pa.string()) for name in (QUERY_ID, DOC_ID))
        with np.errstate(over="ignore"):
            scores = np.array([row.score for row in part]).astype(np.float32)
        lines = np.array([row.line for row in part], np.int64)
        for place in np.flatnonzero(~np.isfinite(scores)):
            problems.add("score too large", part[place].where, part[place].score)
        held.append((*ids, scores, lines))
        if len(held) * _BATCH >= CHUNK:
            yield together()
            held = []
    if held:
        yield together()


def _parquet_rows(file: InputFile, number: int, columns: frozenset[str], problems: ProblemLog) -> Iterator[RunRows]:
    first = 1
    held: list[pa.Table] = []
    try:
        with pq.ParquetFile(file.path, pre_buffer=False) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH, columns=sorted(columns)):
                held.append(pa.Table.from_batches([batch]))
                if len(held) * _BATCH >= CHUNK:
                    yield _rows_of_table(pa.concat_tables(held), file, number, first, problems)
                    first += sum(map(len, held))
                    held = []
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file.shown}: broken Parquet ({error})", remedy="write the file again") from error
    if held:
        yield _rows_of_table(pa.concat_tables(held), file, number, first, problems)


def _rows_of_table(table: pa.Table, file: InputFile, number: int, first: int, problems: ProblemLog) -> RunRows:
    lines = np.arange(first, first + len(table), dtype=np.int64)

    def report(kind: str, places: npt.NDArray[np.bool_], value: Any = "") -> npt.NDArray[np.bool_]:
        for place in np.flatnonzero(places):
            shown = value[int(place)].as_py() if isinstance(value, pa.ChunkedArray) else value
            problems.add(kind, f"{file.shown}:{lines[place]}", "" if shown is None else shown)
        return places

    texts = {name: _texts(table[name], name, file) for name in (QUERY_ID, DOC_ID, SOURCE) if name in table.schema.names}
    bad = np.zeros(len(table), np.bool_)
    for name, values in texts.items():
        bad |= report(f"missing {name}", _flags(pc.fill_null(pc.equal(values, ""), True)))
    scores = np.full(len(table), np.nan, np.float32)
    has_score = np.zeros(len(table), np.bool_)
    if SCORE in table.schema.names:
        has_score = _flags(table[SCORE].is_valid())
        with np.errstate(over="ignore"):
            scores = _numbers(table[SCORE], pa.float64(), SCORE, file, missing=np.nan).astype(np.float32)
        bad |= report("score not a finite number", has_score & ~np.isfinite(scores), table[SCORE])
    ranks = np.full(len(table), -1, np.int64)
    if RANK in table.schema.names:
        ranks = _numbers(table[RANK], pa.int64(), RANK, file, missing=-1)
        bad |= report("rank below 0", (ranks < 0) & _flags(table[RANK].is_valid()), table[RANK])
    bad |= report("neither rank nor score", ~bad & (ranks < 0) & ~has_score, texts[DOC_ID])
    kept = np.flatnonzero(~bad)
    chosen = {name: values.take(pa.array(kept)) for name, values in texts.items()}
    return RunRows(
        query_ids=chosen[QUERY_ID],
        doc_ids=chosen[DOC_ID],
        ranks=ranks[kept],
        scores=scores[kept],
        sources=chosen.get(SOURCE),
        file=number,
        lines=lines[kept],
    )


def _texts(column: pa.ChunkedArray, name: str, file: InputFile) -> pa.ChunkedArray:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise InputError(f"{file.shown}: column {name} is {column.type}", expected="strings, or whole numbers")
    texts = column.cast(kind).cast(pa.string())
    try:
        for chunk in texts.chunks:
            chunk.validate(full=True)
    except pa.ArrowInvalid as error:
        raise InputError(f"{file.shown}: column {name} is no UTF-8 ({error})", expected="UTF-8") from error
    return texts


def _numbers(
    column: pa.ChunkedArray, kind: pa.DataType, name: str, file: InputFile, *, missing: float
) -> npt.NDArray[Any]:
    numeric = pa.types.is_integer(column.type) or (pa.types.is_floating(column.type) and name == SCORE)
    if not (numeric or pa.types.is_null(column.type)):
        wanted = "numbers" if name == SCORE else "whole numbers"
        raise InputError(f"{file.shown}: column {name} is {column.type}", expected=wanted)
    found: npt.NDArray[Any] = pc.fill_null(column.cast(kind, safe=False), missing).to_numpy()
    return found


def _flags(values: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    return np.asarray(values.to_numpy(), np.bool_)
