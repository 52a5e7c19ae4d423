"""Each rule drops exactly the rows its formula names, and spares what is known."""

from __future__ import annotations

import numpy as np
import pytest

from hnmine.core.decide import first_reason, reasons_and_spared
from hnmine.core.evidence import Evidence, anchor_scores
from hnmine.core.rules import build, in_force
from hnmine.core.rules.base import Rule
from hnmine.options import Anchor, FilterOptions
from hnmine.schema import Scale


def evidence(
    scores: list[float],
    *,
    lengths: list[int] | None = None,
    positive: list[int] = [0],  # noqa: B006
    rank: list[int] | None = None,
    low: list[int] = [],  # noqa: B006
    zero: list[int] = [],  # noqa: B006
    curated: list[int] = [],  # noqa: B006
    random: list[int] = [],  # noqa: B006
    keys: list[int] | None = None,
    query_keys: list[int] | None = None,
    scores_by_name: dict[str, np.ndarray] | None = None,
    ranks: dict[str, np.ndarray] | None = None,
    sim_positive: dict[str, np.ndarray] | None = None,
    clusters: dict[str, np.ndarray] | None = None,
    centroid_ranks: dict[str, np.ndarray] | None = None,
) -> Evidence:
    """Evidence of one query (or of several with `lengths`), rows in rank-by order; row numbers say what is special."""
    size = len(scores)
    lengths = [size] if lengths is None else lengths

    def flags(rows: list[int]) -> np.ndarray:
        return np.isin(np.arange(size), rows)

    return Evidence(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        judge=np.array(scores, np.float64),
        rank=np.array(rank if rank is not None else range(1, size + 1), np.int64),
        is_positive=flags(positive),
        is_judged=flags([*positive, *low, *zero]),
        is_low_grade=flags(low),
        text_key=np.array(keys if keys is not None else range(100, 100 + size), np.uint64),
        query_key=np.array(query_keys if query_keys is not None else range(1, len(lengths) + 1), np.uint64),
        is_random=flags(random),
        is_curated=flags(curated),
        scores=scores_by_name or {},
        ranks=ranks or {},
        sim_positive=sim_positive or {},
        clusters=clusters or {},
        centroid_ranks=centroid_ranks or {},
    )


def reasons(found: Evidence, scale: Scale = Scale.COSINE, **options: object) -> list[str]:
    return first_reason(found, build(FilterOptions(**options), scale)).tolist()  # type: ignore[arg-type]


def test_relative_margin_is_measured_from_the_positive() -> None:
    # C = 0.8 - 0.05 * 0.8 = 0.76; a row at the ceiling itself is dropped.
    found = evidence([0.8, 0.90, 0.761, 0.7600001, 0.7599, 0.1])
    assert reasons(found) == ["", "relative-margin", "relative-margin", "relative-margin", "", ""]


def test_relative_margin_never_rises_above_a_negative_positive_score() -> None:
    # C = -2 - 0.05 * 2 = -2.1: multiplying -2 by 0.95 would have let -1.95 through.
    found = evidence([-2.0, -1.95, -2.05, -2.11])
    assert reasons(found, relative_margin=0.05) == ["", "relative-margin", "relative-margin", ""]


def test_absolute_margin() -> None:
    found = evidence([5.0, 2.1, 2.0, 1.99], positive=[0])
    assert reasons(found, Scale.LOGIT, absolute_margin=3.0) == ["", "absolute-margin", "absolute-margin", ""]


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        (Scale.COSINE, (0.05, None)),
        (Scale.LOGIT, (None, 3.0)),
        (Scale.PROBABILITY, (None, None)),
        (Scale.BM25, (None, None)),
        (Scale.DOT, (None, None)),
    ],
)
def test_default_margin_of_each_scale(scale: Scale, expected: tuple[float | None, float | None]) -> None:
    def margins(**options: object) -> tuple[float | None, ...]:
        found = in_force(FilterOptions(**options), scale, estimated=False)  # type: ignore[arg-type]
        return found.relative_margin, found.absolute_margin, found.max_fn_probability

    assert margins() == (*expected, None)
    assert margins(no_margin=True) == (None, None, None)
    assert margins(absolute_margin=0.1) == (None, 0.1, None)
    assert margins(max_fn_probability=0.3) == (None, None, 0.3)


@pytest.mark.parametrize("scale", list(Scale))
def test_the_default_is_the_estimated_probability_where_there_is_one(scale: Scale) -> None:
    def asked(**options: object) -> list[str]:
        rules = build(FilterOptions(**options), scale, estimated=True)  # type: ignore[arg-type]
        return [rule.reason for rule in rules if rule.reason in ("max-fn-probability", "relative-margin")]

    if scale is Scale.LOGIT:  # a cross-encoder judges by itself
        assert asked() == []
        assert in_force(FilterOptions(), scale, estimated=True).absolute_margin == 3.0
        return
    found = in_force(FilterOptions(), scale, estimated=True)
    assert (found.relative_margin, found.absolute_margin, found.max_fn_probability) == (None, None, 0.03)
    assert asked() == ["max-fn-probability"]
    assert asked(relative_margin=0.1) == ["relative-margin"]
    assert asked(no_margin=True) == []
    assert asked(relative_margin=0.1, max_fn_probability=0.2) == ["relative-margin", "max-fn-probability"]


