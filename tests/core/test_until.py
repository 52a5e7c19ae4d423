"""Scoring until enough pass: the same picks as from all scores, and no score more than they take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnmine.core import picks
from hnmine.core.decide import decide, first_reason
from hnmine.core.evidence import Evidence
from hnmine.core.picks.base import Picker
from hnmine.core.rules import LADDER, Rule, build
from hnmine.core.rules.guard import MaxFnProbability
from hnmine.core.until import Rung, Walk, require_consistent, split
from hnmine.errors import UsageError
from hnmine.options import Existing, FilterOptions, Pick, Short
from hnmine.schema import Scale
from tests.core.test_rule_contract import block

ORIGINS = {"bm25": "bm25", "dense": "dense"}
READING = [
    {"absolute_margin": 0.1},
    {"relative_margin": 0.2, "max_score": 0.9},
    {"min_score": 0.3, "max_score": 0.8},
    {"band": "0.55:0.65"},
    {"no_margin": True, "guide": "ce", "guide_margin": 0.1},
    {"absolute_margin": -0.3, "guide": "other"},
]
FREE: list[dict[str, Any]] = [
    {},
    {"skip_top": 1, "near_duplicate": 0.9},
    {"max_fn_probability": 0.3},
    {"no_answers": True, "max_agreement": 1, "consistency_top": 7},
    {"max_positive_similarity": 0.7, "closer_to_query": True, "where": 'document.lang != "de"'},
]
CONSISTENT: dict[str, dict[str, Any]] = {
    "top": {},
    "random": {"pick": Pick.RANDOM},
    "softmax with a temperature": {"pick": Pick.SOFTMAX, "temperature": 0.3},
    "top1-softmax with a temperature": {"pick": Pick.TOP1_SOFTMAX, "temperature": 0.3},
    "diverse": {"pick": Pick.DIVERSE},
    "cluster-neighbours": {"pick": Pick.CLUSTER_NEIGHBOURS},
    "cross-teacher": {"pick": Pick.CROSS_TEACHER},
    "intra-teacher": {"pick": Pick.INTRA_TEACHER},
    "quota": {"quota": "bm25=2,random=1", "num_negatives": 4},
    "quota of draws": {"quota": "dense=1,bm25=1", "pick": Pick.RANDOM},
    "existing first": {"existing": Existing.FIRST},
}
INCONSISTENT: dict[str, dict[str, Any]] = {
    "softmax": {"pick": Pick.SOFTMAX},
    "top1-softmax": {"pick": Pick.TOP1_SOFTMAX},
    "simans": {"pick": Pick.SIMANS},
    "simans-laplace": {"pick": Pick.SIMANS_LAPLACE},
    "margin-bins": {"pick": Pick.MARGIN_BINS},
    "debiased": {"pick": Pick.DEBIASED},
    "pool": {"pick": Pick.RANDOM, "pick_pool": 6},
}


def table(lengths: list[int], seed: int) -> Evidence:
    """Random evidence in which the judge's score is called `ce`, now and then NaN, and which has clusters."""
    found = block(lengths, seed=seed)
    draw = np.random.default_rng(seed + 1000)
    size = len(found.judge)
    return replace(
        found,
        scores={**found.scores, "bm25": draw.random(size), "ce": found.judge},
        clusters={"dense": draw.integers(1, 4, size)},
        centroid_ranks={"dense": draw.integers(1, 6, size)},
        text_key=draw.integers(0, 100, size).astype(np.uint64),
        query_key=draw.integers(0, 100, len(lengths)).astype(np.uint64),
        partial=frozenset({"ce"}),
    )


def pick_of(options: FilterOptions) -> Picker:
    return picks.build(options, rank_by="dense", origins=ORIGINS, clusters=["dense"])


def rules_of(options: FilterOptions, evidence: Evidence, shrink: float = 1.0) -> list[Rule]:
    """The rules, fitted to what a table without the score says."""
    rules = build(options, Scale.LOGIT, shrink=shrink, dense=("dense", Scale.COSINE))
    for rule in rules:
        if rule.needs_fit:
            rule.restore(rule.fit([evidence]))
    return rules


