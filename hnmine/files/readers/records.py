"""What every reader yields: documents, queries, judgments and run rows, each with the place it was read from.

`file` is the name as shown to the user and `line` is 1-based: the line of a text file on which the record starts, the
row of a Parquet file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of the corpus; `metadata` holds JSON values."""

    doc_id: str
    title: str
    text: str
    metadata: Mapping[str, object]
    file: str
    line: int

    @property
    def where(self) -> str:
        """The record's place, `file:line`."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query; `metadata` holds JSON values."""

    query_id: str
    text: str
    metadata: Mapping[str, object]
    file: str
    line: int

    @property
    def where(self) -> str:
        """The record's place, `file:line`."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgment:
    """One line of the qrels: the document's grade for the query (int32; below 1 means judged and not relevant).

    `score` is what the input says of the pair beyond the grade: a teacher's score, on `Source.score_scale`.
    """

    query_id: str
    doc_id: str
    grade: int
    file: str
    line: int
    score: float | None = None

    @property
    def where(self) -> str:
        """The record's place, `file:line`."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One line of a TREC run; `rank` is None in a run of three columns, `score` is finite, higher is better."""

    query_id: str
    doc_id: str
    rank: int | None
    score: float
    tag: str
    file: str
    line: int

    @property
    def where(self) -> str:
        """The record's place, `file:line`."""
        return f"{self.file}:{self.line}"