@pytest.mark.parametrize(
    ("asked", "rungs"), [(0.05, [0.05, 0.1, 0.5]), (0.3, [0.3, 0.5, 0.5]), (0.8, [0.8, 0.8, 0.8]), (0.0, [0, 0, 0.5])]
)
def test_the_probability_on_the_ladder(asked: float, rungs: list[float]) -> None:
    found = [build(FilterOptions(max_fn_probability=asked), Scale.COSINE, shrink=s)[-1] for s in (1.0, 0.5, 0.0)]
    assert [vars(rule)["most"] for rule in found] == pytest.approx(rungs)


@pytest.mark.parametrize(("anchor", "expected"), [(Anchor.MIN, 0.2), (Anchor.MAX, 0.9), (Anchor.MEAN, 0.55)])
def test_anchor_of_several_positives(anchor: Anchor, expected: float) -> None:
    found = evidence([0.9, 0.5, 0.2, np.nan], positive=[0, 2, 3])
    assert anchor_scores(found, anchor)[0] == pytest.approx(expected)


def test_anchor_is_the_querys_own() -> None:
    found = evidence([0.9, 0.1, 0.3, 0.2, 0.25], lengths=[2, 2, 1], positive=[0, 2])
    assert anchor_scores(found, Anchor.MIN)[:2].tolist() == [0.9, 0.3]
    assert np.isnan(anchor_scores(found, Anchor.MIN)[2])
    assert reasons(found) == ["", "", "", "", "no-anchor"]


def test_skip_top_counts_positives_and_comes_before_every_other_rule() -> None:
    # Ranks 1..3 go, the positive at rank 1 counts but stays; the copy at rank 2 is named skip-top, not same-text.
    found = evidence([0.9, 0.89, 0.3, 0.2, 0.1], keys=[7, 7, 8, 9, 10])
    assert reasons(found, skip_top=3) == ["", "skip-top", "skip-top", "", ""]


def test_skip_top_counts_what_was_retrieved_not_what_survived() -> None:
    # sentence-transformers cuts after its filters and would skip three survivors here.
    found = evidence([0.9, 0.89, 0.88, 0.5, 0.4], rank=[1, 2, 3, 4, 5])
    assert reasons(found, skip_top=3, relative_margin=0.05) == ["", "skip-top", "skip-top", "", ""]


def test_a_row_no_retriever_ranked_is_never_skipped_as_top() -> None:
    found = evidence([0.9, 0.3, 0.2], rank=[1, 2, 0])
    assert reasons(found, skip_top=50) == ["", "skip-top", ""]


def test_same_text_as_positive_query_and_better_placed_row() -> None:
    found = evidence(
        [0.9, 0.5, 0.4, 0.3, 0.2, 0.1],
        keys=[7, 7, 1, 8, 8, 9],
        query_keys=[1],
    )
    expected = ["", "same-text-as-positive", "same-text-as-query", "", "same-text-as-candidate", ""]
    assert reasons(found, no_margin=True) == expected


def test_same_text_is_looked_up_within_a_query() -> None:
    found = evidence([0.9, 0.1, 0.9, 0.1], lengths=[2, 2], positive=[0, 2], keys=[7, 8, 9, 7], query_keys=[8, 5])
    assert reasons(found, no_margin=True) == ["", "same-text-as-query", "", ""]


def test_a_copy_of_a_positive_is_dropped_even_when_judged_zero() -> None:
    found = evidence([0.9, 0.5], keys=[7, 7], zero=[1])
    assert reasons(found) == ["", "same-text-as-positive"]


def test_grades_between_zero_and_the_minimum_are_dropped_by_name() -> None:
    found = evidence([0.9, 0.5, 0.4], low=[1])
    assert reasons(found) == ["", "judged-grade", ""]


def test_rows_known_not_to_be_relevant_are_spared_by_rules_that_guess() -> None:
    # Row 1 is judged 0, row 2 curated: both are above the ceiling and in the skipped ranks, and stay.
    found = evidence([0.9, 0.95, 0.94, 0.93], zero=[1], curated=[2])
    assert reasons(found, skip_top=2, max_score=0.5) == ["", "", "", "relative-margin"]
    assert reasons(found, min_score=0.945, no_margin=True) == ["", "", "min-score", "min-score"]


