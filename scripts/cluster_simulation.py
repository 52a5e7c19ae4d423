"""What a stage takes on a cluster, from what its blocks take: list scheduling of blocks over shared storage.

Everything here is a function of its arguments; `bench_scaling.py` measures them.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Workers with one processor each; bytes a second of the storage they share, and of one worker's way to it."""

    workers: int
    bandwidth: float = math.inf
    link: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A stage: seconds of each block, bytes that a block reads and writes, and what does not run side by side.

    `head` and `tail`: seconds before the first block and after the last, in one process. `startup`: seconds until a
    worker can take a block. `dispatch`: seconds of the process that deals blocks out, for each.
    """

    seconds: Sequence[float]
    size: float = 0.0
    head: float = 0.0
    tail: float = 0.0
    startup: float = 0.0
    dispatch: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Seconds of a stage from its beginning to its end; what of it could not have been shorter, by cause."""

    seconds: float
    least: dict[str, float]

    @property
    def bound_by(self) -> str:
        """The cause that alone would take the longest."""
        return max(self.least, key=lambda cause: self.least[cause])


def simulate(work: Work, cluster: Cluster) -> Took:
    """The stage on the cluster: head, blocks as they come to workers as they are free, tail."""
    count, workers = len(work.seconds), cluster.workers
    if work.seconds:
        longest = max(work.seconds) + work.startup + _quotient(work.size, min(cluster.link, cluster.bandwidth))
    else:
        longest = 0.0
    least = {
        "serial": work.head + work.tail,
        "blocks": math.fsum(work.seconds) / workers,
        "storage": _quotient(work.size * count, min(cluster.bandwidth, cluster.link * workers)),
        "dispatch": work.dispatch * count,
        "one block": longest,
    }
    return Took(seconds=work.head + makespan(work, cluster) + work.tail, least=least)


def makespan(work: Work, cluster: Cluster) -> float:
    """Seconds from the start of the workers until the last block is done.

    The next block goes to the worker that is free first. It is dealt out, one at a time; its bytes travel, all that
    travel at once sharing the bandwidth equally, none faster than the link; then it takes its seconds.
    """
    pending = iter(work.seconds)
    free = [work.startup] * min(cluster.workers, len(work.seconds))
    left = len(work.seconds)
    dealt: deque[tuple[float, float]] = deque()  # (when it begins to travel, seconds), ascending
    moving: list[tuple[float, float]] = []  # (bytes that each had moved when this has arrived, seconds)
    now = moved = dealer = end = 0.0
    while free or dealt or moving:
        rate = min(cluster.link, cluster.bandwidth / len(moving)) if moving else math.inf
        asks = free[0] if free and left else math.inf
        begins = dealt[0][0] if dealt else math.inf
        arrives = max(now, now + _quotient(moving[0][0] - moved, rate)) if moving else math.inf
        then = min(asks, begins, arrives)
        if math.isinf(then):
            break
        if math.isfinite(rate):
            moved += (then - now) * rate
        now = then
        if then == arrives:
            target, seconds = heapq.heappop(moving)
            moved = max(moved, target)
            heapq.heappush(free, now + seconds)
            end = max(end, now + seconds)
        elif then == begins:
            _, seconds = dealt.popleft()
            heapq.heappush(moving, (moved + work.size, seconds))
        else:
            heapq.heappop(free)
            left -= 1
            dealer = max(now, dealer) + work.dispatch
            dealt.append((dealer, next(pending)))
    return end


def _quotient(size: float, rate: float) -> float:
    return 0.0 if size <= 0 or math.isinf(rate) else size / rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """y = start + slope * x, neither of them negative."""

    start: float
    slope: float

    def at(self, x: float) -> float:
        """y at x."""
        return self.start + self.slope * x

    @classmethod
    def through(cls, points: Iterable[tuple[float, float]]) -> Line:
        """The line with the least squares that grows; through the origin if it would begin below 0.

        Of points with one x, or that fall: their mean, everywhere.
        """
        known = list(points)
        xs, ys = [x for x, _ in known], [y for _, y in known]
        middle, mean = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
        spread = math.fsum((x - middle) ** 2 for x in xs)
        slope = math.fsum((x - middle) * (y - mean) for x, y in known) / spread if spread else 0.0
        if slope <= 0:
            return cls(start=mean, slope=0.0)
        if mean < slope * middle:
            return cls(start=0.0, slope=math.fsum(x * y for x, y in known) / math.fsum(x * x for x in xs))
        return cls(start=mean - slope * middle, slope=slope)


def spread_like(measured: Sequence[float], mean: float, count: int, seed: int = 0) -> list[float]:
    """`count` values around `mean` that vary as the measured ones do around theirs; equal arguments, equal values."""
    usual = math.fsum(measured) / len(measured)
    if not usual:
        return [mean] * count
    draw = random.Random(seed)
    return [mean * value / usual for value in draw.choices(measured, k=count)]
