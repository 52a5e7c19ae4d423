"""The rules and their order. To add one: a class in a file of this package, an option, and a line in `build`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hnmine.core.rules.agreement import Agreement
from hnmine.core.rules.answers import HasAnswer
from hnmine.core.rules.band import AboveBand, BelowBand, parse_band
from hnmine.core.rules.base import Rule
from hnmine.core.rules.ceiling import AbsoluteMargin, MaxScore, MinScore, NoAnchor, NoScore, RelativeMargin
from hnmine.core.rules.consistency import Inconsistent
from hnmine.core.rules.fused import SkipFused
from hnmine.core.rules.group import SameGroup
from hnmine.core.rules.guard import MaxFnProbability
from hnmine.core.rules.guide import Guide, NoGuideScore
from hnmine.core.rules.iqr import Iqr
from hnmine.core.rules.judged import JudgedGrade
from hnmine.core.rules.near_duplicate import NearDuplicateOfCandidate, NearDuplicateOfPositive, NearDuplicateOfQuery
from hnmine.core.rules.positive_guard import CloserToPositive, TooCloseToPositive
from hnmine.core.rules.rank import MaxRank, SkipTop
from hnmine.core.rules.relevant import CalledRelevant, TooManyRelevant, Voices
from hnmine.core.rules.reuse import MaxReuse
from hnmine.core.rules.same_text import SameTextAsCandidate, SameTextAsPositive, SameTextAsQuery
from hnmine.core.rules.where import Where
from hnmine.errors import UsageError
from hnmine.options import FilterOptions, Relabel, Short
from hnmine.schema import Scale

DEFAULT_FN_PROBABILITY = 0.03
"""What `scripts/bench_false_negatives.py` chooses on the collections it was measured on; chosen on three of them, it
holds on the fourth."""
DEFAULT_RELATIVE = {Scale.COSINE: 0.05}
DEFAULT_ABSOLUTE = {Scale.LOGIT: 3.0}


DOUBTS = (Inconsistent.reason, TooManyRelevant.reason)
"""Reasons for which a query is dropped as a whole."""


def asks_for_truth(options: FilterOptions) -> bool:
    """Whether the options say how false negatives are told, so that no default does."""
    asked = (options.relative_margin, options.absolute_margin, options.max_fn_probability)
    return options.no_margin or any(value is not None for value in asked)


def in_force(options: FilterOptions, scale: Scale, *, estimated: bool) -> FilterOptions:
    """The options, with the default for telling false negatives filled in if they ask for none.

    A cross-encoder's logits judge by themselves: absolute margin 3.0. Under any other judge, `--max-fn-probability
    0.03` where the probability could be `estimated` from the table, else relative margin 0.05 for a cosine
    (sentence-transformers' documented example) and none for other scales.
    """
    if asks_for_truth(options):
        return options
    if estimated and scale is not Scale.LOGIT:
        return replace(options, max_fn_probability=DEFAULT_FN_PROBABILITY)
    return replace(options, relative_margin=DEFAULT_RELATIVE.get(scale), absolute_margin=DEFAULT_ABSOLUTE.get(scale))


LADDER = ((0.5, "relaxed-half"), (0.0, "relaxed-to-positive"))
"""`--short relax`: first half the margins and twice the probability, then only "below the positive" and one half.

The guards against copies never relax."""


def build(
    options: FilterOptions,
    scale: Scale,
    *,
    shrink: float = 1.0,
    dense: tuple[str, Scale] | None = None,
    rerankers: Mapping[str, Scale] | None = None,
    estimated: bool = False,
) -> list[Rule]:
    """The rules in force, in the order in which they decide a row's reason.

    `scale` is the judge's, `estimated` as for `in_force`. `shrink` multiplies the margins: the ladder of
    `--short relax`. `dense` is the index, with its scale, whose similarities between texts are compared, `rerankers`
    are the scores that `--relabel` reads as probabilities. Raises `UsageError` for a rule whose scores are of a scale
    that it has no meaning for.
    """
    options = in_force(options, scale, estimated=estimated)
    heard = rerankers or {}
    rules = _before_reuse(options, scale, shrink, dense, heard)
    if options.max_reuse:
        steps = (1.0, *(step for step, _ in LADDER)) if options.short is Short.RELAX else (1.0,)
        rungs = [_before_reuse(options, scale, step, dense, heard) for step in steps]
        rules.append(MaxReuse(options.max_reuse, options.seed, rungs))
    return rules


def _before_reuse(
    options: FilterOptions,
    scale: Scale,
    shrink: float,
    dense: tuple[str, Scale] | None,
    rerankers: Mapping[str, Scale],
) -> list[Rule]:
    relative, absolute = options.relative_margin, options.absolute_margin
    # A judge asked for by name judges every row: one it has no score for is dropped, even if nothing is compared.
    compared = (relative, absolute, options.max_score, options.min_score, options.judge_by, options.band, options.iqr)
    rules: list[Rule] = []
    voices: Voices | None = None
    if options.relabel in (Relabel.DROP, Relabel.POSITIVE):
        voices = Voices(above=options.relabel_above, rerankers=rerankers)
        called = CalledRelevant(voices, _no_new_positives(options, dense))
        rules += [TooManyRelevant(options.max_fn_per_query, called), called]
    if options.skip_top:
        rules.append(SkipTop(options.skip_top))
    if options.max_rank is not None:
        rules.append(MaxRank(options.max_rank))
    if options.where is not None:
        rules.append(Where(options.where))
    if options.consistency_top:
        rules.append(Inconsistent(options.consistency_top))
    rules += [JudgedGrade(), SameTextAsPositive(), SameTextAsQuery(), SameTextAsCandidate()]
    if options.near_duplicate is not None:
        index = _cosine(dense, "--near-duplicate")
        limit = options.near_duplicate
        rules += [NearDuplicateOfPositive(limit, index), NearDuplicateOfQuery(limit, index)]
        rules.append(NearDuplicateOfCandidate(limit, index))
    if options.group_by is not None:
        rules.append(SameGroup(options.group_by, voices))
    if options.no_answers:
        rules.append(HasAnswer())
    if any(value is not None for value in compared):
        rules.append(NoScore())
    if relative is not None or absolute is not None:
        rules.append(NoAnchor(options.anchor))
    if absolute is not None:
        rules.append(AbsoluteMargin(_relaxed(absolute, shrink), options.anchor))
    if relative is not None:
        rules.append(RelativeMargin(_relaxed(relative, shrink), options.anchor))
    if options.max_score is not None:
        rules.append(MaxScore(options.max_score))
    if options.min_score is not None:
        rules.append(MinScore(options.min_score))
    if options.band is not None:
        low, high = parse_band(options.band)
        rules += [AboveBand(high, scale), BelowBand(low, scale)]
    if options.iqr is not None:
        rules.append(Iqr(options.iqr))
    if options.guide is not None:
        guide = Guide(options.guide, _relaxed(options.guide_margin, shrink), options.anchor)
        rules += [NoGuideScore(options.guide), guide]
    if options.max_positive_similarity is not None:
        if dense is None:
            raise _no_dense("--max-positive-similarity")
        rules.append(TooCloseToPositive(options.max_positive_similarity, dense[0]))
    if options.closer_to_query:
        rules.append(CloserToPositive(_cosine(dense, "--closer-to-query")))
    if options.max_agreement is not None:
        rules.append(Agreement(options.max_agreement, options.agreement_depth))
    if options.skip_fused:
        rules.append(SkipFused(options.skip_fused))
    if options.max_fn_probability is not None:
        rules.append(MaxFnProbability(_likelier(options.max_fn_probability, shrink)))
    return rules


def _no_new_positives(options: FilterOptions, dense: tuple[str, Scale] | None) -> list[Rule]:
    """The rules that are against a row as a positive too: it is a copy, or nothing that was asked for."""
    rules: list[Rule] = [SameTextAsPositive(), SameTextAsQuery(), SameTextAsCandidate()]
    if options.where is not None:
        rules.append(Where(options.where))
    if options.consistency_top:
        rules.append(Inconsistent(options.consistency_top))
    if options.near_duplicate is not None:
        index = _cosine(dense, "--near-duplicate")
        rules += [NearDuplicateOfPositive(options.near_duplicate, index)]
        rules += [NearDuplicateOfQuery(options.near_duplicate, index)]
    return rules


def _relaxed(margin: float, shrink: float) -> float:
    """A margin on a rung of the ladder: a negative one (positive + δ) is as lax as can be and stays."""
    return margin * shrink if margin > 0 else margin


def _likelier(most: float, shrink: float) -> float:
    """A probability on a rung of the ladder: twice what was asked, then one half: likelier a negative than not."""
    return max(most, min(most / shrink, 0.5) if shrink else 0.5)


def _no_dense(flag: str) -> UsageError:
    return UsageError(
        f"{flag} compares documents with documents, and the candidates have no similarities of a dense index",
        remedy="mine with a dense index",
    )


def _cosine(dense: tuple[str, Scale] | None, flag: str) -> str:
    if dense is None:
        raise _no_dense(flag)
    name, scale = dense
    if scale is not Scale.COSINE:
        raise UsageError(f"{flag} compares cosines, and the scores of {name} are of the scale {scale}")
    return name


__all__ = ["DOUBTS", "LADDER", "Rule", "asks_for_truth", "build", "in_force"]
