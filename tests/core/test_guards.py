"""The guards beyond margins and ranks: each drops exactly the rows its formula names, values by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from test_rules import evidence

from hnmine.core.decide import first_reason
from hnmine.core.evidence import Column, Evidence
from hnmine.core.rules import build
from hnmine.core.rules.agreement import agreement
from hnmine.core.rules.band import parse_band, probabilities
from hnmine.core.rules.iqr import quartile
from hnmine.core.rules.reuse import MaxReuse
from hnmine.errors import UsageError
from hnmine.hashing import keyed_hash
from hnmine.options import FilterOptions, Short
from hnmine.schema import Scale

NAN = math.nan
DENSE = ("dense", Scale.COSINE)


def reasons(found: Evidence, scale: Scale = Scale.COSINE, **options: object) -> list[str]:
    given = FilterOptions(**{"no_margin": True, **options})  # type: ignore[arg-type]
    return first_reason(found, build(given, scale, dense=DENSE)).tolist()


def texts(*values: str | None) -> Column:
    return Column(values=np.array(values, object), is_null=np.array([v is None for v in values]))


def test_band_puts_logits_through_the_sigmoid() -> None:
    # sigmoid(ln 9) = 0.9, sigmoid(0) = 0.5, sigmoid(-ln 9) = 0.1; the band's ends belong to it.
    logits = [5.0, math.log(9), 0.5, 0.0, -1.0, -3.0]
    assert probabilities(np.array(logits), Scale.LOGIT)[[1, 3]] == pytest.approx([0.9, 0.5])
    found = reasons(evidence(logits), Scale.LOGIT, band="0.1:0.5")
    assert found == ["", "above-band", "above-band", "", "", "below-band"]


def test_band_takes_probabilities_as_they_are() -> None:
    found = evidence([0.95, 0.61, 0.6, 0.1, 0.09, NAN])
    expected = ["", "above-band", "", "", "below-band", "no-score"]
    assert reasons(found, Scale.PROBABILITY, band="0.1:0.6") == expected


def test_the_sigmoid_of_huge_logits_neither_overflows_nor_warns() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert probabilities(np.array([1e4, -1e4]), Scale.LOGIT).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("scale", [Scale.COSINE, Scale.DOT, Scale.BM25])
def test_band_refuses_scores_that_mean_no_probability(scale: Scale) -> None:
    with pytest.raises(UsageError, match=f"of the scale {scale}"):
        build(FilterOptions(band="0.1:0.6"), scale)


@pytest.mark.parametrize("text", ["0.6:0.1", "0.5", "a:b", "0.1:1.5", "-0.1:0.5", "0.2:0.2", "nan:1", "::"])
def test_what_is_no_band_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--band"):
        parse_band(text)
    assert parse_band(":0.1") == (0, 0.1)


def test_band_spares_certain_rows_above_and_not_below() -> None:
    found = evidence([0.9, 0.8, 0.05, 0.8], curated=[1], zero=[2])
    assert reasons(found, Scale.PROBABILITY, band="0.1:0.6") == ["", "", "below-band", "above-band"]


def test_iqr_is_tukeys_fence_over_the_candidates_of_the_query() -> None:
    # Candidates 0, 1, 2, 3, 10: Q1 = 1, Q3 = 3, IQR = 2; fences 5 (r = 1), 10 (r = 3.5: not above). The positive
    # and the random row do not count. Second query: one candidate is never an outlier.
    found = evidence([9, 10, 3, 2, 1, 0, -50, 9, 8], lengths=[7, 2], positive=[0, 7], random=[6])
    among = ~found.is_positive & ~found.is_random
    assert quartile(found, among, 0.25).tolist() == [1, 8]
    assert quartile(found, among, 0.75).tolist() == [3, 8]
    assert reasons(found, iqr=1.0) == ["", "iqr", "", "", "", "", "", "", ""]
    assert "iqr" not in reasons(found, iqr=3.5)


def test_iqr_interpolates_as_numpy_does() -> None:
    scores = np.random.default_rng(0).normal(size=23)
    found = evidence([1.0, *scores])
    for share in (0.25, 0.75):
        assert quartile(found, ~found.is_positive, share)[0] == pytest.approx(np.quantile(scores, share))


def test_consistency_drops_the_whole_query_whose_best_positive_is_ranked_beyond_k() -> None:
    # Query 1: positives at ranks 3 and 7 -> best 3. Query 2: rank 4. Query 3: no retriever found its positive.
    found = evidence([0.9, 0.8, 0.7, 0.9, 0.8, 0.9, 0.8], lengths=[3, 2, 2], positive=[0, 1, 3, 5], zero=[4])
    found = replace(found, rank=np.array([7, 3, 1, 4, 1, 0, 1]))
    lost = "inconsistent-query"
    assert reasons(found, consistency_top=3) == ["", "", "", "", lost, "", lost]
    assert reasons(found, consistency_top=4) == ["", "", "", "", "", "", lost]
    assert reasons(found, consistency_top=2) == ["", "", lost, "", lost, "", lost]


def test_positive_guard_by_threshold_and_by_the_side_of_the_triangle() -> None:
    sims = np.array([NAN, 0.8, 0.79, 0.5, NAN, 0.95])
    scores = np.array([0.9, 0.85, 0.6, 0.5, 0.4, 0.3])
    found = evidence(scores.tolist(), curated=[5], sim_positive={"dense": sims}, scores_by_name={"dense": scores})
    assert reasons(found, max_positive_similarity=0.8) == ["", "close-to-positive", "", "", "", ""]
    # Row 1: 0.85 > 0.8 stays. Row 2: 0.6 < 0.79 goes. Row 3: equal goes. Row 4: nothing known. Row 5: curated.
    expected = ["", "", "closer-to-positive", "closer-to-positive", "", ""]
    assert reasons(found, closer_to_query=True) == expected


def test_rules_on_cosines_refuse_other_scales_and_missing_vectors() -> None:
    for options in ({"closer_to_query": True}, {"near_duplicate": 0.9}):
        with pytest.raises(UsageError, match="cosines"):
            build(FilterOptions(**options), Scale.LOGIT, dense=("dense", Scale.DOT))  # type: ignore[arg-type]
    for options in ({"closer_to_query": True}, {"near_duplicate": 0.9}, {"max_positive_similarity": 0.9}):
        with pytest.raises(UsageError, match="dense index"):
            build(FilterOptions(**options), Scale.LOGIT)  # type: ignore[arg-type]


def test_guide_drops_what_it_puts_above_the_positive() -> None:
    guide = np.array([0.5, 0.51, 0.5, 0.41, 0.3, NAN, 0.9])
    found = evidence([0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], zero=[6], scores_by_name={"big": guide})
    assert reasons(found, guide="big") == ["", "guide", "", "", "", "no-guide-score", ""]
    # margin 0.1: the ceiling is 0.4
    assert reasons(found, guide="big", guide_margin=0.1) == ["", "guide", "guide", "guide", "", "no-guide-score", ""]


def test_a_query_whose_positive_the_guide_did_not_score_has_no_ceiling() -> None:
    found = evidence([0.9, 0.1], scores_by_name={"big": np.array([NAN, 0.2])})
    assert reasons(found, guide="big") == ["", "no-guide-score"]


def test_agreement_counts_retrievers_within_the_depth() -> None:
    ranks = {
        "a": np.array([1, 2, 3, 4, 0]),
        "b": np.array([5, 1, 9, 2, 1]),
        "c": np.array([0, 2, 1, 7, 0]),
    }
    found = evidence([0.9, 0.5, 0.4, 0.3, 0.2], ranks=ranks)
    assert agreement(found, 4).tolist() == [1, 3, 2, 2, 1]
    hit = "agreement"
    assert reasons(found, max_agreement=2, agreement_depth=4) == ["", hit, "", "", ""]
    assert reasons(found, max_agreement=1, agreement_depth=4) == ["", hit, hit, hit, ""]
    assert reasons(found, max_agreement=1, agreement_depth=2) == ["", hit, "", "", ""]


def test_same_group_looks_within_the_query_and_null_is_no_group() -> None:
    found = evidence([0.9, 0.5, 0.4, 0.3, 0.9, 0.5], lengths=[4, 2], positive=[0, 4], zero=[3])
    columns = {"document.parent": texts("x", "x", "y", "x", None, None)}
    hit = "same-group"
    assert reasons(replace(found, columns=columns), group_by="parent") == ["", hit, "", "", "", ""]
    columns = {"document.parent": texts("x", "y", "z", "z", "y", "x")}
    assert reasons(replace(found, columns=columns), group_by="parent") == [""] * 6


def test_where_keeps_what_is_true_and_nothing_that_a_null_leaves_open() -> None:
    columns = {
        "document.lang": texts("de", "de", "en", None),
        "query.lang": texts("de", "de", "de", "de"),
    }
    found = replace(evidence([0.9, 0.5, 0.4, 0.3], zero=[2]), columns=columns)
    assert reasons(found, where="document.lang == query.lang") == ["", "", "where", "where"]
    assert reasons(found, where="not document.lang == query.lang") == ["", "where", "", "where"]


def test_near_duplicates_of_positive_query_and_better_placed_row() -> None:
    found = evidence(
        [0.96, 0.95, 0.5, 0.4, 0.3],
        sim_positive={"dense": np.array([NAN, 0.1, 0.97, 0.2, 0.1])},
        scores_by_name={"dense": np.array([0.96, 0.95, 0.5, 0.4, 0.3])},
    )
    found = replace(found, sim_better={"dense": np.array([NAN, NAN, 0.2, 0.95, 0.949])})
    expected = ["", "near-duplicate-of-query", "near-duplicate-of-positive", "near-duplicate-of-candidate", ""]
    assert reasons(found, near_duplicate=0.95) == expected


def test_documents_with_an_answer_go() -> None:
    found = replace(evidence([0.9, 0.5, 0.4, 0.3], zero=[2]), has_answer=np.array([True, True, True, False]))
    assert reasons(found, no_answers=True) == ["", "has-answer", "", ""]


def test_a_negative_margin_lets_n_rise_above_the_positive_and_never_tightens_on_the_ladder() -> None:
    # positive + 0.1: C = 0.6; halved it would be 0.55.
    found = evidence([0.5, 0.61, 0.59, 0.52])
    assert reasons(found, absolute_margin=-0.1, no_margin=False) == ["", "absolute-margin", "", ""]
    relaxed = build(FilterOptions(absolute_margin=-0.1), Scale.COSINE, shrink=0.5)
    assert first_reason(found, relaxed).tolist() == ["", "absolute-margin", "", ""]


def _hub(queries: int) -> Evidence:
    """Each query has a positive, the hub, and a document of its own; in the last query the hub is above the ceiling."""
    found = evidence([0.9, 0.5, 0.4] * queries, lengths=[3] * queries, positive=list(range(0, 3 * queries, 3)))
    judge = found.judge.copy()
    judge[-2] = 0.89
    columns = {
        "document.doc_id": texts(*[t for q in range(queries) for t in (f"p{q}", "hub", f"own{q}")]),
        "query.query_id": texts(*[f"q{q}" for q in range(queries) for _ in range(3)]),
    }
    return replace(found, judge=judge, columns=columns)


def _rows(found: Evidence, queries: list[int]) -> Evidence:
    """The given queries of `_hub` alone, in the given order."""
    rows = np.concatenate([np.arange(3 * q, 3 * q + 3) for q in queries])
    columns = {n: Column(values=c.values[rows], is_null=c.is_null[rows]) for n, c in found.columns.items()}
    part = evidence(found.judge[rows].tolist(), lengths=[3] * len(queries), positive=list(range(0, len(rows), 3)))
    return replace(part, columns=columns)


def _fitted(blocks: list[Evidence], **options: object) -> MaxReuse:
    rule = build(FilterOptions(**options), Scale.COSINE)[-1]  # type: ignore[arg-type]
    assert isinstance(rule, MaxReuse)
    rule.restore(rule.fit(iter(blocks)))
    return rule


def plain_draw(document: str, query: str, seed: int = 0) -> int:
    """SplitMix64's finaliser over the two keyed hashes, in Python's whole numbers."""
    z = keyed_hash(seed, "reuse-document", document) * 0x9E3779B97F4A7C15 + keyed_hash(seed, "reuse-query", query)
    z %= 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


@pytest.mark.parametrize("seed", range(4))
def test_max_reuse_leaves_a_hub_to_the_eligible_queries_with_the_smallest_hashes(seed: int) -> None:
    found = _hub(9)
    rule = _fitted([found], max_reuse=3, seed=seed)
    alive = ~found.is_positive
    alive[-2] = False  # the margin dropped it
    dropped = rule.drops(found, alive)
    kept = [q for q in range(8) if not dropped[3 * q + 1]]
    draws = {q: plain_draw("hub", f"q{q}", seed) for q in range(8)}
    assert kept == sorted(sorted(draws, key=lambda q: draws[q])[:3])
    assert int(dropped.sum()) == 5, "documents of one query each are no hubs"
    again = _fitted([_rows(found, [8, 3, 1]), _rows(found, [0, 7, 2, 4]), _rows(found, [6, 5])], max_reuse=3, seed=seed)
    assert again.drops(found, alive).tolist() == dropped.tolist(), "blocks and their order do not matter"
    picks = {tuple(_fitted([found], max_reuse=3, seed=s).drops(found, alive).tolist()) for s in range(5)}
    assert len(picks) > 1, "another seed, another draw"


def test_max_reuse_of_a_document_at_the_cap_drops_nothing() -> None:
    found = _hub(4)  # the hub is eligible for three queries
    assert _fitted([found], max_reuse=3).fit([found]) == {"hubs": [], "ceilings": []}
    assert len(_fitted([found], max_reuse=2).fit([found])["hubs"]) == 1
    # On the ladder the fourth query is eligible too, so the cap of three bites.
    assert len(_fitted([found], max_reuse=3, short=Short.RELAX).fit([found])["hubs"]) == 1


def test_max_reuse_neither_counts_nor_drops_curated_and_random_rows() -> None:
    found = _hub(5)
    hub = np.zeros(15, np.bool_)
    hub[1::3] = True
    for special in ({"is_curated": hub}, {"is_random": hub}):
        changed = replace(found, **special)  # type: ignore[arg-type]
        rule = _fitted([changed], max_reuse=1)
        assert not rule.drops(changed, ~changed.is_positive).any()
