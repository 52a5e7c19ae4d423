"""Which (query, document) pairs of a training file must not share a batch, told from the decisions.

With in-batch negatives a query is pushed away from every document of the other rows. What the rules would not have as
its negative because it may be relevant, must not become one that way: its positives, their copies, and what was dropped
for its likeness to them, by its scores, its ranks or the estimate. `filter --guide NAME`, which drops what the guide
puts above the positive, makes it the list of GISTEmbed (Solatorio 2024, arXiv 2402.16829). No model is run: what no
retriever found for a query is not told of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hnmine.core.batches.collisions import Held
from hnmine.core.rules.agreement import Agreement
from hnmine.core.rules.answers import HasAnswer
from hnmine.core.rules.band import AboveBand
from hnmine.core.rules.base import Rule
from hnmine.core.rules.ceiling import AbsoluteMargin, MaxScore, RelativeMargin
from hnmine.core.rules.fused import SkipFused
from hnmine.core.rules.group import SameGroup
from hnmine.core.rules.guard import MaxFnProbability
from hnmine.core.rules.guide import Guide
from hnmine.core.rules.iqr import Iqr
from hnmine.core.rules.judged import JudgedGrade
from hnmine.core.rules.near_duplicate import NearDuplicateOfPositive, NearDuplicateOfQuery
from hnmine.core.rules.positive_guard import CloserToPositive, TooCloseToPositive
from hnmine.core.rules.rank import SkipTop
from hnmine.core.rules.relevant import CalledRelevant
from hnmine.core.rules.same_text import SameTextAsPositive, SameTextAsQuery
from hnmine.files.candidates import CandidatesTable, among, floats
from hnmine.files.collection import Collection
from hnmine.schema import (
    DOC_ID,
    IS_POSITIVE,
    QUERY_ID,
    REASON,
    RELEVANCE,
    TEXT_KEY,
    VERDICT,
    Scale,
    Verdict,
    score_column,
)
from hnmine.stages.picked import READ_ROWS, Ints

Codes = npt.NDArray[np.int8]

IS_RELEVANT = "positive"
ABOVE = "above-positive"
_RULES: Sequence[type[Rule]] = (
    CalledRelevant,
    JudgedGrade,
    SameTextAsPositive,
    SameTextAsQuery,
    NearDuplicateOfPositive,
    NearDuplicateOfQuery,
    SameGroup,
    HasAnswer,
    AbsoluteMargin,
    RelativeMargin,
    MaxScore,
    AboveBand,
    Iqr,
    Guide,
    TooCloseToPositive,
    CloserToPositive,
    Agreement,
    SkipTop,
    SkipFused,
    MaxFnProbability,
)
"""The rules that drop what may be relevant; the others drop what is too easy, comes twice, or was not asked for: there
the judge's score tells."""
REASONS = (IS_RELEVANT, SameTextAsQuery.reason, ABOVE, *(r.reason for r in _RULES if r is not SameTextAsQuery))
"""Why a pair is on the list; of several reasons the first."""
_NONE = -1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InFile:
    """What the rows of a training file are of, as rows of the collection: 8 bytes a row and a document.

    Row i is of the query `queries[query[i]]` and holds `documents[document[offsets[i]:offsets[i + 1]]]`. Queries are
    numbered as the rows come, which are shuffled, documents in the collection's order.
    """

    queries: Ints
    documents: Ints
    query: Ints
    offsets: Ints
    document: Ints

    @classmethod
    def of(cls, query_rows: Ints, offsets: Ints, document_rows: Ints) -> InFile:
        """The query of each row, and the documents of all rows, as rows of the collection."""
        queries, first, query = np.unique(query_rows, return_index=True, return_inverse=True)
        order = np.argsort(first)
        number = np.empty(len(order), np.int64)
        number[order] = np.arange(len(order))
        documents, document = np.unique(document_rows, return_inverse=True)
        return cls(queries=queries[order], documents=documents, query=number[query], offsets=offsets, document=document)

    def between(self, start: int, stop: int) -> InFile:
        """Rows `start` to `stop` (exclusive), of the same queries and documents."""
        offsets = self.offsets[start : stop + 1]
        return replace(
            self,
            query=self.query[start:stop],
            offsets=offsets - offsets[0],
            document=self.document[offsets[0] : offsets[-1]],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Collisions:
    """Pairs that must not share a batch, by (query, document), as numbers of `InFile`; `reason` is one of `REASONS`."""

    rows: InFile
    query: Ints
    document: Ints
    reason: Codes

    def __len__(self) -> int:
        return len(self.query)

    @property
    def held(self) -> Held:
        """The rows, as batches are made of them."""
        rows, pairs = self.rows, (self.query, self.document)
        return Held.of(rows.query, rows.offsets, rows.document, pairs=pairs, queries=len(rows.queries))

    def among(self, start: int, stop: int) -> Collisions:
        """The pairs that can meet in the rows `start` to `stop` (exclusive)."""
        if start == 0 and stop == len(self.rows.query):
            return self
        meets = _can_meet(self.rows.between(start, stop), _Pairs(self.query, self.document, self.reason))
        pairs = _Pairs(self.query, self.document, self.reason).take(meets)
        return Collisions(rows=self.rows, query=pairs.query, document=pairs.document, reason=pairs.reason)

    def table(self, collection: Collection, start: int, stop: int) -> pa.Table:
        """Some of the pairs by their ids: `query_id`, `doc_id`, `reason`."""
        own = slice(start, stop)
        ids = {
            QUERY_ID: (collection.query_ids, self.rows.queries[self.query[own]]),
            DOC_ID: (collection.doc_ids, self.rows.documents[self.document[own]]),
        }
        columns = {name: column.take(pa.array(rows)).combine_chunks() for name, (column, rows) in ids.items()}
        return pa.table({**columns, REASON: pa.array(REASONS).take(pa.array(self.reason[own]))})


def find_collisions(collection: Collection, decisions: CandidatesTable, positions: Ints, rows: InFile) -> Collisions:
    """The pairs of all rows; `positions` are those of `rows.queries` in the decisions.

    Only pairs that can meet: the document stands in a row other than the query's only one. Documents of the same text
    count as one, and so do queries. Reads the decisions once, a few queries at a time.
    """
    doc_keys = collection.doc_text_keys[rows.documents]
    by_key = np.argsort(doc_keys, kind="stable")
    query_keys = collection.query_text_keys[rows.queries]
    found: list[_Pairs] = []
    for block, numbers in blocks_of(decisions, positions):
        owner, keys, reason = _doubtful(decisions, block)
        owner = np.concatenate([numbers[owner], numbers])
        keys = np.concatenate([keys, query_keys[numbers]])
        reason = np.concatenate([reason, np.full(len(block), REASONS.index(SameTextAsQuery.reason))])
        low, high = (np.searchsorted(doc_keys, keys, side, sorter=by_key) for side in ("left", "right"))
        pair = np.repeat(np.arange(len(keys)), high - low)
        place = np.arange(len(pair)) - np.repeat(np.cumsum(high - low) - high, high - low)
        found.append(_Pairs(owner[pair], by_key[place], reason[pair].astype(np.int8)))
    pairs = _Pairs(*(np.concatenate([part[column] for part in found]) for column in range(3)))
    pairs = _once(_shared(pairs, query_keys))
    pairs = pairs.take(_can_meet(rows, pairs))
    return Collisions(rows=rows, query=pairs.query, document=pairs.document, reason=pairs.reason)


class _Pairs(NamedTuple):
    query: Ints
    document: Ints
    reason: Codes

    def take(self, chosen: npt.NDArray[Any]) -> _Pairs:
        return _Pairs(self.query[chosen], self.document[chosen], self.reason[chosen])


def blocks_of(decisions: CandidatesTable, positions: Ints) -> Iterator[tuple[Ints, Ints]]:
    """The queries at these positions of the decisions, some at a time: their positions (ascending) and numbers."""
    order = np.argsort(positions)
    first = 0
    for block in decisions.pieces(positions[order], READ_ROWS):
        yield block, order[first : first + len(block)]
        first += len(block)


def _doubtful(decisions: CandidatesTable, block: Ints) -> tuple[Ints, npt.NDArray[np.uint64], Ints]:
    """The rows of the decisions that must not be negatives of their query: owner, text key, reason.

    Of those dropped for reasons that say nothing about relevance, the ones that the judge puts no lower than the
    query's lowest positive.
    """
    judge = decisions.score(decisions.artefact.plan["judge_by"] or "")
    compared = judge is not None and judge.scale is not Scale.BM25  # which says nothing about relevance by itself
    scores = [score_column(judge.name)] if judge is not None and compared else []
    table = decisions.read(block, [TEXT_KEY, RELEVANCE, IS_POSITIVE, VERDICT, REASON, *scores], coded=True)
    owner = np.repeat(np.arange(len(block)), np.diff(decisions.offsets(block)))
    is_positive = np.asarray(table[IS_POSITIVE].to_numpy(zero_copy_only=False), np.bool_)
    is_known = ~is_positive & (table[RELEVANCE].fill_null(1).to_numpy() <= 0)
    is_dropped = among(table[VERDICT], Verdict.DROPPED)
    reason = np.where(is_dropped, _codes(table), _NONE)
    if judge is not None and compared:
        score = floats(table, judge.name)
        lowest = np.full(len(block), np.inf)
        np.minimum.at(lowest, owner[is_positive], np.where(np.isnan(score), np.inf, score)[is_positive])
        reason[is_dropped & (reason == _NONE) & (score >= lowest[owner])] = REASONS.index(ABOVE)
    reason[is_known] = _NONE
    reason[is_positive | among(table[VERDICT], Verdict.POSITIVE)] = REASONS.index(IS_RELEVANT)
    chosen = reason != _NONE
    keys = np.asarray(table[TEXT_KEY].to_numpy(), np.uint64)
    return owner[chosen], keys[chosen], reason[chosen]


def _codes(table: pa.Table) -> Ints:
    """The place of each row's reason in `REASONS`; `_NONE` where it is none of them."""
    reasons = table[REASON].combine_chunks()
    reasons = reasons if pa.types.is_dictionary(reasons.type) else reasons.dictionary_encode()
    codes = [REASONS.index(word) if word in REASONS else _NONE for word in reasons.dictionary.to_pylist()]
    return np.asarray(np.array(codes, np.int64)[reasons.indices.to_numpy()], np.int64)


def _shared(pairs: _Pairs, keys: npt.NDArray[np.uint64]) -> _Pairs:
    """The pairs of each query, and those of the queries of the same text."""
    same, counts = np.unique(keys, return_inverse=True, return_counts=True)[1:]
    if (counts == 1).all():
        return pairs
    members = np.argsort(same, kind="stable")
    starts = np.cumsum(counts) - counts
    times = counts[same[pairs.query]]
    copied = pairs.take(np.repeat(np.arange(len(times)), times))
    within = np.arange(len(copied.query)) - np.repeat(np.cumsum(times) - times, times)
    return copied._replace(query=members[starts[same[copied.query]] + within])


def _once(pairs: _Pairs) -> _Pairs:
    """Each pair once, by query and document, with its first reason."""
    pairs = pairs.take(np.lexsort((pairs.reason, pairs.document, pairs.query)))
    is_new = np.ones(len(pairs.query), np.bool_)
    is_new[1:] = (np.diff(pairs.query) != 0) | (np.diff(pairs.document) != 0)
    return pairs.take(is_new)


def _can_meet(rows: InFile, pairs: _Pairs) -> npt.NDArray[np.bool_]:
    """Which pairs' document stands in a row that is not the query's only one."""
    width = len(rows.documents)
    holds = np.unique(np.repeat(rows.query, np.diff(rows.offsets)) * width + rows.document)
    is_only = np.bincount(rows.query, minlength=len(rows.queries)) == 1
    is_there = np.bincount(rows.query, minlength=len(rows.queries)) > 0
    is_own = np.isin(pairs.query * width + pairs.document, holds)
    holders = np.bincount(holds % width, minlength=width)
    return np.asarray(is_there[pairs.query] & (holders[pairs.document] > (is_own & is_only[pairs.query])))
