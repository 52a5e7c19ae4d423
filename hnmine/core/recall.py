"""How far an approximate search has to look, told from a sample of queries that were also searched exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

TARGET = 0.98
"""Share of the true k nearest that a search has to find."""

LADDER = (10, 20, 50, 100, 200, 500, 1_000)
"""The k whose recall is measured; a search for another k makes the effort of the next larger one."""

_SLACK = 1.25  # other queries than the sample's are searched too


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What a search for `k` does: it looks at `breadth` (lists, or the length of a graph search's queue), scores the
    best `depth` of what it saw exactly, and finds `recall` of the true k nearest of the sample's queries.
    """

    k: int
    breadth: int
    depth: int
    recall: float

    @property
    def suffices(self) -> bool:
        """Whether the recall is what is promised."""
        return self.recall >= TARGET

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def places(found: Ints, exact: Ints) -> Ints:
    """The 0-based place of every row of `exact` [queries, k] in the same query's `found` [queries, depth], best first.

    A row that was not found has the place `depth`. `found` has -1 where there is nothing.
    """
    depth = found.shape[1]
    out = np.full(exact.shape, depth, np.int64)
    for place, (own, wanted) in enumerate(zip(found, exact, strict=True)):
        order = np.argsort(own, kind="stable")
        at = np.minimum(np.searchsorted(own, wanted, sorter=order), max(depth - 1, 0))
        if depth:
            hit = (own[order[at]] == wanted) & (wanted >= 0)
            out[place, hit] = order[at[hit]]
    return out


def calibrate(
    searches: Iterable[tuple[int, Ints]], exact: Ints, overfetch: int, *, ladder: Iterable[int] = LADDER
) -> list[Effort]:
    """The least effort for each k of the ladder that `exact` reaches; where none suffices, the best one.

    `exact` [queries, K]: the true nearest rows, best first. `searches`: (breadth, found [queries, depth], best first),
    breadths ascending; no more are drawn than it takes. `overfetch`: documents beyond k that are always scored.
    """
    open_ks = [k for k in ladder if k <= exact.shape[1]]
    best: dict[int, Effort] = {}
    for breadth, found in searches:
        at = places(found, exact)
        for k in list(open_ks):
            effort = _least(at[:, :k], breadth, found.shape[1], overfetch)
            if k not in best or effort.recall > best[k].recall:
                best[k] = effort
            if effort.suffices:
                open_ks.remove(k)
        if not open_ks:
            break
    return [best[k] for k in sorted(best)]


def _least(at: Ints, breadth: int, depth: int, overfetch: int) -> Effort:
    k = at.shape[1]
    ordered = np.sort(at, axis=None)
    needed = int(ordered[int(np.ceil(TARGET * len(ordered))) - 1]) + 1
    chosen = min(depth, max(k + overfetch, int(np.ceil(_SLACK * needed))))
    recall = float((at < chosen).mean())
    return Effort(k=k, breadth=breadth, depth=chosen, recall=round(recall, 6))


def effort_for(efforts: Iterable[Effort], k: int) -> Effort | None:
    """The effort of a search for k: that of the next k of the ladder, if it suffices."""
    for effort in sorted(efforts, key=lambda effort: effort.k):
        if effort.k >= k:
            return effort if effort.suffices else None
    return None


def doubling(last: int) -> Iterator[int]:
    """1, 2, 4, ... and `last`."""
    value = 1
    while value < last:
        yield value
        value *= 2
    yield last
