"""The guard: how likely is an unlabelled candidate to be relevant after all?

Known positives are a sample of the relevant documents, everything else is unlabelled (positive-unlabelled learning;
Elkan and Noto, KDD 2008, whose c = P(labelled | relevant) is `labelled_share` here; the split into relevance and
selection is that of CET, arXiv 2209.05072). The model is one logistic curve over six terms of a row:

    logit p = level + m_d (1 - r^2) w_d D + m_l w_l L + w_x X + (1 - r^2) w_s S + v (w_z Z - w_k K)
    D, L, X = -log(place + 5) under the dense, the other, and the reranking scores; S under similarity to the positive
    Z = similarity to the positive in standard deviations of the table;  K = D of the query's known positives
    r = correlation of dense score and similarity to the positive within queries;  v = r / sqrt(1 - r^2)

The closer the two measures go together, the more of their ranks is said twice and the more the similarity itself says;
r needs no label. The weights w were learned on four fully judged collections (`scripts/fit_guard.py` prints them). What
differs between collections is estimated from each table's known positives alone:

- m, how far a retriever is to be trusted: the multipliers that make the known positives likeliest as draws from each
  query's relevant rows, P(row is the known one) = p(row) / sum of p, under a log-normal prior around 1, cut at 1;
- the level. The head of a fused list is relevant in about the same share of queries everywhere (`top_precision`),
  however many relevant documents a query has. If the known positive itself is that head in a share k of the queries,
  then c = k / top_precision of the relevant documents are known, and the best unlabelled row is relevant with
  probability top_precision (1 - c) / (1 - c top_precision). The level is what makes the curve say so, unless the
  expected number of unlabelled relevant rows a query is then more than `unevenness` (1 - c) / c: one known positive
  among R relevant documents gives 1 / c as the harmonic mean of R, and R is uneven between queries. Where the one known
  positive is the one relevant document, c goes to 1 and p to nearly 0.

What this cannot know: known positives that were not drawn evenly (only easy ones, only what one retriever showed to
annotators) shift m and c; one known positive a query cannot tell two relevant documents from fifty far down the list,
so collections with very many relevant documents are underestimated there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Floats, Ints
from hnmine.core.grouped import Groups, order_among, totals

DENSE, LEXICAL, RERANKER = "dense", "lexical", "reranker"
KINDS = (DENSE, LEXICAL, RERANKER)
SIMILARITY = "similarity to the positive"
KNOWN_PLACE = "place of the positive"

PLACE_OFFSET = 5.0
"""Added to a place before the logarithm: the first places differ less than 1, 2, 3 suggest."""
LEAST_QUERIES = 30
"""With fewer queries that have a positive, nothing is estimated but means: multipliers are 1, c is `PRIOR_SHARE`."""
PRIOR_SHARE = 0.2
MOST_SHARE = 0.98
"""c stays below 1, so that candidates remain ordered even where nothing seems to be left to find."""
MOST_COUPLING = 0.85
"""r beyond what was seen (0.45 to 0.79) is cut."""
PRIOR_SPREAD = 0.12
"""Standard deviation of log m."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What was learned across collections."""

    place: Mapping[str, float]
    """w_d, w_l, w_x by kind of score."""
    sim_place: float
    sim_level: float
    known_place: float
    alone: Mapping[str, float]
    """The places' weights in a fit without similarity to the positive, which the known positives themselves lack."""
    top_precision: float
    unevenness: float
    """The mean of R over its harmonic mean."""


