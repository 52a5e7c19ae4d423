"""Deciding: every candidate gets a verdict, a reason, and, if it was picked, its place and the step that picked it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Ints
from hnmine.core.picks.base import Picker
from hnmine.core.picks.uniform import Uniform
from hnmine.core.rules.base import Rule
from hnmine.core.rules.relevant import CalledRelevant
from hnmine.core.tokens import Tokens
from hnmine.options import Short
from hnmine.schema import Verdict

KNOWN_POSITIVE = "known-positive"
RELABELLED = "relabelled"
"""The reason, and the step, of a positive that no qrels know: somebody called it relevant."""
PICKED = "picked"
NOT_NEEDED = "not-needed"
RANDOM_RESERVE = "random-reserve"
SHORT_QUERY = "short-query"
NOT_SCORED = "not-scored"
"""Of a row that `score --until` did not score, because its query had enough without it."""

STEP_NONE = "none"
STEP_RANDOM = "random"
STEP_REPEATED = "repeated"
"""In an exported row alone: the query's first negative once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """One entry a row, parallel to the evidence."""

    verdict: Tokens
    reason: Tokens
    pick_rank: Ints
    """1-based place in the order in which negatives are picked, which the query's reserve continues; else 0."""
    step: Tokens
    spared: Mapping[str, int]
    """By reason: the certain rows that a rule was against and spared, no rule before it having dropped them.

    A row counts for every rule that was against it. Reasons without any are left out.
    """


def first_reason(evidence: Evidence, rules: Sequence[Rule]) -> Tokens:
    """The reason of the first rule that drops each row; "" where none does."""
    return reasons_and_spared(evidence, rules)[0]


def reasons_and_spared(evidence: Evidence, rules: Sequence[Rule]) -> tuple[Tokens, dict[str, int]]:
    """`first_reason` of each row, and `Decisions.spared`."""
    reason = Tokens(len(evidence.judge), "")
    spared: dict[str, int] = {}
    undecided = np.ones(len(reason), np.bool_)
    for rule in rules:
        against, spares = rule.against(evidence, undecided) & undecided, rule.spares(evidence)
        dropped = against & ~spares
        reason[dropped] = rule.reason
        undecided &= ~dropped
        if count := int((against & spares).sum()):
            spared[rule.reason] = count
    return reason, spared


def decide(
    evidence: Evidence,
    rules: Sequence[Rule],
    relaxed: Sequence[tuple[str, Sequence[Rule]]],
    *,
    num_negatives: int,
    pick: Picker,
    short: Short,
    draw: npt.NDArray[np.uint64],
    relabel: bool = False,
) -> Decisions:
    """Give every row its verdict.

    `relabel`: what the rule `CalledRelevant` drops is a positive. Nothing else changes by it.

    `relaxed` is the ladder as (step, rules) pairs, tried in order for queries that stay short; `draw` holds a keyed
    random number a row, on which random picks and the random fill depend, so a choice depends on (seed, query,
    document) and never on the order of work.
    """
    owner = evidence.owner
    queries = len(evidence.offsets) - 1
    reason, spared = reasons_and_spared(evidence, rules)
    chosen_place = np.full(len(reason), -1, np.int64)
    step = Tokens(len(reason), STEP_NONE)
    count = np.zeros(queries, np.int64)

    def take(eligible: Bools, name: str, how: Picker) -> Ints:
        nonlocal count
        places = how.order(evidence, eligible, draw)
        places = np.where(places >= 0, places + count[owner], -1)
        picked = (places >= 0) & (places < num_negatives)
        chosen_place[picked] = places[picked]
        step[picked] = name
        count = count + np.bincount(owner[picked], minlength=queries)
        return places

    survivors = (reason == "") & ~evidence.is_positive
    order = take(survivors if pick.takes_random_rows else survivors & ~evidence.is_random, STEP_NONE, pick)
    if short is Short.RELAX:
        for name, ladder_rules in relaxed:
            again = (first_reason(evidence, ladder_rules) == "") & ~evidence.is_positive & ~evidence.is_random
            take(again & (chosen_place < 0), name, pick.fill)
    if short is Short.RANDOM:
        take(survivors & evidence.is_random & (chosen_place < 0), STEP_RANDOM, Uniform())

    verdict = Tokens(len(reason), Verdict.RESERVE.value)
    left = reason == ""
    verdict[~left] = Verdict.DROPPED.value
    reason[left] = NOT_NEEDED
    reason[left & evidence.is_random] = RANDOM_RESERVE
    picked = chosen_place >= 0
    verdict[picked] = Verdict.NEGATIVE.value
    reason[picked] = PICKED
    if short is Short.DROP:
        starved = picked & (count < num_negatives)[owner]
        verdict[starved] = Verdict.DROPPED.value
        reason[starved] = SHORT_QUERY
        chosen_place[starved] = -1
        step[starved] = STEP_NONE
    verdict[evidence.is_positive] = Verdict.POSITIVE.value
    reason[evidence.is_positive] = KNOWN_POSITIVE
    if relabel:
        relevant = reason == CalledRelevant.reason
        verdict[relevant] = Verdict.POSITIVE.value
        reason[relevant] = RELABELLED
        step[relevant] = RELABELLED
    in_reserve = (verdict == Verdict.RESERVE.value) & ~evidence.is_random
    pick_rank = np.where(in_reserve, order, chosen_place) + 1
    return Decisions(verdict=verdict, reason=reason, pick_rank=pick_rank, step=step, spared=spared)
