"""The pictures of a report: what each shows, drawn on axes by matplotlib in the colours of the page or of paper.

`svg` makes an element of the page, whose colours follow its theme; `save` a file of its own.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hnmine.files.artefact import Json
from hnmine.files.atomic import replacing
from hnmine.stages.report.facts import Histogram

Colours = Mapping[str, str]
Plot = Callable[[Any, Colours], None]
"""Draws on axes (matplotlib's) in the given colours."""

PAGE: Colours = {
    "ink": "#010203",
    "grid": "#040506",
    "positives": "#0a0b01",
    "negatives": "#0a0b02",
    "rejects": "#0a0b03",
    "reserve": "#0a0b04",
    "front": "#0a0b05",
}
"""Stand for the page's colours: each becomes `var(--NAME)`."""
PAPER: Colours = {
    "ink": "#1d2430",
    "grid": "#e6e9ee",
    "positives": "#117a65",
    "negatives": "#c2410c",
    "rejects": "#7c5cc4",
    "reserve": "#8b95a5",
    "front": "#1f5fbf",
}
"""Those of the page's light theme."""
NARROW, WIDE = 4.4, 8.0
"""Inches; the page makes figures about as wide as their cards, so that 8 points are 8 points."""
_SERIES = ("positives", "negatives", "rejects", "front", "reserve")
_DASHED = (0, (4, 3))


def svg(plot: Plot, name: str, *, width: float = NARROW, height: float = 2.6) -> str:
    """A picture as an `<svg>` element with ids of its own and the page's colours; equal for equal pictures."""
    figure, axes = _figure([plot], PAGE, width=width, height=height)
    figure.patch.set_alpha(0)
    for one in axes:
        one.set_facecolor("none")
    target = io.StringIO()
    _write(figure, target, "svg")
    text = target.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    for colour, stand_in in PAGE.items():
        text = text.replace(stand_in, f"var(--{colour})")
    text = re.sub(r'<svg ([^>]*?)width="[^"]*" ([^>]*?)', r"<svg \1\2", text, count=1)
    text = re.sub(r'(<svg [^>]*?)height="[^"]*" ', r"\1", text, count=1)
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--font)", text)


