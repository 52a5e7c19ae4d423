"""Parquet parts (zstd) and memory-mapped text rows: equal tables give equal bytes."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hnmine.files.atomic import replacing
from hnmine.files.remote import fetch
from hnmine.schema import DOC_ID, QUERY_ID, TEXT_KEY

ROW_GROUP = 65_536
"""Rows a row group: also the step in which parts are read back."""
TEXT_ROWS = 1 << 18
"""Rows a row group of a training file, whose texts are written once in it."""
BATCH, BATCH_OF_SHORT = 1_024, 32_768
"""Values encoded at a time. A page ends between two batches only: long texts in a large one would make a huge page.
Short values, and above all the statistics of ids, take less time the more there are in one.
"""
DICTIONARY_BYTES = 1 << 26
"""How large a dictionary may be: long texts that come again in a row group, too, are written once."""


def part_name(index: int, table: str = "", suffix: str = ".parquet") -> str:
    """The relative name of a part: `part-00000.parquet`, or `documents/part-00000.parquet` in a table."""
    name = f"part-{index:05d}{suffix}"
    return f"{table}/{name}" if table else name


class TableWriter:
    """Writes one Parquet file, table after table of equal schemas; `rows` counts what was written."""

    def __init__(self, path: Path, *, as_strings: bool, row_group: int, short: bool) -> None:
        self._path = path
        self._as_strings = as_strings
        self._row_group = row_group
        self._short = short
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        """Append the rows, as row groups of their own."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path,
                table.schema,
                compression={name: codec(name, kind, short=self._short) for name, kind in leaves(table.schema)},
                use_dictionary=repeating_columns(table.schema),
                dictionary_pagesize_limit=DICTIONARY_BYTES,
                store_schema=not self._as_strings,
                write_batch_size=BATCH_OF_SHORT if self._short else BATCH,
                write_statistics=[QUERY_ID],  # those of other columns, which are in no order, let no reader skip a row
            )
        for start in range(0, max(table.num_rows, 1), self._row_group):
            rows = table.slice(start, self._row_group)
            self._writer.write_table(rows if rows.num_rows == table.num_rows else trimmed(rows))
        self.rows += table.num_rows

    def close(self) -> None:
        """Write the footer."""
        if self._writer is not None:
            self._writer.close()


@contextmanager
def writing(
    path: Path, *, as_strings: bool = False, row_group: int | None = None, short: bool = False
) -> Iterator[TableWriter]:
    """A writer of one Parquet file that appears, all or nothing, at the end.

    With `as_strings`, dictionary columns are strings to whoever reads the file. A row group has at most `row_group`
    rows, `ROW_GROUP` if nobody says. `short` says that no value is a text: that makes writing quicker.
    """
    with replacing(path) as pending:
        writer = TableWriter(pending, as_strings=as_strings, row_group=row_group or ROW_GROUP, short=short)
        try:
            yield writer
        finally:
            writer.close()


def write_table(
    path: Path, table: pa.Table, *, as_strings: bool = False, row_group: int | None = None, short: bool = False
) -> int:
    """Write one Parquet file, all or nothing; returns its row count. The options are those of `writing`."""
    with writing(path, as_strings=as_strings, row_group=row_group, short=short) as writer:
        writer.write(table)
    return int(table.num_rows)


def trimmed(table: pa.Table) -> pa.Table:
    """The table with those words alone in the dictionaries of its columns that its rows have: a file holds all that is
    in one. Dictionaries within lists stay as they are.
    """
    return pa.table([_trimmed(flat(column)) for column in table.columns], schema=table.schema)


def _trimmed(column: pa.Array) -> pa.Array:
    if not pa.types.is_dictionary(column.type):
        return column
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    codes = column.indices.fill_null(0).to_numpy()
    is_used = np.zeros(len(column.dictionary), np.bool_)
    is_used[codes[~is_null]] = True
    if is_used.all():
        return column
    place = np.cumsum(is_used) - 1
    kept = pa.array(place[codes], column.type.index_type, mask=is_null)
    return pa.DictionaryArray.from_arrays(kept, column.dictionary.filter(is_used))


