"""Verdicts and picks: against examples, and against a plain loop over queries on random evidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnmine.core import picks
from hnmine.core.decide import decide
from hnmine.core.evidence import Evidence
from hnmine.core.rules import LADDER, build
from hnmine.options import FilterOptions, Pick, Short
from hnmine.schema import Scale
from tests.core.test_rules import evidence


def decided(found: Evidence, draw: list[int] | None = None, **given_options: object):  # type: ignore[no-untyped-def]
    options = FilterOptions(**given_options)  # type: ignore[arg-type]
    picker = picks.build(options, rank_by=None, origins={})
    return decide(
        found,
        build(options, Scale.COSINE),
        [(step, build(options, Scale.COSINE, shrink=shrink)) for shrink, step in LADDER],
        num_negatives=options.num_negatives,
        pick=picker,
        short=options.short,
        draw=np.array(draw if draw is not None else [0] * len(found.judge), np.uint64),
    )


def test_top_picks_the_best_placed_survivors_in_order() -> None:
    found = evidence([0.8, 0.79, 0.7, 0.6, 0.5])
    result = decided(found, num_negatives=2)
    assert result.verdict.tolist() == ["positive", "dropped", "negative", "negative", "reserve"]
    assert result.reason.tolist() == ["known-positive", "relative-margin", "picked", "picked", "not-needed"]
    assert result.pick_rank.tolist() == [0, 0, 1, 2, 3]  # the reserve goes on counting
    assert result.step.tolist() == ["none"] * 5


def test_random_pick_follows_the_keyed_draw() -> None:
    found = evidence([0.8, 0.7, 0.6, 0.5, 0.4])
    result = decided(found, draw=[0, 40, 10, 30, 20], num_negatives=2, pick=Pick.RANDOM)
    assert result.pick_rank.tolist() == [0, 4, 1, 3, 2]


def test_short_keep_keeps_what_there_is() -> None:
    result = decided(evidence([0.8, 0.79, 0.7]), num_negatives=3)
    assert result.verdict.tolist() == ["positive", "dropped", "negative"]


def test_short_drop_drops_the_whole_query_and_says_so() -> None:
    found = evidence([0.8, 0.7, 0.8, 0.7, 0.6], lengths=[2, 3], positive=[0, 2])
    result = decided(found, num_negatives=2, short=Short.DROP)
    assert result.verdict.tolist() == ["positive", "dropped", "positive", "negative", "negative"]
    assert result.reason.tolist()[1] == "short-query"
    assert result.pick_rank.tolist() == [0, 0, 0, 1, 2]


def test_short_relax_climbs_the_ladder_and_records_the_step() -> None:
    # Ceilings: full 0.72, half 0.76, zero 0.8 (the positive). 0.81 is never taken, a copy neither.
    found = evidence([0.8, 0.81, 0.79, 0.75, 0.7, 0.74], keys=[1, 2, 3, 4, 5, 1], query_keys=[99])
    result = decided(found, num_negatives=4, relative_margin=0.1, short=Short.RELAX)
    assert result.pick_rank.tolist() == [0, 0, 3, 2, 1, 0]
    assert result.step.tolist() == ["none", "none", "relaxed-to-positive", "relaxed-half", "none", "none"]
    assert result.reason.tolist()[1] == "relative-margin"
    assert result.reason.tolist()[5] == "same-text-as-positive"


def test_relax_touches_no_query_that_has_enough() -> None:
    found = evidence([0.8, 0.79, 0.7, 0.6])
    result = decided(found, num_negatives=2, relative_margin=0.1, short=Short.RELAX)
    assert result.pick_rank.tolist() == [0, 0, 1, 2]


def test_random_rows_fill_only_when_asked_and_are_marked() -> None:
    found = evidence([0.8, 0.7, 0.1, 0.05], random=[2, 3])
    kept = decided(found, num_negatives=2)
    assert kept.verdict.tolist() == ["positive", "negative", "reserve", "reserve"]
    assert kept.reason.tolist()[2:] == ["random-reserve", "random-reserve"]
    filled = decided(found, draw=[0, 0, 9, 3], num_negatives=2, short=Short.RANDOM)
    assert filled.pick_rank.tolist() == [0, 1, 0, 2]
    assert filled.step.tolist() == ["none", "none", "none", "random"]


@st.composite
def blocks(draw: st.DrawFn) -> Evidence:
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=6))
    size = sum(lengths)
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = np.arange(size)
    return evidence(
        np.round(generator.uniform(-1, 1, size), 1).tolist(),
        lengths=lengths,
        positive=rows[generator.random(size) < 0.25].tolist(),
        random=rows[generator.random(size) < 0.2].tolist(),
        keys=generator.integers(0, 12, size).tolist(),
        query_keys=generator.integers(0, 12, len(lengths)).tolist(),
    )


@settings(max_examples=150)
@given(blocks(), st.integers(1, 4), st.sampled_from([Pick.TOP, Pick.RANDOM]), st.integers(0, 2**32))
def test_equals_a_loop_over_queries(found: Evidence, wanted: int, pick: Pick, seed: int) -> None:
    draws = np.random.default_rng(seed).permutation(len(found.judge)).astype(np.uint64)
    result = decided(found, draw=draws.tolist(), num_negatives=wanted, pick=pick, relative_margin=0.1)
    for start, stop in zip(found.offsets[:-1], found.offsets[1:], strict=True):
        rows = range(start, stop)
        query = int(np.searchsorted(found.offsets, start, side="right")) - 1
        positives = [r for r in rows if found.is_positive[r]]
        anchor = min((found.judge[r] for r in positives), default=None)
        seen: set[int] = set()
        survivors = []
        for r in rows:
            key = int(found.text_key[r])
            copy = key in seen
            seen.add(key)
            if found.is_positive[r] or found.is_random[r] or copy or key == int(found.query_key[query]):
                continue
            if any(key == int(found.text_key[p]) for p in positives) or anchor is None:
                continue
            if found.judge[r] < anchor - 0.1 * abs(anchor):
                survivors.append(r)
        if pick is Pick.RANDOM:
            survivors.sort(key=lambda r: draws[r])
        chosen = survivors[:wanted]
        picked = sorted((int(result.pick_rank[r]), r) for r in rows if result.verdict[r] == "negative")
        assert picked == [(i + 1, r) for i, r in enumerate(chosen)]
    assert not (result.reason == "").any()
    assert set(result.verdict) <= {"positive", "negative", "reserve", "dropped"}


def test_a_decision_does_not_depend_on_the_block() -> None:
    one = evidence([0.8, 0.7, 0.6, 0.5])
    two = evidence([0.2, 0.1, 0.8, 0.7, 0.6, 0.5], lengths=[2, 4], positive=[0, 2])
    assert decided(two, num_negatives=2).pick_rank[2:].tolist() == decided(one, num_negatives=2).pick_rank.tolist()


@pytest.mark.parametrize("short", list(Short))
def test_an_empty_block_is_fine(short: Short) -> None:
    empty = evidence([], lengths=[], positive=[])
    assert len(decided(empty, num_negatives=2, short=short).verdict) == 0