def save(plots: Sequence[tuple[str, Plot]], path: Path) -> None:
    """Write pictures, each under its heading, side by side into one `.png` or `.svg`; equal SVG for equal pictures."""
    figure, axes = _figure([plot for _, plot in plots], PAPER, width=6.0 * len(plots), height=4.0)
    figure.patch.set_facecolor("white")
    for one, (heading, _) in zip(axes, plots, strict=True):
        entries = len(one.get_legend_handles_labels()[1])
        above = 6 + 13 * -(-entries // _columns(one, entries)) if entries else 6
        one.set_title(heading, fontsize=10, color=PAPER["ink"], loc="left", pad=above)
    with replacing(path) as pending:
        _write(figure, pending, path.suffix.lower().removeprefix("."))


def histogram(found: Histogram, label: str, *, line: float | None = None) -> Plot:
    """Steps, each group as a share of itself, so that few positives are seen beside many negatives."""

    def plot(axes: Any, colours: Colours) -> None:
        for group, counts in found.counts.items():
            if total := counts.sum():
                axes.stairs(
                    counts / total, found.edges, label=f"{group} {total:,}", color=colours[group], linewidth=1.6
                )
                axes.stairs(counts / total, found.edges, fill=True, color=colours[group], alpha=0.12)
        if line is not None and found.edges[0] <= line <= found.edges[-1]:
            axes.axvline(line, color=colours["ink"], linewidth=0.8, linestyle=_DASHED)
        axes.set_xlabel(label)
        axes.set_ylabel("share of the group")
        axes.yaxis.set_major_formatter(_percent)
        _legend(axes, colours)

    return plot


def funnel(rows: Sequence[tuple[str, int]], *, inside: bool = False) -> Plot:
    """One bar a rule: what it took, of what reached it; the first and the last are everything and the chosen.

    `inside` writes the names above the bars instead of beside them, for a narrow picture.
    """

    def plot(axes: Any, colours: Colours) -> None:
        left, starts = rows[0][1], []
        for place, (_, count) in enumerate(rows):
            starts.append(0 if place in (0, len(rows) - 1) else left - count)
            left -= count if 0 < place < len(rows) - 1 else 0
        special = {
            "candidates": "front",
            "known positives": "positives",
            "not needed": "reserve",
            "chosen": "negatives",
        }
        painted = [colours[special.get(label, "rejects")] for label, _ in rows]
        height = 0.42 if inside else 0.66
        axes.barh(range(len(rows)), [count for _, count in rows], left=starts, color=painted, height=height)
        widest = max(count for _, count in rows) or 1
        for place, (start, (label, count)) in enumerate(zip(starts, rows, strict=True)):
            if inside:
                said, at, side, y = f"{label}  {count:,}", 0.0, "left", place - 0.42
            else:
                end = start + count
                before = end > 0.8 * widest and start > 0.2 * widest
                said, side, y = f"{count:,}", "right" if before else "left", float(place)
                at = start - 0.01 * widest if before else end + 0.01 * widest
            axes.text(at, y, said, va="center", ha=side, fontsize=8, color=colours["ink"])
        axes.set_yticks(range(len(rows)), [""] * len(rows) if inside else [label for label, _ in rows])
        axes.set_xlim(0, widest * (1.02 if inside else 1.14))
        axes.set_ylim(len(rows) - 0.5, -0.8 if inside else -0.5)
        axes.grid(visible=False)
        axes.tick_params(axis="x", labelbottom=False)

    return plot


def numbers(values: Mapping[int, int], label: str, unit: str) -> Plot:
    """Bars: how many have each whole number; from 20 on together, where there are many."""

    def plot(axes: Any, colours: Colours) -> None:
        most = max(values, default=0)
        if most > 24:
            kept = {number: count for number, count in values.items() if number < 20}
            ticks = [*range(min(kept, default=0), 20), 20]
            heights = [kept.get(n, 0) for n in ticks[:-1]] + [sum(c for n, c in values.items() if n >= 20)]
        else:
            ticks = list(range(min(values, default=0), most + 1))
            heights = [values.get(n, 0) for n in ticks]
        axes.bar(ticks, heights, color=colours["negatives"], width=0.8)
        axes.set_xticks(ticks if len(ticks) < 14 else ticks[::2])
        if most > 24:
            axes.set_xticks([*ticks[:-1:4], 20], [*(str(t) for t in ticks[:-1:4]), "20+"])
        axes.set_xlabel(label)
        axes.set_ylabel(unit)
        axes.yaxis.set_major_formatter(_thousands)

    return plot


def agreement(rows: Sequence[Json]) -> Plot:
    """Lines: the Jaccard overlap of two retrievers' first k, by k."""

    def plot(axes: Any, colours: Colours) -> None:
        for number, row in enumerate(rows):
            points = [(d, j) for d, j in zip(row["depths"], row["jaccard"], strict=True) if j is not None]
            colour = colours[_SERIES[number % len(_SERIES)]]
            label = " and ".join(row["retrievers"])
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=label)
        axes.set_xscale("log")
        axes.set_xticks(rows[0]["depths"], [str(d) for d in rows[0]["depths"]])
        axes.minorticks_off()
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(_percent)
        axes.set_xlabel("first k documents")
        axes.set_ylabel("in both, of those in either")
        _legend(axes, colours)

    return plot


def occurrences(spreads: Mapping[str, Json]) -> Plot:
    """Dots on logarithmic axes: how many documents are found by so many queries; from the dashed line on too many."""

    def plot(axes: Any, colours: Colours) -> None:
        for number, (name, spread) in enumerate(spreads.items()):
            colour = colours[_SERIES[number % len(_SERIES)]]
            points = sorted((int(n), d) for n, d in spread["documents"].items())
            axes.plot(*zip(*points, strict=True), "o", markersize=3.5, alpha=0.8, color=colour, label=name)
            if spread["too_many"] is not None:
                axes.axvline(spread["too_many"], color=colour, linewidth=0.9, linestyle=_DASHED)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(0.7, None)
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(_thousands)
        axes.yaxis.set_major_formatter(_thousands)
        axes.set_xlabel("queries that find a document")
        axes.set_ylabel("documents")
        _legend(axes, colours)

    return plot


