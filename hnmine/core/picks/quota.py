"""So many from each source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.core.evidence import Bools, Evidence, Ints
from hnmine.core.layout import Keys
from hnmine.core.picks.base import Picker, places_by, shuffling_key
from hnmine.schema import CURATED_SOURCE, RANDOM_SOURCE


class Quota(Picker):
    """Takes a fixed number from each source, in the order in which they are named, then from what is left.

    Static hard negatives beside random ones: STAR (Zhan et al. 2021, arXiv 2104.08051); at most five of each mining
    system: the MS MARCO cross-encoder recipe. A row counts for the source that ranks it best, of equal ranks for the
    one named first; a row of the random source for `random`, one that somebody wrote or kept for `curated`. Within a
    source, and among what is left, the inner pick decides. Random rows beyond their quota are not taken.
    """

    token = "quota"
    takes_random_rows = True

    def __init__(self, inner: Picker, quotas: Mapping[str, tuple[Sequence[str], int]]) -> None:
        """`quotas`: name of a source → (the retrievers whose ranks count for it, how many rows).

        `random` and `curated` have none.
        """
        self.inner = inner
        self.quotas = quotas
        self.is_random = inner.is_random or RANDOM_SOURCE in quotas

    def source_of(self, evidence: Evidence) -> Ints:
        """The number of the source each row counts for; the number of sources for a row of none of them."""
        best = np.full(len(evidence.judge), np.iinfo(np.int64).max)
        source = np.full(len(best), len(self.quotas), np.int64)
        for number, (name, (retrievers, _)) in enumerate(self.quotas.items()):
            marked = {RANDOM_SOURCE: evidence.is_random, CURATED_SOURCE: evidence.is_curated}.get(name)
            if marked is not None:
                best[marked], source[marked] = 0, number
                continue
            for retriever in retrievers:
                rank = evidence.ranks[retriever]
                better = (rank > 0) & (rank < best)
                best[better], source[better] = rank[better], number
        return source

    def order(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Ints:
        """As every pick; -1 also for random rows beyond their quota."""
        taken = self._within_quota(evidence, self.source_of(evidence), eligible, draw)
        return super().order(evidence, eligible & (taken | ~evidence.is_random), draw)

    def _keys(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Sequence[npt.NDArray[Any]]:
        source = self.source_of(evidence)
        taken = self._within_quota(evidence, source, eligible, draw)
        return (np.where(taken, source, len(self.quotas)), self._inner(evidence, eligible, draw))

    def _inner(self, evidence: Evidence, eligible: Bools, draw: Keys) -> Ints:
        """The inner pick's order, random rows behind in the order of their keyed numbers."""
        place = self.inner.order(evidence, eligible & ~evidence.is_random, draw)
        # The inner pick's own random rows, if it takes any, are of no account here: a quota says how many there are.
        random = eligible & evidence.is_random
        return np.where(random, len(place) + places_by(evidence.owner, random, (shuffling_key(evidence, draw),)), place)

    def _within_quota(self, evidence: Evidence, source: Ints, eligible: Bools, draw: Keys) -> Bools:
        place = self._inner(evidence, eligible, draw)
        group = evidence.owner * (len(self.quotas) + 1) + source
        order = np.argsort(group, kind="stable")
        within = np.empty(len(group), np.int64)
        within[order] = places_by(group[order], eligible[order], (place[order],))
        limit = np.array([count for _, count in self.quotas.values()] + [0], np.int64)[source]
        return eligible & (within < limit)

    @property
    def is_consistent(self) -> bool:
        """As the inner pick: the rows of a source that are not picked stand behind those that are."""
        return self.inner.is_consistent

    @property
    def fill(self) -> Picker:
        """The inner pick: what `--short` adds is not counted against quotas."""
        return self.inner

    def settings(self) -> dict[str, Any]:
        """As every pick; with the pick inside."""
        quotas = {name: {"ranks": list(ranks), "rows": count} for name, (ranks, count) in self.quotas.items()}
        return {"token": self.token, "quotas": quotas, "of": self.inner.settings()}
