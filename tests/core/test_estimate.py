"""What is made of measurements, by hand."""

from __future__ import annotations

import pytest

from hnmine.core.ann import search_operations
from hnmine.core.estimate import Estimate, Line, bm25_seconds, layer_operations
from hnmine.options import Ann


def test_the_line_through_two_measurements() -> None:
    line = Line.through((100, 1.2), (1_100, 3.2))
    assert line.each == pytest.approx(0.002)
    assert line.start == pytest.approx(1.0)
    assert line(1_000_000) == pytest.approx(2_001.0)
    assert line(0) == 0.0, "what is not done does not start either"


@pytest.mark.parametrize("few", [(100, 4.0), (1_000, 3.0)])
def test_a_noisy_measurement_never_makes_rows_free(few: tuple[int, float]) -> None:
    line = Line.through(few, (1_000, 3.0))
    assert line.each == pytest.approx(0.001)
    assert line.start == pytest.approx(2.0)


def test_reranking_a_billion_pairs_is_150_gpu_hours() -> None:
    """MiniLM-L6: 10.6 million weights in its layers; 100 tokens a pair."""
    one = layer_operations(10_600_000, 100)
    found = Estimate(rows=10**9, unit="pairs", seconds=1e8, operations=one * 1e9, runs_model=True)
    assert found.gpu_hours == pytest.approx(150, rel=0.05)
    measured = Estimate(rows=10**9, unit="pairs", seconds=7_200, operations=1, runs_model=True, on_gpu=True)
    assert measured.gpu_hours == 2.0
    assert Estimate(rows=1, unit="candidates", seconds=1, operations=5).gpu_hours is None


def test_a_share_of_it_and_its_price() -> None:
    found = Estimate(rows=1_000, unit="rows", seconds=7_200, bytes=500, operations=4e12, runs_model=True)
    half = found.times(0.5)
    assert (half.rows, half.seconds, half.bytes, half.operations) == (500, 3_600, 250, 2e12)
    assert half.price(2.5) == 2.5
    assert half.to_json(2.5) == {
        "rows": 500,
        "unit": "rows",
        "bytes": 250.0,
        "seconds": 3600.0,
        "operations": 2e12,
        "gpu_hours": 0.000139,
        "price": 2.5,
    }


def test_searches_grow_as_they_were_measured() -> None:
    assert bm25_seconds(0.001, 1_000, 1_000_000) == pytest.approx(0.01)
    assert search_operations(Ann.FLAT, 1_000_000, 500_000, 768) == 2 * 1e6 * 5e5 * 768
    for kind in (Ann.IVF, Ann.IVF_PQ, Ann.HNSW):
        assert search_operations(kind, 10_000_000, 500_000, 768) < search_operations(Ann.FLAT, 10**7, 500_000, 768) / 5
        assert search_operations(kind, 10, 1, 4) == 80, "never more than everything"
