"""Streams the rows of JSONL, CSV, TSV and Parquet files as dictionaries, whatever their compression."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, NoReturn

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.streams import (
    PIPE,
    STDIN,
    WRONG_ENCODING,
    InputFile,
    decompression_errors,
    open_binary,
    raw_lines,
    read_head,
    text_lines,
    translated,
)

Row = Mapping[str, object]

BATCH_ROWS = 1024
"""Parquet rows decoded at a time."""

_SPREADSHEETS = (".xlsx", ".xls", ".ods")
_PEEKED_LINES = 100
_NEVER_CLOSED = "unexpected end of data"  # the csv module has no other way to tell its errors apart
_LONE_RETURN = "new-line character seen in unquoted field"


class TableFormat(StrEnum):
    """How rows are written."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"


TABLE_SUFFIXES = {
    ".jsonl": TableFormat.JSONL,
    ".ndjson": TableFormat.JSONL,
    ".json": TableFormat.JSONL,
    ".csv": TableFormat.CSV,
    ".tsv": TableFormat.TSV,
    ".parquet": TableFormat.PARQUET,
}


def table_format(file: InputFile) -> TableFormat:
    """What `file` is: Parquet by its content, then by its name, then JSONL if it starts with `{`.

    A stream has no name: what is no JSON has a header line, of TSV if there is a tab in it, else of CSV. Raises
    `InputError` for a JSON array and for what cannot be told.
    """
    head = read_head(file)
    if head.startswith(b"PAR1"):
        return TableFormat.PARQUET
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    name = file.plain_name
    found = next((kind for suffix, kind in TABLE_SUFFIXES.items() if name.endswith(suffix)), None)
    streamed = file.shown in (STDIN, PIPE)
    if found is None and (start.startswith(b"{") or (streamed and (not start or start.startswith(b"[")))):
        found = TableFormat.JSONL
    if found is None and streamed and b"\0" not in head:
        found = TableFormat.TSV if b"\t" in start.partition(b"\n")[0] else TableFormat.CSV
    if found is TableFormat.PARQUET:
        raise InputError(f"{file.shown}: not a Parquet file", expected="content that starts with PAR1")
    if found is TableFormat.JSONL and start.startswith(b"["):
        raise InputError(
            f"{file.shown}: a JSON array",
            expected="one JSON object a line",
            remedy=f"jq -c '.[]' {file.name} > NEW.jsonl",
        )
    if found is None:
        raise InputError(
            f"{file.shown}: cannot tell the format from this name",
            expected=f"a name that ends in {', '.join(TABLE_SUFFIXES)}, plain or with .gz, .bz2, .xz, .zst",
            remedy="save it as CSV in UTF-8" if name.endswith(_SPREADSHEETS) else "rename it",
        )
    return found


def columns(file: InputFile) -> list[str]:
    """The file's column names in order: of the Parquet schema, the CSV header, or the first 100 lines of JSONL.

    Empty for an empty JSONL file. Raises `InputError` for a CSV file without a header or with a repeated name.
    """
    match table_format(file):
        case TableFormat.PARQUET:
            with _parquet(file) as table:
                return _distinct(file, [str(name) for name in table.schema_arrow.names])
        case TableFormat.JSONL:
            seen: dict[str, None] = {}
            for number, raw in raw_lines(file):
                try:
                    row = json.loads(raw)
                except (ValueError, RecursionError):
                    row = None
                if isinstance(row, dict):
                    seen.update(dict.fromkeys(row))
                if number >= _PEEKED_LINES:
                    break
            return list(seen)
        case delimited:
            records = _csv_records(file, delimited, ProblemLog())
            header = next(records, (0, []))[1]
            if not header:
                raise InputError(f"{file.shown}: empty", expected="a header line with the column names")
            return _distinct(file, header)


def _distinct(file: InputFile, names: list[str]) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{file.shown}: column {', '.join(map(repr, twice))} is there more than once")
    return names


def read_rows(file: InputFile, problems: ProblemLog, wanted: Sequence[str] | None = None) -> Iterator[tuple[int, Row]]:
    """Each row's place (first line in a text file, row in Parquet; from 1) and its values by column, in file order.

    Blank lines are passed over; a row that cannot be read goes to `problems`. `wanted` names the columns to decode;
    only Parquet can leave the others unread, so other formats yield all. Parquet strings that are no UTF-8 are bytes.
    """
    match table_format(file):
        case TableFormat.PARQUET:
            return _parquet_rows(file, wanted)
        case TableFormat.JSONL:
            return _jsonl_rows(file, problems)
        case delimited:
            return _csv_rows(file, delimited, problems)


