"""Takes ids, texts and metadata out of a row, or says which problem keeps the row from being a record."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from hnmine.errors import ProblemLog
from hnmine.files.readers.streams import WRONG_ENCODING, InputFile, byte_value
from hnmine.files.readers.tables import Row, has_surrogates


class BadRecord(Exception):
    """A row that is no record: the kind of the problem and the value that shows it. Never leaves the readers."""

    def __init__(self, kind: str, value: object = "") -> None:
        self.kind = kind
        self.value = value
        super().__init__(kind)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record was read."""

    file: InputFile
    line: int

    def report(self, problems: ProblemLog, bad: BadRecord) -> None:
        """Add the bad record to the problems."""
        problems.add(bad.kind, f"{self.file.shown}:{self.line}", bad.value)


def checked_id(value: str) -> str:
    """The id as written; raises `BadRecord` when it is empty or no valid text."""
    if not value:
        raise BadRecord("empty id")
    if not value.isascii() and has_surrogates(value):
        raise BadRecord(WRONG_ENCODING, ascii(value))
    return value


def take_id(row: Row, column: str) -> str:
    """The id in `column`, exactly as written; integers become text. Raises `BadRecord`."""
    if column not in row or row[column] is None:
        raise BadRecord("missing id", f"no {column}")
    value = _decoded(row[column], column)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise BadRecord("id not a string or integer", f"{column}: {value!r}")
    return checked_id(str(value))


def take_text(row: Row, column: str, *, may_be_empty: bool = False, owner: str = "") -> str:
    """The text in `column`; raises `BadRecord`. White space alone is an empty text. `owner` names the record."""
    if row.get(column) is None:
        raise BadRecord("missing text", f"no {column}" + (f" in {owner}" if owner else ""))
    value = _decoded(row[column], column)
    if not isinstance(value, str):
        raise BadRecord("text not a string", f"{column}: {value!r}"[:120])
    return checked_text(value, may_be_empty=may_be_empty, owner=owner or column)


def take_texts(row: Row, column: str) -> list[str]:
    """The texts in `column`: a list of texts or one; null and empty ones are left out. Raises `BadRecord`."""
    value = row.get(column)
    items = value if isinstance(value, (list, tuple)) else [value]
    texts = [take_text({column: item}, column, may_be_empty=True) for item in items if item is not None]
    return [text for text in texts if text.strip()]


def _decoded(value: object, column: str) -> object:
    # Bytes come from Parquet alone: a text column without the string annotation, or a string that is no UTF-8.
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise BadRecord(WRONG_ENCODING, f"{column}: {byte_value(value, error)}") from None


def checked_text(value: str, *, may_be_empty: bool = False, owner: str) -> str:
    """The text; raises `BadRecord` when it is empty or no valid text."""
    if not may_be_empty and not value.strip():
        raise BadRecord("empty text", owner)
    if not value.isascii() and has_surrogates(value):
        raise BadRecord(WRONG_ENCODING, f"lone surrogate in {owner}")
    return value


def take_metadata(row: Row, taken: Collection[str]) -> dict[str, object]:
    """The other columns as JSON values that any UTF-8 file can hold.

    Binary values are left out, dates and decimals become text, NaN and infinities None, lone surrogates U+FFFD.
    """
    return {
        str(_plain(name)): _plain(value)
        for name, value in row.items()
        if name not in taken and not isinstance(value, bytes)
    }


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if has_surrogates(value) else value
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else None  # JSON has neither NaN nor infinities
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items() if not isinstance(item, bytes)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value if not isinstance(item, bytes)]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
