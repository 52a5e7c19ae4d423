"""Takes values out of a row of a training file as a trainer does: a list is a list, a text a text, a number finite."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from hnmine.files.readers.fields import BadRecord, checked_text

Values = Mapping[str, object]


def take_list(row: Values, column: str) -> list[object]:
    """The list in `column`. Raises `BadRecord` where there is none, or an empty one."""
    value = row.get(column)
    if value is None:
        raise BadRecord("missing list", f"no {column}")
    if not isinstance(value, list):
        raise BadRecord("not a list", f"{column}: {value!r}"[:120])
    if not value:
        raise BadRecord("empty list", column)
    return value


def take_text_list(row: Values, column: str) -> list[str]:
    """The list of texts in `column`, which may be empty texts. Raises `BadRecord`, for an empty list too."""
    texts = []
    for value in take_list(row, column):
        if not isinstance(value, str):
            raise BadRecord("text not a string", f"{column}: {value!r}"[:120])
        texts.append(checked_text(value, may_be_empty=True, owner=column))
    return texts


def take_number(row: Values, column: str) -> float | None:
    """The finite number in `column`; None where there is none. Raises `BadRecord`."""
    value = row.get(column)
    return None if value is None else _number(value, column)


def take_numbers(row: Values, column: str, size: int) -> list[float] | None:
    """The list of `size` finite numbers in `column`; None where there is none. Raises `BadRecord`."""
    if row.get(column) is None:
        return None
    values = take_list(row, column)
    if len(values) != size:
        raise BadRecord("wrong number of scores", f"{column}: {len(values)} for {size} texts")
    return [_number(value, column) for value in values]


def take_whole_number(row: Values, column: str) -> int | None:
    """The whole number above 0 in `column`; None where there is none. Raises `BadRecord`."""
    value = row.get(column)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise BadRecord("not a whole number above 0", f"{column}: {value!r}")
    return value


def _number(value: object, column: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRecord("score not a number", f"{column}: {value!r}"[:120])
    if not math.isfinite(value):
        raise BadRecord("score not finite", f"{column}: {value!r}")
    return float(value)


class SameKeys:
    """Keys that must stand in every row or in none, as in the first.

    Where a row lacks one, `datasets` puts a null, which a trainer reads as a value.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._first: set[str] | None = None

    def check(self, row: Values) -> None:
        """Raises `BadRecord` for a row that has other keys of these than the first row had. A null is no value."""
        own = {name for name in self._names if row.get(name) is not None}
        if self._first is None:
            self._first = own
        odd = own ^ self._first
        if odd:
            raise BadRecord("key in some rows only", ", ".join(sorted(odd)))
