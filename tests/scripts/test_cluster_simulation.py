"""The simulation, against cases that were computed by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "cluster_simulation.py"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cluster_simulation", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("work", "cluster", "expected"),
    [
        ({"seconds": [3, 3, 3]}, {"workers": 1}, 9),
        ({"seconds": [3, 3, 3]}, {"workers": 2}, 6),
        ({"seconds": [3, 3, 3]}, {"workers": 9}, 3),
        ({"seconds": [5, 1, 1, 1, 1]}, {"workers": 2}, 5),  # the long one beside all the others
        ({"seconds": [1, 1, 1, 1, 5]}, {"workers": 2}, 7),  # the long one last
        ({"seconds": [3, 3, 3], "startup": 2}, {"workers": 2}, 8),
        ({"seconds": [3, 3, 3], "dispatch": 1}, {"workers": 3}, 6),  # begin at 1, 2 and 3
        ({"seconds": [0.5] * 4, "dispatch": 1}, {"workers": 4}, 4.5),  # the one who deals is the bottleneck
        (
            {"seconds": [3, 3], "size": 10},
            {"workers": 2, "bandwidth": 10},
            5,
        ),  # 20 bytes at 10 a second, then 3 seconds
        ({"seconds": [3, 3], "size": 10}, {"workers": 2, "bandwidth": 100, "link": 5}, 5),
        # Both travel until 2 (5 bytes a second each); the first is done at 3; the third travels alone until 4.
        ({"seconds": [1, 4, 1], "size": 10}, {"workers": 2, "bandwidth": 10}, 6),
        # The first travels alone from 1 to 2 (10 of 15 bytes), both until 3 (5 each), the second alone until 4.
        ({"seconds": [0, 0], "size": 15, "dispatch": 1}, {"workers": 2, "bandwidth": 10}, 4),
        ({"seconds": []}, {"workers": 4}, 0),
    ],
)
def test_makespan(simulation: Any, work: dict[str, Any], cluster: dict[str, Any], expected: float) -> None:
    found = simulation.makespan(simulation.Work(**work), simulation.Cluster(**cluster))
    assert found == pytest.approx(expected)


def test_what_takes_the_longest_is_named(simulation: Any) -> None:
    work = simulation.Work(seconds=[2.0] * 100, size=10.0, head=5.0, tail=15.0, dispatch=0.1, startup=1.0)

    def bound(workers: int, **limits: float) -> str:
        return simulation.simulate(work, simulation.Cluster(workers=workers, **limits)).bound_by

    took = simulation.simulate(work, simulation.Cluster(workers=1))
    assert took.least == {"serial": 20, "blocks": 200, "storage": 0, "dispatch": pytest.approx(10), "one block": 3}
    assert took.seconds == pytest.approx(20 + 1 + 100 * 2.1)
    assert bound(1) == "blocks"
    assert bound(100) == "serial"
    assert bound(100, bandwidth=20.0) == "storage"
    assert bound(4, link=1.0) == "storage"


def test_lines_never_fall_nor_begin_below_nothing(simulation: Any) -> None:
    through = simulation.Line.through
    assert through([(1, 3), (2, 5)]) == simulation.Line(start=1, slope=2)
    assert through([(1, 1), (2, 3)]) == simulation.Line(start=0, slope=7 / 5)  # (1*1 + 2*3) / (1 + 4)
    assert through([(1, 5), (2, 3)]) == simulation.Line(start=4, slope=0)
    assert through([(7, 5), (7, 3)]).at(100) == 4
    assert through([(1, 3), (2, 5)]).at(10) == 21


def test_drawn_blocks_have_the_mean_and_the_ratios_of_the_measured_ones(simulation: Any) -> None:
    drawn = simulation.spread_like([1.0, 3.0], 10.0, 2_000)
    assert set(drawn) == {5.0, 15.0}
    assert sum(drawn) / 2_000 == pytest.approx(10, rel=0.05)
    assert drawn == simulation.spread_like([1.0, 3.0], 10.0, 2_000)
    assert simulation.spread_like([0.0, 0.0], 2.0, 3) == [2.0] * 3
