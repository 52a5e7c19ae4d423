"""Reads rows of a query, a positive and negatives, each in a column of its own."""

from __future__ import annotations

from collections.abc import Iterator

from hnmine.errors import ProblemLog
from hnmine.files.readers.examples import Example, Passage
from hnmine.stages.formats.text_columns import BadRow, Found, TextColumns, number, numbers, text


def read_tuples(columns: TextColumns, problems: ProblemLog) -> Iterator[Example]:
    """The rows, in order; to `problems` those with a value that is no text, or with labels of no loss of tuples.

    Labels are as many scores as documents, the positive's first, or as many margins as negatives (one number, if there
    is one negative): `extra["margins"]`. All rows have the same kind, since a batch is one tensor.
    """
    first: tuple[str, int] | None = None
    for row in columns.rows(problems):
        try:
            query, *documents = [text(value, name) for name, value in zip(columns.inputs, row.inputs, strict=True)]
            scores = _scores(columns, row, len(documents)) if columns.label else []
            shape = (type(row.label).__name__ if isinstance(row.label, list) else "number", len(scores))
            if columns.label and first is not None and shape != first:
                raise BadRow("labels of different lengths", f"{len(scores)}; the first row has {first[1]}")
        except BadRow as bad:
            problems.add(bad.kind, row.where, bad.value)
            continue
        first = shape
        is_margin = columns.label is not None and len(scores) == len(documents) - 1
        known = [None] * len(documents) if is_margin or not scores else scores
        passages = [Passage(text=one, score=score) for one, score in zip(documents, known, strict=True)]
        yield Example(
            where=row.where,
            query=query,
            positives=passages[:1],
            negatives=passages[1:],
            extra={**row.extra, **({"margins": scores} if is_margin else {})},
        )


def _scores(columns: TextColumns, row: Found, documents: int) -> list[float]:
    """The row's scores or margins; `BadRow` unless they are as many as documents, or as negatives."""
    name = columns.label or ""
    found = numbers(row.label, name) if isinstance(row.label, list) else [number(row.label, name)]
    if len(found) not in (documents, documents - 1):
        raise BadRow("labels of another length", f"{len(found)} {name} for {documents} documents")
    return found
