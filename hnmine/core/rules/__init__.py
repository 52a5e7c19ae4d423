"""The rules and their order. To add one: a class in a file of this package, an option, and a line in `build`."""

from __future__ import annotations

from hnmine.core.rules.base import Rule
from hnmine.core.rules.ceiling import AbsoluteMargin, MaxScore, MinScore, NoAnchor, NoScore, RelativeMargin
from hnmine.core.rules.fused import SkipFused
from hnmine.core.rules.guard import MaxFnProbability
from hnmine.core.rules.judged import JudgedGrade
from hnmine.core.rules.rank import SkipTop
from hnmine.core.rules.same_text import SameTextAsCandidate, SameTextAsPositive, SameTextAsQuery
from hnmine.options import FilterOptions
from hnmine.schema import Scale

DEFAULT_RELATIVE = {Scale.COSINE: 0.05}
DEFAULT_ABSOLUTE = {Scale.LOGIT: 3.0}


def default_margins(options: FilterOptions, scale: Scale) -> tuple[float | None, float | None]:
    """(relative, absolute) margin in force: those asked for, else the default of the judge's scale, else none."""
    asked = options.relative_margin is not None or options.absolute_margin is not None
    if asked or options.no_margin:
        return options.relative_margin, options.absolute_margin
    return DEFAULT_RELATIVE.get(scale), DEFAULT_ABSOLUTE.get(scale)


def build(options: FilterOptions, scale: Scale, *, shrink: float = 1.0) -> list[Rule]:
    """The rules in force, in the order in which they decide a row's reason.

    `shrink` multiplies the margins: the ladder of `--short relax`.
    """
    relative, absolute = default_margins(options, scale)
    # A judge asked for by name judges every row: one it has no score for is dropped, even if nothing is compared.
    compares = any(v is not None for v in (relative, absolute, options.max_score, options.min_score, options.judge_by))
    rules: list[Rule] = []
    if options.skip_top:
        rules.append(SkipTop(options.skip_top))
    rules += [JudgedGrade(), SameTextAsPositive(), SameTextAsQuery(), SameTextAsCandidate()]
    if compares:
        rules.append(NoScore())
    if relative is not None or absolute is not None:
        rules.append(NoAnchor(options.anchor))
    if absolute is not None:
        rules.append(AbsoluteMargin(absolute * shrink, options.anchor))
    if relative is not None:
        rules.append(RelativeMargin(relative * shrink, options.anchor))
    if options.max_score is not None:
        rules.append(MaxScore(options.max_score))
    if options.min_score is not None:
        rules.append(MinScore(options.min_score))
    if options.skip_fused:
        rules.append(SkipFused(options.skip_fused))
    if options.max_fn_probability is not None:
        rules.append(MaxFnProbability(options.max_fn_probability))
    return rules


__all__ = ["Rule", "build", "default_margins"]