def leaves(schema: pa.Schema) -> Iterator[tuple[str, pa.DataType]]:
    """The columns of a Parquet file of this schema, as it calls them, and what their values are."""
    for column in schema:
        name, values = column.name, column.type
        while pa.types.is_list(values) or pa.types.is_large_list(values):
            name, values = f"{name}.list.element", values.value_type
        yield name, values.value_type if pa.types.is_dictionary(values) else values


def repeating_columns(schema: pa.Schema) -> list[str]:
    """The Parquet columns that are written through a dictionary: strings and lists of strings, but no document ids.

    Trying one on scores, keys and ids, which hardly repeat within a row group, is half the time of writing and makes
    larger files.
    """
    return [
        name
        for name, values in leaves(schema)
        if (pa.types.is_string(values) or pa.types.is_large_string(values)) and name != DOC_ID
    ]


def codec(name: str, values: pa.DataType, *, short: bool = False) -> str:
    """How a column is compressed: scores and keys, of which zstd saves a tenth in twice the time, not at all.

    Of tables without texts the other numbers (ranks, grades), too, are better written quickly.
    """
    if pa.types.is_floating(values) or name == TEXT_KEY:
        return "none"
    return "snappy" if short and (pa.types.is_integer(values) or pa.types.is_boolean(values)) else "zstd"


def write_array(path: Path, array: npt.NDArray[Any]) -> int:
    """Write one `.npy` file, all or nothing; returns the length of its first axis."""
    with replacing(path) as pending, open(pending, "wb") as stream:
        np.save(stream, array, allow_pickle=False)
    return len(array)


@contextmanager
def writing_array(
    path: Path, kind: npt.DTypeLike, length: int, *width: int
) -> Iterator[Callable[[npt.NDArray[Any]], None]]:
    """A function that appends rows to a `.npy` file of `length` rows, which appears, all or nothing, at the end.

    The bytes are those of `write_array` of the whole. What is appended must be of type `kind`; without a `width` the
    array has one dimension.
    """
    with replacing(path) as pending, open(pending, "wb") as stream:
        header = np.lib.format.header_data_from_array_1_0(np.empty(0, kind))
        np.lib.format.write_array_header_1_0(stream, {**header, "shape": (length, *width)})
        written = 0

        def write(part: npt.NDArray[Any]) -> None:
            nonlocal written
            if part.dtype != kind:
                raise TypeError(f"{path}: {part.dtype} is not {np.dtype(kind)}")
            np.ascontiguousarray(part).tofile(stream)
            written += len(part)

        yield write
        if written != length:
            raise ValueError(f"{path}: {written} values; expected {length}")


def write_array_parts(path: Path, shape: tuple[int, int], dtype: npt.DTypeLike, parts: Iterable[Any]) -> int:
    """Write one `.npy` file of `shape` from consecutive blocks of its rows, all or nothing; returns its rows."""
    with writing_array(path, dtype, *shape) as write:
        for part in parts:
            write(np.asarray(part, dtype))
    return shape[0]


def flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The values as one array."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def read_table(paths: Sequence[Path], columns: Sequence[str] | None = None) -> pa.Table:
    """Read Parquet parts in order as one table."""
    fetch(paths)
    tables = []
    for path in paths:
        with pq.ParquetFile(path) as file:  # `pq.read_table` loads pandas, where it is installed
            tables.append(file.read(columns=list(columns) if columns is not None else None))
    return pa.concat_tables(tables, promote_options="default")