def _jsonl_rows(file: InputFile, problems: ProblemLog) -> Iterator[tuple[int, Row]]:
    for number, line in text_lines(file, problems):
        if not line.strip():
            continue
        try:
            row = _DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            problems.add("broken JSON", f"{file.shown}:{number}", f"{what}: {line[:80]}")
            continue
        if not isinstance(row, dict):
            problems.add("not a JSON object", f"{file.shown}:{number}", line[:80])
            continue
        yield number, row


def refuse_constant(name: str) -> NoReturn:
    """What a decoder does with NaN and infinities, which Python would let through."""
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=refuse_constant)  # `json.loads` would make one for every line


def _separator(file: InputFile, kind: TableFormat) -> str:
    """What separates the columns: the comma or tab of the format, unless the first line has none but another of them.

    A spreadsheet whose locale has decimal commas writes its CSV with semicolons.
    """
    usual = "\t" if kind is TableFormat.TSV else ","
    header = next((raw for _, raw in raw_lines(file) if raw.strip()), b"")
    return next((one for one in (usual, ";", "\t", ",") if one.encode() in header), usual)


def _csv_records(file: InputFile, kind: TableFormat, problems: ProblemLog) -> Iterator[tuple[int, list[str]]]:
    # A quoted field may hold line ends, so the module must see every line: one that is no UTF-8 is let through with
    # its bytes escaped as surrogates, and the record they end up in is refused.
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    lines = (raw.decode(errors="surrogateescape") for _, raw in raw_lines(file, keep_ends=True))
    reader = csv.reader(lines, delimiter=_separator(file, kind), strict=True)
    while True:
        start = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if str(error) == _NEVER_CLOSED:  # all rows to the end are lost, so this is nothing to skip
                raise InputError(
                    f"{file.shown}:{start}: a quotation mark opens here and is never closed",
                    expected="a quoted field that ends, with every quotation mark within it written twice",
                    remedy='correct the line, or write the file as JSON lines: {"anchor": ..., "positive": ...}',
                ) from None
            if str(error).startswith(_LONE_RETURN):
                raise InputError(
                    f"{file.shown}:{start}: a line ends in a carriage return alone",
                    expected="lines that end in LF or CRLF",
                    remedy=f"tr '\\r' '\\n' < {file.name} > NEW",
                ) from None
            problems.add(f"broken {kind.upper()}", f"{file.shown}:{start}", f"{error} (to line {reader.line_num})")
            continue
        if record:
            yield start, record


def _csv_rows(file: InputFile, kind: TableFormat, problems: ProblemLog) -> Iterator[tuple[int, Row]]:
    records = _csv_records(file, kind, problems)
    header = next(records, (0, []))[1]
    for start, record in records:
        where = f"{file.shown}:{start}"
        if len(record) != len(header):
            problems.add(
                "wrong number of columns", where, f"{len(record)} where the header has {len(header)}: {record[0]}"
            )
            continue
        bad = next((value for value in record if not value.isascii() and has_surrogates(value)), None)
        if bad is not None:
            problems.add(WRONG_ENCODING, where, bad.encode(errors="surrogateescape").decode(errors="replace"))
            continue
        yield start, dict(zip(header, record, strict=True))


def has_surrogates(text: str) -> bool:
    """Whether `text` holds lone surrogates, which no UTF-8 file can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


@contextmanager
def _parquet(file: InputFile) -> Iterator[Any]:
    import shutil
    import tempfile

    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_binary(file) as stream, tempfile.TemporaryFile() as copy:
        source: Any = stream
        if not _is_plain(file):  # Parquet is read from its end, so a compressed one needs a plain copy
            try:
                shutil.copyfileobj(stream, copy)
            except decompression_errors() as error:
                raise translated(file, error) from error
            copy.seek(0)
            source = copy
        try:
            with pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False) as table:
                yield table
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file.shown}: broken Parquet ({error})", remedy="write the file again") from error


def _is_plain(file: InputFile) -> bool:
    with open(file.path, "rb") as stream:
        return stream.read(4) == b"PAR1"


def _parquet_rows(file: InputFile, wanted: Sequence[str] | None) -> Iterator[tuple[int, Row]]:
    number = 0
    with _parquet(file) as table:
        for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=None if wanted is None else list(wanted)):
            try:
                rows: list[Row] = batch.to_pylist()
            except UnicodeDecodeError:
                rows = [_undecoded_row(batch.slice(index, 1)) for index in range(batch.num_rows)]
            for row in rows:
                number += 1
                yield number, row


def _undecoded_row(single: Any) -> Row:
    """A row whose values that are no UTF-8 stay bytes, so that only a record that needs them is refused."""
    import pyarrow as pa

    row: dict[str, object] = {}
    for name, column in zip(single.schema.names, single.columns, strict=True):
        try:
            row[name] = column[0].as_py()
        except UnicodeDecodeError:
            flat = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            row[name] = column.cast(pa.large_binary())[0].as_py() if flat else b""
    return row
