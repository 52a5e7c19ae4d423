"""`mine --where`: only documents that a condition is true for may become candidates, so the search looks at no others.

A filter after the search leaves few of the top k where the condition is selective; this leaves k. Per query the result
is exactly what is left of a search of the whole corpus when every other document but the query's positives is struck
from its list: positives keep their places, for scores and ranks are measured against them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.condition import Condition
from hnmine.core.evidence import Column
from hnmine.core.pool import Pairs
from hnmine.engines.retriever import Queries, Ragged, Retriever
from hnmine.errors import InputError
from hnmine.files.collection import Collection, Qrels
from hnmine.stages.rule_inputs import as_column, check_condition

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

FEW_GROUPS = 16
"""Groups of a block's queries that are searched one by one at once; with more, one search of everything comes first."""


class Prefilter:
    """A condition over a collection, evaluated once for each distinct set of values and not once a document."""

    def __init__(self, collection: Collection, text: str) -> None:
        """Raises `UsageError` for unknown columns and types that do not fit, `InputError` if no document can pass."""
        self.condition = Condition(text)
        check_condition(collection, self.condition)
        self._documents = _distinct(collection, "documents", "document.", self.condition.columns)
        self._queries = _distinct(collection, "queries", "query.", self.condition.columns)
        if not self._queries.columns and len(self._queries.codes) and not self.mask(0).any():
            raise InputError(
                f"--where {text}: no document satisfies it",
                expected="a condition that is true for some",
                remedy="`hnmine inspect COLLECTION` shows the columns; texts are compared to the letter",
            )

    def holds(self, query_rows: Ints, doc_rows: Ints) -> Bools:
        """Which (query, document) pairs the condition is true for; unknown counts as no."""
        columns = {**self._queries.at(query_rows), **self._documents.at(doc_rows)}
        return self.condition.holds(columns, len(doc_rows))

    def mask(self, query_row: int) -> Bools:
        """Which documents the condition is true for under a query; bool[documents]."""
        kinds = self._documents.kinds
        asked = self._queries.at(np.full(kinds, query_row))
        passes = self.condition.holds({**asked, **self._documents.columns}, kinds)
        return passes[self._documents.codes]

    def groups(self, query_rows: Ints) -> list[Ints]:
        """The positions in `query_rows` of queries for which the same documents pass, by group."""
        codes = self._queries.codes[query_rows]
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        return np.split(order, starts[1:]) if len(order) else []


