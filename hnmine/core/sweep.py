"""A sweep: what each of many settings would have picked from the same evidence, counted so that blocks add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Floats, anchor_scores
from hnmine.core.rules.base import Rule
from hnmine.core.spread import grid_counts, quantiles
from hnmine.options import Anchor
from hnmine.schema import Scale

Counts = dict[str, Any]


class SharedRules:
    """The rows of one block that rules leave, for many lists of rules: what lists have in common is asked once.

    A list of rules decides row by row in its order, so two lists that begin alike agree up to there.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self._known: dict[tuple[str, ...], Bools] = {(): np.ones(len(evidence.judge), np.bool_)}

    def survivors(self, rules: Sequence[Rule]) -> Bools:
        """The rows that no rule drops; positives are among them."""
        key: tuple[str, ...] = ()
        for rule in rules:
            alive = self._known[key]
            key = (*key, _identity(rule))
            if key not in self._known:
                self._known[key] = alive & ~rule.drops(self.evidence, alive)
        return self._known[key]


def _identity(rule: Rule) -> str:
    """Equal for rules of equal settings; a setting that is no plain value is only equal to itself."""
    own = {name: v if isinstance(v, (int, float, str, type(None))) else id(v) for name, v in vars(rule).items()}
    return f"{rule.reason} {sorted(own.items())!r}"


class Settled:
    """Stands for a list of rules that has been asked already: a rule in all but name, never written anywhere."""

    reason = "settled"

    def __init__(self, survivors: Bools) -> None:
        self.survivors = survivors

    def against(self, evidence: Evidence, alive: Bools) -> Bools:
        """The candidates that did not survive."""
        return ~self.survivors & ~evidence.is_positive

    def spares(self, evidence: Evidence) -> Bools:
        """Nothing: the rules have spared what they spare."""
        return np.zeros(len(self.survivors), np.bool_)


def tally(
    evidence: Evidence,
    negative: Bools,
    *,
    anchor: Anchor,
    scale: Scale,
    requested: int,
    judged: Bools | None,
    relevant: Bools | None,
    estimate: Floats | None,
) -> Counts:
    """Counters of one block's picks; counters of blocks add up.

    `negative` are the picked rows, `requested` the negatives wanted per query; `judged` and `relevant` what full
    judgments say of each row, and `estimate` the estimated probability that it is a false negative, if there are any.
    """
    owner = evidence.owner
    queries = len(evidence.offsets) - 1
    gaps = (anchor_scores(evidence, anchor)[owner] - evidence.judge)[negative]
    gaps = gaps[np.isfinite(gaps)]
    ranked = evidence.rank[negative & (evidence.rank > 0)]
    counts: Counts = {
        "queries": queries,
        "requested": queries * requested,
        "negatives": int(negative.sum()),
        "queries_short": int((np.bincount(owner[negative], minlength=queries) < requested).sum()),
        "gaps": len(gaps),
        "gap_sum": float(gaps.sum()),
        "gap_grid": grid_counts(gaps, scale),
        "ranked": len(ranked),
        "rank_sum": int(ranked.sum()),
    }
    if judged is not None and relevant is not None:
        counts |= {"judged": int((negative & judged).sum()), "false": int((negative & relevant).sum())}
    if estimate is not None:
        known = estimate[negative & np.isfinite(estimate)]
        counts |= {"estimated": len(known), "estimate_sum": float(known.sum())}
    return counts


def metrics(counts: Mapping[str, Any], scale: Scale) -> Counts:
    """The figures of one setting from its counters; None where there is nothing to measure.

    `false_negative_rate` is the share of *all* picked negatives that the judgments call relevant: unjudged ones count
    as not relevant, so it is a lower bound; `judged_share` says how much of it was looked at.
    """
    picked = counts["negatives"]
    found: Counts = {
        "coverage": ratio(picked, counts["requested"]),
        "negatives": picked,
        "queries": counts["queries"],
        "queries_short": counts["queries_short"],
        "mean_gap": ratio(counts["gap_sum"], counts["gaps"]),
        "median_gap": quantiles(counts["gap_grid"], scale).get("p50"),
        "mean_rank": ratio(counts["rank_sum"], counts["ranked"]),
    }
    if "judged" in counts:
        found |= {
            "false_negatives": counts["false"],
            "false_negative_rate": ratio(counts["false"], picked),
            "judged_share": ratio(counts["judged"], picked),
            "unjudged": picked - counts["judged"],
        }
    if "estimated" in counts:
        found["estimated_false_negative_rate"] = ratio(counts["estimate_sum"], counts["estimated"])
    return found


def ratio(part: float, whole: float) -> float | None:
    """part / whole; None if the whole is nothing."""
    return part / whole if whole else None


def pareto_front(points: Sequence[Sequence[float | None]]) -> list[bool]:
    """Which points no other point beats: at least as low in every coordinate, and lower in one.

    A point with an unknown coordinate is not on the front. Equal points are all on it.
    """
    known = np.array([all(v is not None and np.isfinite(v) for v in point) for point in points], np.bool_)
    front = known.copy()
    values = np.array([point for point, k in zip(points, known.tolist(), strict=True) if k], np.float64)
    for place, row in zip(np.flatnonzero(known).tolist(), values, strict=True):
        front[place] = not ((values <= row).all(axis=1) & (values < row).any(axis=1)).any()
    return [bool(flag) for flag in front]