SHIPPED: Mapping[tuple[str, ...], Weights] = {
    (DENSE, LEXICAL, RERANKER): Weights(
        place={DENSE: 0.977, LEXICAL: 0.531, RERANKER: 0.227},
        sim_place=0.169,
        sim_level=1.097,
        known_place=0.459,
        alone={DENSE: 0.774, LEXICAL: 0.48, RERANKER: 0.336},
        top_precision=0.691,
        unevenness=2.28,
    ),
    (DENSE, LEXICAL): Weights(
        place={DENSE: 1.113, LEXICAL: 0.605},
        sim_place=0.188,
        sim_level=1.108,
        known_place=0.46,
        alone={DENSE: 0.913, LEXICAL: 0.591},
        top_precision=0.675,
        unevenness=2.28,
    ),
    (DENSE,): Weights(
        place={DENSE: 1.261, RERANKER: 0.227},
        sim_place=0.243,
        sim_level=1.674,
        known_place=0.729,
        alone={DENSE: 1.129, RERANKER: 0.336},
        top_precision=0.623,
        unevenness=2.2,
    ),
    (LEXICAL,): Weights(
        place={LEXICAL: 1.167, RERANKER: 0.227},
        sim_place=0.0,
        sim_level=0.0,
        known_place=0.0,
        alone={LEXICAL: 1.014, RERANKER: 0.336},
        top_precision=0.564,
        unevenness=2.2,
    ),
}
"""By the kinds of scores that a table has, from cranfield, cacm, cisi and trecdl_19_20 (MiniLM and BM25, one known
positive a query). The reranker there is the small one of `scripts/train_reranker.py`, on half of the rows, whose word
is worth little: a weight that is too high makes the curve too sure of itself. Tables with one kind of retriever and a
reranker take over its weight."""


