"""Which score orders candidates."""

from __future__ import annotations

from collections.abc import Sequence

from hnmine.files.candidates import ScoreInfo


def default_rank_by(scores: Sequence[ScoreInfo]) -> str | None:
    """The score that orders candidates when nobody says: the first dense index's, else the first
    late-interaction one's, else the first sparse one's, else BM25's, else the first run's. Scores that the data brought
    order nothing: it has an order of its own.
    """
    for origin in ("dense", "late", "sparse", "bm25", "run"):
        for score in scores:
            if score.origin == origin:
                return score.name
    return None