_SHORT = {
    "max_fn_probability": "P",
    "relative_margin": "relative",
    "absolute_margin": "absolute",
    "skip_top": "skip",
    "skip_fused": "skip fused",
    "num_negatives": "n",
}


def trade_off(report: Json, *, in_force: Mapping[str, Any] | None = None) -> Plot | None:
    """Dots: each setting of a sweep by false negatives (else by coverage) and by how hard its negatives are.

    The front is joined and named, settings that leave queries short are hollow, and that `in_force` has a ring. None if
    there is nothing to draw.
    """
    rate = report["front_by"] or "coverage"
    points = [p for p in report["points"] if p.get(rate) is not None and p["mean_gap"] is not None]
    if not points:
        return None
    named = [axis for axis, values in report["axes"].items() if len(values) > 1]

    def plot(axes: Any, colours: Colours) -> None:
        front = sorted((p for p in points if p["on_front"]), key=lambda p: p["mean_gap"])
        for group, colour, label in (([p for p in points if not p["on_front"]], "reserve", "another is better"),
                                     (front, "front", "nothing is better")):  # fmt: skip
            for short in (False, True):
                chosen = [p for p in group if (p["coverage"] < 0.995) is short]
                faces = "none" if short else colours[colour]
                said = f"{label}, queries short" if short else label
                if chosen:
                    places = ([p["mean_gap"] for p in chosen], [p[rate] for p in chosen])
                    axes.scatter(*places, s=26, color=colours[colour], facecolors=faces, label=said, zorder=3)
        axes.plot([p["mean_gap"] for p in front], [p[rate] for p in front], color=colours["front"], linewidth=1.3)
        own = [p for p in points if in_force is not None and _is_in_force(p["setting"], in_force)]
        for point in own[:1]:
            place = (point["mean_gap"], point[rate])
            axes.scatter(*place, s=110, facecolors="none", edgecolors=colours["negatives"], label="in force", zorder=4)
        _name(axes, front, named, rate, colours)
        axes.set_xlabel(f"mean gap to the positive under {report['judge_by']} (left is harder)")
        axes.set_ylabel(rate.replace("_", " "))
        axes.yaxis.set_major_formatter(_percent)
        axes.margins(x=0.08, y=0.1)
        _legend(axes, colours)

    return plot


def _is_in_force(setting: Mapping[str, Any], in_force: Mapping[str, Any]) -> bool:
    """Whether a point's setting is what decided: what it does not name is off."""
    names = {"max_fn_probability", "relative_margin", "absolute_margin"}
    return all(setting.get(name) == in_force.get(name) for name in names) and all(
        value == in_force.get(name, value) for name, value in setting.items() if name not in names
    )


def _name(axes: Any, front: Sequence[Json], named: Sequence[str], rate: str, colours: Colours) -> None:
    """Write each setting beside its dot, the simplest first, where there is room; `hnmine sweep` lists them all."""
    if not front:
        return
    across, up = ([p[key] for p in front] for key in ("mean_gap", rate))
    wide, high = max(across) - min(across) or 1.0, max(up) - min(up) or 1.0
    character = 0.075 / axes.figure.get_size_inches()[0]  # of the figure's width
    written: list[tuple[float, float, float]] = []
    settings = [[(axis, p["setting"][axis]) for axis in named if p["setting"][axis] is not None] for p in front]
    for place in sorted(range(len(front)), key=lambda i: (len(settings[i]), across[i])):
        own = [f"{_SHORT.get(axis, axis.replace('_', ' '))} {value:g}" for axis, value in settings[place]]
        label = ", ".join(own) or "no rule"
        x, y = (across[place] - min(across)) / wide, (up[place] - min(up)) / high
        last = x > 0.8
        low = x - character * len(label) if last else x
        high_end = low + character * len(label)
        if any(low < other_end and start < high_end and abs(y - level) < 0.07 for start, other_end, level in written):
            continue
        written.append((low, high_end, y))
        axes.annotate(
            label,
            (across[place], up[place]),
            fontsize=7.5,
            color=colours["ink"],
            xytext=(-4, 7) if last else (6, 5),
            ha="right" if last else "left",
            textcoords="offset points",
        ).set_in_layout(False)


