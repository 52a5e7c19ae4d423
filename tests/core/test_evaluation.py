"""nDCG against ir_measures and by hand, and Kendall's tau by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from hnmine.core.evaluation import kendall_tau, ndcg, newcomers_tau


def arrays(*columns: list[float]) -> list[np.ndarray]:
    kinds = (np.int64, np.float64)
    return [np.array(column, kinds[place % 2]) for place, column in enumerate(columns)]


def test_ndcg_by_hand() -> None:
    owner, gains, judged_owner, judged = arrays([0, 0, 0, 2], [0, 2, 1, 1], [2, 0, 0, 1, 3], [1, 1, 2, 0, 3])
    found = ndcg(owner, gains, judged_owner, judged, 5)
    ideal = 2 + 1 / math.log2(3)
    assert found == pytest.approx([(2 / math.log2(3) + 1 / 2) / ideal, 1.0, 0.0])


def test_ndcg_counts_ten_and_no_grade_below_0() -> None:
    owner, gains, judged_owner, judged = arrays([0] * 11, [-1] + [0] * 9 + [1], [0, 0], [1, -1])
    assert ndcg(owner, gains, judged_owner, judged, 1).tolist() == [0.0]
    assert ndcg(owner, gains[::-1], judged_owner, judged, 1).tolist() == [1.0]


def test_ndcg_is_that_of_ir_measures() -> None:
    ir_measures = pytest.importorskip("ir_measures")
    pytest.importorskip("pytrec_eval")
    draw = random.Random(5)
    grades = {(q, d): draw.choice([0, 0, 1, 2, 3]) for q in range(12) for d in draw.sample(range(40), 20)}
    ranked = {q: draw.sample(range(40), 25) for q in range(12)}
    owner, gains, judged_owner, judged = arrays(
        [q for q in ranked for _ in ranked[q]],
        [grades.get((q, d), 0) for q in ranked for d in ranked[q]],
        [q for q, _ in grades],
        list(grades.values()),
    )
    qrels = [ir_measures.Qrel(f"{q:02}", str(d), grade) for (q, d), grade in grades.items()]
    run = [ir_measures.ScoredDoc(f"{q:02}", str(d), -n) for q in ranked for n, d in enumerate(ranked[q])]
    measured = ir_measures.iter_calc([ir_measures.nDCG @ 10], qrels, run)
    expected = [metric.value for metric in sorted(measured, key=lambda metric: metric.query_id)]
    assert ndcg(owner, gains, judged_owner, judged, 12) == pytest.approx(expected, abs=1e-6)


def test_kendall() -> None:
    assert kendall_tau([1, 2, 3], [4, 5, 9]) == 1
    assert kendall_tau([1, 2, 3], [9, 5, 4]) == -1
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert kendall_tau([1, 2, 3], [1, 1, 2]) == pytest.approx(2 / math.sqrt(3 * 2))
    assert kendall_tau([1, 1], [1, 2]) is None
    assert kendall_tau([1], [1]) is None


def test_a_newcomer_is_compared_by_the_yardstick_that_is_new_to_it() -> None:
    usual = [0.9, 0.5, 0.1]
    assert newcomers_tau(usual, [usual, usual, usual]) == 1
    # The last one is overrated where it is new: it passes the second there, one of six pairs.
    assert newcomers_tau(usual, [usual, usual, [0.9, 0.5, 0.6]]) == pytest.approx(4 / 6)
    # What the yardstick makes of others says nothing of the newcomer.
    assert newcomers_tau(usual, [usual, [0.9, 0.5, 0.4], [0.2, 0.5, 0.1]]) == 1
    assert newcomers_tau([0.5, 0.5], [usual[:2], usual[:2]]) is None
