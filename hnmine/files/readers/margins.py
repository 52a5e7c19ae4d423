"""Scores from margins: what (query, positive, negative, s(p) - s(n)) says of the scores themselves."""

from __future__ import annotations

from hnmine.hashing import keyed_hash


class Margins:
    """Margins between documents of one query each, as they come; then the scores, which are known up to a constant.

    A query's documents hang together by the margins between them: a forest in which each has its difference to a root
    (union-find with offsets). In each tree one positive, the first that came in most cases, has the score 0. Margins
    that contradict earlier ones are passed over. Documents are kept as 64-bit hashes.
    """

    def __init__(self) -> None:
        self._parent: dict[int, tuple[int, float]] = {}
        self._first: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._parent)

    def add(self, query_id: str, positive_id: str, negative_id: str, margin: float) -> None:
        """Hear that the positive's score is the negative's and `margin`."""
        positive, negative = keyed_hash(0, query_id, positive_id), keyed_hash(0, query_id, negative_id)
        (over_p, from_p), (over_n, from_n) = self._root(positive), self._root(negative)
        first = self._first.setdefault(over_p, positive)
        if over_p != over_n:
            self._parent[over_n] = over_p, from_p - margin - from_n
            self._first[over_p] = first

    def score(self, pair: int) -> float | None:
        """The score of a pair, by `keyed_hash(0, query_id, doc_id)`; None if no margin says anything of it."""
        if pair not in self._parent:
            return None
        root, offset = self._root(pair)
        return offset - self._root(self._first[root])[1] if root in self._first else None

    def _root(self, pair: int) -> tuple[int, float]:
        """The root of a pair's tree, and how much the pair's score is above the root's."""
        path = []
        parent, offset = self._parent.setdefault(pair, (pair, 0.0))
        while parent != pair:
            path.append((pair, offset))
            pair = parent
            parent, offset = self._parent[pair]
        total = 0.0
        for own, step in reversed(path):
            total += step
            self._parent[own] = pair, total
        return pair, total
