"""What every index can do: find candidates, and score given pairs. The base keeps the promises, a back end computes.

Search uses a fast kernel and over-fetches; the *pair kernel* then scores every found row again, and order and ranks
follow from that score alone. (A search that finds that very score by itself is not asked twice: `finds_pair_scores`.)
So a score depends on the pair (query, document) and never on the batch it was found in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnmine.core.pool import Pairs, best_first
from hnmine.schema import Scale

OVERFETCH = 32
"""Rows a kernel brings beyond k, so that near ties at the cut are decided by the pair kernel."""

Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """A block of queries: their row numbers in the collection and their texts, in equal order."""

    rows: Rows
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: Rows) -> Queries:
        """The queries at some positions, in the given order."""
        return Queries(rows=self.rows[positions], texts=[self.texts[place] for place in positions.tolist()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ragged:
    """Document rows of a block of queries: query i owns `rows[offsets[i]:offsets[i + 1]]`; `scores` are parallel."""

    offsets: Rows
    rows: Rows
    scores: Scores

    @classmethod
    def of(cls, owner: Rows, rows: Rows, scores: Scores, queries: int) -> Ragged:
        """From the query number of each row, ascending."""
        return cls(offsets=np.searchsorted(owner, np.arange(queries + 1)).astype(np.int64), rows=rows, scores=scores)

    @classmethod
    def none(cls, queries: int) -> Ragged:
        """No document for any of so many queries."""
        return cls.of(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), queries)

    @classmethod
    def assembled(cls, parts: Sequence[tuple[Rows, Ragged]], queries: int) -> Ragged:
        """One list for all queries of lists for some, which are at the given positions."""
        owner = np.concatenate([np.empty(0, np.int64), *(part[hits.owner] for part, hits in parts)])
        rows = np.concatenate([np.empty(0, np.int64), *(hits.rows for _, hits in parts)])
        scores = np.concatenate([np.empty(0, np.float32), *(hits.scores for _, hits in parts)])
        order = np.argsort(owner, kind="stable")
        return cls.of(owner[order], rows[order], scores[order], queries)

    @property
    def owner(self) -> Rows:
        """The query number of each row."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def lengths(self) -> Rows:
        """How many documents each query has."""
        return np.diff(self.offsets)