def grades(rows: Mapping[str, Sequence[int]], words: Sequence[str]) -> Plot:
    """Bars side by side: of each group of rows, the share that got each grade."""

    def plot(axes: Any, colours: Colours) -> None:
        width = 0.8 / len(rows)
        for number, (group, counts) in enumerate(rows.items()):
            total = sum(counts)
            places = np.arange(len(words)) + (number - (len(rows) - 1) / 2) * width
            axes.bar(
                places, [c / total for c in counts], width * 0.92, color=colours[group], label=f"{group} {total:,}"
            )
        axes.set_xticks(range(len(words)), [word.replace(" the query", "") for word in words])
        axes.set_ylabel("share of the group")
        axes.yaxis.set_major_formatter(_percent)
        _legend(axes, colours)

    return plot


def graded_by_probability(rows: Sequence[Json], words: Sequence[str], relevant: int) -> Plot:
    """Bars: of each range of estimated probabilities the share of each grade; a line is where the estimate puts it.

    Grades from `relevant` on lie below the others, so that the line is theirs.
    """

    def plot(axes: Any, colours: Colours) -> None:
        places = np.arange(len(rows))
        counts = np.array([row["grades"] for row in rows], np.float64)
        shares = counts / counts.sum(axis=1, keepdims=True)
        painted = {grade: colours[name] for grade, name in enumerate(("reserve", "rejects", "negatives", "positives"))}
        bottom = np.zeros(len(rows))
        for grade in sorted(range(len(words)), key=lambda grade: (grade < relevant, -grade)):
            label = words[grade].replace(" the query", "")
            axes.bar(places, shares[:, grade], 0.72, bottom=bottom, color=painted[grade], label=label)
            bottom += shares[:, grade]
        estimates = [row["estimate"] for row in rows]
        axes.hlines(estimates, places - 0.42, places + 0.42, color=colours["ink"], linewidth=1.6)
        ends = [f"{100 * row['from']:g}+ %\n{int(n):,}" for row, n in zip(rows, counts.sum(axis=1), strict=True)]
        axes.set_xticks(places, ends)
        axes.set_xlabel("estimated probability, and rows graded")
        axes.set_ylabel("share of the graded")
        axes.yaxis.set_major_formatter(_percent)
        _legend(axes, colours)

    return plot


