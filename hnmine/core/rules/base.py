"""A rule says "keep" or "drop, because": a stable reason token and a pure pass over a block of evidence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np

from hnmine.core.evidence import Bools, Evidence


class Rule(ABC):
    """One reason to drop a candidate.

    `reason` is the token written into every row it drops: stable, part of the format. A rule that *guesses* at
    relevance sets `is_guess`; the base then spares rows known not to be relevant (judged 0, curated). `knob` tells
    people what to turn when queries starve because of it.

    A rule that must see the whole table first sets `needs_fit`: `fit` then reads every block once and keeps a small
    state, which goes into the plan, so that blocks stay independent of each other.
    """

    reason: ClassVar[str]
    is_guess: ClassVar[bool] = True
    knob: ClassVar[str | None] = None
    needs_fit: ClassVar[bool] = False
    columns: tuple[str, ...] = ()
    """Columns of the collection that the rule reads: `document.NAME`, `query.NAME`. Only these are loaded."""
    before: Sequence[Sequence[Rule]] = ()
    """The rules whose survivors `fit` counts, one list for each rung of the ladder; they are fitted first."""
    fit_queries: ClassVar[int | None] = None
    """A keyed sample of this many queries is enough for `fit`; None: it must see them all."""
    reads_judge: ClassVar[bool] = False
    """Whether the verdict on a row changes with the judge's scores: the row's own or those of the positives."""
    counts_rows: ClassVar[bool] = False
    """Whether the verdict on a row changes with what became of other candidates, or with the judge's scores of them."""
    fit_columns: ClassVar[tuple[str, ...] | None] = None
    """How the columns of candidates begin that `fit` reads beside `relevance`, `is_positive`, `sources`; None: all."""

    def fit(self, blocks: Iterable[Evidence]) -> dict[str, Any]:
        """Read the whole table, block by block; returns the state as JSON values.

        The state depends on the table alone and not on how it is cut into blocks.
        """
        raise NotImplementedError(f"{type(self).__name__} needs no fit")

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the state that `fit` returned."""
        raise NotImplementedError(f"{type(self).__name__} needs no fit")

    def reads(self, score: str, *, judge: str | None) -> bool:
        """Whether the verdict on a row changes with the score called `score`, where `judge` is the judge's name."""
        return self.reads_judge and score == judge

    def drops(self, evidence: Evidence, alive: Bools) -> Bools:
        """True for every row this rule drops; positives are never dropped.

        `alive` are the candidates that no earlier rule dropped: what a rule that counts ranks counts among.
        """
        return self.against(evidence, alive) & ~self.spares(evidence)

    def against(self, evidence: Evidence, alive: Bools) -> Bools:
        """True for every row this rule would drop if it spared none but positives."""
        return self._drops(evidence, alive & ~evidence.is_positive) & ~evidence.is_positive

    def spares(self, evidence: Evidence) -> Bools:
        """True for every row that this rule leaves alone whatever it finds: the certain ones, if it guesses."""
        return evidence.is_certain if self.is_guess else np.zeros(len(evidence.judge), np.bool_)

    @abstractmethod
    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        """True for every row the rule is against, exemptions aside."""
