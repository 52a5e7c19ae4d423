"""What one judge says of the rows of a block: grades, and how likely it finds the query behind each document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hnmine.core.evidence import Bools, Floats, Ints
from hnmine.core.judging import grades_of
from hnmine.core.query_likelihood import gecko_scores, likelihood_of
from hnmine.engines.asking import Answering, LikelihoodRequest, Request
from hnmine.engines.chat import Answer, Chat
from hnmine.engines.spending import Budget, Prices
from hnmine.files.artefact import Json
from hnmine.files.candidates import ScoreInfo, nullable_floats
from hnmine.prompts import Prompt
from hnmine.schema import GECKO, GRADES, LIKELIHOOD, Scale, grade_column, score_column
from hnmine.stages.judge_questions import Questions

TURNS = 2
"""A candidate that an answer passed over, or graded with nonsense, is asked about once more."""


def judge_scores(judge: str) -> list[ScoreInfo]:
    """The scores of a judge that is asked for likelihoods."""
    return [
        ScoreInfo(name=f"{LIKELIHOOD}_{judge}", scale=Scale.LOG_PROBABILITY, origin=LIKELIHOOD),
        ScoreInfo(name=f"{GECKO}_{judge}", scale=Scale.DOT, origin=GECKO),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One judge's word; one entry a row."""

    judge: str
    owner: Ints
    grades: Ints
    """-1 where it was not asked or did not say."""
    likelihoods: Floats | None
    """The mean log-probability of the query's tokens behind the document; NaN where it was not asked or did not say.
    None if it was not to say."""
    counts: Json

    def columns(self) -> dict[str, pa.Array]:
        """The columns of the judge, by their names."""
        grades = pa.array(self.grades.astype(np.int32), pa.int32(), mask=self.grades < 0)
        found = {grade_column(self.judge): grades}
        if self.likelihoods is not None:
            fused = gecko_scores(self.owner, self.likelihoods, self.grades)
            values = (nullable_floats(self.likelihoods), nullable_floats(fused))
            names = (score_column(info.name) for info in judge_scores(self.judge))
            found |= dict(zip(names, values, strict=True))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """How a judge is heard: `likelihood` is the prompt for likelihoods, None if only grades are wanted."""

    chat: Chat
    prices: Prices
    likelihood: Prompt | None

    def requests(self, questions: Questions, asked: Bools) -> list[tuple[Ints, Request]]:
        """All that is asked first, each with its rows: query by query, its likelihoods and then its grades.

        So a server without likelihoods is found out before grades are paid for, and a budget pays for whole queries.
        """
        found = questions.about(asked, self.chat.model, 0)
        if self.likelihood is not None:
            found = [*questions.likelihoods(asked, self.chat.model, self.likelihood), *found]
            found.sort(key=lambda one: int(questions.owner[one[0][0]]))
        return found

    def word(self, answering: Answering, questions: Questions, asked: Bools, budget: Budget) -> Word:
        """What the judge says of the rows that it is `asked` about, as far as the budget goes."""
        none = dict.fromkeys(("requests", "input_tokens", "output_tokens", "unanswered"), 0)
        tally = Counter[str]({"candidates": int(asked.sum()), **none})
        grades: Ints = np.full(len(asked), -1, np.int64)
        likelihoods: Floats = np.full(len(asked), np.nan)
        cost, left, wanted = 0.0, asked, 0
        for turn in range(TURNS):
            requests = questions.about(left, self.chat.model, turn) if turn else self.requests(questions, asked)
            left = np.zeros(len(asked), np.bool_)
            wanted += sum(isinstance(request, LikelihoodRequest) for _, request in requests)
            answers = self._answers([request for _, request in requests], answering, budget)
            for (rows, request), answer in zip(requests, answers, strict=True):
                if answer is not None:
                    cost += self.prices.cost(request.body, answer)
                    tally["requests"] += 1
                    tally["input_tokens"] += answer.input_tokens or 0
                    tally["output_tokens"] += answer.output_tokens or 0
                if isinstance(request, LikelihoodRequest):
                    likelihoods[rows] = likelihood_of(answer.content) if answer is not None else np.nan
                elif answer is None:
                    tally["unanswered"] += len(rows) if turn == 0 else 0
                else:
                    grades[rows] = [-1 if grade is None else grade for grade in grades_of(answer.content, len(rows))]
                    left[rows] = grades[rows] < 0
        tally["no_grade"] = int((asked & (grades < 0)).sum()) - tally["unanswered"]
        if self.likelihood is not None:
            tally["likelihoods"] = int(np.isfinite(likelihoods).sum())
            tally["no_likelihood"] = wanted - tally["likelihoods"]
        given = {f"grade_{grade}": int((grades == grade).sum()) for grade in range(len(GRADES))}
        return Word(
            judge=self.chat.name,
            owner=questions.owner,
            grades=grades,
            likelihoods=likelihoods if self.likelihood is not None else None,
            counts={**tally, **given, **({"cost": cost} if self.prices != Prices() else {})},
        )

    def _answers(self, requests: Sequence[Request], answering: Answering, budget: Budget) -> list[Answer | None]:
        """The answers; of likelihoods the first one alone, so that a server which has none is asked no more."""
        if self.likelihood is None:
            return answering.answers(requests, budget)
        first = answering.answers(requests[:1], budget)
        if None in first:  # what is left of the budget does not even pay for this one
            return [None] * len(requests)
        return [*first, *answering.answers(requests[1:], budget)]
