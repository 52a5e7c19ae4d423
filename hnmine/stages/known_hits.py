"""Search after documents were added: a query that is the same looks only at documents that are not.

What was among the first k and has not changed is, together with what is new, all that can be among the first k now: an
unchanged document that was not there had k others before it. Only if one of these was changed or removed may it have
moved up: a query whose new k-th stands behind its old k-th is searched for in full. So the result is that of a search
of everything. It takes scores that depend on the pair alone and an exact search: dense and late-interaction indexes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hnmine.core.pool import Pairs
from hnmine.engines.retriever import Bools, Queries, Ragged, Retriever, Rows
from hnmine.errors import ArtefactError
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable, floats, query_offsets, ranks
from hnmine.files.collection import Collection, rows_of
from hnmine.schema import DOC_ID, QUERY_ID, Kind, rank_column, score_column


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Index:
    """An index as it was, and which documents (bool[documents now]) are what they were then."""

    retriever: Retriever
    same: Bools


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Hits:
    """Hits that queries had, of which `pairs` are unchanged documents; owners are positions among these queries.

    `last` is the score of the k-th hit, and `last_row` its document if it is unchanged, else -1; minus infinity where
    there were fewer hits.
    """

    pairs: Pairs
    last: npt.NDArray[np.float64]
    last_row: Rows


class KnownHits:
    """The hits of an earlier mine, to the same depth and without a condition, over what `collection` was then.

    `open_index` opens an index, given a name and an order of ties. Nothing is opened before the first search.
    """

    def __init__(
        self, earlier: Artefact, collection: Collection, open_index: Callable[[Artefact, str, Rows], Retriever]
    ) -> None:
        self._earlier = earlier
        self._collection = collection
        self._open_index = open_index
        self._indexes: dict[str, _Index | None] = {}
        self._then: Collection | None = None
        self._table: CandidatesTable | None = None
        self.notes: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return KnownHits, (self._earlier, self._collection, self._open_index)  # another process opens them itself

    def search(self, retriever: Retriever, queries: Queries, k: int) -> Ragged:
        """What `retriever.search(queries, k)` finds."""
        if retriever.name not in self._indexes:
            self._indexes[retriever.name] = self._open(retriever)
        index = self._indexes[retriever.name]
        if index is None:
            return retriever.search(queries, k)
        known, places = self._known(retriever, index.retriever, queries)
        hits = self._hits(retriever.name, places, k, index.same)
        found = retriever.search(queries.take(known), k, ~index.same, hits.pairs)
        settled = _is_settled(found, hits, k, retriever.tie_order)
        keep = settled[found.owner]
        owner = (np.cumsum(settled) - 1)[found.owner[keep]]
        first = Ragged.of(owner, found.rows[keep], found.scores[keep], int(settled.sum()))
        rest = np.setdiff1d(np.arange(len(queries)), known[settled])
        others = retriever.search(queries.take(rest), k)
        return Ragged.assembled([(known[settled], first), (rest, others)], len(queries))

    def _open(self, retriever: Retriever) -> _Index | None:
        try:
            if self._then is None:
                self._then = Collection(self._earlier.input("collection", Kind.COLLECTION))
                self._table = CandidatesTable(self._earlier)
            index = self._earlier.input(f"index:{retriever.name}")
        except ArtefactError as error:
            self.notes[f"{retriever.name} searched"] = f"every query in all documents: {error.what}"
            return None
        if "documents" in self._earlier.plan.get("excluded", {}) or len(self._then.curated_negatives.query_rows):
            why = "the earlier mine kept documents from its hits"  # unchanged ones, which would not be looked at again
            self.notes[f"{retriever.name} searched"] = f"every query in all documents: {why}"
            return None
        # It is compared and never searched: the order of ties does not matter.
        before = self._open_index(index, retriever.name, np.arange(len(self._then.documents)))
        same = retriever.same_documents(before)
        if same is None:
            return None
        both = min(len(same), before.size)
        ids = (collection.doc_ids.slice(0, both) for collection in (self._collection, self._then))
        same[:both] &= np.asarray(pc.equal(*ids).to_numpy(), np.bool_)
        told = f"queries that are the same in {int((~same).sum()):,} of {len(same):,} documents"
        self.notes[f"{retriever.name} searched"] = told
        return _Index(retriever=before, same=same)

    def _known(self, retriever: Retriever, before: Retriever, queries: Queries) -> tuple[Rows, Rows]:
        """The positions of the queries that are what they were, and their places in the earlier table."""
        assert self._then is not None
        assert self._table is not None
        ids = self._collection.query_ids.take(pa.array(queries.rows))
        places = rows_of(pa.chunked_array([self._table.query_ids], pa.string()), ids)
        rows = rows_of(self._then.query_ids, ids)
        there = np.flatnonzero((places >= 0) & (rows >= 0))
        there = there[retriever.same_queries(queries.rows[there], before, rows[there])]
        return there, places[there]

    def _hits(self, name: str, places: Rows, k: int, same: Bools) -> _Hits:
        """The hits of the queries at the given places of the earlier table."""
        assert self._table is not None
        order = np.argsort(places)
        columns = [QUERY_ID, DOC_ID, rank_column(name), score_column(name)]
        table = self._table.read(places[order], columns)
        rank = ranks(table, name)
        is_hit = rank > 0
        owner = np.repeat(order, np.diff(query_offsets(table[QUERY_ID])))[is_hit]
        rows = rows_of(self._collection.doc_ids, table[DOC_ID].filter(pa.array(is_hit)))
        rows[rows >= 0] = np.where(same[rows[rows >= 0]], rows[rows >= 0], -1)
        is_last = rank[is_hit] == k
        last, last_row = np.full(len(places), -np.inf), np.full(len(places), -1)
        last[owner[is_last]] = floats(table, name)[is_hit][is_last]
        last_row[owner[is_last]] = rows[is_last]
        kept = rows >= 0
        return _Hits(pairs=Pairs(owner=owner[kept], rows=rows[kept]), last=last, last_row=last_row)


def _is_settled(found: Ragged, hits: _Hits, k: int, tie_order: Rows) -> Bools:
    """Which queries' lists no document can be missing from: the new k-th stands where the old one stood, or before."""
    full = np.flatnonzero(found.lengths() == k)
    ends = found.offsets[1:][full] - 1
    settled: Bools = np.isneginf(hits.last)  # all that matched were hits
    last, last_row = hits.last[full], hits.last_row[full]
    ties = (found.scores[ends] == last) & (last_row >= 0) & (tie_order[found.rows[ends]] <= tie_order[last_row])
    settled[full] |= (found.scores[ends] > last) | ties
    return settled
