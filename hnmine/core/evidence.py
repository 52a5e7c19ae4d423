"""A block of candidates as arrays: what rules and picks see.

Queries are contiguous; every array has one entry a row unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from hnmine.core.grouped import Groups
from hnmine.options import Anchor

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the collection spread over the rows of a block: `document.NAME` or `query.NAME`.

    `values` are int64, float64, bool, or str objects; where `is_null`, the value means nothing.
    """

    values: npt.NDArray[Any]
    is_null: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything known about the candidates of a block of queries.

    Query i owns the rows offsets[i]..offsets[i+1]. Rows of a query are in rank-by order: the best-placed row first.
    """

    offsets: Ints
    """int64[queries + 1]"""
    judge: Floats
    """Score that rules compare; NaN where it is missing."""
    rank: Ints
    """1-based rank under the rank-by retriever, positives counted; 0 where the row is beyond its top k."""
    is_positive: Bools
    is_judged: Bools
    """Whether the qrels say anything about the row; a judged row that is no positive has a grade below the minimum."""
    is_low_grade: Bools
    """Judged with a grade between 0 and the minimum: relevant to some degree, so neither positive nor negative."""
    text_key: Keys
    query_key: Keys
    """text_key of each query, one entry a query."""
    is_random: Bools
    """Brought by the random source alone."""
    scores: Mapping[str, Floats]
    """Every score of the table by name, in the table's order; NaN where it is missing."""
    ranks: Mapping[str, Ints]
    """Every retriever's 1-based rank by name, positives counted; 0 where the row is beyond its top k."""
    sim_positive: Mapping[str, Floats]
    """By dense index: highest similarity to another document that is a positive of the query; NaN if there is none."""
    is_curated: Bools
    """Written or chosen by a person or a generator to be a negative; rules that guess at relevance leave it alone."""
    sim_better: Mapping[str, Floats] = field(default_factory=dict)
    """By dense index: highest similarity to a better-placed row of the query that is no positive; NaN if none."""
    clusters: Mapping[str, Ints] = field(default_factory=dict)
    """By dense index: the cluster of the document, from 1; 0 where it is unknown."""
    centroid_ranks: Mapping[str, Ints] = field(default_factory=dict)
    """By dense index: rank of the document's cluster by nearness to the query, 1 = nearest; 0 where it is unknown."""
    has_answer: Bools | None = None
    """Whether the document contains one of the query's answers; None if the table does not say."""
    is_existing: Bools | None = None
    """Brought by the user's own file as a negative; None if no row is."""
    partial: frozenset[str] = frozenset()
    """Names of scores that some rows are without because nobody needed them there, or a file had them for its own rows
    alone: places among all rows mean nothing. Beside the first kind, also of what was scored after it.
    """
    trust: Floats | None = None
    """1 - p_false_negative, by which picks weight their draws; None if they draw without it."""
    grades: Mapping[str, Ints] = field(default_factory=dict)
    """By judge, in the order in which they were asked: its grades (0 not relevant ... 3), -1 where it gave none."""
    labels: Ints | None = None
    """What a person said of the rows: 0 not relevant, more is relevant, -1 nothing; None if nobody was asked."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """The columns that the rules in force named in `Rule.columns`, by those names."""

    _known: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` finds from this evidence alone, found once whoever asks; an array that nobody can change.

        `key` says what it is and what else it depends on.
        """
        if key not in self._known:
            made = make()
            if isinstance(made, np.ndarray):
                made.setflags(write=False)
            self._known[key] = made
        found: T = self._known[key]
        return found

    @property
    def owner(self) -> Ints:
        """The query number of each row."""
        return self.once("owner", lambda: np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets)))

    @property
    def groups(self) -> Groups:
        """The rows by query, for who asks for places or repeats."""
        return self.once("groups", lambda: Groups(self.owner))

    @property
    def is_certain(self) -> Bools:
        """Rows known not to be relevant: curated, or judged with grade 0 or less. No guess overrules knowledge.

        Where the qrels are silent, grade 0 of the judge who was asked last is knowledge too.
        """

        def certain() -> Bools:
            known = self.is_judged & ~self.is_low_grade
            cleared = np.zeros(len(self.judge), np.bool_)
            for grade in self.grades.values():
                cleared = np.where(grade >= 0, grade == 0, cleared)
            return self.is_curated | ((known | (cleared & ~self.is_judged)) & ~self.is_positive)

        return self.once("certain", certain)


def anchor_scores(evidence: Evidence, anchor: Anchor, scores: Floats | None = None) -> Floats:
    """s(p) of each query: the lowest, highest or mean score of its positives; NaN if none has a score.

    `scores` are the judge's unless others are given.

    Sources differ (min: the MS MARCO cross-encoder recipe and sentence-transformers; max: KaLM); min is the safe one.
    """
    if scores is None:
        return evidence.once(("anchor", anchor), lambda: anchor_scores(evidence, anchor, evidence.judge))
    queries = len(evidence.offsets) - 1
    rows = np.flatnonzero(evidence.is_positive)
    rows = rows[np.isfinite(scores[rows])]
    owner, found = evidence.owner[rows], scores[rows]
    counts = np.bincount(owner, minlength=queries)
    if anchor is Anchor.MEAN:
        sums = np.bincount(owner, weights=found, minlength=queries)
        mean: Floats = np.divide(sums, counts, out=np.full(queries, np.nan), where=counts > 0)
        return mean
    start = np.inf if anchor is Anchor.MIN else -np.inf
    result = np.full(queries, start)
    (np.minimum if anchor is Anchor.MIN else np.maximum).at(result, owner, found)
    result[counts == 0] = np.nan
    return result
