"""The pictures of a report: matplotlib draws them as SVG whose colours are the page's, in light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hnmine.files.artefact import Json
from hnmine.stages.report.facts import Histogram

INK, GRID, FACE = "#010203", "#040506", "#070809"
COLOURS = {
    "positives": "#0a0b01",
    "negatives": "#0a0b02",
    "rejects": "#0a0b03",
    "reserve": "#0a0b04",
    "front": "#0a0b05",
    "taken": "#0a0b06",
}
"""Stand for the page's colours: each becomes `var(--NAME)`."""
_VARIABLES = {INK: "ink", GRID: "grid", FACE: "surface", **{colour: name for name, colour in COLOURS.items()}}
_SOLID = {"linewidth": 1.6}


def draw_histogram(found: Histogram, label: str, *, name: str, line: float | None = None) -> str:
    """Steps, each group as a share of itself, so that few positives are seen beside many negatives."""
    figure, axes = _axes()
    for group, counts in found.counts.items():
        total = counts.sum()
        if total:
            style = dict(_SOLID, color=COLOURS[group])
            axes.stairs(counts / total, found.edges, label=f"{group} ({total:,})", **style)
            axes.stairs(counts / total, found.edges, fill=True, color=COLOURS[group], alpha=0.12)
    if line is not None and found.edges[0] <= line <= found.edges[-1]:
        axes.axvline(line, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xlabel(label)
    axes.set_ylabel("share of the group")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return _svg(figure, name)


def draw_funnel(rows: Sequence[tuple[str, int]], *, name: str) -> str:
    """One bar a rule: what it took, of what reached it; the first and the last are everything and the chosen."""
    figure, axes = _axes(height=0.3 * len(rows) + 0.4, width=WIDE)
    labels = [label for label, _ in rows]
    left, starts = rows[0][1], []
    for place, (_, count) in enumerate(rows):
        starts.append(0 if place in (0, len(rows) - 1) else left - count)
        left -= count if 0 < place < len(rows) - 1 else 0
    colours = [COLOURS["reserve"], *[COLOURS["taken"]] * (len(rows) - 2), COLOURS["negatives"]]
    colours = [
        COLOURS["positives"] if label == "known positives" else c for label, c in zip(labels, colours, strict=True)
    ]
    axes.barh(range(len(rows)), [count for _, count in rows], left=starts, color=colours, height=0.66)
    widest = max(count for _, count in rows) or 1
    for place, (start, (_, count)) in enumerate(zip(starts, rows, strict=True)):
        end = start + count
        inside = end > 0.8 * widest and start > 0.2 * widest
        axes.text(
            start - 0.01 * widest if inside else end + 0.01 * widest,
            place,
            f"{count:,}",
            va="center",
            ha="right" if inside else "left",
            fontsize=8,
            color=INK,
        )
    axes.set_yticks(range(len(rows)), labels)
    axes.set_xlim(0, widest * 1.12)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="x", labelbottom=False)
    return _svg(figure, name)


def draw_counts(values: Mapping[int, int], label: str, unit: str, *, name: str) -> str:
    """Bars: how many have each whole number; from 20 on together, where there are many."""
    figure, axes = _axes()
    most = max(values, default=0)
    if most > 24:
        together = sum(count for number, count in values.items() if number >= 20)
        kept = {number: count for number, count in values.items() if number < 20}
        ticks = [*range(min(kept, default=0), 20), 20]
        heights = [kept.get(n, 0) for n in ticks[:-1]] + [together]
    else:
        ticks = list(range(min(values, default=0), most + 1))
        heights = [values.get(n, 0) for n in ticks]
    axes.bar(ticks, heights, color=COLOURS["negatives"], width=0.8)
    axes.set_xticks(ticks if len(ticks) < 14 else ticks[::2])
    if most > 24:
        axes.set_xticks([*ticks[:-1:4], 20], [*(str(t) for t in ticks[:-1:4]), "20+"])
    axes.set_xlabel(label)
    axes.set_ylabel(unit)
    return _svg(figure, name)


