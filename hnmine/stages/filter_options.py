"""Options of `filter` that contradict themselves or each other."""

from __future__ import annotations

import math

import numpy as np

from hnmine.core import picks
from hnmine.core.rules.band import parse_band
from hnmine.core.rules.where import Where
from hnmine.errors import UsageError
from hnmine.options import FilterOptions


def check(options: FilterOptions) -> None:
    """Raise `UsageError` with every option that contradicts itself or another."""
    problems = []
    if options.num_negatives < 1:
        problems.append(f"--num-negatives {options.num_negatives}: at least 1")
    if options.skip_top < 0:
        problems.append(f"--skip-top {options.skip_top}: at least 0")
    if options.max_rank is not None and options.max_rank <= options.skip_top:
        problems.append(f"--max-rank {options.max_rank}: must be above --skip-top {options.skip_top}, and at least 1")
    problems += _check_pick(options)
    for flag, margin in (
        ("--relative-margin", options.relative_margin),
        ("--absolute-margin", options.absolute_margin),
    ):
        if margin is not None and options.no_margin:
            problems.append(f"{flag} and --no-margin contradict each other")
        if margin is not None and not np.isfinite(margin):
            problems.append(f"{flag} {margin}: not a finite number")
    for flag, limit in (("--max-score", options.max_score), ("--min-score", options.min_score)):
        if limit is not None and np.isnan(limit):
            problems.append(f"{flag} {limit}: not a number")
    if options.max_fn_probability is not None and not 0 <= options.max_fn_probability <= 1:
        problems.append(f"--max-fn-probability {options.max_fn_probability}: between 0 and 1")
    if options.min_score is not None and options.max_score is not None and options.min_score > options.max_score:
        problems.append(f"--min-score {options.min_score} is above --max-score {options.max_score}")
    if not 0 <= options.relabel_above < 1:
        problems.append(f"--relabel-above {options.relabel_above}: a probability below 1, such as 0.9")
    if options.max_fn_per_query < 0:
        problems.append(f"--max-fn-per-query {options.max_fn_per_query}: at least 0")
    problems += _check_rules(options)
    if problems:
        raise UsageError("\n".join(problems))


def _check_pick(options: FilterOptions) -> list[str]:
    problems = []
    for flag, count in (("--epochs", options.epochs), ("--pick-pool", options.pick_pool)):
        if count is not None and count < 1:
            problems.append(f"{flag} {count}: at least 1")
    for flag, width in (("--temperature", options.temperature), ("--simans-width", options.simans_width)):
        if width is not None and not (np.isfinite(width) and width > 0):
            problems.append(f"{flag} {width}: not a number above 0")
    if not np.isfinite(options.simans_offset):
        problems.append(f"--simans-offset {options.simans_offset}: not a finite number")
    if options.quota is not None:
        try:
            asked = sum(picks.parse_quota(options.quota).values())
        except UsageError as error:
            return [*problems, error.render()]
        if asked > options.num_negatives:
            problems.append(f"--quota {options.quota} makes {asked}, more than --num-negatives {options.num_negatives}")
    return problems


def _check_rules(options: FilterOptions) -> list[str]:
    """What is wrong with the options of rules, whatever the data."""
    problems = []
    for flag, count, least in (
        ("--skip-fused", options.skip_fused, 0),
        ("--consistency-top", options.consistency_top, 0),
        ("--max-agreement", options.max_agreement, 0),
        ("--agreement-depth", options.agreement_depth, 1),
        ("--max-reuse", options.max_reuse, 0),
    ):
        if count is not None and count < least:
            problems.append(f"{flag} {count}: at least {least}")
    for flag, number, low, high in (
        ("--iqr", options.iqr, 0.0, math.inf),
        ("--guide-margin", options.guide_margin, -math.inf, math.inf),
        ("--near-duplicate", options.near_duplicate, -1.0, 1.0),
        ("--max-positive-similarity", options.max_positive_similarity, -math.inf, math.inf),
    ):
        if number is not None and not (math.isfinite(number) and low <= number <= high):
            bounds = f" from {low:g} to {high:g}" if math.isfinite(high) else f" of {low:g} or more" if low == 0 else ""
            problems.append(f"{flag} {number}: not a number{bounds}")
    if options.guide_margin and options.guide is None:
        problems.append("--guide-margin does nothing without --guide")
    for parse, text in ((parse_band, options.band), (Where, options.where)):
        try:
            if text is not None:
                parse(text)
        except UsageError as error:
            problems.append(str(error))
    return problems