class Scored:
    """A block, all its scores, and how `score --until` and `filter` go about it."""

    def __init__(self, options: FilterOptions, lengths: list[int], seed: int, enough: int) -> None:
        self.options = options
        self.evidence = table(lengths, seed)
        self.pick = pick_of(options)
        self.draw = np.random.default_rng(seed + 2000).integers(0, 2**64, sum(lengths), dtype=np.uint64)
        steps = [("", 1.0), *((step, shrink) for shrink, step in LADDER)]
        self.rungs: list[tuple[str, Rung]] = [
            (step, split(rules_of(options, self.evidence, shrink), "ce", judge="ce")) for step, shrink in steps
        ]
        blank = np.full(len(self.draw), np.nan)
        unscored = replace(self.evidence, judge=blank, scores={**self.evidence.scores, "ce": blank})
        self.walk = Walk(
            unscored,
            "ce",
            self.rungs,
            is_judge=True,
            enough=enough,
            pick=self.pick,
            short=options.short,
            draw=self.draw,
        )

    def scores(self) -> tuple[Any, Any, int]:
        """(scores, which rows were asked for, in how many waves)."""
        scores, asked, waves = np.full(len(self.draw), np.nan), np.zeros(len(self.draw), np.bool_), 0
        while (wanted := self.walk.wanted(scores, asked)).any():
            assert not (wanted & asked).any(), "no row is asked for twice"
            scores[wanted] = self.evidence.judge[wanted]
            asked |= wanted
            waves += 1
        return scores, asked, waves

    def decided(self, scores: Any, negatives: int, short: Short) -> list[tuple[Any, ...]]:
        """(row, place, step) of every negative that `filter` picks from these scores."""
        evidence = replace(self.evidence, judge=scores, scores={**self.evidence.scores, "ce": scores})
        (_, first), *relaxed = self.rungs
        found = decide(
            evidence,
            first.rules,
            [(step, rung.rules) for step, rung in relaxed],
            num_negatives=negatives,
            pick=self.pick,
            short=short,
            draw=self.draw,
        )
        rows = np.flatnonzero(found.verdict == "negative")
        return [(int(row), int(found.pick_rank[row]), found.step[row]) for row in rows]


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10_000),
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    enough=st.integers(4, 9),
    fewer=st.integers(0, 3),
    reading=st.sampled_from(READING),
    free=st.sampled_from(FREE),
    how=st.sampled_from(sorted(CONSISTENT)),
    short=st.sampled_from(list(Short)),
)
def test_the_picks_are_those_of_a_table_in_which_every_row_has_its_score(
    seed: int, lengths: list[int], enough: int, fewer: int, reading: Any, free: Any, how: str, short: Short
) -> None:
    options = FilterOptions(**{**reading, **free, **CONSISTENT[how], "short": short})
    case = Scored(options, lengths, seed, enough)
    scores, _, _ = case.scores()
    for negatives in {enough, max(options.num_negatives if options.quota else 1, enough - fewer)} - {0}:
        if negatives > enough:
            continue
        expected = case.decided(case.evidence.judge, negatives, short)
        assert case.decided(scores, negatives, short) == expected
        if short is Short.RELAX:  # what a stricter treatment of short queries needs is there too
            for other in (Short.KEEP, Short.DROP):
                assert case.decided(scores, negatives, other) == case.decided(case.evidence.judge, negatives, other)


def test_the_property_is_not_empty() -> None:
    """On the average case most rows go without a score, and there are negatives to get wrong."""
    case = Scored(FilterOptions(absolute_margin=0.1), [40] * 6, 3, 4)
    scores, asked, waves = case.scores()
    assert len(case.decided(scores, 4, Short.KEEP)) >= 16
    assert asked.mean() < 0.7
    assert 1 < waves < 20


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_scored_that_the_choice_does_not_need(seed: int) -> None:
    """Of each query: its positives and the candidates that the free rules leave, down to the N-th that passes."""
    enough = 3
    case = Scored(FilterOptions(absolute_margin=0.1, skip_top=1), [9, 0, 12, 8], seed, enough)
    _, asked, _ = case.scores()
    assert asked.sum() < 32, "too few to be asked for more than is needed"
    rung = case.rungs[0][1]
    free = first_reason(case.evidence, rung.free) == ""
    passes = free & (first_reason(case.evidence, rung.rules) == "")
    for start, stop in zip(case.evidence.offsets[:-1], case.evidence.offsets[1:], strict=True):
        count = 0
        for row in range(start, stop):
            if case.evidence.is_positive[row]:
                assert asked[row]
                continue
            open_row = bool(free[row]) and not case.evidence.is_random[row]
            assert asked[row] == (open_row and count < enough), row
            count += bool(open_row and passes[row])


