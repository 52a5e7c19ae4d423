"""What somebody calls relevant though no qrels know it: a person, a judge, or a reranker that is sure of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.grouped import keys_in
from hnmine.core.rules.band import probabilities
from hnmine.core.rules.base import Rule
from hnmine.core.tokens import Tokens
from hnmine.schema import RELEVANT_GRADE, Scale, grade_column, score_column

NOBODY = ""
LABELS = "labels"
"""Called relevant by a person, in the file of `--labels`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voices:
    """Whose word counts: a person's most, then the judge's who was asked last; rerankers are heard where no judge was
    asked at all, of two that scored a row the later one.
    """

    above: float
    """What a reranker gives more than this probability it calls relevant: 0.9 in RocketQA (Qu et al. 2021)."""
    rerankers: Mapping[str, Scale] = field(default_factory=dict)

    def called(self, evidence: Evidence) -> Tokens:
        """By whom each row is called relevant, as the name of the column where it stands, or `labels`; "" if by nobody.

        Positives are called nothing. What the qrels judged only a person overrules; of a row that was written to be a
        negative a reranker knows nothing. Null is no say. Copies of a text that is called relevant are relevant too,
        unless somebody was heard about them.
        """
        return evidence.once(("called", self.above, *self.rerankers), lambda: self._called(evidence))

    def _called(self, evidence: Evidence) -> Tokens:
        found = Tokens(len(evidence.judge), NOBODY)
        is_open = ~evidence.is_positive & ~evidence.is_judged
        for name, has_say, is_relevant in self._says(evidence):
            found[has_say] = NOBODY
            found[has_say & is_relevant] = name
            is_open &= ~has_say
        for name in found.words[1:]:
            rows = found == name
            copies = keys_in(evidence.owner, evidence.text_key, evidence.owner[rows], evidence.text_key[rows])
            found[copies & is_open & (found == NOBODY)] = name
        return found

    def _says(self, evidence: Evidence) -> Iterator[tuple[str, Bools, Bools]]:
        """Each voice, the one that counts most last: its name, the rows it was heard about, those it calls relevant."""
        candidate = ~evidence.is_positive
        unjudged = candidate & ~evidence.is_judged
        for name, scale in self.rerankers.items() if not evidence.grades else ():
            score = evidence.scores[name]
            with np.errstate(invalid="ignore"):
                is_sure = probabilities(score, scale) > self.above
            yield score_column(name), np.isfinite(score) & unjudged & ~evidence.is_curated, is_sure
        for name, grade in evidence.grades.items():
            yield grade_column(name), (grade >= 0) & unjudged, grade >= RELEVANT_GRADE
        if evidence.labels is not None:
            yield LABELS, (evidence.labels >= 0) & candidate, evidence.labels > 0


class TooManyRelevant(Rule):
    """Drops all of a query of which more than `most` candidates are called relevant: too vague a query to mine for.

    RLHN (Thakur et al. 2025, arXiv 2505.16967) drops queries with more than 7; with 0 it is its arm `Remove`. Copies
    count once.
    """

    reason = "too-many-relevant"
    is_guess = False
    knob = "raise --max-fn-per-query"

    def __init__(self, most: int, called: CalledRelevant) -> None:
        self.most = most
        self._called = called

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        relevant = self._called.drops(evidence, alive)
        count = np.bincount(evidence.owner[relevant], minlength=len(evidence.offsets) - 1)
        return np.asarray((count > self.most)[evidence.owner])


class CalledRelevant(Rule):
    """Drops what a person, a judge or a reranker calls relevant; `--relabel positive` makes it a positive.

    RocketQA (Qu et al. 2021, arXiv 2010.08191) and RLHN (Thakur et al. 2025, arXiv 2505.16967). What one of the rules
    `unless` is against is left to that rule: a copy of a positive is no second positive.
    """

    reason = "called-relevant"
    is_guess = False
    knob = "--relabel off, or a higher --relabel-above"

    def __init__(self, voices: Voices, unless: Sequence[Rule] = ()) -> None:
        self.voices = voices
        self.unless = unless

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        relevant = self.voices.called(evidence) != NOBODY
        for rule in self.unless:
            relevant &= ~rule.drops(evidence, alive)
        return relevant
