"""What every rule keeps to, whatever it looks for."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from hnmine.core.evidence import Column, Evidence
from hnmine.core.rules import build
from hnmine.core.rules.base import Rule
from hnmine.core.rules.rank import RankWindow
from hnmine.options import FilterOptions
from hnmine.schema import Scale

EVERYTHING = FilterOptions(
    skip_top=2,
    max_rank=4,
    where='document.lang == "de"',
    consistency_top=1,
    near_duplicate=0.6,
    group_by="lang",
    no_answers=True,
    absolute_margin=0.1,
    relative_margin=0.1,
    max_score=0.5,
    min_score=0.2,
    band="0.55:0.6",
    iqr=0.1,
    guide="other",
    max_positive_similarity=0.5,
    closer_to_query=True,
    max_agreement=1,
    skip_fused=2,
    max_fn_probability=0.5,
    relabel="drop",
    max_fn_per_query=3,
    max_reuse=2,
)
REASONS = [
    "rank-window",
    "too-many-relevant",
    "called-relevant",
    "skip-top",
    "max-rank",
    "where",
    "inconsistent-query",
    "judged-grade",
    "same-text-as-positive",
    "same-text-as-query",
    "same-text-as-candidate",
    "near-duplicate-of-positive",
    "near-duplicate-of-query",
    "near-duplicate-of-candidate",
    "same-group",
    "has-answer",
    "no-score",
    "no-anchor",
    "absolute-margin",
    "relative-margin",
    "max-score",
    "min-score",
    "above-band",
    "below-band",
    "iqr",
    "no-guide-score",
    "guide",
    "close-to-positive",
    "closer-to-positive",
    "agreement",
    "skip-fused",
    "max-fn-probability",
    "max-reuse",
]
"""The tokens as they stand in people's files: a change here breaks them."""


def rules() -> list[Rule]:
    """One of each rule, in order."""
    asked = build(EVERYTHING, Scale.LOGIT, dense=("dense", Scale.COSINE))
    asked[-1].before = ()  # behind all the others it would see next to nothing
    asked[1].unless = ()  # type: ignore[attr-defined]  # likewise
    return [RankWindow(1, 4), *asked]


def block(lengths: list[int], *, seed: int = 0, numbers: float | None = None) -> Evidence:
    """Random evidence, a positive and a certain row now and then; `numbers` replaces every score and similarity."""
    draw = np.random.default_rng(seed)
    size, queries = sum(lengths), len(lengths)

    def scores() -> Any:
        found = draw.random(size)
        found[draw.random(size) < 0.1] = np.nan
        return found if numbers is None else np.full(size, numbers)

    def ranks() -> Any:
        return draw.integers(0, 8, size) if numbers is None else np.zeros(size, np.int64)

    kind = draw.integers(0, 6, size)
    owner = np.repeat(np.arange(queries), lengths)
    lang = np.array(["de", "en", "fr"], object)[draw.integers(0, 3, size)]
    return Evidence(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        judge=scores(),
        rank=ranks(),
        is_positive=kind == 0,
        is_judged=kind <= 2,
        is_low_grade=kind == 2,
        text_key=draw.integers(0, 6, size).astype(np.uint64),
        query_key=draw.integers(0, 6, queries).astype(np.uint64),
        is_random=kind == 5,
        scores={"dense": scores(), "other": scores()},
        ranks={"dense": ranks(), "bm25": ranks()},
        sim_positive={"dense": scores()},
        is_curated=kind == 3,
        sim_better={"dense": scores()},
        has_answer=draw.random(size) < 0.5,
        is_existing=kind == 4,
        trust=draw.random(size),
        grades={"cheap": draw.integers(-1, 4, size), "dear": np.where(kind == 4, draw.integers(0, 4, size), -1)},
        labels=np.where(draw.random(size) < 0.1, draw.integers(0, 2, size), -1),
        columns={
            "document.lang": Column(values=lang, is_null=draw.random(size) < 0.2),
            "document.doc_id": Column(
                values=np.array([f"d{i}" for i in draw.integers(0, 5, size)], object), is_null=np.zeros(size, np.bool_)
            ),
            "query.query_id": Column(
                values=np.array([f"q{i}" for i in owner], object), is_null=np.zeros(size, np.bool_)
            ),
        },
    )