def shipped(terms: Terms) -> Weights:
    """The shipped weights for the kinds of scores at hand; a table without any retriever's scores counts as dense."""
    retrievers = tuple(kind for kind in (DENSE, LEXICAL) if kind in terms.places) or (DENSE,)
    return (
        SHIPPED.get((*retrievers, RERANKER), SHIPPED[retrievers]) if RERANKER in terms.places else SHIPPED[retrievers]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What the guard reads of a block: the part of `Evidence` that it needs, one entry a row but `offsets`."""

    offsets: Ints
    scores: Mapping[str, Floats]
    ranked: frozenset[str]
    """Names of scores that come from retrievers; the others are rerankers'."""
    sim_positive: Mapping[str, Floats]
    is_positive: Bools
    is_certain: Bools
    is_random: Bools
    groups: Groups | None = None
    """The rows by query, if who has the signals has them already."""

    @classmethod
    def of(cls, evidence: Evidence) -> Signals:
        """The signals of a block of evidence; a partial score is none, since places are counted among all rows."""
        return cls(
            offsets=evidence.offsets,
            scores={name: values for name, values in evidence.scores.items() if name not in evidence.partial},
            ranked=frozenset(evidence.ranks),
            sim_positive=evidence.sim_positive,
            is_positive=evidence.is_positive,
            is_certain=evidence.is_certain,
            is_random=evidence.is_random,
            groups=evidence.groups,
        )

    def kind(self, name: str) -> str:
        """What made a score: a dense index has similarities too, a reranker has no ranks."""
        return DENSE if name in self.sim_positive else LEXICAL if name in self.ranked else RERANKER


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of a block before anything of the table as a whole enters; one entry a row but `offsets`.

    NaN where a query has no such signal at all.
    """

    offsets: Ints
    places: dict[str, Floats]
    """-log(place + 5) by kind, the mean of the kind's scores."""
    sim_place: Floats
    similarities: dict[str, Floats]
    dense_z: Floats
    """Dense score standardised within the query's unlabelled rows, the mean of the dense indexes; likewise `sim_z`."""
    sim_z: Floats
    is_positive: Bools
    is_open: Bools
    """Neither positive nor certain nor random: what the curve is fitted to."""
    is_certain: Bools

    @property
    def owner(self) -> Ints:
        """The query number of each row."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def __len__(self) -> int:
        return len(self.is_positive)


def terms_of(signals: Signals, *, to_fit: bool = True) -> Terms:
    """The terms of every row; places count all rows of the query, those without a score stand behind all with one.

    `dense_z` and `sim_z` are found only `to_fit` the curve; it does without them.
    """
    groups = signals.groups or Groups(np.repeat(np.arange(len(signals.offsets) - 1), np.diff(signals.offsets)))
    size = len(groups)
    everything = np.ones(size, np.bool_)
    depths = -np.log(np.arange(groups.lengths.max(initial=0) + 1) + PLACE_OFFSET)
    unlabelled = ~signals.is_positive & ~signals.is_random

    def place(values: Floats) -> Floats:
        depth: Floats = depths[order_among(groups, values, everything)]
        known = totals(signals.offsets, np.isfinite(values))
        return depth if known.all() else np.where(np.repeat(known, np.diff(signals.offsets)), depth, np.nan)

    by_kind: dict[str, list[Floats]] = {}
    for name, values in signals.scores.items():
        by_kind.setdefault(signals.kind(name), []).append(place(values))
    dense = [values for name, values in signals.scores.items() if signals.kind(name) == DENSE] if to_fit else []
    similarities = list(signals.sim_positive.values()) if to_fit else []
    return Terms(
        offsets=signals.offsets,
        places={kind: _mean(by_kind[kind], size) for kind in KINDS if kind in by_kind},
        sim_place=_mean([place(_hide(v, signals.is_positive)) for v in signals.sim_positive.values()], size),
        similarities=dict(signals.sim_positive),
        dense_z=_mean([_within(signals.offsets, v, unlabelled) for v in dense], size),
        sim_z=_mean([_within(signals.offsets, v, unlabelled) for v in similarities], size),
        is_positive=signals.is_positive,
        is_open=unlabelled & ~signals.is_certain,
        is_certain=signals.is_certain,
    )


def fit(blocks: Sequence[Terms], weights: Weights | None = None) -> dict[str, Any]:
    """The state: what of the curve depends on the table, as JSON values rounded to six digits.

    It depends on the rows and their order, not on how they are cut into blocks.
    """
    terms = join(blocks)
    weights = weights or shipped(terms)
    pool = ~terms.is_positive & np.isfinite(terms.dense_z + terms.sim_z)
    coupling = float(np.corrcoef(terms.dense_z[pool], terms.sim_z[pool])[0, 1]) if _varies(terms, pool) else 0.0
    known = int(np.unique(terms.owner[terms.is_positive]).size)
    state: dict[str, Any] = {
        "queries": len(terms.offsets) - 1,
        "queries_with_positive": known,
        "estimated": known >= LEAST_QUERIES,
        "coupling": _round(min(max(coupling, 0.0), MOST_COUPLING)),
        "centre": {kind: _round(_average(values)) for kind, values in terms.places.items()},
        "sim_centre": _round(_average(terms.sim_place)),
        "similarity": {
            name: [_round(_average(values)), _round(_deviation(values))] for name, values in terms.similarities.items()
        },
        "known_centre": _round(_average(_known_place(terms)[_firsts(terms)])),
        "trust": dict.fromkeys(terms.places, 1.0),
        "labelled_share": PRIOR_SHARE,
        "level": 0.0,
    }
    if state["estimated"]:
        state["trust"] = _trust(terms, state, weights)
        state["labelled_share"] = _labelled_share(terms, state, weights)
    state["level"] = _round(_level(terms, state, weights))
    p = _curve(sum(contributions(terms, state, weights).values(), np.zeros(len(terms))) + state["level"])
    open_queries = max(len(terms.offsets) - 1, 1)
    state["expected_per_query"] = _round(float(p[terms.is_open].sum()) / open_queries)
    return state


def contributions(terms: Terms, state: Mapping[str, Any], weights: Weights | None = None) -> dict[str, Floats]:
    """What each signal adds to the logit of each row; 0 is the table's average candidate."""
    weights = weights or shipped(terms)
    coupling = float(state["coupling"])
    single = 1.0 - coupling**2
    found: dict[str, Floats] = {}
    for kind, values in terms.places.items():
        weight = weights.place[kind] * state["trust"].get(kind, 1.0) * (single if kind == DENSE else 1.0)
        found[kind] = weight * _or_zero(values - state["centre"].get(kind, 0.0))
    if terms.similarities:
        strength = coupling / np.sqrt(single)
        levels = [
            (values - state["similarity"][name][0]) / max(state["similarity"][name][1], 1e-9)
            for name, values in terms.similarities.items()
            if name in state["similarity"]
        ]
        level = _or_zero(_mean(levels, len(terms)))
        place = _or_zero(terms.sim_place - state["sim_centre"])
        found[SIMILARITY] = single * weights.sim_place * place + strength * weights.sim_level * level
        known = _or_zero(_known_place(terms) - state["known_centre"])
        found[KNOWN_PLACE] = -strength * weights.known_place * known
    return found


def probabilities(terms: Terms, state: Mapping[str, Any], weights: Weights | None = None) -> Floats:
    """p of every row: NaN for positives, 0 for rows known not to be relevant."""
    total = sum(contributions(terms, state, weights).values(), np.zeros(len(terms)))
    p = _curve(total + float(state["level"]))
    p[terms.is_certain] = 0.0
    p[terms.is_positive] = np.nan
    return p


def join(blocks: Sequence[Terms]) -> Terms:
    """Several blocks as one."""
    lengths = [np.diff(block.offsets) for block in blocks]
    return Terms(
        offsets=np.concatenate([[0], np.cumsum(np.concatenate([[], *lengths]))]).astype(np.int64),
        places={kind: _rows([b.places[kind] for b in blocks]) for kind in (blocks[0].places if blocks else ())},
        sim_place=_rows([block.sim_place for block in blocks]),
        similarities={
            n: _rows([b.similarities[n] for b in blocks]) for n in (blocks[0].similarities if blocks else ())
        },
        dense_z=_rows([block.dense_z for block in blocks]),
        sim_z=_rows([block.sim_z for block in blocks]),
        is_positive=_rows([block.is_positive for block in blocks]).astype(np.bool_),
        is_open=_rows([block.is_open for block in blocks]).astype(np.bool_),
        is_certain=_rows([block.is_certain for block in blocks]).astype(np.bool_),
    )


def _rows(parts: Sequence[Any]) -> Any:
    return np.concatenate(parts) if parts else np.empty(0)


def _blind(terms: Terms, trust: Mapping[str, float], state: Mapping[str, Any], weights: Weights) -> Floats:
    """The logit, less its level, from places alone: all that is known of positives and of other rows alike."""
    total = np.zeros(len(terms))
    for kind, values in terms.places.items():
        total += trust.get(kind, 1.0) * weights.alone[kind] * _or_zero(values - state["centre"][kind])
    return total


def _trust(terms: Terms, state: Mapping[str, Any], weights: Weights) -> dict[str, float]:
    """The multipliers m: maximum a posteriori, one after the other by golden section, twice around; at most 1.

    They are cut at 1 because their error has a direction: every query gives as many known positives whether it has two
    relevant documents or fifty, so the concentrated queries weigh too much and a retriever looks steeper than it is.
    """
    owner, queries = terms.owner, len(terms.offsets) - 1
    positive = np.flatnonzero(terms.is_positive)
    firsts = _firsts(terms)

    def loss(logs: Mapping[str, float]) -> float:
        logit = _blind(terms, {kind: float(np.exp(x)) for kind, x in logs.items()}, state, weights)
        p = _curve(logit + _solve(np.maximum.reduceat(logit, firsts), weights.top_precision))
        total = np.bincount(owner, p, minlength=queries)
        likelihood = float((np.log(p[positive]) - np.log(total[owner[positive]])).sum())
        return -likelihood + sum(x * x for x in logs.values()) / (2 * PRIOR_SPREAD**2)

    def along(kind: str, x: float) -> float:
        return loss({**logs, kind: x})

    logs = dict.fromkeys(terms.places, 0.0)
    for _ in range(2):
        for kind in logs:
            logs[kind] = _golden(partial(along, kind), -2.5, 1.5)
    return {kind: _round(float(np.exp(min(x, 0.0)))) for kind, x in logs.items()}


def _labelled_share(terms: Terms, state: Mapping[str, Any], weights: Weights) -> float:
    """c: how often the head of the blind order is a known positive, over how often it is relevant."""
    logit = _blind(terms, state["trust"], state, weights)
    eligible = terms.is_open | terms.is_positive
    heads = _heads(terms, logit, eligible)
    share = float(terms.is_positive[heads].mean()) if len(heads) else 0.0
    return _round(min(share / weights.top_precision, MOST_SHARE))


def _level(terms: Terms, state: Mapping[str, Any], weights: Weights) -> float:
    """The level at which each query's best open row, and the open rows in sum, are relevant as `labelled_share` allows.

    Of the two the lower. The sum holds for tables with one known positive a query, and is a bound for others.
    """
    total = sum(contributions(terms, state, weights).values(), np.zeros(len(terms)))
    heads = _heads(terms, total, terms.is_open)
    rate, share = weights.top_precision, float(state["labelled_share"])
    if not len(heads):
        return -5.0
    by_head = _solve(total[heads], rate * (1 - share) / (1 - share * rate))
    if share <= 0:
        return by_head
    known = int(terms.is_positive.sum()) / max(int(state["queries_with_positive"]), 1)
    most = weights.unevenness * known * (1 - share) / share * len(heads) / int(terms.is_open.sum())
    return min(by_head, _solve(total[terms.is_open], most)) if most < 1 else by_head


def _heads(terms: Terms, logit: Floats, among: Bools) -> Ints:
    """The row with the highest logit of each query that has a row of `among`; the first of equals."""
    rows = np.flatnonzero(among)
    order = rows[np.lexsort((rows, -logit[rows], terms.owner[rows]))]
    own = terms.owner[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = own[1:] != own[:-1]
    return order[first]


def _firsts(terms: Terms) -> Ints:
    """The first row of each query that has rows."""
    return terms.offsets[:-1][np.diff(terms.offsets) > 0]


def _known_place(terms: Terms) -> Floats:
    """For each row, the mean dense place term of its query's positives; NaN if there is none."""
    values = terms.places.get(DENSE)
    if values is None:
        return np.full(len(terms), np.nan)
    usable = np.flatnonzero(terms.is_positive & np.isfinite(values))
    queries, owner = len(terms.offsets) - 1, terms.owner
    sums = np.bincount(owner[usable], values[usable], minlength=queries)
    counts = np.bincount(owner[usable], minlength=queries)
    mean = np.divide(sums, counts, out=np.full(queries, np.nan), where=counts > 0)
    found: Floats = mean[owner]
    return found


def _within(offsets: Ints, values: Floats, among: Bools) -> Floats:
    """Values standardised over the rows of `among` of each query; NaN where they do not vary."""
    usable = among & np.isfinite(values)
    lengths = np.diff(offsets)
    counts = np.maximum(totals(offsets, usable.astype(np.float64)), 1.0)
    mean = totals(offsets, np.where(usable, values, 0.0)) / counts
    gap = np.where(usable, values - np.repeat(mean, lengths), 0.0)
    deviation = np.repeat(np.sqrt(totals(offsets, gap**2) / counts), lengths)
    found: Floats = np.divide(gap, deviation, out=np.full(len(gap), np.nan), where=usable & (deviation > 0))
    return found


def _hide(values: Floats, rows: Bools) -> Floats:
    return np.where(rows, np.nan, values)


def _mean(columns: Sequence[Floats], size: int) -> Floats:
    """The mean of the columns that have a value, row by row; NaN where none has."""
    if len(columns) == 1:
        usable = np.isfinite(columns[0])
        return columns[0] if usable.all() else np.where(usable, columns[0], np.nan)
    total, count = np.zeros(size), np.zeros(size)
    for column in columns:
        usable = np.isfinite(column)
        total += np.where(usable, column, 0.0)
        count += usable
    mean: Floats = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
    return mean


def _varies(terms: Terms, pool: Bools) -> bool:
    return int(pool.sum()) > 1 and float(terms.dense_z[pool].std()) > 0 and float(terms.sim_z[pool].std()) > 0


def _average(values: Floats) -> float:
    usable = values[np.isfinite(values)]
    return float(usable.mean()) if len(usable) else 0.0


def _deviation(values: Floats) -> float:
    usable = values[np.isfinite(values)]
    return float(usable.std()) if len(usable) else 0.0


def _or_zero(values: Floats) -> Floats:
    usable = np.isfinite(values)
    return values if usable.all() else np.where(usable, values, 0.0)


def _curve(logit: Floats) -> Floats:
    """The logistic function, without overflow."""
    found: Floats = 0.5 * (1.0 + np.tanh(0.5 * logit))
    return np.maximum(found, 1e-12)


def _solve(logits: Floats, rate: float) -> float:
    """The shift at which the curve's mean over `logits` is `rate`, by bisection."""
    low, high = -60.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(_curve(logits + middle).mean()) < rate else (low, middle)
    return (low + high) / 2


def _golden(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is lowest, to 1e-3."""
    ratio = (np.sqrt(5.0) - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = loss(a), loss(b)
    while high - low > 1e-3:
        if at_a < at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = loss(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = loss(b)
    return float((low + high) / 2)


def _round(value: float) -> float:
    return float(f"{value:.6g}")