class Retriever(ABC):
    """An opened index over a collection's documents, addressed by row number (0-based, collection order).

    `name` labels its columns; `tie_order[row]` is the position of the row's doc_id among all doc_ids in ascending
    order, and decides between equal scores.
    """

    scale: Scale
    finds_pair_scores: bool = False
    """Whether the scores that the search kernel gives are those of `pair_scores`, so that none is computed again."""
    overfetch: int = OVERFETCH
    """Rows that the search kernel is asked for beyond k."""

    def __init__(self, *, name: str, tie_order: Rows) -> None:
        self.name = name
        self.tie_order = tie_order

    @property
    def size(self) -> int:
        """Number of documents in the index."""
        return len(self.tie_order)

    def search(self, queries: Queries, k: int, among: Bools | None = None, always: Pairs | None = None) -> Ragged:
        """The k best documents of each query, by (score descending, doc_id ascending).

        Never more than `size` rows a query, never a row twice, never padding; rows that do not match (BM25 score 0,
        NaN, infinities) are left out, so a query may have fewer than k. Scores are those of `pair_scores`.

        `among` (bool[size]) lets in these documents only, and beside them the pairs `always` (owner = position in
        `queries`): exactly what is left of a search of everything when all others are struck from its list.
        """
        allowed = self.size if among is None else int(np.count_nonzero(among))
        wanted = min(allowed, k + self.overfetch)
        owner, rows, scores = np.empty(0, np.int64), np.empty(0, np.int64), None
        if len(queries) and wanted > 0:
            if among is None or allowed == self.size:
                found, kernel_scores = self._search(queries, wanted)
            else:
                found, kernel_scores = self._search_among(queries, wanted, among)
            real = (found >= 0) & np.isfinite(kernel_scores)
            owner = np.repeat(np.arange(len(queries)), real.sum(axis=1))
            rows = found[real].astype(np.int64, copy=False)
            scores = kernel_scores[real] if self.finds_pair_scores else None
        if always is not None and len(always.rows):
            match = self._matched(queries, always)
            keys = np.concatenate([owner * self.size + rows, (always.owner * self.size + always.rows)[match]])
            owner, rows = np.divmod(np.unique(keys), self.size)
            scores = None
        if scores is None:
            offsets = np.searchsorted(owner, np.arange(len(queries) + 1)).astype(np.int64)
            scores = self.pair_scores(queries, offsets, rows)
        return self._ranked(queries, k, owner, rows, scores)

    def _ranked(self, queries: Queries, k: int, owner: Rows, rows: Rows, scores: Scores) -> Ragged:
        """The first k of each query's rows (ascending owners) by their pair scores; those that match, that is."""
        good = np.isfinite(scores) & self._is_hit(scores)
        owner, rows, scores = owner[good], rows[good], scores[good]
        order = best_first(owner, scores, self.tie_order[rows])
        owner, rows, scores = owner[order], rows[order], scores[order]
        starts = np.searchsorted(owner, np.arange(len(queries) + 1))
        place = np.arange(len(owner)) - starts[owner]
        keep = place < k
        lengths = np.minimum(np.diff(starts), k)
        return Ragged(
            offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            rows=rows[keep],
            scores=scores[keep],
        )

    def _matched(self, queries: Queries, pairs: Pairs) -> Bools:
        # Which pairs a kernel would find at all, were it to look deep enough.
        return np.ones(len(pairs.rows), np.bool_)

    def _is_hit(self, scores: Scores) -> npt.NDArray[np.bool_]:
        return np.ones(len(scores), np.bool_)

    @abstractmethod
    def _search(self, queries: Queries, k: int) -> tuple[Rows, Scores]:
        """Kernel: (rows, scores), each of shape (len(queries), k), any order; row -1 where there is nothing.

        Where `finds_pair_scores`, the scores are those of `pair_scores`, bit by bit.
        """

    def _search_among(self, queries: Queries, k: int, among: Bools) -> tuple[Rows, Scores]:
        """Kernel as `_search`, of the documents of `among` alone (fewer than all); rows may be longer than k.

        This one searches everything, deeper until enough of `among` is found; a back end that can leave the others
        out from the start overrides it.
        """
        depth = min(self.size, int(np.ceil(k * self.size / np.count_nonzero(among))) + OVERFETCH)
        kept: list[tuple[Rows, Scores]] = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
        left = np.arange(len(queries))
        while len(left):
            found, scores = self._search(queries.take(left), depth)
            real = (found >= 0) & np.isfinite(scores)
            good = real & among[found]
            done = (good.sum(axis=1) >= k) | (real.sum(axis=1) < depth) | (depth >= self.size)
            for place in np.flatnonzero(done):
                kept[left[place]] = (found[place][good[place]], scores[place][good[place]])
            left, depth = left[~done], min(self.size, 4 * depth)
        width = max((len(rows) for rows, _ in kept), default=0)
        rows = np.full((len(queries), width), -1, np.int64)
        best = np.full((len(queries), width), -np.inf, np.float32)
        for query, (own, own_scores) in enumerate(kept):
            rows[query, : len(own)], best[query, : len(own)] = own, own_scores
        return rows, best

    @abstractmethod
    def pair_scores(self, queries: Queries, offsets: Rows, rows: Rows) -> Scores:
        """The score of each pair (query i, rows[j]) for j in offsets[i]..offsets[i + 1], float32, in that order.

        A pair's score is the same whatever else is in the call. NaN where it cannot be computed.
        """

    def queries_digest(self, rows: Rows) -> str:
        """Digest of what the index itself holds of the given queries; empty if it goes by their texts."""
        return ""

    def same_documents(self, earlier: Retriever) -> Bools | None:
        """bool[size]: which documents are in another index, in the same row, and the same to the bit.

        Of two of these a query's scores are equal. None if a score depends on documents beside its own (BM25), or if a
        search may miss documents: then what an earlier index found says nothing.
        """
        return None

    def same_queries(self, rows: Rows, earlier: Retriever, earlier_rows: Rows) -> Bools:
        """Which queries are the same to the bit as those in the given rows of another index."""
        return np.zeros(len(rows), np.bool_)

    def positive_similarity(self, offsets: Rows, rows: Rows, positives: Rows, positive_offsets: Rows) -> Scores | None:
        """Highest similarity of each row to *another* document that is a positive of its query; None if not defined.

        Query i owns rows[offsets[i]:offsets[i+1]] and positives[positive_offsets[i]:positive_offsets[i+1]]. NaN where
        the query has no other positive.
        """
        return None

    def clusters(self, queries: Queries, offsets: Rows, rows: Rows, count: int) -> tuple[Rows, Rows] | None:
        """The cluster (1 to `count`) of each row's document, and the rank of that cluster by nearness to the query.

        Query i owns rows[offsets[i]:offsets[i+1]]. The clusters are of the whole index; None if not defined.
        """
        return None

    def cluster_of_all(self, count: int) -> Rows | None:
        """The cluster (0 to `count` - 1) of every document, those of `clusters`; None if not defined."""
        return None

    def clusters_around(self, rows: Rows, count: int, nearest: int) -> Rows:
        """The `nearest` clusters of each document, by the distance of their centres; [len(rows), at most nearest]."""
        raise NotImplementedError(f"{type(self).__name__} has no clusters")

    def better_similarity(self, offsets: Rows, rows: Rows, counts: npt.NDArray[np.bool_]) -> Scores | None:
        """Highest similarity of each row to an earlier row of its query for which `counts`; None if not defined.

        Query i owns rows[offsets[i]:offsets[i+1]], best placed first. NaN where no earlier row counts.
        """
        return None
