"""One from each cluster of similar documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker, places_by


class Diverse(Picker):
    """Takes the best-placed row of each cluster of documents, then the second of each.

    After InDi (Amazon, ECIR 2024; code amzn/informative-diverse-hard-negative-sampling, option `bert-km`), which
    clusters a query's 200 candidates by their embeddings and takes the one nearest to each centre. Here the clusters
    are those of the whole corpus, which `mine --clusters` wrote, and the hardest row stands for its cluster.
    """

    token = "diverse"

    def __init__(self, index: str) -> None:
        self.index = index

    @property
    def is_consistent(self) -> bool:
        """Yes: a row that is not picked has only later ones of its cluster behind it."""
        return True

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        cluster = evidence.clusters[self.index]
        order = np.lexsort((cluster, evidence.owner))
        own, group = evidence.owner[order], cluster[order]
        starts = np.ones(len(order), np.bool_)
        starts[1:] = (own[1:] != own[:-1]) | (group[1:] != group[:-1])
        turn = np.empty(len(order), np.int64)
        turn[order] = places_by(np.cumsum(starts), eligible[order], ())
        return (turn,)
