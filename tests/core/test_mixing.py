"""Mixed vectors: the formulas by value, the constants by what is drawn, and where every mixture lies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hnmine.core.mixing import QUERY, draw, mixed
from hnmine.options import Mixing

ROWS = 20_000
KEYS = np.random.default_rng(0).integers(0, 2**64, ROWS, dtype=np.uint64)


def drawn(method: Mixing, negatives: int, count: int = 1):
    return draw(method, KEYS, np.full(ROWS, negatives), count)


def at_most(sample: np.ndarray, cdf, *, tolerance: float = 0.015) -> bool:
    """Kolmogorov-Smirnov: the largest distance to the distribution function; 0.0115 is 1 % of chance for 20,000."""
    ordered = np.sort(sample.astype(np.float64))
    return bool(np.abs(cdf(ordered) - (np.arange(len(ordered)) + 0.5) / len(ordered)).max() < tolerance)


@pytest.mark.parametrize("method", list(Mixing))
def test_two_different_negatives_all_alike(method: Mixing) -> None:
    found = drawn(method, 5)
    pairs = found.first != QUERY
    assert (found.first[pairs] != found.second[pairs]).all()
    assert found.first[pairs].min() == found.second.min() == 0
    assert found.first.max() == found.second.max() == 4
    for own in (found.first[pairs], found.second):
        share = np.bincount(own, minlength=5) / len(own)
        assert np.abs(share - 0.2).max() < 0.02
    joint = np.bincount(found.first[pairs] * 5 + found.second[pairs], minlength=25) / pairs.sum()
    assert np.abs(joint[joint > 0] - 0.05).max() < 0.01
    assert (joint > 0).sum() == 20


def test_mochi_takes_the_query_in_one_of_nine_and_never_more_of_it_than_of_the_negative() -> None:
    found = drawn(Mixing.MOCHI, 5)
    is_query = found.first == QUERY
    assert abs(is_query.mean() - 1 / 9) < 0.01
    assert at_most(found.share[~is_query], lambda x: x)
    assert at_most(found.share[is_query], lambda x: 2 * x, tolerance=0.05)
    assert found.share[is_query].max() < 0.5


def test_mochi_mixes_a_single_negative_with_the_query() -> None:
    found = drawn(Mixing.MOCHI, 1, 2)
    assert (found.first == QUERY).all()
    assert (found.second == 0).all()
    assert len(found.row) == 2 * ROWS
    assert 0 < found.share.min() < found.share.max() < 0.5


def test_the_shares_of_kalm_and_of_the_great_circle() -> None:
    assert at_most(drawn(Mixing.KALM, 3).share, lambda x: 3 * x**2 - 2 * x**3)  # Beta(2, 2)
    assert at_most(drawn(Mixing.GEODESIC, 3).share, lambda x: 2 / np.pi * np.arcsin(np.sqrt(x)))  # Beta(1/2, 1/2)


@pytest.mark.parametrize("method", [Mixing.KALM, Mixing.GEODESIC])
def test_one_negative_alone_has_nothing_to_be_mixed_with(method: Mixing) -> None:
    negatives = np.array([2, 1, 0, 3])
    assert draw(method, KEYS[:4], negatives, 2).row.tolist() == [0, 0, 3, 3]
    assert draw(Mixing.MOCHI, KEYS[:4], negatives, 2).row.tolist() == [0, 0, 1, 1, 3, 3]


@pytest.mark.parametrize("method", list(Mixing))
def test_a_row_is_drawn_by_its_key_alone(method: Mixing) -> None:
    whole, part = drawn(method, 4, 3), draw(method, KEYS[7:8], np.array([4]), 3)
    own = whole.row == 7
    for name in ("first", "second", "share"):
        assert getattr(whole, name)[own].tolist() == getattr(part, name).tolist()
    assert len({tuple(row) for row in whole.share.reshape(-1, 3).tolist()}) > ROWS - 10


def test_formulas_by_value() -> None:
    share = np.array([0.25], np.float32)
    x, y = np.array([[1, 0, 0]], np.float32), np.array([[0, 1, 0]], np.float32)
    straight = [0.25 / math.hypot(0.25, 0.75), 0.75 / math.hypot(0.25, 0.75), 0]
    for method in (Mixing.MOCHI, Mixing.KALM):
        np.testing.assert_allclose(mixed(method, share, x, y)[0], straight, atol=1e-7)
    # A quarter of the right angle from y, so three quarters from x.
    arc = [math.sin(math.pi / 8), math.cos(math.pi / 8), 0]
    np.testing.assert_allclose(mixed(Mixing.GEODESIC, share, x, y)[0], arc, atol=1e-7)


unit_vectors = arrays(np.float64, (2, 6), elements=st.floats(-1, 1)).filter(
    lambda both: bool((np.linalg.norm(both, axis=1) > 0.1).all())
)


@given(unit_vectors, st.floats(0.01, 0.99), st.sampled_from(list(Mixing)))
def test_mixtures_are_unit_vectors_between_the_two(both: np.ndarray, share: float, method: Mixing) -> None:
    x, y = (both / np.linalg.norm(both, axis=1, keepdims=True)).astype(np.float32)
    angle = math.acos(max(-1.0, min(1.0, float(x.astype(float) @ y))))
    if angle > 3.1:  # opposite vectors: every great circle goes through both
        return
    (found,) = mixed(method, np.array([share], np.float32), x[None], y[None]).astype(np.float64)
    assert abs(np.linalg.norm(found) - 1) < 1e-6
    from_x, from_y = (math.acos(max(-1.0, min(1.0, float(found @ end)))) for end in (x, y))
    assert abs(from_x + from_y - angle) < 2e-3, "on the shorter arc"
    if method is Mixing.GEODESIC:
        assert abs(from_y - share * angle) < 2e-3, "the share is that of the angle"


def test_the_same_vector_twice_is_itself() -> None:
    x = np.array([[0.6, 0.8]], np.float32)
    for method in Mixing:
        np.testing.assert_allclose(mixed(method, np.array([0.3], np.float32), x, x), x, atol=1e-6)
