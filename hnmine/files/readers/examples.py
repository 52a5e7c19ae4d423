"""Training examples of any format: a query, the texts that it is to be near to, and those that it is to be far from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


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

    `extra` holds what else the format carries for the query, by the name that the format gives it.
    """

    where: str
    query: str | None = None
    query_id: str | None = None
    positives: Sequence[Passage] = ()
    negatives: Sequence[Passage] = ()
    instruction: str | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
