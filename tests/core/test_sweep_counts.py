"""A sweep counts what filter would have picked, and finds the settings nobody beats."""

from __future__ import annotations

import numpy as np
import pytest

from hnmine.core.evidence import Evidence
from hnmine.core.rules import build
from hnmine.core.sweep import SharedRules, metrics, pareto_front, tally
from hnmine.options import Anchor, FilterOptions
from hnmine.schema import Scale


def evidence(scores: list[float], lengths: list[int], positive: list[int]) -> Evidence:
    size = len(scores)
    none = np.zeros(size, np.bool_)
    is_positive = np.isin(np.arange(size), positive)
    ranks = np.array([place for n in lengths for place in range(1, n + 1)], np.int64)
    return Evidence(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        judge=np.array(scores),
        rank=ranks,
        is_positive=is_positive,
        is_judged=is_positive,
        is_low_grade=none,
        text_key=np.arange(size).astype(np.uint64) + np.uint64(100),
        query_key=np.arange(len(lengths)).astype(np.uint64),
        is_random=none,
        is_curated=none,
        scores={},
        ranks={"dense": ranks},
        sim_positive={},
    )


def test_lists_of_rules_share_what_they_have_in_common() -> None:
    found = evidence([0.9, 0.8, 0.7, 0.6, 0.5], [5], [1])
    asked: list[str] = []

    class Spy:  # no subclass of Rule: the docs list those
        reason = "spy"

        def __init__(self, place: int) -> None:
            self.place = place

        def drops(self, evidence: Evidence, alive: np.ndarray) -> np.ndarray:
            asked.append(f"{self.place} {int(alive.sum())}")
            return np.arange(len(evidence.judge)) == self.place

    shared = SharedRules(found)
    assert shared.survivors([Spy(0), Spy(2)]).tolist() == [False, True, False, True, True]
    assert shared.survivors([Spy(0), Spy(3)]).tolist() == [False, True, True, False, True]
    assert shared.survivors([Spy(0), Spy(2)]).tolist() == [False, True, False, True, True]
    assert asked == ["0 5", "2 4", "3 4"]  # the first rule once; the others see what it left


def test_survivors_are_those_of_the_rules_one_by_one() -> None:
    found = evidence([0.9, 0.8, 0.79, 0.7, 0.5, 0.6, 0.55, 0.3], [5, 3], [1, 5])
    shared = SharedRules(found)
    for relative in (0.0, 0.1):
        for skip in (0, 1):
            rules = build(FilterOptions(relative_margin=relative, skip_fused=skip), Scale.COSINE)
            alive = np.ones(8, np.bool_)
            for rule in rules:
                alive &= ~rule.drops(found, alive)
            assert shared.survivors(rules).tolist() == alive.tolist()


def test_figures_of_one_setting() -> None:
    # Anchors 0.8 and 0.6; gaps of the picked rows 2, 3 and 6: 0.1, 0.3 and 0.05; ranks 3, 4 and 3.
    found = evidence([0.9, 0.8, 0.7, 0.5, 0.6, 0.7, 0.55], [4, 3], [1, 4])
    negative = np.isin(np.arange(7), [2, 3, 6])
    judged = np.isin(np.arange(7), [0, 2, 6])
    counts = tally(
        found,
        negative,
        anchor=Anchor.MIN,
        scale=Scale.COSINE,
        requested=2,
        judged=judged,
        relevant=np.isin(np.arange(7), [0, 6]),
        estimate=np.array([1.0, 0.0, 0.2, 0.4, 0.0, 1.0, np.nan]),
    )
    found_metrics = metrics(counts, Scale.COSINE)
    assert found_metrics == {
        "coverage": pytest.approx(3 / 4),
        "negatives": 3,
        "queries": 2,
        "queries_short": 1,
        "mean_gap": pytest.approx(0.15),
        "median_gap": pytest.approx(0.1),
        "mean_rank": pytest.approx(10 / 3),
        "false_negatives": 1,
        "false_negative_rate": pytest.approx(1 / 3),
        "judged_share": pytest.approx(2 / 3),
        "unjudged": 1,
        "estimated_false_negative_rate": pytest.approx(0.3),
    }


def test_nothing_picked_has_no_rate() -> None:
    found = evidence([0.9, 0.8], [2], [0])
    none = np.zeros(2, np.bool_)
    counts = tally(
        found, none, anchor=Anchor.MIN, scale=Scale.COSINE, requested=5, judged=none, relevant=none, estimate=None
    )
    figures = metrics(counts, Scale.COSINE)
    assert figures["coverage"] == 0
    assert figures["false_negative_rate"] is None
    assert figures["mean_gap"] is None
    assert figures["median_gap"] is None
    empty = evidence([], [], [])
    counts = tally(
        empty,
        np.zeros(0, np.bool_),
        anchor=Anchor.MIN,
        scale=Scale.COSINE,
        requested=5,
        judged=None,
        relevant=None,
        estimate=None,
    )
    assert metrics(counts, Scale.COSINE)["coverage"] is None


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(0.1, 0.5), (0.2, 0.4), (0.2, 0.5), (0.1, 0.5), (0.3, 0.39), (None, 0.1), (float("nan"), 0.1)]
    assert pareto_front(points) == [True, True, False, True, True, False, False]
    assert pareto_front([]) == []
