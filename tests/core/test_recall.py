import numpy as np
import pytest

from hnmine.core.ann import EXACT_OPERATIONS, GPU_FACTOR, choose
from hnmine.core.recall import Effort, calibrate, doubling, effort_for, places
from hnmine.options import Ann


def test_places_are_where_the_rows_stand():
    found = np.array([[7, 3, 9, -1], [1, 2, 3, 4]])
    exact = np.array([[9, 7, 5], [4, -1, 1]])
    assert places(found, exact).tolist() == [[2, 0, 4], [3, 4, 0]]
    assert places(np.empty((1, 0), np.int64), exact[:1]).tolist() == [[0, 0, 0]]


def shuffled(rng, missed, depth):
    """Exact rows 0..99 of 50 queries, and a search that finds each but a share of them, somewhere within `depth`."""
    exact = np.tile(np.arange(100), (50, 1))
    found = np.full((50, depth), -1)
    for own in found:
        kept = np.flatnonzero(rng.random(100) >= missed)
        own[rng.choice(depth, len(kept), replace=False)] = kept
    return found, exact


def test_the_least_effort_that_suffices_is_taken_and_nothing_beyond_is_tried():
    rng = np.random.default_rng(0)
    tries = {1: shuffled(rng, 0.3, 400), 2: shuffled(rng, 0.015, 400), 4: None}
    exact = tries[1][1]
    drawn = []

    def searches():
        for breadth, pair in tries.items():
            drawn.append(breadth)
            yield breadth, pair[0]

    efforts = calibrate(searches(), exact, 5, ladder=(10, 100, 1_000))
    assert [effort.k for effort in efforts] == [10, 100]  # nobody knows the true 1,000
    assert drawn == [1, 2]
    for effort in efforts:
        at = places(tries[2][0], exact)[:, : effort.k]
        assert effort.breadth == 2
        assert effort.recall == pytest.approx((at < effort.depth).mean(), abs=1e-6)
        assert effort.recall >= 0.98
        assert 400 >= effort.depth > 105  # found anywhere, so nearly everything has to be looked at


def test_a_perfect_search_looks_at_the_overfetch_and_no_deeper():
    exact = np.tile(np.arange(100), (3, 1))
    found = np.tile(np.arange(300), (3, 1))
    assert calibrate([(8, found)], exact, 32) == [
        Effort(k=k, breadth=8, depth=depth, recall=1.0) for k, depth in ((10, 42), (20, 52), (50, 82), (100, 132))
    ]


def test_where_none_suffices_the_best_is_told():
    rng = np.random.default_rng(3)
    worse, exact = shuffled(rng, 0.5, 100)
    better, _ = shuffled(rng, 0.2, 100)
    (effort,) = calibrate([(1, better), (2, worse)], exact, 0, ladder=(100,))
    assert effort.breadth == 1
    assert 0.7 < effort.recall < 0.9
    assert not effort.suffices


def test_an_effort_serves_every_k_up_to_its_own():
    efforts = [Effort(k=k, breadth=k, depth=k, recall=recall) for k, recall in ((100, 0.979), (10, 0.98), (50, 1.0))]
    assert [effort.k if (effort := effort_for(efforts, k)) else None for k in (1, 10, 11, 50, 51, 100, 101)] == [
        10,
        10,
        50,
        50,
        None,
        None,
        None,
    ]


def test_doubling_ends_at_the_last():
    assert list(doubling(1)) == [1]
    assert list(doubling(8)) == [1, 2, 4, 8]
    assert list(doubling(9)) == [1, 2, 4, 8, 9]


GIB = 2**30


@pytest.mark.parametrize(
    ("documents", "queries", "dimension", "memory", "wanted"),
    [
        (15_000, 6_000, 384, 8 * GIB, Ann.FLAT),
        (1_000_000, 500_000, 768, 64 * GIB, Ann.FLAT),
        (500_000, 2_000_000, 768, 64 * GIB, Ann.IVF),
        (10_000_000, 500_000, 768, 64 * GIB, Ann.HNSW),
        (10_000_000, 500_000, 768, 32 * GIB, Ann.IVF),
        (10_000_000, 500_000, 768, 24 * GIB, Ann.IVF_PQ),
        (100_000_000, 500_000, 768, 64 * GIB, Ann.IVF_PQ),
        (0, 0, 384, 8 * GIB, Ann.FLAT),
    ],
)
def test_the_choice(documents, queries, dimension, memory, wanted):
    assert choose(documents, queries, dimension, memory=memory) is wanted


def test_many_cores_share_everything_but_the_building_of_the_graph():
    sizes = (10_000_000, 500_000, 768)
    assert choose(*sizes, memory=64 * GIB, cores=2) is Ann.HNSW
    assert choose(*sizes, memory=64 * GIB, cores=64) is Ann.IVF


def test_a_gpu_searches_exactly_for_longer():
    much = int(EXACT_OPERATIONS * GPU_FACTOR / (2 * 384 * 1_000_000))
    assert choose(1_000_000, much, 384, memory=64 * GIB) is not Ann.FLAT
    assert choose(1_000_000, much, 384, memory=64 * GIB, has_gpu=True) is Ann.FLAT
