"""Who is believed when candidates are called relevant, and what follows for them and for no other row."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hnmine.core import picks
from hnmine.core.decide import Decisions, decide
from hnmine.core.evidence import Evidence
from hnmine.core.rules import build
from hnmine.core.rules.relevant import Voices
from hnmine.options import FilterOptions, Relabel
from hnmine.schema import Scale
from tests.core.test_rules import evidence

NAN = math.nan


def heard(found: Evidence, **said: Any) -> Evidence:
    """With grades by judge (None: not asked), and labels."""
    labels = said.pop("labels", None)

    def numbers(values: list[int | None]) -> np.ndarray:
        return np.array([-1 if value is None else value for value in values], np.int64)

    grades = {name: numbers(values) for name, values in said.items()}
    return replace(found, grades=grades, labels=None if labels is None else numbers(labels))


def decided(found: Evidence, rerankers: dict[str, Scale] | None = None, **options: Any) -> Decisions:
    given = FilterOptions(**{"no_margin": True, "relabel": "positive", **options})
    return decide(
        found,
        build(given, Scale.COSINE, rerankers=rerankers),
        [],
        num_negatives=given.num_negatives,
        pick=picks.build(given, rank_by=None, origins={}),
        short=given.short,
        draw=np.zeros(len(found.judge), np.uint64),
        relabel=given.relabel is Relabel.POSITIVE,
    )


def flat(size: int, **special: Any) -> Evidence:
    return evidence([0.9] + [0.5] * (size - 1), **special)


def test_the_judge_who_was_asked_last_counts_and_a_person_above_all() -> None:
    found = heard(
        flat(8),
        cheap=[3, 2, 2, 0, 1, None, 3, 0],
        dear=[3, None, 1, 3, None, None, 3, 0],
        labels=[0, None, None, None, None, None, 0, 1],
    )
    called = Voices(above=0.9).called(found).tolist()
    assert called == ["", "grade_cheap", "", "grade_dear", "", "", "", "labels"]


def test_a_reranker_is_heard_where_it_is_sure_and_no_judge_was_asked() -> None:
    sure = math.log(9)  # sigmoid(ln 9) = 0.9, which is not more than 0.9
    scores = {"old": np.array([9.0, 9, 9, 9, 9]), "new": np.array([9.0, sure + 1e-6, sure, NAN, 9])}
    found = flat(5, scores_by_name=scores, curated=[4])
    voices = Voices(above=0.9, rerankers={"old": Scale.LOGIT, "new": Scale.LOGIT})
    # The third row is the later reranker's to judge, the fourth has its score from the earlier one alone, the last was
    # written to be a negative: a high score is what it was written for.
    assert voices.called(found).tolist() == ["", "score_new", "", "score_old", ""]
    assert voices.called(heard(found, llm=[None, 0, 2, None, 3])).tolist() == ["", "", "grade_llm", "", "grade_llm"]
    as_they_are = replace(found, scores={"new": np.array([0.1, 0.91, 0.9, 0.0, 0.0])})
    probabilities = Voices(above=0.9, rerankers={"new": Scale.PROBABILITY})
    assert probabilities.called(as_they_are).tolist() == ["", "score_new", "", "", ""]


def test_what_the_qrels_judged_only_a_person_overrules() -> None:
    found = heard(flat(4, zero=[1], low=[2]), llm=[None, 3, 3, 3])
    assert Voices(above=0.9).called(found).tolist() == ["", "", "", "grade_llm"]
    by_hand = replace(found, labels=np.array([-1, 1, -1, 0]))
    assert Voices(above=0.9).called(by_hand).tolist() == ["", "labels", "", ""]


def test_copies_of_a_relevant_text_are_relevant_unless_somebody_was_heard_about_them() -> None:
    keys = [1, 7, 7, 7, 8, 7]
    found = heard(evidence([0.9] * 6, lengths=[5, 1], positive=[0], keys=keys), llm=[None, None, 2, 1, None, None])
    # The last row is another query's.
    assert Voices(above=0.9).called(found).tolist() == ["", "grade_llm", "grade_llm", "", "", ""]


def test_the_first_copy_is_the_new_positive_and_copies_of_known_texts_are_none() -> None:
    keys = [1, 7, 7, 1, 50, 9, 9]
    found = heard(flat(7, keys=keys, query_keys=[50]), llm=[None, None, 3, 3, 3, 0, None])
    result = decided(found)
    assert result.verdict.tolist() == ["positive", "positive", *["dropped"] * 3, "negative", "dropped"]
    assert result.reason.tolist() == [
        *("known-positive", "relabelled", "same-text-as-candidate", "same-text-as-positive", "same-text-as-query"),
        *("picked", "same-text-as-candidate"),
    ]
    assert result.step.tolist() == ["none", "relabelled", *["none"] * 5]


def test_relabelling_changes_no_other_row() -> None:
    """The ceiling, the ranks and the picks are those of the known positives, whatever becomes of a relevant row."""
    scores = [0.8, 0.3, 0.78, 0.7, 0.6, 0.5]
    found = heard(evidence(scores, positive=[0]), llm=[None, 3, None, None, None, None])
    options = {"no_margin": False, "relative_margin": 0.05, "num_negatives": 2}
    positive, drop = (decided(found, relabel=mode, **options) for mode in ("positive", "drop"))
    assert positive.verdict.tolist() == ["positive", "positive", "dropped", "negative", "negative", "reserve"]
    assert drop.verdict.tolist() == ["positive", "dropped", "dropped", "negative", "negative", "reserve"]
    assert drop.reason.tolist()[1:3] == ["called-relevant", "relative-margin"]
    assert positive.reason.tolist()[2:] == drop.reason.tolist()[2:]
    assert positive.pick_rank.tolist() == drop.pick_rank.tolist() == [0, 0, 0, 1, 2, 3]
    off = decided(replace(found, grades={}), relabel="off", **options)
    assert off.verdict.tolist() == ["positive", "negative", "dropped", "negative", "reserve", "reserve"]


@pytest.mark.parametrize(("most", "is_lost"), [(2, False), (1, True), (0, True)])
def test_a_query_with_too_many_relevant_candidates_goes_as_a_whole(most: int, is_lost: bool) -> None:
    keys = [1, 2, 3, 3, 4, 5, 6]
    found = evidence([0.9] * 7, lengths=[5, 2], positive=[0, 5], keys=keys)
    result = decided(heard(found, llm=[None, 3, 3, 3, 0, None, 0]), max_fn_per_query=most)
    lost = ["too-many-relevant"] * 4
    kept = ["relabelled", "relabelled", "same-text-as-candidate", "picked"]  # a copy counts once
    assert result.reason.tolist() == ["known-positive", *(lost if is_lost else kept), "known-positive", "picked"]


def test_a_rank_that_is_skipped_for_suspicion_is_no_reason_against_what_was_judged() -> None:
    found = heard(flat(5), llm=[None, 3, None, None, 3])
    result = decided(found, skip_top=2, max_rank=4)
    assert result.reason.tolist() == ["known-positive", "relabelled", "picked", "picked", "relabelled"]


def test_a_row_that_a_judge_calls_not_relevant_is_certain_and_one_it_calls_related_is_not() -> None:
    found = heard(flat(5, zero=[4]), llm=[0, 0, 1, None, 3])
    assert found.is_certain.tolist() == [False, True, False, False, True]
    taken_back = heard(flat(3), cheap=[None, 0, 1], dear=[None, 1, 0])
    assert taken_back.is_certain.tolist() == [False, False, True]