def systems(rows: Mapping[str, Json]) -> Plot:
    """A line for each system, the best first: a ring for the whole corpus, dots for the small one."""

    def plot(axes: Any, colours: Colours) -> None:
        places = np.arange(len(rows))
        whole, small, new = ([own[key] for own in rows.values()] for key in ("whole", "small", "left_out"))
        axes.hlines(places, whole, new, color=colours["reserve"], linewidth=2.2, alpha=0.6, zorder=2)
        axes.scatter(new, places, s=30, color=colours["negatives"], label="small, left out of the pool", zorder=3)
        axes.scatter(small, places, s=30, color=colours["front"], label="small", zorder=4)
        axes.scatter(whole, places, s=46, facecolors="none", edgecolors=colours["ink"], label="whole", zorder=5)
        axes.set_yticks(places, list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.margins(x=0.06)
        axes.set_xlabel("nDCG@10")
        _legend(axes, colours)

    return plot


def whole_against_small(rows: Mapping[str, Json]) -> Plot:
    """Dots: nDCG@10 of each system in the whole corpus and, new to the pool, in the small one; equality is dashed.

    A dot has its system's place, in the order of `rows`.
    """

    def plot(axes: Any, colours: Colours) -> None:
        whole, new = ([own[key] for own in rows.values()] for key in ("whole", "left_out"))
        low, high = min(*whole, *new), max(*whole, *new)
        room = 0.08 * (high - low) or 0.05
        ends = (low - room, high + room)
        axes.plot(ends, ends, color=colours["ink"], linewidth=0.9, linestyle=_DASHED)
        axes.scatter(whole, new, s=34, color=colours["negatives"], zorder=3)
        for place, dot in enumerate(zip(whole, new, strict=True), 1):
            axes.annotate(
                str(place),
                dot,
                xytext=(-5, 4),
                textcoords="offset points",
                fontsize=8,
                ha="right",
                color=colours["ink"],
            )
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_xlabel("nDCG@10 in the whole corpus")
        axes.set_ylabel("in the small one, as new")

    return plot


def shares(rows: Mapping[str, int]) -> Plot:
    """Bars: how many of all are of each kind, and which share that is."""

    def plot(axes: Any, colours: Colours) -> None:
        painted = [colours[name] for name in ("positives", "front", "reserve")]
        total, widest = sum(rows.values()) or 1, max(rows.values()) or 1
        axes.barh(range(len(rows)), list(rows.values()), color=painted, height=0.42)
        for place, (name, count) in enumerate(rows.items()):
            said = f"{name}  {count:,}  ({_percent(count / total)})"
            axes.text(0, place - 0.42, said, va="center", fontsize=8, color=colours["ink"])
        axes.set_yticks([])
        axes.set_xlim(0, widest)
        axes.set_ylim(len(rows) - 0.5, -0.8)
        axes.grid(visible=False)
        axes.tick_params(axis="x", labelbottom=False)

    return plot


def brought(rows: Mapping[str, Json]) -> Plot:
    """Bars: of each ranking's first documents, what was judged, what others have too, and what it has alone."""

    def plot(axes: Any, colours: Colours) -> None:
        parts = {
            "judged": ("positives", [own["judged"] for own in rows.values()]),
            "others have it too": (
                "front",
                [own["documents"] - own["judged"] - own["alone"] for own in rows.values()],
            ),
            "from it alone": ("negatives", [own["alone"] for own in rows.values()]),
        }
        left = np.zeros(len(rows))
        for label, (colour, counts) in parts.items():
            axes.barh(range(len(rows)), counts, left=left, color=colours[colour], height=0.6, label=label)
            left += counts
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.xaxis.set_major_formatter(_thousands)
        axes.set_xlabel("documents")
        _legend(axes, colours)

    return plot


def _figure(plots: Sequence[Plot], colours: Colours, *, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(np.ravel(figure.subplots(1, len(plots))))
    for axes, plot in zip(panels, plots, strict=True):
        axes.grid(visible=True, color=colours["grid"], linewidth=0.7)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.tick_params(colors=colours["ink"], length=0, labelsize=8, which="both")
        plot(axes, colours)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(colours["ink"])
            label.set_size(8.5)
    return figure, panels


def _write(figure: Any, target: Any, form: str) -> None:
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "hnmine", "svg.fonttype": "none"}):
        extra: Json = {"metadata": {"Date": None, "Creator": None}} if form == "svg" else {"dpi": 150}
        figure.savefig(target, format=form, **extra)


def _legend(axes: Any, colours: Colours) -> None:
    """Above the axes, where it hides nothing."""
    names = axes.get_legend_handles_labels()[1]
    if names:
        axes.legend(
            frameon=False, fontsize=8, labelcolor=colours["ink"], loc="lower left", bbox_to_anchor=(0.0, 1.0),
            ncols=_columns(axes, len(names)), borderaxespad=0.1, handlelength=1.2, columnspacing=1.2,
        )  # fmt: skip


def _columns(axes: Any, names: int) -> int:
    return 2 if names in (2, 4) or axes.figure.get_size_inches()[0] < WIDE else min(names, 3)


def _percent(value: float, _: Any = None) -> str:
    return f"{100 * value:.3g} %"


def _thousands(value: float, _: Any = None) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"
