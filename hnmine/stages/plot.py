"""`--plot FILE`: the report's pictures of a sweep or an audit, as PNG or SVG by the file's ending."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hnmine.errors import MissingDependencyError, UsageError
from hnmine.files.artefact import Json

FORMATS = (".png", ".svg")


def check_plot(path: Path) -> None:
    """Raise before any work if the picture could not be drawn: no such format, or no matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--plot {path}: not a picture", expected="FILE.png or FILE.svg")
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            "--plot needs matplotlib", remedy="pip install 'hnmine[plot]' (or: pip install matplotlib)"
        ) from None


def draw_sweep(report: Json, path: Path) -> None:
    """Draw the trade-off of a sweep: what each setting lets in against how hard its negatives are."""
    from hnmine.stages.report import figures

    drawn = figures.trade_off(report)
    if drawn is None:
        raise UsageError("--plot: no point of the grid has negatives to draw", remedy="wider lists")
    figures.save([("What each setting would give", drawn)], path)


def draw_audit(report: Json, path: Path) -> None:
    """Draw who finds the documents and, where there are scores, by how much negatives stay below their positive."""
    from hnmine.stages.report import figures
    from hnmine.stages.report.facts import Histogram

    plots = [("How often documents are found", figures.occurrences(report["crowding"]["spreads"]))]
    if (gaps := report["gaps"]) is not None:
        found = Histogram(np.array(gaps["edges"]), {"negatives": np.array(gaps["negatives"])})
        plots.insert(0, ("Gap to the positive", figures.histogram(found, "gap", line=0.0)))
    figures.save(plots, path)
