"""Indexes by name: opened, and what `search` and `mine` do alike with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hnmine.engines.retriever import Retriever, Rows
from hnmine.errors import ArtefactError, InputError, UsageError
from hnmine.files.artefact import PLAN, Artefact
from hnmine.files.collection import Qrels
from hnmine.files.remote import is_there, split_named
from hnmine.schema import (
    CURATED_SOURCE,
    EXISTING_SOURCE,
    IMPORTED,
    NEAR_SOURCE,
    PREVIOUS_SOURCE,
    RANDOM_SOURCE,
    Kind,
    Scale,
)
from hnmine.spelling import nearest

BLOCK = 4_096
TOP_K = 100
"""Candidates a retriever brings when nobody says."""
LATE_BLOCK = 512
"""With a late-interaction index, whose exact search costs a thousand times a dense one's."""
JUDGED = "judged"
"""Internal source: every judged document of a query (that a condition lets in) is in the table, whoever found it."""
ORIGINS = {
    Kind.BM25_INDEX: "bm25",
    Kind.DENSE_INDEX: "dense",
    Kind.SPARSE_INDEX: "sparse",
    Kind.LATE_INDEX: "late",
}
SCALES = {Kind.BM25_INDEX: Scale.BM25, Kind.SPARSE_INDEX: Scale.DOT, Kind.LATE_INDEX: Scale.DOT}
"""Of the kinds whose plan does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedIndex:
    """An index under the name of its columns."""

    name: str
    artefact: Artefact


def named_index(spec: str) -> NamedIndex:
    """Open an index given as `DIR` or `NAME=DIR`; the name is by default its `--name`, else its directory's name."""
    name, place = split_named(spec)
    artefact = _open(place)
    found = name or artefact.plan["options"].get("name") or place.resolve().name
    return NamedIndex(name=check_name(found), artefact=artefact)


def _open(place: Path) -> Artefact:
    """The index at a place; the error names those of a run directory, or what lies beside, if there is none."""
    try:
        return Artefact.open(place, *ORIGINS)
    except ArtefactError as error:
        if is_there(place / PLAN) or error.remedy:
            raise
        inside = sorted((place / "indexes").glob("*"))
        beside = sorted(place.parent.glob("*")) if place.parent.is_dir() else []
        guess = nearest(place.name, [path.name for path in beside if is_there(path / PLAN)])
        found = inside or ([place.parent / guess] if guess else [])
        remedy = " or ".join(f"--index {path}" for path in found) or "`hnmine index` builds one"
        raise ArtefactError(error.what, expected=error.expected, remedy=remedy) from None


def check_name(name: str) -> str:
    """The name itself, if it can name a column; else `UsageError`."""
    if not name or not all(c.isalnum() or c in "._-+" for c in name):
        raise UsageError(f"{name!r} cannot name a score", expected="letters, digits and . _ - +", remedy="NAME=PATH")
    return name


_TAKEN = (RANDOM_SOURCE, NEAR_SOURCE, EXISTING_SOURCE, PREVIOUS_SOURCE, CURATED_SOURCE, JUDGED, IMPORTED)
"""What no index and no run may be called: sources of other kinds are."""


def check_names(names: Sequence[str]) -> None:
    """Raise `UsageError` unless every name can name a column, and no other has it."""
    for name in names:
        check_name(name)
        if names.count(name) > 1 or name in _TAKEN:
            raise UsageError(f"two sources are called {name!r}", remedy="name them: --index NAME=DIR, --run NAME=FILE")


def open_index(artefact: Artefact, name: str, tie_order: Rows) -> Retriever:
    """The retriever of a finished index of any kind; the code of other kinds is not loaded."""
    match artefact.kind:
        case Kind.BM25_INDEX:
            from hnmine.stages.index_bm25 import open_bm25

            return open_bm25(artefact, name=name, tie_order=tie_order)
        case Kind.DENSE_INDEX:
            from hnmine.stages.index_dense import open_dense

            return open_dense(artefact, name=name, tie_order=tie_order)
        case Kind.SPARSE_INDEX:
            from hnmine.stages.index_sparse import open_sparse

            return open_sparse(artefact, name=name, tie_order=tie_order)
        case _:
            from hnmine.stages.index_late import open_late

            return open_late(artefact, name=name, tie_order=tie_order)


def queries_with_positives(qrels: Qrels, min_relevance: int) -> Rows:
    """The rows of the queries that have a positive, ascending; `InputError` if there is none."""
    rows = np.unique(qrels.query_rows[qrels.grades >= min_relevance])
    if not len(rows):
        raise InputError(
            f"no query has a positive: no judgment has a grade of {min_relevance} or more",
            remedy="lower --min-relevance, or look at the qrels (and at what is excluded)",
        )
    return rows
