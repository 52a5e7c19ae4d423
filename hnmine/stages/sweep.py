"""`sweep`: what a grid of thresholds would give, from candidates as they are; nothing is mined or decided anew.

The candidates are read once; every point of the grid is decided as `filter` would decide it, and counted.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hnmine.core.evidence import Bools
from hnmine.core.sweep import Settled, SharedRules, metrics, pareto_front, tally
from hnmine.errors import InputError, UsageError
from hnmine.files.artefact import Artefact, Json, pretty_json, sum_counts
from hnmine.files.atomic import write_text
from hnmine.files.collection import Collection
from hnmine.files.judgments import Judgments
from hnmine.options import FilterOptions, Options, TruthOptions, option_fields
from hnmine.schema import DOC_ID, QUERY_ID, Scale, Verdict
from hnmine.stages.filter import Filter
from hnmine.stages.rule_inputs import RuleColumns

DEFAULT_GRID: Mapping[str, tuple[float, ...]] = {"skip_top": (0, 10, 20), "skip_fused": (0, 10, 20)}
DEFAULT_MARGINS: Mapping[Scale, tuple[str, tuple[float, ...]]] = {
    Scale.COSINE: ("relative_margin", (0.0, 0.02, 0.05, 0.1)),
    Scale.LOGIT: ("absolute_margin", (0.0, 1.0, 3.0, 5.0)),
}
DEFAULT_PROBABILITIES: Mapping[str, tuple[float | None, ...]] = {
    "max_fn_probability": (None, 0.02, 0.03, 0.05, 0.1, 0.2)
}
"""Where probabilities can be estimated; each then beside no margin and those of the scale, without skips."""
MOST_POINTS = 10_000
_MARGINS = ("relative_margin", "absolute_margin", "max_fn_probability")


class Sweep:
    """A grid of settings over one table of candidates."""

    def __init__(
        self, collection: Collection, candidates: Artefact, options: Options, truth: TruthOptions | None = None
    ) -> None:
        """`options` is a `SweepOptions`: a list of values for every threshold, none for the default."""
        truth = truth or TruthOptions()
        given = {name: getattr(options, name) for name in option_fields(type(options))}
        lists = {name: values for name, values in given.items() if isinstance(values, tuple)}
        self.plain = {name: value for name, value in given.items() if name not in lists}
        self.filter = Filter(collection, candidates, FilterOptions(**self.plain))
        self.judge = self.filter.judge
        self.scale = self.filter.scale
        self.axes: dict[str, tuple[Any, ...]] = {
            name: tuple(dict.fromkeys(values)) for name, values in lists.items() if values
        }
        if not any(len(values) > 1 for values in self.axes.values()):
            self.axes = {**self._default_axes(), **self.axes}
        self.settings = [dict(zip(self.axes, values, strict=True)) for values in itertools.product(*self.axes.values())]
        if len(self.settings) > MOST_POINTS:
            raise UsageError(
                f"the grid has {len(self.settings):,} points",
                expected=f"at most {MOST_POINTS:,}",
                remedy="shorter lists",
            )
        self.points = [
            Filter(collection, candidates, self._options(setting), like=self.filter) for setting in self.settings
        ]
        self.filter.columns = RuleColumns(collection, [rule for point in self.points for rule in point.rules])
        self.judgments = Judgments(truth.qrels) if truth.qrels else None
        self.min_relevance = truth.min_relevance

    def _default_axes(self) -> dict[str, tuple[Any, ...]]:
        margin, values = DEFAULT_MARGINS.get(self.scale, ("", ()))
        if self.filter.guard.is_estimated:
            return {**DEFAULT_PROBABILITIES, **({margin: (None, *values)} if margin else {})}
        skips = DEFAULT_GRID if self.filter.rank_by is not None else {}
        return {**({margin: values} if margin else {}), **skips}

    def _options(self, setting: Mapping[str, Any]) -> FilterOptions:
        """The options of one point; `none` for all that tells false negatives means nothing, and not the default."""
        asked = [setting[name] for name in _MARGINS if name in setting]
        off = {"no_margin": True} if asked and all(value is None for value in asked) else {}
        return FilterOptions(**{**self.plain, **setting, **off})

    def sizes(self) -> Json:
        """Points, queries and rows to look at, for `--dry-run`."""
        return {"points": len(self.points), **self.filter.sizes()}

    def run(self) -> Json:
        """The report: one entry a point, in the order of the grid, and which of them no other beats."""
        totals: list[Json] = [{} for _ in self.points]
        known = 0
        for table, evidence in self.filter.blocks_of_evidence():
            judged, relevant = self._truth(table)
            known += int(judged.sum()) if judged is not None else 0
            estimate = self.filter.guard.probability(evidence) if self.filter.guard.is_estimated else None
            shared = SharedRules(evidence)
            for place, point in enumerate(self.points):
                settled: Any = Settled(shared.survivors(point.rules))
                decisions = point.decide(table, evidence, [settled])
                counts = tally(
                    evidence,
                    np.asarray(decisions.verdict == Verdict.NEGATIVE.value),
                    anchor=point.options.anchor,
                    scale=self.scale,
                    requested=point.options.num_negatives * point.options.epochs,
                    judged=judged,
                    relevant=relevant,
                    estimate=estimate,
                )
                totals[place] = sum_counts([totals[place], counts])
        if self.judgments is not None and not known:
            raise InputError(
                "no candidate is judged by --qrels",
                expected="ids of the same collection",
                remedy="look at the ids: hnmine inspect CANDIDATES --query ID",
            )
        return self._report([metrics(counts, self.scale) for counts in totals])

    def _truth(self, table: pa.Table) -> tuple[Bools | None, Bools | None]:
        if self.judgments is None:
            return None, None
        judged, grade = self.judgments.look_up(table[QUERY_ID], table[DOC_ID])
        return judged, judged & (grade >= self.min_relevance)

    def _report(self, found: list[Json]) -> Json:
        rate = next((name for name in RATES if any(point.get(name) is not None for point in found)), None)
        front = [False] * len(found)
        if rate is not None:
            front = pareto_front([(p[rate], p["mean_gap"], _minus(p["coverage"])) for p in found])
        points = [
            {"setting": setting, **point, "on_front": on}
            for setting, point, on in zip(self.settings, found, front, strict=True)
        ]
        rank_by = self.filter.rank_by
        return {
            "judge_by": self.judge.name if self.judge else None,
            "scale": str(self.scale),
            "rank_by": rank_by.name if rank_by else None,
            "axes": {name: list(values) for name, values in self.axes.items()},
            "front_by": rate,
            "points": points,
        }


RATES = ("false_negative_rate", "estimated_false_negative_rate")
"""What the front is about, best evidence first; without either there is no front, since hard alone is no merit."""


def _minus(value: float | None) -> float | None:
    return None if value is None else -value


def summary(report: Json) -> Json:
    """The best of each figure over all points: what `--fail-if` looks at."""
    points = report["points"]
    best: Json = {"points": len(points), "on_front": sum(p["on_front"] for p in points)}
    for name, choose in (*((rate, min) for rate in RATES), ("mean_gap", min), ("coverage", max)):
        values = [p[name] for p in points if p.get(name) is not None]
        if values:
            best[f"best_{name}"] = choose(values)
    return best


_COLUMNS = (
    ("coverage", "coverage", "{:.3f}"),
    ("queries_short", "short", "{:,}"),
    ("mean_gap", "mean gap", "{:.4f}"),
    ("median_gap", "median", "{:.3f}"),
    ("mean_rank", "rank", "{:.1f}"),
    ("false_negative_rate", "FN", "{:.2%}"),
    ("judged_share", "judged", "{:.1%}"),
    ("estimated_false_negative_rate", "est. FN", "{:.2%}"),
)
_NARROW = ("median_gap", "mean_rank", "queries_short")
"""Columns left out first when the terminal is narrow."""


def render(report: Json, width: int) -> Iterator[str]:
    """The report as a table at most `width` columns wide (as far as figures can be left out); * marks the front."""
    axes = [name for name, values in report["axes"].items() if len(values) > 1]
    fixed = {name: values[0] for name, values in report["axes"].items() if len(values) == 1}
    said = "".join(f", {name.replace('_', '-')} {_shown(value)}" for name, value in fixed.items())
    yield f"judged by {report['judge_by']} ({report['scale']}), ranked by {report['rank_by']}{said}"
    columns = [c for c in _COLUMNS if any(p.get(c[0]) is not None for p in report["points"])]
    dropped = iter(_NARROW)
    while True:
        rows = [[" ", *(_AXES.get(a, a.replace("_", "-")) for a in axes), *(label for _, label, _ in columns)]]
        for point in report["points"]:
            cells = [_shown(point["setting"][axis]) for axis in axes]
            cells += ["-" if point.get(n) is None else form.format(point[n]) for n, _, form in columns]
            rows.append(["*" if point["on_front"] else " ", *cells])
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        if sum(sizes) + 2 * len(sizes) - 2 <= width or (name := next(dropped, None)) is None:
            break
        columns = [c for c in columns if c[0] != name]
    for row in rows:
        yield "  ".join(cell.rjust(size) for cell, size in zip(row, sizes, strict=True)).rstrip()
    if report["front_by"]:
        yield f"* on the front: nothing beats it in {report['front_by'].replace('_', ' ')}, gap and coverage at once"
    else:
        yield "no front: --qrels FILE gives true false negatives to weigh hardness against"


_AXES = {"relative_margin": "relative", "absolute_margin": "absolute", "num_negatives": "n"}


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:g}"


def write(report: Json, path: Path) -> None:
    """Write the report: `.csv` one line a point, anything else JSON."""
    if path.suffix == ".csv":
        rows = [{**p["setting"], **{k: v for k, v in p.items() if k != "setting"}} for p in report["points"]]
        lines = io.StringIO()
        writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(path, lines.getvalue())
    else:
        write_text(path, pretty_json(report))
