"""Training examples of any format: a query, the texts that it is to be near to, and those that it is to be far from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

OF_PAIRS = frozenset(
    {"difficulty", "document", "epoch", "grades", "label", "labels", "margin", "margins", "weight", "weights"},
)
"""Names in an example's `extra` that say something of its documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A document of an example, with what the file says about it; None where it says nothing.

    `text` is without the title if the format keeps titles apart. `extra` holds what else the format carries for the
    document, by the name that the format gives it.
    """

    text: str | None = None
    doc_id: str | None = None
    title: str | None = None
    score: float | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A query with its positives and negatives, in the file's order. `where` is `file:row`.

    `extra` holds what else the format carries, by the name that the format gives it: for the query, and under the names
    of `OF_PAIRS` for its documents.
    """

    where: str
    query: str | None = None
    query_id: str | None = None
    positives: Sequence[Passage] = ()
    negatives: Sequence[Passage] = ()
    instruction: str | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
