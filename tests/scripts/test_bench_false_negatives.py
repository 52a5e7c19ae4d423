"""The frontier that hnmine is held against is the best mixture of the peer's settings, and no better."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_false_negatives.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    pytest.importorskip("scipy")
    spec = importlib.util.spec_from_file_location("bench_false_negatives", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def mined(bench: Any, delivered: float, false: float, gap: float) -> Any:
    """Two queries that share the figures evenly; ten negatives are wanted in all."""
    return bench.Mined(*(np.full(2, value / 2) for value in (delivered, false, gap)))


def test_the_frontier_mixes_settings(bench: Any) -> None:
    # Ten negatives with 4 false at gap -0.1; ten with 1 at gap 0.1; five with none at gap 0.
    peer = bench.Frontier([mined(bench, 10, 4, -1), mined(bench, 10, 1, 1), mined(bench, 5, 0, 0)])
    ones = np.ones(2)
    assert peer.rate_at(0.0, 1.0, ones) == pytest.approx(0.25)  # half of each of the first two
    assert peer.rate_at(0.1, 1.0, ones) == pytest.approx(0.1)
    assert peer.rate_at(0.0, 0.5, ones) == pytest.approx(0.0, abs=1e-9)
    # Coverage 0.75: half of the third setting (2.5 of 7.5 negatives), half of the even mixture (5, with 1.25 false).
    assert peer.rate_at(0.0, 0.75, ones) == pytest.approx(1.25 / 7.5)
    # Harder than anything the peer does: its hardest.
    assert peer.rate_at(-0.5, 1.0, ones) == pytest.approx(0.4)


def test_the_ratio_pools_false_negatives(bench: Any) -> None:
    peer = bench.Frontier([mined(bench, 10, 4, 0)])
    ours = [mined(bench, 10, 1, 0), mined(bench, 5, 2, 0)]
    # The peer would have had 4 and 2 at the same gap and coverage.
    assert bench.pooled([(ours[0], peer)]) == pytest.approx(1 / 4)
    assert bench.pooled([(ours[0], peer), (ours[1], peer)]) == pytest.approx(3 / 6)
    low, high = bench.interval([(ours[0], peer)], 20)
    assert low == pytest.approx(0.25)
    assert high == pytest.approx(0.25)


def test_a_default_must_deliver(bench: Any) -> None:
    peer = bench.Frontier([mined(bench, 10, 4, 0), mined(bench, 5, 4, 0)])
    family = {(10, None): mined(bench, 10, 2, 0), (20, None): mined(bench, 9, 0, 0)}
    found = {"a": {"family": family, "frontier": peer}}
    assert bench.choose(found, ["a"]) == (10, None)  # the other one delivers 90 % only
