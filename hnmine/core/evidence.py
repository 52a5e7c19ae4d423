"""A block of candidates as arrays: what rules and picks see.

Queries are contiguous; every array has one entry a row unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.options import Anchor

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


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
    columns: Mapping[str, Column] = field(default_factory=dict)
    """The columns that the rules in force named in `Rule.columns`, by those names."""

    @property
    def owner(self) -> Ints:
        """The query number of each row."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @property
    def is_certain(self) -> Bools:
        """Rows known not to be relevant: curated, or judged with grade 0 or less. No guess overrules knowledge."""
        return self.is_curated | (self.is_judged & ~self.is_positive & ~self.is_low_grade)


def anchor_scores(evidence: Evidence, anchor: Anchor, scores: Floats | None = None) -> Floats:
    """s(p) of each query: the lowest, highest or mean score of its positives; NaN if none has a score.

    `scores` are the judge's unless others are given.

    Sources differ (min: the MS MARCO cross-encoder recipe and sentence-transformers; max: KaLM); min is the safe one.
    """
    queries = len(evidence.offsets) - 1
    given = evidence.judge if scores is None else scores
    known = evidence.is_positive & np.isfinite(given)
    owner, found = evidence.owner[known], given[known]
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


def keys_in(owner: Ints, keys: Keys, other_owner: Ints, other_keys: Keys) -> Bools:
    """Which (owner, key) pairs also occur among the other pairs."""
    pairs = np.rec.fromarrays([owner, keys])
    others = np.rec.fromarrays([other_owner, other_keys])
    return np.isin(pairs, np.unique(others))


def repeats(owner: Ints, keys: Keys) -> Bools:
    """Which rows repeat the key of an earlier row of the same owner; the first of each key is not a repeat."""
    order = np.lexsort((np.arange(len(keys)), keys, owner))
    same = np.zeros(len(keys), np.bool_)
    if len(keys) > 1:
        a, b = order[:-1], order[1:]
        same[b] = (owner[a] == owner[b]) & (keys[a] == keys[b])
    return same


def place_within(owner: Ints, chosen: Bools) -> Ints:
    """0-based position of each chosen row among the chosen rows of its owner; -1 for the others.

    Rows must be grouped by owner.
    """
    running: Ints = np.cumsum(chosen) - chosen
    first = np.zeros(len(owner), np.int64)
    if len(owner):
        starts = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
        lengths = np.diff(np.concatenate([starts, [len(owner)]]))
        first = np.repeat(running[starts], lengths)
    return np.where(chosen, running - first, -1)


def order_among(owner: Ints, values: Floats, among: Bools) -> Ints:
    """1-based rank of each row of `among` within its owner, highest value first; 0 for the other rows.

    Equal values share the better rank; rows without a value (NaN) share the place behind all that have one.
    """
    ranked = np.zeros(len(owner), np.int64)
    rows = np.flatnonzero(among)
    keys = np.where(np.isnan(values[rows]), -np.inf, values[rows])
    order = np.lexsort((-keys, owner[rows]))
    own, key = owner[rows][order], keys[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (own[1:] != own[:-1]) | (key[1:] != key[:-1])
    first = np.maximum.accumulate(np.where(new, np.arange(len(order)), 0))
    starts = np.searchsorted(own, own, side="left")
    ranked[rows[order]] = first - starts + 1
    return ranked
