"""`report`: one self-contained HTML page to look at: a run's decisions, or a small corpus to evaluate with."""

from pathlib import Path

from hnmine.files.artefact import read_plan
from hnmine.options import ReportOptions
from hnmine.schema import Kind
from hnmine.stages.report.decisions import DecisionsReport
from hnmine.stages.report.page import Report
from hnmine.stages.report.small import SmallCorpusReport

__all__ = ["Report", "open_report"]


def open_report(place: Path, options: ReportOptions, collection: Path | None = None) -> Report:
    """The page about a run directory or an artefact; raises before any work if something that it needs is missing."""
    if (read_plan(place) or {}).get("kind") == Kind.DOWNSAMPLED:
        return SmallCorpusReport(place, options, collection)
    return DecisionsReport(place, options, collection)
