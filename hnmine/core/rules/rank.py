"""Rules on ranks."""

from __future__ import annotations

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.rules.base import Rule


class SkipTop(Rule):
    """Drops the first `count` documents of the rank-by list, positives counted, before any score rule.

    TopK shifted by N (NV-Retriever, Moreira et al. 2024, arXiv 2407.15831). Ranks are those of the retriever, so the
    rule counts what was retrieved, not what survived other rules.
    """

    reason = "skip-top"
    knob = "lower --skip-top"

    def __init__(self, count: int) -> None:
        self.count = count

    def _drops(self, evidence: Evidence) -> Bools:
        return (evidence.rank > 0) & (evidence.rank <= self.count)