def write_rows(path: Path, table: pa.Table) -> int:
    """Write a table as an uncompressed Arrow file whose rows can be read by number through a memory map."""
    with (
        replacing(path) as pending,
        pa.OSFile(str(pending), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table.combine_chunks(), max_chunksize=1_048_576)
    return int(table.num_rows)


def mapped(path: Path) -> pa.Buffer:
    """The bytes of a file, mapped, and the file closed: of open files a process often may have no more than 1,024."""
    with pa.memory_map(os.fspath(path)) as file:
        return file.read_buffer()


def digest_table(table: pa.Table) -> str:
    """SHA-256 (hex) of a table's columns and values; the same however its rows are cut into chunks, or sliced."""
    state = hashlib.sha256()
    # As Parquet, because Arrow's own buffers may hold what no row shows: slices, and values below nulls.
    with pa.PythonFile(_Hashing(state), "w") as sink:
        pq.write_table(table.combine_chunks(), sink, compression="none", use_dictionary=False, write_statistics=False)
    return state.hexdigest()


class _Hashing(io.RawIOBase):
    """A file whose bytes go into a hash."""

    def __init__(self, state: Any) -> None:
        self._state = state

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._state.update(data)
        return len(data)


class TextRows:
    """Rows of several Arrow files seen as one table, read by row number; nothing is held in memory."""

    def __init__(self, paths: Sequence[Path]) -> None:
        fetch(paths)
        self._tables = [pa.ipc.open_file(mapped(path)).read_all() for path in paths]
        sizes = [table.num_rows for table in self._tables]
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def mean_bytes(self) -> float:
        """The mean size of a row, its id included; 0 if there are none."""
        return float(sum(table.nbytes for table in self._tables) / max(len(self), 1))

    def take(self, rows: npt.NDArray[np.int64], columns: Sequence[str] | None = None) -> pa.Table:
        """The given rows, in the given order (repeats allowed); all columns unless some are named."""
        rows = np.asarray(rows, np.int64)
        is_ascending = bool((rows[1:] > rows[:-1]).all())
        unique, inverse = (rows, None) if is_ascending else np.unique(rows, return_inverse=True)
        tables = [table if columns is None else table.select(columns) for table in self._tables]
        pieces: list[pa.Table] = []
        for index, table in enumerate(tables):
            low, high = np.searchsorted(unique, self._starts[index : index + 2])
            if high > low:
                pieces.append(table.take(pa.array(unique[low:high] - self._starts[index])))
        found = pa.concat_tables(pieces) if pieces else tables[0].slice(0, 0)
        return found if inverse is None else found.take(pa.array(inverse.reshape(-1)))

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of all rows, memory-mapped."""
        chunks = [chunk for table in self._tables for chunk in table[name].chunks]
        return pa.chunked_array(chunks, pa.string())

    def between(self, start: int, stop: int) -> pa.Table:
        """Rows `start` to `stop` (exclusive) as one table."""
        pieces = []
        for index, table in enumerate(self._tables):
            low = max(start, int(self._starts[index]))
            high = min(stop, int(self._starts[index + 1]))
            if high > low:
                pieces.append(table.slice(low - int(self._starts[index]), high - low))
        return pa.concat_tables(pieces) if pieces else self._tables[0].slice(0, 0)


def metadata_array(values: Sequence[Any]) -> pa.Array:
    """A column for metadata values: their common Arrow type, or JSON text where types are mixed or nested."""
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        array = None
    if array is None or pa.types.is_nested(array.type):
        from hnmine.hashing import canonical_json

        return pa.array(
            [None if v is None else v if isinstance(v, str) else canonical_json(v) for v in values], pa.string()
        )
    return array


def common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The schema that holds the rows of all: each column's common type, text where there is none; columns of the first
    schema first.
    """
    fields: dict[str, pa.Field] = {}
    for field in (field for schema in schemas for field in schema):
        known = fields.get(field.name, field)
        try:
            both = pa.unify_schemas([pa.schema([known]), pa.schema([field])], promote_options="permissive")
            fields[field.name] = both.field(0).with_nullable(True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            fields[field.name] = pa.field(field.name, pa.string())
    return pa.schema(list(fields.values()))


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns of `schema`: cast, and null where it has none."""
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Split a stream into lists of `size` items; the last may be shorter."""
    held: list[Any] = []
    for item in items:
        held.append(item)
        if len(held) == size:
            yield held
            held = []
    if held:
        yield held
