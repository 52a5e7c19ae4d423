"""How good rankings are, and whether two yardsticks agree about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

DEPTH = 10


def ndcg(owner: Ints, gains: Floats, judged_owner: Ints, judged_gains: Floats, queries: int) -> Floats:
    """nDCG@10 of each query with a gain above 0, as trec_eval and BEIR compute it: the gain is the grade.

    `owner` is the query's number (ascending), `gains` those of its documents in rank order, 0 for what is not judged;
    `judged_*` are all judgments, in any order. Grades below 0 count as 0. Järvelin and Kekäläinen 2002. A query that
    has no document has 0.
    """
    order = np.lexsort((-judged_gains, judged_owner))
    best = _discounted(judged_owner[order], judged_gains[order], queries)
    found = _discounted(owner, gains, queries)
    return np.asarray(found[best > 0] / best[best > 0], np.float64)


def _discounted(owner: Ints, gains: Floats, queries: int) -> Floats:
    place = np.arange(len(owner)) - np.searchsorted(owner, owner, side="left")
    weights = np.where(place < DEPTH, np.maximum(gains, 0.0) / np.log2(place + 2.0), 0.0)
    return np.asarray(np.bincount(owner, weights=weights, minlength=queries), np.float64)


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b of two scorings of the same systems: 1 if they order them alike, -1 if in reverse.

    None where either scoring has no two different values. Kendall 1945.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    high, low = np.triu_indices(len(a), 1)
    one, other = np.sign(a[high] - a[low]), np.sign(b[high] - b[low])
    scale = np.sqrt(np.count_nonzero(one) * np.count_nonzero(other))
    return float((one * other).sum() / scale) if scale else None


def newcomers_tau(usual: Sequence[float], alone: Sequence[Sequence[float]]) -> float | None:
    """Kendall's tau over the pairs of a newcomer with each other system: 1 if none changes places with another.

    `alone[i]` are the scores of all systems by the yardstick to which system i is new. None if no two systems differ
    by the `usual` one.
    """
    expected, found = _orders(usual, alone)
    pairs = np.count_nonzero(expected)
    return float((expected * found).sum() / pairs) if pairs else None


def changed_places(usual: Sequence[float], alone: Sequence[Sequence[float]]) -> tuple[int, list[tuple[int, int]]]:
    """How many pairs `newcomers_tau` is about, and those of them, (newcomer, other), that are ordered otherwise."""
    expected, found = _orders(usual, alone)
    pairs = np.argwhere((expected != 0) & (expected != found))
    return int(np.count_nonzero(expected)), [(int(n), int(m)) for n, m in pairs]


def _orders(usual: Sequence[float], alone: Sequence[Sequence[float]]) -> tuple[Floats, Floats]:
    """Signs of the differences, newcomers by others: by the usual yardstick, and by that to which each is new."""
    scores = np.asarray(alone, np.float64).reshape(len(usual), len(usual))
    return (
        np.sign(np.subtract.outer(np.asarray(usual, np.float64), np.asarray(usual, np.float64))),
        np.sign(np.diagonal(scores)[:, None] - scores),
    )
