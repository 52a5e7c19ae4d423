"""Hubs by their counts, and near-copies by their texts: what is planted is named, what is ordinary is not."""

from __future__ import annotations

import numpy as np
import pytest

from hnmine.core.hubs import LEAST_QUERIES, hubs
from hnmine.core.near_copies import BULK, LIST, RESEMBLANCE, bulks, resemblance, sketch

WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "rstxz"]


@pytest.mark.parametrize(("shape", "mean"), [(0.3, 0.5), (1.0, 1.0), (2.0, 40.0)])
def test_skewed_counts_have_no_hub_until_one_is_planted(shape: float, mean: float) -> None:
    """Gamma-Poisson counts are as skewed as those of retrievers; one collection in a hundred may name a document."""
    draw = np.random.default_rng(3)
    named = 0
    for _ in range(4):
        counts = draw.poisson(draw.gamma(shape, mean / shape, 2_000))
        found, most = hubs(counts)
        named += int(found.sum())
        assert most is not None
        planted = int((counts > 0).sum()) // 100  # so few of all hardly raise what is expected
        assert hubs(np.concatenate([counts, [2 * most.most] * planted]))[0][-planted:].all()
    assert named <= 1


def test_a_heavy_tail_is_expected_where_the_counts_say_so() -> None:
    draw = np.random.default_rng(5)
    counts = draw.poisson(np.exp(2.5 + 1.0 * draw.standard_normal(20_000)))
    found, most = hubs(counts)
    assert most is not None
    assert found.sum() <= 1
    assert hubs(draw.poisson(draw.gamma(1.0, 20.0, 20_000)))[1].most < most.most / 2  # type: ignore[union-attr]


def test_documents_that_nobody_found_and_few_documents_say_nothing() -> None:
    counts = np.random.default_rng(0).poisson(2.0, 500)
    assert hubs(counts)[1] == hubs(np.concatenate([counts, np.zeros(10_000, np.int64)]))[1]
    assert hubs(np.array([1] * 28 + [900]))[1] is None
    found, most = hubs(np.array([1] * 500 + [LEAST_QUERIES - 1, LEAST_QUERIES]))
    assert most is not None
    assert (most.typical, most.most) == (1.0, LEAST_QUERIES)
    assert np.flatnonzero(found).tolist() == [501]


def text(seed: int, words: int = 80) -> list[str]:
    return list(np.random.default_rng(seed).choice(WORDS, words))


def test_a_sketch_tells_the_share_of_shingles() -> None:
    one = "".join(text(1))
    for kept in (0.95, 0.8, 0.5, 0.2):
        cut = int(len(one) * kept)
        other = one[:cut] + "".join(text(2))[: len(one) - cut]
        sets = [{t[i : i + 8] for i in range(len(t) - 7)} for t in (one, other)]
        true = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        (found,) = resemblance(sketch(one)[None], sketch(other)[None])
        assert found == pytest.approx(true, abs=4 * (true * (1 - true) / 64) ** 0.5 + 1 / 64)
    assert (sketch("Wing, flow & shock-waves!") == sketch("wing flow&shockwaves")).all()
    assert (sketch("") == sketch("")).all()
    assert not (sketch("翼型周围的流动分离现象研究") == sketch("完全不同的另一段文字内容啊")).any()
    assert sketch("翼").shape == (64,)


def test_only_copies_that_fill_half_of_a_list_are_a_bulk() -> None:
    base = text(7)
    copies = [" ".join([*base[:i], "other", *base[i + 1 :]]) for i in range(12)]  # one word of eighty differs
    texts = copies + [" ".join(text(100 + i)) for i in range(30)]
    sketches = np.array([sketch(t) for t in texts])
    others = list(range(12, 42))
    full = [*range(BULK), *others[: LIST - BULK]]
    few = [5, 6, 7, 8, *others[: LIST - 4]]
    bridge = [4, 9, 10, -1, -1, -1, -1, -1, -1, -1]
    assert bulks(np.array([few, others[:LIST]]), sketches) == []
    (found,) = bulks(np.array([full, few, bridge, others[-LIST:]]), sketches)
    assert found.tolist() == [*range(BULK), 9, 10]  # 5 to 8 never stand beside those of the bulk
    assert (resemblance(sketches[:1].repeat(11, 0), sketches[1:12]) >= RESEMBLANCE).all()
    assert bulks(np.empty((0, LIST), np.int64), sketches) == []
