"""Scoring no more than the choice needs: which rows' scores can still change what is picked.

Suppose that every row not yet scored passed the rules that read the score. What would then be picked decides what to
score next: a row that is not picked even so is not picked whatever its score, and once all that is picked has its
score, it is what scoring everything would pick. That holds for rules that look at no candidate but the one they judge
(`Rule.counts_rows`) and for picks that rows may leave which they do not pick (`Picker.is_consistent`); others are
refused. So a query needs the scores of its positives, of the candidates that are picked, and of those that stand before
them and fail: the least there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hnmine.core.decide import Decisions, decide, first_reason
from hnmine.core.evidence import Bools, Evidence, Floats
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker
from hnmine.core.rules.base import Rule
from hnmine.core.sweep import Settled
from hnmine.errors import UsageError
from hnmine.options import Short
from hnmine.schema import Verdict

LEAST_SHARE = 32
"""A wave scores at least this part (1/32) of what was scored before it.

So the last queries, which find little, do not take a wave for each row: on 225 queries of cranfield 26 to 42 waves
instead of 135 to 176, for at most 0.9 % more rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """The rules of one rung of the ladder: those that need no score of the new kind, and those that read it."""

    free: Sequence[Rule]
    reading: Sequence[Rule]

    @property
    def rules(self) -> list[Rule]:
        """All of them, the free ones first: what they drop is never scored."""
        return [*self.free, *self.reading]


def split(rules: Sequence[Rule], score: str, *, judge: str | None) -> Rung:
    """The rules parted by whether they read `score`; `UsageError` if one needs it of every row, or none reads it."""
    reading = [rule for rule in rules if rule.reads(score, judge=judge)]
    counting = [rule.reason for rule in rules if rule.counts_rows]
    if counting:
        raise UsageError(
            f"--until with the rule {' and '.join(counting)}: it compares candidates with each other, so it needs the "
            "score of every one",
            expected="rules that look at one candidate and the positives: margins, limits, bands, a guide",
            remedy="score without --until, or leave the rule out",
        )
    if not reading:
        raise UsageError(
            f"--until: none of the rules looks at the score {score!r}, so nothing would end the scoring",
            expected="a rule that does, such as absolute_margin = 3.0 in the [filter] table of --rules",
        )
    return Rung(free=[rule for rule in rules if rule not in reading], reading=reading)


def require_consistent(pick: Picker) -> None:
    """Raise `UsageError` for a pick that looks at all survivors, also at those that it does not pick."""
    if not pick.is_consistent:
        raise UsageError(
            f"--until with the pick {pick.token}: what it picks depends on the survivors that it does not pick, so "
            "every candidate would have to be scored",
            expected="a pick that takes in an order of its own: top, random, diverse, quotas of these, ...",
            remedy="score without --until, or pick = 'top' in the [filter] table of --rules",
        )


class Walk:
    """What is left to score in a block of queries."""

    def __init__(
        self,
        evidence: Evidence,
        score: str,
        rungs: Sequence[tuple[str, Rung]],
        *,
        is_judge: bool,
        enough: int,
        pick: Picker,
        short: Short,
        draw: Keys,
    ) -> None:
        """`rungs` are the rules under their steps, the strict ones first; `enough` candidates a query must pass."""
        require_consistent(pick)
        self._evidence = evidence
        self._score = score
        self._is_judge = is_judge
        self._rungs = [(step, Settled(first_reason(evidence, rung.free) == ""), rung.reading) for step, rung in rungs]
        self._enough = enough
        self._pick = pick
        # A query that --short drop would drop may be asked for fewer negatives, and then it is not short.
        self._short = Short.KEEP if short is Short.DROP else short
        self._draw = draw

    def wanted(self, scores: Floats, asked: Bools) -> Bools:
        """The rows to score next: positives, then those that would be picked if every row not yet asked passed.

        `scores` has a number for every row that was `asked`, NaN where the model gave none. None wanted: it is over.
        """
        decisions = self._hopefully(scores, asked)
        wanted = (decisions.verdict == Verdict.NEGATIVE.value) & ~asked
        return self._widened(wanted, decisions, asked) | (self._evidence.is_positive & ~asked)

    def _hopefully(self, scores: Floats, asked: Bools) -> Decisions:
        """The decisions if every row that was not asked passed all rules that read the score."""
        known = {**self._evidence.scores, self._score: scores}
        evidence = replace(self._evidence, judge=scores if self._is_judge else self._evidence.judge, scores=known)
        (_, free, reading), *relaxed = self._rungs
        return decide(
            evidence,
            _if_asked(free, reading, asked),
            [(step, _if_asked(free, reading, asked)) for step, free, reading in relaxed],
            num_negatives=self._enough,
            pick=self._pick,
            short=self._short,
            draw=self._draw,
        )

    def _widened(self, wanted: Bools, decisions: Decisions, asked: Bools) -> Bools:
        """`wanted` and, if these are few, the next in line of the same queries."""
        lacking = int(asked.sum()) // LEAST_SHARE - int(wanted.sum())
        if lacking <= 0 or not wanted.any():
            return wanted
        owner = self._evidence.owner
        unfinished = np.bincount(owner[wanted], minlength=len(self._evidence.offsets) - 1)[owner] > 0
        waiting = (decisions.verdict == Verdict.RESERVE.value) & (decisions.pick_rank > 0) & unfinished & ~asked
        rows = np.flatnonzero(waiting)
        nearest = rows[np.argsort(decisions.pick_rank[rows], kind="stable")[:lacking]]
        widened = wanted.copy()
        widened[nearest] = True
        return widened


class _IfAsked:
    """A rule that spares the rows that were not asked: a rule in all but name, never written anywhere."""

    def __init__(self, rule: Rule, asked: Bools) -> None:
        self.reason = rule.reason
        self._rule = rule
        self._asked = asked

    def against(self, evidence: Evidence, alive: Bools) -> Bools:
        """As the rule, of rows that were asked."""
        return self._rule.against(evidence, alive) & self._asked

    def spares(self, evidence: Evidence) -> Bools:
        """As the rule."""
        return self._rule.spares(evidence)


def _if_asked(free: Settled, reading: Sequence[Rule], asked: Bools) -> list[Rule]:
    rules: list[object] = [free, *(_IfAsked(rule, asked) for rule in reading)]
    return rules  # type: ignore[return-value]
