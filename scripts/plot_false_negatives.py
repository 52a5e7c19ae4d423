"""Draws the table of docs/benchmarks/false_negatives.md: false negatives against hardness, a panel a collection.

    python scripts/plot_false_negatives.py docs/benchmarks/false_negatives.md docs/benchmarks/false_negatives.svg

The page is made by `scripts/bench_false_negatives.py`, whose words these are. The triangle above or below hnmine's star
is the best that any mixture of sentence-transformers' settings reaches at the same hardness and coverage.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

LEGEND = {"ST": "sentence-transformers", "FlagEmbedding": "FlagEmbedding", "hnmine --preset": "published recipes"}
"""What the settings of a kind begin with, and what they are called."""
DEFAULT = "hnmine default"


class Row(NamedTuple):
    """A setting on a collection. `peer` is None where nothing was compared."""

    collection: str
    setting: str
    coverage: float
    gap: float
    rate: float
    peer: float | None


def read(page: str) -> list[Row]:
    """The rows of the page's first table."""
    lines = iter(page.splitlines())
    for line in lines:
        if line.startswith("| collection | setting |"):
            break
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            return found
        collection, setting, coverage, gap, rate, peer, _ = (cell.strip() for cell in line.split("|")[1:-1])
        found.append(
            Row(collection, setting, float(coverage), float(gap), percent(rate), percent(peer) if peer else None)
        )
    return found


def percent(text: str) -> float:
    return float(text.removesuffix("%")) / 100


def draw(rows: Sequence[Row], path: Path) -> None:
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    collections = list(dict.fromkeys(row.collection for row in rows))
    figure = Figure(figsize=(11, 4), layout="constrained")
    panels = figure.subplots(1, len(collections), sharey=True, squeeze=False)[0]
    for axes, collection in zip(panels, collections, strict=True):
        own = [row for row in rows if row.collection == collection]
        for (start, label), marker in zip(LEGEND.items(), "os.", strict=True):
            some = [row for row in own if row.setting.startswith(start)]
            colour = "0.6" if marker == "." else None
            axes.scatter(
                [r.gap for r in some], [r.rate for r in some], marker=marker, color=colour, label=label, zorder=3
            )
        for row in own:
            if row.setting == DEFAULT and row.peer is not None:
                axes.plot([row.gap] * 2, [row.rate, row.peer], color="black", linewidth=1, zorder=3)
                axes.scatter(
                    [row.gap],
                    [row.peer],
                    marker="v",
                    color="tab:blue",
                    label="the best mixture of its settings, as hard",
                    zorder=4,
                )
                axes.scatter([row.gap], [row.rate], marker="*", s=160, color="tab:red", label="hnmine", zorder=5)
        axes.set_title(collection, fontsize=10)
        axes.set_xlabel("mean s(p) − s(n)  (left is harder)")
        axes.grid(alpha=0.3)
    panels[0].set_yscale("log")
    panels[0].yaxis.set_major_locator(FixedLocator([0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
    panels[0].yaxis.set_minor_locator(NullLocator())
    panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    panels[0].set_ylabel("negatives that are false")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "hnmine"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    page, picture = map(Path, sys.argv[1:])
    draw(read(page.read_text(encoding="utf-8")), picture)


if __name__ == "__main__":
    main()