def test_the_last_queries_do_not_take_a_wave_for_each_row() -> None:
    # 60 queries are done at once; the last has one candidate in a hundred that passes.
    lengths = [12] * 60 + [400]
    case = Scored(FilterOptions(max_score=0.999, no_margin=True), lengths, 1, 5)
    judge = np.full(len(case.draw), 0.5)
    judge[-400:] = np.where(np.arange(400) % 100 == 99, 0.5, 1.0)
    nothing = np.zeros(len(judge), np.bool_)
    plain = replace(
        case.evidence, judge=judge, is_positive=nothing, is_random=nothing, is_curated=nothing, is_judged=nothing
    )
    plain = replace(plain, is_low_grade=nothing, text_key=np.arange(len(judge)).astype(np.uint64))
    plain = replace(plain, query_key=np.full(61, 10**6, np.uint64), grades={}, labels=None)
    case.evidence = plain
    case.walk = Walk(plain, "ce", case.rungs, is_judge=True, enough=5, pick=case.pick, short=Short.KEEP, draw=case.draw)
    scores, asked, waves = case.scores()
    assert np.isfinite(scores).sum() == 60 * 5 + 400
    assert waves <= 45  # 400 rows, at least 9 to 21 at a time; without widening it would be 300
    assert asked[-400:].all()


def part(evidence: Evidence, eligible: Any, pick: Picker, draw: Any, n: int, leave: Any) -> tuple[Any, Any]:
    """(the n picked of each query, the n picked once the rows of `leave` that were not picked are gone)."""
    order = pick.order(evidence, eligible, draw)
    picked = (order >= 0) & (order < n)
    again = pick.order(evidence, eligible & (picked | ~leave), draw)
    return picked, (again >= 0) & (again < n)


@pytest.mark.parametrize("how", CONSISTENT)
def test_a_consistent_pick_does_not_miss_what_it_does_not_pick(how: str) -> None:
    pick = pick_of(FilterOptions(**CONSISTENT[how]))
    require_consistent(pick)
    for seed in range(60):
        evidence = table([14, 0, 9], seed)
        draws = np.random.default_rng(seed)
        eligible = ~evidence.is_positive & (draws.random(23) < 0.9)
        draw = draws.integers(0, 2**64, 23, dtype=np.uint64)
        for n in (1, 3, 5):
            picked, again = part(evidence, eligible, pick, draw, n, draws.random(23) < 0.5)
            assert picked.any()
            assert (picked == again).all()


@pytest.mark.parametrize("how", INCONSISTENT)
def test_other_picks_are_refused_and_rightly_so(how: str) -> None:
    pick = pick_of(FilterOptions(**INCONSISTENT[how]))
    with pytest.raises(UsageError, match=r"--until with the pick"):
        require_consistent(pick)
    changed = 0
    for seed in range(200):
        evidence = table([14, 0, 9], seed)
        draws = np.random.default_rng(seed)
        eligible = ~evidence.is_positive
        draw = draws.integers(0, 2**64, 23, dtype=np.uint64)
        picked, again = part(evidence, eligible, pick, draw, 3, draws.random(23) < 0.5)
        changed += bool((picked != again).any())
    assert changed, "if it never changes, there is no reason to refuse it"


def test_every_pick_was_looked_at() -> None:
    tried = {options.get("pick", Pick.TOP) for options in (*CONSISTENT.values(), *INCONSISTENT.values())}
    assert tried == set(Pick)


@pytest.mark.parametrize("rule", [{"iqr": 1.5}, {"skip_fused": 5}, {"max_reuse": 2}])
def test_rules_that_compare_candidates_are_refused(rule: dict[str, Any]) -> None:
    rules = build(FilterOptions(absolute_margin=1.0, **rule), Scale.LOGIT)
    with pytest.raises(UsageError, match=next(iter(rule)).replace("_", "-")):
        split(rules, "ce", judge="ce")


@pytest.mark.parametrize(
    "options", [{"no_margin": True}, {"max_fn_probability": 0.1}, {"skip_top": 3, "no_margin": True}]
)
def test_rules_that_never_look_at_the_score_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="none of the rules looks at"):
        split(build(FilterOptions(**options), Scale.LOGIT), "ce", judge="ce")


def test_the_guard_says_the_same_whatever_of_a_partial_score_is_known() -> None:
    evidence = table([30] * 40, 5)
    guard = MaxFnProbability(0.1)
    guard.restore(guard.fit([evidence]))
    blank = replace(evidence, scores={**evidence.scores, "ce": np.full(1200, np.nan)})
    assert guard.fit([evidence]) == guard.fit([blank])
    assert guard.probability(evidence).tolist() == pytest.approx(guard.probability(blank).tolist(), nan_ok=True)
    whole = replace(evidence, partial=frozenset())
    assert guard.fit([whole]) != guard.fit([evidence]), "a whole score is a signal"
