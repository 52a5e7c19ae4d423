"""The guard says how likely a candidate is relevant, and how it knows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_rules import evidence

from hnmine.core import guard
from hnmine.core.evidence import Evidence
from hnmine.core.guard import DENSE, KNOWN_PLACE, LEXICAL, SIMILARITY, Signals, Terms, Weights
from hnmine.core.rules.guard import MaxFnProbability


def signals(
    dense: list[float],
    bm25: list[float] | None = None,
    sim: list[float] | None = None,
    *,
    lengths: list[int] | None = None,
    positive: list[int] = [0],  # noqa: B006
    certain: list[int] = [],  # noqa: B006
) -> Signals:
    size = len(dense)
    scores = {"minilm": np.array(dense, float)} | ({"bm25": np.array(bm25, float)} if bm25 is not None else {})
    return Signals(
        offsets=np.concatenate([[0], np.cumsum(lengths or [size])]).astype(np.int64),
        scores=scores,
        ranked=frozenset(scores),
        sim_positive={"minilm": np.array(sim, float)} if sim is not None else {},
        is_positive=np.isin(np.arange(size), positive),
        is_certain=np.isin(np.arange(size), certain),
        is_random=np.zeros(size, np.bool_),
    )


SIMPLE = Weights(
    place={DENSE: 2.0, LEXICAL: 1.0},
    sim_place=0.5,
    sim_level=3.0,
    known_place=1.0,
    alone={DENSE: 1.0, LEXICAL: 1.0},
    top_precision=0.6,
    unevenness=2.0,
)
STATE: dict[str, Any] = {
    "coupling": 0.6,
    "centre": {DENSE: -2.0, LEXICAL: -2.0},
    "sim_centre": -2.0,
    "similarity": {"minilm": [0.5, 0.1]},
    "known_centre": -2.0,
    "trust": {DENSE: 0.5, LEXICAL: 1.0},
    "level": -1.0,
}


def test_every_signal_adds_what_the_formula_says() -> None:
    # Row 1: dense place 2 of 3, bm25 place 1, similarity place 1 of 2 and one deviation above the mean; the positive
    # is first in the dense order. r = 0.6: 1 - r^2 = 0.64, v = 0.6 / 0.8 = 0.75.
    terms = guard.terms_of(signals([0.9, 0.8, 0.7], [1.0, 3.0, 2.0], [np.nan, 0.6, 0.4]))
    parts = guard.contributions(terms, STATE, SIMPLE)
    assert parts[DENSE][1] == pytest.approx(0.5 * 2.0 * 0.64 * (2.0 - np.log(7)))
    assert parts[LEXICAL][1] == pytest.approx(1.0 * (2.0 - np.log(6)))
    assert parts[SIMILARITY][1] == pytest.approx(0.64 * 0.5 * (2.0 - np.log(6)) + 0.75 * 3.0 * 1.0)
    assert parts[KNOWN_PLACE][1] == pytest.approx(-0.75 * (2.0 - np.log(6)))
    logit = sum(values[1] for values in parts.values()) - 1.0
    p = guard.probabilities(terms, STATE, SIMPLE)
    assert p[1] == pytest.approx(1 / (1 + np.exp(-logit)))
    assert np.isnan(p[0])


def test_what_is_known_is_not_guessed_at() -> None:
    terms = guard.terms_of(signals([0.9, 0.8, 0.7], sim=[np.nan, 0.6, 0.4], certain=[1]))
    p = guard.probabilities(terms, STATE, SIMPLE)
    assert np.isnan(p[0])
    assert p[1] == 0.0
    assert 0 < p[2] < 1


def test_the_positive_is_no_neighbour_of_the_others_in_the_order_by_similarity() -> None:
    # With several positives, one of them has a similarity too; it takes no place from the unlabelled rows.
    terms = guard.terms_of(signals([0.9, 0.8, 0.7], sim=[0.99, 0.6, 0.4], positive=[0]))
    assert terms.sim_place[1] == pytest.approx(-np.log(6))


def test_a_higher_score_never_lowers_the_probability() -> None:
    rng = np.random.default_rng(3)
    dense, bm25, sim = rng.normal(size=(3, 30))
    sim[0] = np.nan
    for name, values in (("dense", dense), ("bm25", bm25), ("sim", sim)):
        last = -1.0
        for value in (-3.0, -1.0, 0.0, 1.0, 3.0):
            changed = values.copy()
            changed[7] = value
            rows = {"dense": dense, "bm25": bm25, "sim": sim} | {name: changed}
            terms = guard.terms_of(signals(rows["dense"], rows["bm25"], rows["sim"]))  # type: ignore[arg-type]
            p = float(guard.probabilities(terms, STATE)[7])
            assert p >= last, (name, value)
            last = p
        assert last > 0


def world(
    relevant: int, *, queries: int = 300, seed: int = 0, depth: int = 150, gap: float = 2.6
) -> tuple[Terms, np.ndarray]:
    """Queries with known numbers of relevant documents (geometric, of the given mean), one of them labelled at random.

    Relevant documents score higher by `gap` deviations under a dense and half as much under a lexical retriever and,
    being about the same thing, are closer to the labelled one.
    """
    rng = np.random.default_rng(seed)
    dense, bm25, sim, positive, truth = [], [], [], [], []
    for _ in range(queries):
        count = 1 if relevant == 1 else min(int(rng.geometric(1 / relevant)), depth // 2)
        is_relevant = np.arange(depth) < count
        labelled = np.arange(depth) == rng.integers(count)
        topic = rng.normal(size=depth)
        shift = gap * is_relevant
        dense.append(shift + topic)
        bm25.append(0.5 * shift + rng.normal(size=depth))
        own = 0.7 * shift + 0.6 * topic + 0.8 * rng.normal(size=depth)
        sim.append(np.where(labelled, np.nan, own))
        positive.append(labelled)
        truth.append(is_relevant)
    flat = np.flatnonzero(np.concatenate(positive)).tolist()
    columns = [np.concatenate(c).tolist() for c in (dense, bm25, sim)]
    terms = guard.terms_of(signals(*columns, lengths=[depth] * queries, positive=flat))
    return terms, np.concatenate(truth)


def calibration_error(truth: np.ndarray, p: np.ndarray, bins: int = 15) -> float:
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    return float(sum(len(i) / len(p) * abs(p[i].mean() - truth[i].mean()) for i in parts))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("relevant", "gap", "depth"), [(1, 3.0, 150), (1, 2.5, 150), (4, 2.4, 150), (10, 2.0, 300), (20, 1.8, 300)]
)
def test_calibrated_where_the_number_of_relevant_documents_is_known(
    relevant: int, gap: float, depth: int, seed: int
) -> None:
    # Saying 0 everywhere has an error of 0.02 to 0.07, the base rate; so sums and head are held to the truth too.
    terms, truth = world(relevant, gap=gap, depth=depth, seed=seed)
    state = guard.fit([terms])
    p = guard.probabilities(terms, state)
    rows = terms.is_open
    hidden = truth[rows].sum() / 300
    assert calibration_error(truth[rows], p[rows]) <= (0.03 if relevant < 20 else 0.05)
    if relevant == 1:
        assert state["expected_per_query"] < 1.5
    else:
        assert 0.4 < state["expected_per_query"] / hidden < 1.6
        head = rows & (p >= np.quantile(p[rows], 0.99))
        assert p[head].mean() == pytest.approx(truth[head].mean(), abs=0.3)


def test_one_relevant_document_a_query_leaves_little_to_find() -> None:
    one, many = (guard.fit([world(relevant, gap=3.0)[0]]) for relevant in (1, 10))
    assert one["labelled_share"] > 0.7
    assert one["expected_per_query"] < 1.0
    assert many["labelled_share"] < 0.4
    assert many["expected_per_query"] > 3.0


def test_a_retriever_that_places_the_known_positives_at_random_loses_trust() -> None:
    rng = np.random.default_rng(0)
    queries, depth = 1_000, 60
    positive = np.zeros((queries, depth), np.bool_)
    positive[:, 0] = True
    good = rng.normal(size=(queries, depth)) + 2.0 * positive
    noise = rng.normal(size=(queries, depth))
    flat = np.flatnonzero(positive).tolist()
    sim = np.where(positive, np.nan, 0.5).ravel().tolist()
    state = guard.fit(
        [
            guard.terms_of(
                signals(good.ravel().tolist(), noise.ravel().tolist(), sim, lengths=[depth] * queries, positive=flat)
            )
        ]
    )
    assert state["trust"][DENSE] == 1.0
    assert state["trust"][LEXICAL] < 0.75


def test_the_state_does_not_depend_on_blocks() -> None:
    terms, _ = world(5, queries=60)
    depth = 150

    def block(start: int, stop: int) -> Terms:
        rows = slice(start * depth, stop * depth)
        return Terms(
            offsets=np.arange(stop - start + 1) * depth,
            places={kind: values[rows] for kind, values in terms.places.items()},
            sim_place=terms.sim_place[rows],
            similarities={name: values[rows] for name, values in terms.similarities.items()},
            dense_z=terms.dense_z[rows],
            sim_z=terms.sim_z[rows],
            is_positive=terms.is_positive[rows],
            is_open=terms.is_open[rows],
            is_certain=terms.is_certain[rows],
        )

    whole = guard.fit([terms])
    assert guard.fit([block(0, 7), block(7, 8), block(8, 60)]) == whole
    p = guard.probabilities(terms, whole)
    np.testing.assert_array_equal(guard.probabilities(block(7, 8), whole), p[7 * depth : 8 * depth])


def test_too_few_queries_are_said_to_be_too_few() -> None:
    few, enough = (guard.fit([world(5, queries=n)[0]]) for n in (guard.LEAST_QUERIES - 1, guard.LEAST_QUERIES))
    assert (few["estimated"], enough["estimated"]) == (False, True)
    assert few["labelled_share"] == guard.PRIOR_SHARE
    assert set(few["trust"].values()) == {1.0}


@pytest.mark.parametrize(
    "odd",
    [
        signals([], lengths=[]),
        signals([0.5], positive=[0]),
        signals([0.5, 0.4], positive=[]),
        signals([np.nan] * 4, [np.nan] * 4, [np.nan] * 4),
        signals([0.9, np.nan, 0.1], [np.nan] * 3, [np.nan, 0.5, np.nan]),
        signals([0.5] * 4, [0.0] * 4, [np.nan, 0.5, 0.5, 0.5]),
        signals([0.9, 0.5, 0.4], lengths=[2, 1], positive=[0]),
    ],
)
def test_whatever_is_missing_p_is_a_probability(odd: Signals) -> None:
    with np.errstate(all="raise"):
        terms = guard.terms_of(odd)
        state = guard.fit([terms])
        p = guard.probabilities(terms, state)
    assert np.isfinite(p[~odd.is_positive]).all()
    assert ((p[~odd.is_positive] >= 0) & (p[~odd.is_positive] <= 1)).all()
    assert np.isnan(p[odd.is_positive]).all()


def test_the_rest_of_the_state_is_moments_that_can_be_counted_by_hand() -> None:
    # Two queries of three rows; positives are rows 0 and 4. Places of dense scores: 1 2 3 and 2 1 3.
    found = signals(
        [0.9, 0.6, 0.3, 0.5, 0.8, 0.1], sim=[np.nan, 0.7, 0.1, 0.4, np.nan, 0.2], lengths=[3, 3], positive=[0, 4]
    )
    state = guard.fit([guard.terms_of(found)])
    assert state["queries"] == state["queries_with_positive"] == 2
    assert state["centre"][DENSE] == pytest.approx(-(np.log(6) + np.log(7) + np.log(8)) / 3, abs=1e-5)
    assert state["similarity"]["minilm"] == pytest.approx([0.35, np.std([0.7, 0.1, 0.4, 0.2])], abs=1e-5)
    assert state["known_centre"] == pytest.approx(-np.log(6), abs=1e-5)
    assert state["coupling"] == guard.MOST_COUPLING  # 1 in both queries, cut
    # The head of each query is open row 1 or 3, relevant with probability rate (1 - c) / (1 - c rate), c = 0.2.
    weights = guard.SHIPPED[DENSE,]
    p = guard.probabilities(guard.terms_of(found), state)
    assert p[[1, 3]].mean() == pytest.approx(weights.top_precision * 0.8 / (1 - 0.2 * weights.top_precision), abs=1e-4)


def test_any_set_of_scores_will_do() -> None:
    terms, truth = world(5)
    for kept in ((DENSE,), (LEXICAL,)):
        fewer = Terms(
            offsets=terms.offsets,
            places={kind: terms.places[kind] for kind in kept},
            sim_place=terms.sim_place if DENSE in kept else np.full(len(truth), np.nan),
            similarities=terms.similarities if DENSE in kept else {},
            dense_z=terms.dense_z if DENSE in kept else np.full(len(truth), np.nan),
            sim_z=terms.sim_z if DENSE in kept else np.full(len(truth), np.nan),
            is_positive=terms.is_positive,
            is_open=terms.is_open,
            is_certain=terms.is_certain,
        )
        p = guard.probabilities(fewer, guard.fit([fewer]))
        assert p[terms.is_open & truth].mean() > 2 * p[terms.is_open & ~truth].mean()


def test_a_score_without_ranks_is_a_rerankers() -> None:
    found = signals([0.9, 0.8, 0.7], sim=[np.nan, 0.6, 0.4])
    found = Signals(
        offsets=found.offsets,
        scores={**found.scores, "ce": np.array([5.0, -3.0, 4.0])},
        ranked=found.ranked,
        sim_positive=found.sim_positive,
        is_positive=found.is_positive,
        is_certain=found.is_certain,
        is_random=found.is_random,
    )
    assert [found.kind(name) for name in found.scores] == [DENSE, guard.RERANKER]
    p = guard.probabilities(guard.terms_of(found), {**STATE, "centre": {DENSE: -2.0, guard.RERANKER: -2.0}})
    assert p[2] > guard.probabilities(guard.terms_of(signals([0.9, 0.8, 0.7], sim=[np.nan, 0.6, 0.4])), STATE)[2]


def rows() -> Evidence:
    values = np.array([0.9, 0.8, 0.7, 0.1])
    return evidence(
        values.tolist(),
        zero=[1],
        scores_by_name={"minilm": values},
        ranks={"minilm": np.array([1, 2, 3, 4])},
        sim_positive={"minilm": np.array([np.nan, 0.9, 0.8, 0.1])},
    )


def test_the_rule_drops_what_is_above_and_spares_what_is_known() -> None:
    rule = MaxFnProbability(0.5)
    rule.restore(rule.fit([rows()]))
    p = rule.probability(rows())
    assert p[1] == 0.0  # judged 0
    between = MaxFnProbability(float((p[2] + p[3]) / 2))
    between.restore(rule.fit([rows()]))
    alive = np.ones(4, np.bool_)
    assert between.drops(rows(), alive).tolist() == [False, False, True, False]
    assert between.drops(rows(), np.zeros(4, np.bool_)).tolist() == [False, False, True, False]
    # Row 1 stands before row 2 under every signal: without the judgment it would have gone, and that is counted.
    assert between.against(rows(), alive).tolist() == [False, True, True, False]
