"""Every pick: its order against hand-computed values, its draws against the stated probabilities, its contract."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hnmine.core import picks
from hnmine.core.evidence import Evidence
from hnmine.core.picks.base import Picker, sampling_key, spread, uniform_numbers
from hnmine.core.picks.debiased import Debiased
from hnmine.core.picks.diverse import Diverse
from hnmine.core.picks.margin_bins import MarginBins
from hnmine.core.picks.neighbours import ClusterNeighbours
from hnmine.core.picks.pool import Pool
from hnmine.core.picks.quota import Quota
from hnmine.core.picks.simans import SimansGaussian, SimansLaplace
from hnmine.core.picks.softmax import Softmax, TopThenSoftmax
from hnmine.core.picks.teachers import CrossTeacher, IntraTeacher
from hnmine.core.picks.top import Top
from hnmine.core.picks.uniform import Uniform
from hnmine.errors import UsageError
from hnmine.options import Anchor, FilterOptions, Pick
from tests.core.test_rules import evidence

DRAWS = 20_000
NEXT = np.uint64(2**63)
"""The number whose uniform is one half: all equal, a Gumbel draw is a sort by weight."""


def scored(scores: list[float], **about: Any) -> Evidence:
    return evidence(scores, scores_by_name={"minilm": np.array(scores, np.float64)}, **about)


def order(pick: Picker, found: Evidence, draw: Any = None, eligible: Any = None) -> list[int]:
    draw = np.full(len(found.judge), NEXT) if draw is None else np.asarray(draw, np.uint64)
    eligible = ~found.is_positive if eligible is None else np.asarray(eligible)
    return pick.order(found, eligible, draw).tolist()


def many(one: list[float], **about: Any) -> Evidence:
    """The same query, rows and all, `DRAWS` times."""
    arrays = {n: {k: np.tile(v, DRAWS) for k, v in about[n].items()} for n in ("ranks", "scores_by_name") if n in about}
    arrays.setdefault("scores_by_name", {"minilm": np.tile(np.array(one), DRAWS)})
    return evidence(
        one * DRAWS,
        lengths=[len(one)] * DRAWS,
        positive=list(range(0, len(one) * DRAWS, len(one))),
        keys=list(range(len(one) * DRAWS)),
        **arrays,
    )


def first_two(pick: Picker, one: list[float], **about: Any) -> dict[tuple[int, int], float]:
    """How often each ordered pair of rows is picked first and second."""
    found = many(one, **about)
    draw = np.random.default_rng(7).integers(0, 2**64, len(found.judge), dtype=np.uint64)
    places = pick.order(found, ~found.is_positive, draw).reshape(DRAWS, len(one))
    first, second = (places == 0).argmax(1), (places == 1).argmax(1)
    pairs, counts = np.unique(np.stack([first, second]), axis=1, return_counts=True)
    return {(int(a), int(b)): c / DRAWS for a, b, c in zip(*pairs, counts, strict=True)}


def without_replacement(weights: list[float]) -> dict[tuple[int, int], float]:
    """Probability of each ordered pair of rows 1, 2, ... drawn one after the other by weight."""
    total = sum(weights)
    pairs = itertools.permutations(range(len(weights)), 2)
    return {(a + 1, b + 1): weights[a] / total * weights[b] / (total - weights[a]) for a, b in pairs}


def assert_distributed(found: dict[tuple[int, int], float], expected: dict[tuple[int, int], float]) -> None:
    # Five standard errors of a share in 20,000 draws are at most 0.018.
    for pair, probability in expected.items():
        error = 5 * (probability * (1 - probability) / DRAWS) ** 0.5
        assert abs(found.get(pair, 0.0) - probability) <= error, (pair, found.get(pair), probability)
    assert set(found) <= set(expected)


def test_top_is_the_order_of_the_rows() -> None:
    assert order(Top(), evidence([0.9, 0.8, 0.7, 0.6], positive=[1])) == [0, -1, 1, 2]


def test_random_is_the_order_of_the_draw() -> None:
    assert order(Uniform(), evidence([0.9, 0.8, 0.7, 0.6]), [5, 30, 10, 20]) == [-1, 2, 0, 1]


def test_random_draws_all_rows_alike() -> None:
    assert_distributed(first_two(Uniform(), [0.9, 0.8, 0.7, 0.1]), without_replacement([1, 1, 1]))


def test_softmax_draws_by_the_exponential_of_the_score() -> None:
    weights = np.exp(np.array([0.8, 0.7, 0.1]) / 0.5)
    assert_distributed(first_two(Softmax("minilm", 0.5), [0.9, 0.8, 0.7, 0.1]), without_replacement(weights.tolist()))


def test_softmax_without_a_temperature_takes_the_deviation_of_the_eligible_scores() -> None:
    # 0.8, 0.7, 0.1 have mean 8/15 and variance 1.14/3 - 64/225 = 43/450.
    deviation = (43 / 450) ** 0.5
    weights = np.exp(np.array([0.8, 0.7, 0.1]) / deviation)
    assert_distributed(first_two(Softmax("minilm"), [5.0, 0.8, 0.7, 0.1]), without_replacement(weights.tolist()))
    found = scored([5.0, 0.8, 0.7, 0.1])
    assert spread(found.owner, found.judge, ~found.is_positive, 1) == pytest.approx([deviation])


def test_softmax_with_equal_draws_is_the_order_of_the_scores_and_nan_is_last() -> None:
    found = scored([0.9, 0.5, np.nan, 0.7, 0.6])
    assert order(Softmax("minilm", 1.0), found) == [-1, 2, 3, 0, 1]
    assert order(Softmax("minilm"), found) == [-1, 2, 3, 0, 1]


def test_top_then_softmax_always_takes_the_best_placed_first() -> None:
    weights = np.exp(np.array([0.7, 0.1, 0.0]) / 0.5)
    expected = {(1, i + 2): w / weights.sum() for i, w in enumerate(weights.tolist())}
    assert_distributed(first_two(TopThenSoftmax("minilm", 0.5), [0.9, 0.8, 0.7, 0.1, 0.0]), expected)


def test_simans_is_likeliest_at_the_positive_plus_the_offset() -> None:
    # Eligible 4, 3, 2, 1, 0: deviation sqrt(2). With offset -1 the mode is 4.2 - sqrt(2) = 2.79:
    # 3 is nearest, then 2, 4.
    found = scored([4.2, 4.0, 3.0, 2.0, 1.0, 0.0])
    assert order(SimansGaussian("minilm", Anchor.MIN, offset=-1.0), found) == [-1, 2, 0, 1, 3, 4]
    assert order(SimansLaplace("minilm", Anchor.MIN, offset=-1.0), found) == [-1, 2, 0, 1, 3, 4]
    # The mode rises with the offset: the paper's sign, not its code's.
    assert order(SimansGaussian("minilm", Anchor.MIN, offset=1.0), found) == [-1, 0, 1, 2, 3, 4]


def test_simans_kernels_draw_with_the_stated_probabilities() -> None:
    # Eligible 3, 1, 2: deviation sqrt(2/3); the positive has 2.
    z = (np.array([3.0, 1.0, 2.0]) - 2.0) / (2 / 3) ** 0.5
    gauss = np.exp(-0.5 * ((z + 0.5) / 0.8) ** 2)
    laplace = np.exp(-np.abs(z + 0.5) / 0.8)
    one = [2.0, 3.0, 1.0, 2.0]
    assert_distributed(first_two(SimansGaussian("minilm", Anchor.MIN, -0.5, 0.8), one), without_replacement([*gauss]))
    assert_distributed(first_two(SimansLaplace("minilm", Anchor.MIN, -0.5, 0.8), one), without_replacement([*laplace]))


def test_simans_widths_are_those_of_the_paper_and_of_its_code() -> None:
    z = np.array([0.0, 0.7, -2.0])
    gauss, laplace = SimansGaussian("minilm", Anchor.MIN), SimansLaplace("minilm", Anchor.MIN)
    assert gauss._log_weight(z / gauss.width) == pytest.approx(-0.5 * z**2)
    assert laplace._log_weight(z / laplace.width) == pytest.approx(-3 * np.abs(z))


def test_simans_without_a_score_of_the_positive_starts_at_the_easiest() -> None:
    assert order(SimansGaussian("minilm", Anchor.MIN), scored([np.nan, 0.8, 0.7, np.nan, 0.6])) == [-1, 2, 1, 3, 0]


def test_margin_bins_take_turns() -> None:
    # Gaps 0.0, 0.01, 0.02 | 0.5 | 0.9, 1.0 in ten bins of 0.1: bins 0, 0, 0, 5, 9, 9.
    found = evidence([1.0, 1.0, 0.99, 0.98, 0.5, 0.1, 0.0, np.nan])
    pick = MarginBins(Anchor.MIN)
    assert pick.bin_of(found, ~found.is_positive).tolist()[1:] == [0, 0, 0, 5, 9, 9, 10]
    places = np.array(order(pick, found, [0, 9, 8, 7, 6, 5, 4, 0]))
    # Within a bin by the draw: 0.98 before 0.99 before 1.0, and 0.0 before 0.1. One of each bin in the first three.
    assert sorted(places[[3, 4, 6]]) == [0, 1, 2]
    assert sorted(places[[2, 5]]) == [3, 4]
    assert places[[1, 7]].tolist() == [5, 6]


def test_margin_bins_draw_bins_alike_whatever_their_size() -> None:
    # Bin 0 holds rows 1, 2, 3, bin 9 row 4 alone: each is first half of the time, and the other bin is second.
    found = first_two(MarginBins(Anchor.MIN), [1.0, 0.99, 0.985, 0.98, 0.1])
    expected = {(a, 4): 1 / 6 for a in (1, 2, 3)} | {(4, a): 1 / 6 for a in (1, 2, 3)}
    assert_distributed(found, expected)


def test_margin_bins_of_one_row_or_equal_rows_are_fine() -> None:
    assert order(MarginBins(Anchor.MIN), evidence([1.0, 0.5])) == [-1, 0]
    assert sorted(order(MarginBins(Anchor.MIN), evidence([np.nan, 0.5, 0.5]), [0, 2, 1])) == [-1, 0, 1]


def test_debiased_draws_by_surface_times_what_is_not_meaning() -> None:
    # BM25 9 > 5 > 1: surface 5/6, 3/6, 1/6. Dense 0.2 < 0.6 < 0.7: 1 - meaning 5/6, 3/6, 1/6, of rows 1, 3, 2.
    both = {"bm25": np.array([99.0, 9.0, 5.0, 1.0]), "minilm": np.array([99.0, 0.2, 0.7, 0.6])}
    weights = [5 / 6 * 5 / 6, 3 / 6 * 1 / 6, 1 / 6 * 3 / 6]
    found = first_two(Debiased("bm25", "minilm"), [99.0, 0.2, 0.7, 0.6], scores_by_name=both)
    assert_distributed(found, without_replacement(weights))


def teachers(**ranks: list[int]) -> Evidence:
    """Rows 0 (the positive) to n; the scores of `minilm` fall by a tenth a row, those of `bm25` rise."""
    size = len(next(iter(ranks.values())))
    falling = 1.0 - np.arange(size) / 10
    return evidence(
        falling.tolist(),
        scores_by_name={"minilm": falling, "bm25": 1.0 - falling},
        ranks={name: np.array(own) for name, own in ranks.items()},
    )


def test_intra_teacher_takes_turns_and_passes_over_repetitions() -> None:
    found = teachers(minilm=[1, 2, 3, 4, 0, 0], bm25=[2, 0, 1, 0, 3, 0])
    # Survivors of minilm: rows 1, 2, 3; of bm25: rows 2, 4. First turn: 1, 2. Second: minilm's 2 is gone, bm25's 4.
    # Third: 3. Row 5 is nobody's.
    pick = IntraTeacher(["minilm", "bm25"])
    assert order(pick, found) == [-1, 0, 1, 3, 2, 4]
    assert order(IntraTeacher(["bm25", "minilm"]), found) == [-1, 1, 0, 3, 2, 4]
    # Turns are counted among survivors: without row 2, bm25's first is row 4.
    assert order(pick, found, eligible=[False, True, False, True, True, False]) == [-1, 0, -1, 2, 1, -1]


def test_cross_teacher_gives_all_in_the_order_of_one() -> None:
    found = teachers(minilm=[1, 2, 3, 4, 0, 0], bm25=[2, 0, 1, 0, 3, 0])
    pick = CrossTeacher(["minilm", "bm25"])
    seen = set()
    for number in range(8):
        draw = np.array([number, 9, 9, 9, 9, 9], np.uint64)
        teacher = int(pick.teacher_of(found, draw)[0])
        # Beyond its top k a teacher goes by its score: minilm's falls from row to row, bm25's rises.
        assert order(pick, found, draw) == [[-1, 0, 1, 2, 3, 4], [-1, 4, 0, 3, 1, 2]][teacher]
        seen.add(teacher)
    assert seen == {0, 1}


def test_cross_teacher_draws_teachers_alike_and_by_the_positives_alone() -> None:
    found = many([1.0, 0.5, 0.2])
    draw = np.random.default_rng(3).integers(0, 2**64, len(found.judge), dtype=np.uint64)
    pick = CrossTeacher(["a", "b", "c"])
    drawn = pick.teacher_of(found, draw)
    assert np.bincount(drawn) / DRAWS == pytest.approx([1 / 3] * 3, abs=0.02)
    other = np.where(found.is_positive, draw, draw[::-1])
    assert pick.teacher_of(found, other).tolist() == drawn.tolist()


def test_an_ensemble_of_one_is_refused_and_a_reranker_is_no_teacher() -> None:
    for token in ("cross-teacher", "intra-teacher"):
        with pytest.raises(UsageError, match="of 1 retriever"):
            build(origins={"minilm": "dense", "judge": "reranker"}, pick=token)
        assert build(pick=token).settings()["teachers"] == ["bm25", "minilm", "e5"]


def test_a_pool_confines_a_pick_to_the_best_placed() -> None:
    found = evidence([0.9, 0.8, 0.7, 0.6, 0.5])
    assert order(Pool(Uniform(), 2), found, [0, 40, 30, 20, 10]) == [-1, 1, 0, 2, 3]
    weights = np.exp(np.array([0.8, 0.7]) / 0.5)
    expected = {(1, 2): weights[0] / weights.sum(), (2, 1): weights[1] / weights.sum()}
    assert_distributed(first_two(Pool(Softmax("minilm", 0.5), 2), [0.9, 0.8, 0.7, 0.6]), expected)


def test_a_quota_takes_from_each_source_and_then_from_the_rest() -> None:
    ranks = {"bm25": np.array([1, 2, 4, 0, 0, 3, 0]), "minilm": np.array([1, 2, 3, 4, 5, 0, 0])}
    found = evidence([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.1], ranks=ranks, random=[6])
    pick = Quota(Top(), {"minilm": (["minilm"], 1), "bm25": (["bm25"], 1), "random": ([], 1)})
    # Row 1 is ranked 2 by both and counts for the one named first; row 2 is minilm's (3 < 4), row 5 is bm25's.
    assert pick.source_of(found).tolist() == [0, 0, 0, 0, 0, 1, 2]
    assert order(pick, found) == [-1, 0, 3, 4, 5, 1, 2]
    other = Quota(Top(), {"bm25": (["bm25"], 2), "minilm": (["minilm"], 1)})
    # Row 1 is bm25's now. Nobody asked for random rows: row 6 is not taken, not even for the rest.
    assert order(other, found) == [-1, 0, 2, 3, 4, 1, -1]


def test_a_quota_takes_no_more_random_rows_than_asked() -> None:
    found = evidence([0.9, 0.8, 0.2, 0.1], ranks={"bm25": np.array([1, 2, 0, 0])}, random=[2, 3])
    pick = Quota(Top(), {"random": ([], 1), "bm25": (["bm25"], 1)})
    assert order(pick, found, [0, 0, 7, 5]) == [-1, 1, -1, 0]


def test_a_short_source_leaves_its_places_to_the_rest() -> None:
    found = evidence([0.9, 0.8, 0.7, 0.6], ranks={"bm25": np.array([1, 0, 0, 0]), "minilm": np.array([1, 2, 3, 4])})
    assert order(Quota(Top(), {"bm25": (["bm25"], 2), "minilm": (["minilm"], 1)}), found) == [-1, 0, 1, 2]


def test_diverse_takes_one_of_each_cluster_and_then_the_second() -> None:
    one = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    found = evidence(one, clusters={"minilm": np.array([1, 2, 2, 1, 2, 3])})
    # Cluster 1's own positive takes no turn: rows 1 (2), 3 (1), 5 (3), then 2 (2), then 4 (2).
    assert order(Diverse("minilm"), found) == [-1, 0, 3, 1, 4, 2]
    two = evidence(one, lengths=[3, 3], positive=[0, 3], clusters={"minilm": np.array([1, 2, 2, 1, 2, 2])})
    assert order(Diverse("minilm"), two) == [-1, 0, 1, -1, 0, 1]


def test_cluster_neighbours_come_first_and_random_rows_only_as_neighbours() -> None:
    ranks = {"minilm": np.array([1, 9, 3, 1, 4, 2, 7])}
    found = evidence([0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.1], random=[5, 6], centroid_ranks=ranks)
    draw = [0, 1, 60, 50, 2, 40, 0]
    assert order(ClusterNeighbours("minilm"), found, draw) == [-1, 3, 2, 1, 4, 0, -1]
    assert order(ClusterNeighbours("minilm", nearest=1), found, draw) == [-1, 1, 3, 0, 2, -1, -1]


def test_cluster_neighbours_are_drawn_alike() -> None:
    found = evidence(
        [0.9, 0.8, 0.7, 0.1] * DRAWS,
        lengths=[4] * DRAWS,
        positive=list(range(0, 4 * DRAWS, 4)),
        centroid_ranks={"minilm": np.tile([1, 5, 1, 2], DRAWS)},
    )
    draw = np.random.default_rng(7).integers(0, 2**64, 4 * DRAWS, dtype=np.uint64)
    places = ClusterNeighbours("minilm").order(found, ~found.is_positive, draw).reshape(DRAWS, 4)
    assert (places[:, 1] == 2).all()
    assert (places[:, 2] == 0).mean() == pytest.approx(0.5, abs=0.018)


def test_a_pick_by_clusters_needs_them() -> None:
    with pytest.raises(UsageError, match="--pick diverse: the candidates have no clusters"):
        picks.build(FilterOptions(pick="diverse"), rank_by="minilm", origins={"minilm": "dense"})  # type: ignore[arg-type]


def drawn_by(trust: list[float], pick: Picker, one: list[float], **about: Any) -> dict[tuple[int, int], float]:
    """As `first_two`, each row with its trust."""
    found = replace(many(one, **about), trust=np.tile(np.array(trust, np.float64), DRAWS))
    draw = np.random.default_rng(9).integers(0, 2**64, len(found.judge), dtype=np.uint64)
    places = pick.order(found, ~found.is_positive, draw).reshape(DRAWS, len(one))
    pairs, counts = np.unique(np.stack([(places == 0).argmax(1), (places == 1).argmax(1)]), axis=1, return_counts=True)
    return {(int(a), int(b)): c / DRAWS for a, b, c in zip(*pairs, counts, strict=True)}


SCORES = [0.9, 0.8, 0.7, 0.1]
TRUST = [np.nan, 0.2, 0.8, 1.0]


def test_a_random_draw_with_trust_is_a_draw_by_trust() -> None:
    assert_distributed(drawn_by(TRUST, Uniform(), SCORES), without_replacement([0.2, 0.8, 1.0]))


def test_trust_multiplies_the_weights_of_the_pick() -> None:
    softmax = (np.exp(np.array([0.8, 0.7, 0.1]) / 0.5) * TRUST[1:]).tolist()
    assert_distributed(drawn_by(TRUST, Softmax("minilm", 0.5), SCORES), without_replacement(softmax))
    # z of 0.8, 0.7 and 0.1 from the positive's 0.9, in deviations: 43/450 is their variance.
    z = (np.array([0.8, 0.7, 0.1]) - 0.9) / (43 / 450) ** 0.5
    gaussian = (np.exp(-0.5 * z**2) * TRUST[1:]).tolist()
    assert_distributed(drawn_by(TRUST, SimansGaussian("minilm", Anchor.MIN), SCORES), without_replacement(gaussian))
    laplace = (np.exp(-3 * np.abs(z)) * TRUST[1:]).tolist()
    assert_distributed(drawn_by(TRUST, SimansLaplace("minilm", Anchor.MIN), SCORES), without_replacement(laplace))
    # Surface 1/2, 5/6, 1/6 and 1 - meaning 1/6, 1/2, 5/6 of the three eligible rows.
    about = {"scores_by_name": {"bm25": np.array([9.0, 5.0, 7.0, 3.0]), "minilm": np.array(SCORES)}}
    debiased = [1 / 2 * 1 / 6 * 0.2, 5 / 6 * 1 / 2 * 0.8, 1 / 6 * 5 / 6 * 1.0]
    assert_distributed(drawn_by(TRUST, Debiased("bm25", "minilm"), SCORES, **about), without_replacement(debiased))


def test_trust_decides_within_the_bins_and_the_first_of_top_then_softmax_is_not_drawn() -> None:
    # One bin of equal gaps, so a draw from all three; the best-placed is first whatever its trust.
    equal = drawn_by(TRUST, MarginBins(Anchor.MIN), [0.9, 0.5, 0.5, 0.5])
    assert_distributed(equal, without_replacement([0.2, 0.8, 1.0]))
    weights = np.exp(np.array([0.7, 0.1]) / 0.5) * TRUST[2:]
    expected = {(1, i + 2): w / weights.sum() for i, w in enumerate(weights.tolist())}
    assert_distributed(drawn_by(TRUST, TopThenSoftmax("minilm", 0.5), SCORES), expected)


def test_a_row_that_is_surely_relevant_is_drawn_last_and_still_drawn() -> None:
    found = replace(scored([0.9, 0.8, 0.7, 0.6]), trust=np.array([np.nan, 0.0, 1e-3, 1.0]))
    assert order(Uniform(), found) == [-1, 2, 1, 0]


def build(quota: str | None = None, origins: dict[str, str] | None = None, **options: object) -> Picker:
    known = {"bm25": "bm25", "minilm": "dense", "e5": "dense", "judge": "reranker"} if origins is None else origins
    rank_by = next((name for name, origin in known.items() if origin == "dense"), None)
    return picks.build(
        FilterOptions(quota=quota, **options), rank_by=rank_by, origins=known, clusters=[rank_by] if rank_by else []
    )  # type: ignore[arg-type]


def test_a_source_of_a_quota_is_a_name_or_a_kind() -> None:
    found = build("e5=1,dense=2,bm25=1,random=1", epochs=2)
    assert isinstance(found, Quota)
    assert found.quotas == {"e5": (["e5"], 2), "dense": (["minilm"], 4), "bm25": (["bm25"], 2), "random": ([], 2)}


@pytest.mark.parametrize("wrong", ["bm25", "bm25=", "=2", "bm25=0", "bm25=1,bm25=2", "bm25=x", ""])
def test_a_quota_that_does_not_read_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="is no quota"):
        picks.parse_quota(wrong)


def test_a_quota_of_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="nothing was mined from 'minillm'; did you mean 'minilm'"):
        build("minillm=2")
    with pytest.raises(UsageError, match="judge"):
        build("judge=2")  # a reranker brings no rows


def test_a_pick_whose_score_is_missing_is_refused() -> None:
    with pytest.raises(UsageError, match="--pick softmax: the candidates have no score"):
        build(origins={}, pick="softmax")
    with pytest.raises(UsageError, match="--pick debiased: the candidates have no bm25 score"):
        build(origins={"minilm": "dense"}, pick="debiased")


# What every pick promises.

EVERY = [
    *(build(pick=pick) for pick in Pick),
    build(pick=Pick.SOFTMAX, temperature=0.1, pick_pool=3),
    build("bm25=1,dense=1,random=1", pick=Pick.SIMANS),
]


def table(seed: int, queries: int) -> Evidence:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 12, queries).tolist()
    size = sum(lengths)
    values = generator.normal(size=(4, size))
    values[generator.random((4, size)) < 0.1] = np.nan
    rows = np.arange(size)
    return evidence(
        values[0].tolist(),
        lengths=lengths,
        positive=rows[generator.random(size) < 0.2].tolist(),
        random=rows[generator.random(size) < 0.2].tolist(),
        scores_by_name=dict(zip(("bm25", "minilm", "e5", "judge"), values, strict=True)),
        ranks={name: generator.integers(0, 9, size) for name in ("bm25", "minilm", "e5")},
        clusters={"minilm": generator.integers(0, 4, size)},
        centroid_ranks={"minilm": generator.integers(0, 9, size)},
    )


def part(found: Evidence, start: int, stop: int) -> tuple[Evidence, slice]:
    """Queries start..stop alone, and their rows."""
    rows = slice(int(found.offsets[start]), int(found.offsets[stop]))
    cut = evidence(
        found.judge[rows].tolist(),
        lengths=np.diff(found.offsets[start : stop + 1]).tolist(),
        positive=np.flatnonzero(found.is_positive[rows]).tolist(),
        random=np.flatnonzero(found.is_random[rows]).tolist(),
        scores_by_name={name: values[rows] for name, values in found.scores.items()},
        ranks={name: values[rows] for name, values in found.ranks.items()},
        clusters={name: values[rows] for name, values in found.clusters.items()},
        centroid_ranks={name: values[rows] for name, values in found.centroid_ranks.items()},
    )
    return cut, rows


@pytest.mark.parametrize("pick", EVERY, ids=lambda pick: str(pick.settings()["token"]))
def test_an_order_is_a_permutation_of_the_eligible_rows_and_does_not_depend_on_the_block(pick: Picker) -> None:
    found = table(3, 40)
    draw = np.random.default_rng(1).integers(0, 2**64, len(found.judge), dtype=np.uint64)
    eligible = ~found.is_positive & (pick.takes_random_rows | ~found.is_random)
    before = [np.copy(a) for a in (found.judge, *found.scores.values(), eligible, draw)]
    places = pick.order(found, eligible, draw)
    for one, other in zip(before, (found.judge, *found.scores.values(), eligible, draw), strict=True):
        assert np.array_equal(one, other, equal_nan=one.dtype == np.float64)
    taken = places >= 0
    assert not (taken & ~eligible).any()
    assert (taken | found.is_random)[eligible].all()
    for i, (start, stop) in enumerate(itertools.pairwise(found.offsets.tolist())):
        own = places[start:stop]
        assert sorted(own[own >= 0]) == list(range((own >= 0).sum()))
        alone, rows = part(found, i, i + 1)
        assert pick.order(alone, eligible[rows], draw[rows]).tolist() == own.tolist()


@pytest.mark.parametrize("pick", EVERY, ids=lambda pick: str(pick.settings()["token"]))
def test_no_rows_nothing_eligible_and_nothing_known_are_fine(pick: Picker) -> None:
    empty = evidence([], lengths=[], positive=[], scores_by_name=dict.fromkeys(("bm25", "minilm", "e5"), np.empty(0)))
    none = {name: np.zeros(0, np.int64) for name in ("bm25", "minilm", "e5")}
    empty = evidence(
        [], lengths=[], positive=[], scores_by_name=dict(empty.scores), ranks=none, clusters=none, centroid_ranks=none
    )
    assert order(pick, empty) == []
    unknown = np.full(4, np.nan)
    blind = evidence(
        unknown.tolist(),
        scores_by_name={"bm25": unknown, "minilm": unknown, "e5": unknown},
        ranks={name: np.zeros(4, np.int64) for name in none},
        clusters={"minilm": np.zeros(4, np.int64)},
        centroid_ranks={"minilm": np.zeros(4, np.int64)},
    )
    assert sorted(order(pick, blind, [4, 3, 2, 1])) == [-1, 0, 1, 2]
    assert order(pick, blind, [4, 3, 2, 1], [False] * 4) == [-1] * 4


@pytest.mark.parametrize("pick", EVERY, ids=lambda pick: str(pick.settings()["token"]))
def test_what_says_it_is_random_is_and_what_does_not_is_not(pick: Picker) -> None:
    found = table(5, 40)
    eligible = ~found.is_positive & ~found.is_random
    draws = [np.random.default_rng(seed).integers(0, 2**64, len(eligible), dtype=np.uint64) for seed in (1, 2)]
    same = np.array_equal(*(pick.order(found, eligible, draw) for draw in draws))
    assert same is not pick.is_random


@pytest.mark.parametrize("pick", EVERY[: len(Pick)], ids=lambda pick: str(pick.settings()["token"]))
def test_trust_has_a_say_in_the_picks_that_draw_rows_and_in_no_other(pick: Picker) -> None:
    found = table(5, 40)
    eligible = ~found.is_positive & ~found.is_random
    draw = np.random.default_rng(1).integers(0, 2**64, len(eligible), dtype=np.uint64)
    doubted = replace(found, trust=np.random.default_rng(2).random(len(eligible)))
    same = np.array_equal(pick.order(found, eligible, draw), pick.order(doubted, eligible, draw))
    assert same is not pick.draws_rows
    places = pick.order(doubted, eligible, draw)
    for i, (start, stop) in enumerate(itertools.pairwise(found.offsets.tolist())):
        alone, rows = part(found, i, i + 1)
        alone = replace(alone, trust=doubted.trust[rows])
        assert pick.order(alone, eligible[rows], draw[rows]).tolist() == places[start:stop].tolist()


@pytest.mark.parametrize("pick", Pick)
def test_a_weight_for_a_pick_that_draws_nothing_is_refused(pick: Pick) -> None:
    if build(pick=pick).draws_rows:
        build(pick=pick, fn_weight=True)
        return
    with pytest.raises(UsageError, match=f"--fn-weight: --pick {pick} draws no rows") as refused:
        build(pick=pick, fn_weight=True)
    for other in Pick:
        assert (other in str(refused.value.expected).removeprefix("--pick ").split(", ")) is build(
            pick=other
        ).draws_rows


def test_tokens_are_distinct_and_those_of_the_option() -> None:
    assert [build(pick=pick).token for pick in Pick] == [pick.value for pick in Pick]


def test_the_extremes_of_a_draw_give_finite_keys() -> None:
    draw = np.array([0, 2**64 - 1], np.uint64)
    assert (uniform_numbers(draw) > 0).all()
    assert (uniform_numbers(draw) < 1).all()
    assert np.isfinite(sampling_key(np.zeros(2), draw)).all()
