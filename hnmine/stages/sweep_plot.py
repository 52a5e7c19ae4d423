"""The picture of a sweep: how many false negatives each setting lets in, against how hard its negatives are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hnmine.errors import MissingDependencyError, UsageError
from hnmine.files.artefact import Json
from hnmine.files.atomic import replacing

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


def draw(report: Json, path: Path) -> None:
    """One dot a point: mean gap to the positive across, false negatives (else coverage) up, the colour its coverage.

    The front is a line from dot to dot. SVG files are equal for equal reports.
    """
    import matplotlib
    from matplotlib.figure import Figure

    rate = report["front_by"] or "coverage"
    points = [p for p in report["points"] if p.get(rate) is not None and p["mean_gap"] is not None]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes: Any = figure.add_subplot()
    seen = {key: [point[key] for point in points] for key in ("mean_gap", rate, "coverage")}
    dots = axes.scatter(seen["mean_gap"], seen[rate], c=seen["coverage"], vmin=0, vmax=1, zorder=3)
    figure.colorbar(dots, label="coverage")
    front = sorted((p for p in points if p["on_front"]), key=lambda p: p["mean_gap"])
    named = [name for name, values in report["axes"].items() if len(values) > 1]
    for point in front:
        label = " / ".join("none" if (v := point["setting"][name]) is None else f"{v:g}" for name in named)
        place = (point["mean_gap"], point[rate])
        axes.annotate(label, place, fontsize=7, xytext=(6, 4), textcoords="offset points").set_in_layout(False)
    axes.set_title("on the front: " + " / ".join(name.replace("_", " ") for name in named), fontsize=9)
    axes.scatter(
        [p["mean_gap"] for p in front], [p[rate] for p in front], s=90, facecolors="none", edgecolors="black", zorder=4
    )
    axes.set_xlabel(f"mean gap to the positive under {report['judge_by']} (left is harder)")
    axes.set_ylabel(rate.replace("_", " "))
    with matplotlib.rc_context({"svg.hashsalt": "hnmine"}), replacing(path) as pending:
        form = path.suffix.lower().removeprefix(".")
        figure.savefig(pending, format=form, dpi=150, metadata={"Date": None} if form == "svg" else None)
