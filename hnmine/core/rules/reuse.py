"""The reuse cap: hubs, documents that are a candidate of very many queries, serve a few of them only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from hnmine.core.evidence import Bools, Evidence, Ints, Keys
from hnmine.core.grouped import place_within
from hnmine.core.rules.base import Rule
from hnmine.hashing import keyed_hashes

_DOCUMENT, _QUERY = "document.doc_id", "query.query_id"
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class MaxReuse(Rule):
    """Drops n from all queries but `most` of those that its document is eligible for.

    Eligible is what the other rules leave alive (on any rung of the ladder of `--short relax`). Of a document's
    eligible queries those with the smallest hash of (seed, query, document) keep it. So no document is the
    negative of more than `most` queries, whatever the order of work. Rows that only chance brought, and curated ones,
    neither count nor fall.

    Hubs are a known trait of nearest-neighbour lists (Radovanovic et al., JMLR 2010); no measurement of a cap on mined
    text negatives is known to us.
    """

    reason = "max-reuse"
    counts_rows = True
    is_guess = False
    knob = "raise --max-reuse"
    needs_fit = True
    columns = (_DOCUMENT, _QUERY)

    def __init__(self, most: int, seed: int, before: Sequence[Sequence[Rule]] = ()) -> None:
        self.most = most
        self.seed = seed
        self.before = before
        self._hubs: Keys = np.zeros(0, np.uint64)
        self._ceilings: Keys = np.zeros(0, np.uint64)

    def fit(self, blocks: Iterable[Evidence]) -> dict[str, Any]:
        """The documents with more than `most` eligible queries, and the largest hash that keeps each of them.

        Held are at most `most` + 1 hashes a document, 16 bytes each.
        """
        documents, draws = np.zeros(0, np.uint64), np.zeros(0, np.uint64)
        for evidence in blocks:
            eligible = np.zeros(len(evidence.judge), np.bool_)
            for rung in self.before or ((),):
                alive = ~evidence.is_positive
                for rule in rung:
                    alive = alive & ~rule.drops(evidence, alive)
                eligible |= alive
            document, draw = self._keys(evidence, self._counted(evidence, eligible))
            documents = np.concatenate([documents, document])
            draws = np.concatenate([draws, draw])
            order = np.lexsort((draws, documents))
            documents, draws = documents[order], draws[order]
            keep = _places(documents) <= self.most
            documents, draws = documents[keep], draws[keep]
        places = _places(documents)
        hubs = documents[places == self.most]
        return {"hubs": hubs.tolist(), "ceilings": draws[(places == self.most - 1) & np.isin(documents, hubs)].tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over hubs (ascending) and their ceilings."""
        self._hubs = np.array(state["hubs"], np.uint64)
        self._ceilings = np.array(state["ceilings"], np.uint64)

    def _drops(self, evidence: Evidence, alive: Bools) -> Bools:
        dropped = np.zeros(len(evidence.judge), np.bool_)
        if not len(self._hubs):
            return dropped
        rows = self._counted(evidence, alive)
        document, draw = self._keys(evidence, rows)
        place = np.minimum(np.searchsorted(self._hubs, document), len(self._hubs) - 1)
        dropped[rows] = (self._hubs[place] == document) & (draw > self._ceilings[place])
        return dropped

    def _counted(self, evidence: Evidence, alive: Bools) -> Ints:
        return np.flatnonzero(alive & ~evidence.is_random & ~evidence.is_curated)

    def _keys(self, evidence: Evidence, rows: Ints) -> tuple[Keys, Keys]:
        """(key of the document, keyed draw of the pair) of each given row."""
        if _DOCUMENT not in evidence.columns or not len(rows):
            return np.zeros(len(rows), np.uint64), np.zeros(len(rows), np.uint64)
        document = _hashes(evidence.columns[_DOCUMENT].values[rows], "reuse-document", self.seed)
        query = _hashes(evidence.columns[_QUERY].values[rows], "reuse-query", self.seed)
        return document, _mixed(document, query)


def _hashes(ids: np.ndarray[Any, Any], purpose: str, seed: int) -> Keys:
    unique, inverse = np.unique(ids, return_inverse=True)
    hashes = np.array(keyed_hashes(seed, purpose, last=unique.tolist()), np.uint64)
    return np.asarray(hashes[inverse], np.uint64)


def _mixed(left: Keys, right: Keys) -> Keys:
    """A uniform 64-bit number of two (SplitMix64's finaliser, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        z = left * _GOLDEN + right
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def _places(sorted_keys: Keys) -> Ints:
    """0-based place of each entry within its run of equal keys."""
    return place_within(np.asarray(sorted_keys, np.uint64), np.ones(len(sorted_keys), np.bool_))