def draw_agreement(rows: Sequence[Json], *, name: str) -> str:
    """Lines: the Jaccard overlap of two retrievers' first k, by k."""
    figure, axes = _axes()
    colours = list(COLOURS.values())
    for number, row in enumerate(rows):
        points = [(d, j) for d, j in zip(row["depths"], row["jaccard"], strict=True) if j is not None]
        label = " and ".join(row["retrievers"])
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colours[number % 6], label=label)
    axes.set_xscale("log")
    axes.set_xticks(rows[0]["depths"], [str(d) for d in rows[0]["depths"]])
    axes.set_ylim(0, 1)
    axes.set_xlabel("first k documents")
    axes.set_ylabel("in both, of those in either")
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    axes.minorticks_off()
    return _svg(figure, name)


def draw_sweep(report: Json, *, name: str) -> str | None:
    """Dots: each setting's false negatives against how hard its negatives are; the front joined and named."""
    rate = report["front_by"]
    points = [p for p in report["points"] if rate and p.get(rate) is not None and p["mean_gap"] is not None]
    if not points:
        return None
    figure, axes = _axes(height=3.6, width=WIDE)
    others = [p for p in points if not p["on_front"]]
    front = sorted((p for p in points if p["on_front"]), key=lambda p: p["mean_gap"])
    axes.scatter([p["mean_gap"] for p in others], [p[rate] for p in others], s=22, color=COLOURS["reserve"])
    axes.plot(
        [p["mean_gap"] for p in front], [p[rate] for p in front], color=COLOURS["front"], marker="o", markersize=5
    )
    named = [axis for axis, values in report["axes"].items() if len(values) > 1]
    spans = [max(p[key] for p in front) - min(p[key] for p in front) or 1.0 for key in ("mean_gap", rate)]
    written: list[tuple[float, float]] = []
    for point in front:
        label = ", ".join(
            f"{axis.replace('_', ' ')} {v:g}" for axis in named if (v := point["setting"][axis]) is not None
        )
        place = (point["mean_gap"], point[rate])
        scaled = (place[0] / spans[0], place[1] / spans[1])
        if any(abs(scaled[0] - x) < 0.3 and abs(scaled[1] - y) < 0.05 for x, y in written):
            continue  # the dots tell; the table of `hnmine sweep` names them all
        written.append(scaled)
        axes.annotate(
            label or "no margin", place, fontsize=7, color=INK, xytext=(6, 4), textcoords="offset points"
        ).set_in_layout(False)
    axes.set_xlabel(f"mean gap to the positive under {report['judge_by']} (left is harder)")
    axes.set_ylabel(rate.replace("_", " "))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.1%}")
    return _svg(figure, name)


WIDTH, WIDE = 4.4, 7.2
"""Inches; the page makes them about as wide as their cards, so that 8 points are 8 points."""


def _axes(height: float = 2.5, width: float = WIDTH) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes: Any = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.set_facecolor("none")
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(colors=INK, length=0, labelsize=8)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.xaxis.label.set_size(8.5)
    axes.yaxis.label.set_size(8.5)
    return figure, axes


def _svg(figure: Any, name: str) -> str:
    """The figure as an `<svg>` element with ids of its own and the page's colours; equal for equal figures."""
    import matplotlib

    target = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "hnmine", "svg.fonttype": "none"}):
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    text = re.sub(r'<svg ([^>]*?)width="[^"]*" ([^>]*?)', r"<svg \1\2", text, count=1)
    text = re.sub(r'(<svg [^>]*?)height="[^"]*" ', r"\1", text, count=1)
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--font)", text)


def drawn(counts: np.ndarray) -> dict[int, int]:
    """Counts of 1, 2, 3, ... by their number, without those of which there are none."""
    return {number: int(count) for number, count in enumerate(counts.tolist(), 1) if count}
