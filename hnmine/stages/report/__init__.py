"""`report`: one self-contained HTML page to look at a run: figures that say what was decided, triplets to judge."""

from hnmine.stages.report.page import Report

__all__ = ["Report"]