class Allowed:
    """Which documents the queries of a block may get: all without a condition, else those that pass it.

    Those that are `hidden` (bool[documents]) none may get. The `positives` (owner = position in the block) are always
    let in.
    """

    def __init__(
        self, condition: Prefilter | None, query_rows: Ints, positives: Pairs, hidden: Bools | None = None
    ) -> None:
        self._condition = condition
        self._query_rows = query_rows
        self._positives = positives
        self._hidden = hidden

    def holds(self, pairs: Pairs) -> Bools:
        """Which pairs (owner = position in the block) are let in."""
        if self._condition is None and self._hidden is None:
            return np.ones(len(pairs.rows), np.bool_)
        passes = np.ones(len(pairs.rows), np.bool_)
        if self._condition is not None:
            passes = self._condition.holds(self._query_rows[pairs.owner], pairs.rows)
        if self._hidden is not None:
            passes &= ~self._hidden[pairs.rows]
        return passes | self._is_positive(pairs)

    def _mask(self, condition: Prefilter, query: int) -> Bools:
        """Which documents the query at a position of the block may get; its positives aside."""
        mask = condition.mask(int(self._query_rows[query]))
        return mask if self._hidden is None else mask & ~self._hidden

    def _is_positive(self, pairs: Pairs) -> Bools:
        stride = 1 + max([int(p.rows.max()) for p in (pairs, self._positives) if len(p.rows)], default=0)
        known = self._positives.owner * stride + self._positives.rows
        return np.isin(pairs.owner * stride + pairs.rows, known)

    def judged(self, judged: Qrels) -> Qrels:
        """The judgments of documents that are let in; query rows are positions in the block."""
        return judged.take(self.holds(Pairs(owner=judged.query_rows, rows=judged.doc_rows)))

    def first(self, pairs: Pairs, k: int) -> Ints:
        """The places of the first k pairs of each owner that are let in."""
        places = np.flatnonzero(self.holds(pairs))
        owner = pairs.owner[places]
        return places[np.arange(len(places)) - np.searchsorted(owner, owner, side="left") < k]

    def search(self, retriever: Retriever, queries: Queries, k: int) -> Ragged:
        """The k best documents of each query among those that are let in; `queries` are the block's."""
        if self._condition is None:
            return retriever.search(queries, k, None if self._hidden is None else ~self._hidden)
        left = np.arange(len(queries))
        found: list[tuple[Ints, Ragged]] = []
        if len(self._condition.groups(queries.rows)) > FEW_GROUPS:
            # As many masks as queries, perhaps (`document.author != query.author`): whoever finds k in the first 2k of
            # everything needs none.
            hits, settled = self._of_everything(retriever, queries, k)
            found.append((left, hits))
            left = np.flatnonzero(~settled)
        for group in self._condition.groups(queries.rows[left]):
            part = left[group]
            mask = self._mask(self._condition, int(part[0]))
            found.append((part, retriever.search(queries.take(part), k, mask, self._positives_of(part))))
        return Ragged.assembled(found, len(queries))

    def _of_everything(self, retriever: Retriever, queries: Queries, k: int) -> tuple[Ragged, Bools]:
        """(the first k that are let in, of the queries that this settles; which those are)."""
        hits = retriever.search(queries, 2 * k)
        places = self.first(Pairs(owner=hits.owner, rows=hits.rows), k)
        count = np.bincount(hits.owner[places], minlength=len(queries))
        settled = (count == k) | (hits.lengths() < 2 * k)
        places = places[settled[hits.owner[places]]]
        return Ragged.of(hits.owner[places], hits.rows[places], hits.scores[places], len(queries)), settled

    def _positives_of(self, part: Ints) -> Pairs:
        """The positives of the queries at the given (ascending) positions, owners numbered anew."""
        place = np.searchsorted(part, self._positives.owner)
        own = part[np.minimum(place, len(part) - 1)] == self._positives.owner
        return Pairs(owner=place[own], rows=self._positives.rows[own])

    def spaces(self, free: Ints) -> Iterator[tuple[Ints, Ints]]:
        """(positions of queries, rows of `free` that the condition lets them have), group by group."""
        if self._hidden is not None:
            free = free[~self._hidden[free]]
        if self._condition is None:
            yield np.arange(len(self._query_rows)), free
            return
        for group in self._condition.groups(self._query_rows):
            mask = self._condition.mask(int(self._query_rows[group[0]]))
            yield group, free[mask[free]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Distinct:
    """The distinct sets of values of some columns: row r has those at `codes[r]` of every column."""

    codes: Ints
    kinds: int
    columns: dict[str, Column]

    def at(self, rows: Ints) -> dict[str, Column]:
        """The columns' values in the given rows."""
        codes = self.codes[rows]
        return {
            name: replace(column, values=column.values[codes], is_null=column.is_null[codes])
            for name, column in self.columns.items()
        }


def _distinct(
    collection: Collection, table: Literal["documents", "queries"], prefix: str, columns: tuple[str, ...]
) -> _Distinct:
    rows = len(collection.documents if table == "documents" else collection.queries)
    codes = np.zeros(rows, np.int64)
    loaded = {name: collection.column(table, name.removeprefix(prefix)) for name in columns if name.startswith(prefix)}
    for array in loaded.values():
        own = _codes(array)
        codes = np.unique(codes * (own.max(initial=0) + 1) + own, return_inverse=True)[1]
    first = np.unique(codes, return_index=True)[1]
    values = {name: as_column(array.take(pa.array(first))) for name, array in loaded.items()}
    return _Distinct(codes=codes, kinds=len(first), columns=values)


def _codes(array: pa.ChunkedArray) -> Ints:
    """A number for each distinct value, null among them, from 0."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.int64)
    encoded = pc.dictionary_encode(array, null_encoding="encode").unify_dictionaries()
    parts = [chunk.indices.to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)