def test_what_a_rule_spares_is_counted_for_every_rule_that_was_against_it() -> None:
    # Ranks 1 to 5, C = 0.9 * 0.95 = 0.855. Row 1 (judged 0) and row 2 (curated) are in the first three ranks, above
    # 0.93, and above C; row 4, curated too, is below all of them. Row 3 has no exemption: it falls to the first rule
    # that is against it.
    found = evidence([0.9, 0.95, 0.94, 0.92, 0.2], zero=[1], curated=[2, 4])
    rules = build(FilterOptions(skip_top=3, relative_margin=0.05, max_score=0.945, min_score=0.3), Scale.COSINE)
    reason, spared = reasons_and_spared(found, rules)
    assert reason.tolist() == ["", "", "", "relative-margin", "min-score"]
    assert spared == {"skip-top": 2, "relative-margin": 2, "max-score": 1}
    nobody = evidence([0.9, 0.95, 0.94, 0.92, 0.2])
    assert reasons_and_spared(nobody, rules)[1] == {}


def test_a_row_that_a_rule_without_exemptions_dropped_before_is_not_spared_by_a_later_one() -> None:
    found = evidence([0.9, 0.95, 0.94], curated=[1, 2], keys=[7, 7, 8])  # row 1 is a copy of the positive
    reason, spared = reasons_and_spared(found, build(FilterOptions(relative_margin=0.05), Scale.COSINE))
    assert reason.tolist() == ["", "same-text-as-positive", ""]
    assert spared == {"relative-margin": 1}


def test_max_and_min_score() -> None:
    found = evidence([0.9, 0.6, 0.5, 0.4, 0.3])
    expected = ["", "max-score", "", "", "min-score"]
    assert reasons(found, no_margin=True, max_score=0.5, min_score=0.4) == expected


def test_nan_scores_are_dropped_by_name_and_never_chosen() -> None:
    found = evidence([0.9, np.nan, 0.3])
    assert reasons(found) == ["", "no-score", ""]
    assert reasons(found, no_margin=True) == ["", "", ""]


def test_no_rule_drops_a_positive() -> None:
    found = evidence([0.1, 0.9, 0.8, np.nan], positive=[0, 1, 2, 3], keys=[7, 7, 1, 7], query_keys=[1])
    options = {"skip_top": 9, "relative_margin": 0.5, "absolute_margin": 0.5, "max_score": 0.2, "min_score": 0.15}
    assert reasons(found, **options) == ["", "", "", ""]


def test_every_reason_token_is_its_own() -> None:
    tokens = [rule.reason for rule in Rule.__subclasses__()]
    assert len(tokens) == len(set(tokens))
    assert all(token == token.lower() and " " not in token for token in tokens)


def test_skip_fused_drops_the_head_of_the_fused_list_among_the_survivors() -> None:
    # Survivors of the margin (0.76): rows 2..5. Fused with k = 20, ranks counted among them:
    # row 2: dense 1, bm25 null -> 4th (behind three), sim 3rd; row 3: 2, 1, 1; row 4: 3, 2, 2; row 5: 4, 3, 4.
    found = evidence(
        [0.8, 0.79, 0.7, 0.6, 0.5, 0.4],
        ranks={"dense": np.array([1, 2, 3, 4, 5, 6]), "bm25": np.array([3, 1, 0, 2, 4, 5])},
        sim_positive={"dense": np.array([np.nan, 0.9, 0.3, 0.8, 0.5, 0.2])},
    )
    fused = {2: 1 / 21 + 1 / 24 + 1 / 23, 3: 1 / 22 + 2 / 21, 4: 1 / 23 + 2 / 22, 5: 2 / 24 + 1 / 23}
    assert sorted(fused, key=lambda row: -fused[row]) == [3, 4, 2, 5]
    assert reasons(found, skip_fused=1) == ["", "relative-margin", "", "skip-fused", "", ""]
    assert reasons(found, skip_fused=3) == ["", "relative-margin", "skip-fused", "skip-fused", "skip-fused", ""]


def test_rerankers_have_no_vote_in_the_fused_list() -> None:
    ranks = {"dense": np.array([1, 2, 3, 4])}
    dense, second = np.array([0.9, 0.8, 0.7, 0.6]), np.array([5.0, np.nan, 1.0, 2.0])
    heard = evidence([0.9, 0.8, 0.7, 0.6], ranks=ranks, scores_by_name={"dense": dense, "reranker": second})
    assert reasons(heard, skip_fused=1, no_margin=True) == ["", "skip-fused", "", ""]


def test_skip_fused_spares_what_is_known_and_survives_missing_signals() -> None:
    found = evidence([0.8, 0.3, 0.2], zero=[1], ranks={"dense": np.array([1, 2, 0])})
    assert reasons(found, skip_fused=2) == ["", "", "skip-fused"]
    assert reasons(evidence([0.8, 0.3]), skip_fused=1) == ["", "skip-fused"]