def arrays(value: Any) -> list[np.ndarray[Any, Any]]:
    """Every array in evidence, however deep."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, Evidence | Column):
        return [a for f in fields(value) if f.init for a in arrays(getattr(value, f.name))]
    return [a for item in value.values() for a in arrays(item)] if isinstance(value, dict) else []


def fitted(rule: Rule, *blocks: Evidence) -> Rule:
    if rule.needs_fit:
        rule.restore(rule.fit(blocks))
    return rule


def test_these_are_all_the_rules_and_their_tokens_are_stable() -> None:
    assert [rule.reason for rule in rules()] == REASONS
    assert {type(rule) for rule in rules()} == set(Rule.__subclasses__())


each_rule = pytest.mark.parametrize("place", range(len(REASONS)), ids=REASONS)


@each_rule
def test_pure_on_random_evidence_and_not_without_effect(place: int) -> None:
    hits = 0
    for seed in range(5):
        evidence = block([12, 0, 7, 20], seed=seed)
        rule = fitted(rules()[place], evidence)
        before = [a.copy() for a in arrays(evidence)]
        for array in arrays(evidence):
            array.setflags(write=False)
        alive = np.random.default_rng(seed).random(39) < 0.9
        alive.setflags(write=False)
        first = rule.drops(evidence, alive)
        assert first.dtype == np.bool_
        assert first.shape == (39,)
        assert np.array_equal(first, rule.drops(evidence, alive))
        for old, new in zip(before, arrays(evidence), strict=True):
            assert np.array_equal(old, new, equal_nan=old.dtype.kind == "f")
        assert not (first & evidence.is_positive).any()
        if rule.is_guess:
            assert not (first & evidence.is_certain).any()
        hits += int(first.sum())
    assert hits, "evidence on which the rule does nothing shows nothing"


@each_rule
def test_a_query_is_decided_alone(place: int) -> None:
    """The verdicts of two queries in one block are those of each in its own."""
    whole = block([12, 9], seed=3)
    rule = fitted(rules()[place], whole)
    alive = np.ones(21, np.bool_)
    together = rule.drops(whole, alive)
    for query, rows in ((0, slice(0, 12)), (1, slice(12, 21))):
        cut = {
            f.name: _cut(getattr(whole, f.name), rows)
            for f in fields(whole)
            if f.init and f.name not in ("offsets", "query_key", "partial")
        }
        alone = replace(
            whole, **cut, offsets=np.array([0, rows.stop - rows.start]), query_key=whole.query_key[query : query + 1]
        )
        assert rule.drops(alone, alive[rows]).tolist() == together[rows].tolist()


def _cut(value: Any, rows: slice) -> Any:
    if isinstance(value, Column):
        return Column(values=value.values[rows], is_null=value.is_null[rows])
    return {name: _cut(item, rows) for name, item in value.items()} if isinstance(value, dict) else value[rows]


@each_rule
@pytest.mark.parametrize("lengths", [[], [0], [0, 0], [1], [3, 0]])
def test_empty_and_tiny_blocks(place: int, lengths: list[int]) -> None:
    evidence = block(lengths)
    rule = fitted(rules()[place], evidence)
    with np.errstate(all="raise"):
        assert len(rule.drops(evidence, np.ones(sum(lengths), np.bool_))) == sum(lengths)


@each_rule
def test_numbers_that_are_missing_are_no_warning_and_drop_only_where_that_is_the_reason(place: int) -> None:
    evidence = block([10, 10], numbers=np.nan)
    rule = fitted(rules()[place], evidence)
    with np.errstate(all="raise"):
        dropped = rule.drops(evidence, np.ones(20, np.bool_))
    by_numbers = {
        *("skip-top", "max-score", "min-score", "above-band", "below-band", "iqr", "guide"),
        *("close-to-positive", "closer-to-positive", "agreement"),
        *(r for r in REASONS if r.startswith("near-duplicate")),
    }
    if rule.reason in by_numbers:
        assert not dropped.any()
    if rule.reason in ("no-score", "no-guide-score", "absolute-margin", "relative-margin", "inconsistent-query"):
        spared = evidence.is_positive | (evidence.is_certain if rule.is_guess else False)
        assert dropped[~spared].all()


@each_rule
def test_what_a_rule_says_it_reads_is_what_moves_it(place: int) -> None:
    """`reads` and `counts_rows` are what `score --until` goes by: wrong, they would give other negatives."""
    judge_moves = others_move = 0
    for seed in range(8):
        evidence = block([12, 9], seed=seed)
        evidence = replace(evidence, scores={**evidence.scores, "ce": evidence.judge}, partial=frozenset({"ce"}))
        draw = np.random.default_rng(seed)
        rule = fitted(rules()[place], evidence)
        alive = np.ones(21, np.bool_)
        before = rule.drops(evidence, alive)

        def moved(
            judge: Any, alive: Any, evidence: Evidence = evidence, rule: Rule = rule, before: Any = before
        ) -> Any:
            changed = replace(evidence, judge=judge, scores={**evidence.scores, "ce": judge})
            return rule.drops(changed, alive) != before

        judge_moves += int((moved(draw.random(21), alive) | moved(np.full(21, np.nan), alive)).any())
        own = draw.random(21) < 0.5
        judge = np.where(own | evidence.is_positive, evidence.judge, draw.random(21))
        others_move += int(moved(judge, alive & (own | evidence.is_positive))[own].any())
    rule = rules()[place]
    assert bool(judge_moves) == rule.reads("ce", judge="ce")
    # The cap on reuse counts when it is fitted: a table in which fewer rows are alive has other hubs.
    assert bool(others_move) == (rule.counts_rows and not (rule.needs_fit and rule.counts_rows))
