import numpy as np
import pytest

from hnmine.engines.batching import token_batches
from hnmine.errors import UsageError


def plain(batches):
    return [batch.tolist() for batch in batches]


def test_longest_first_and_equal_lengths_in_input_order():
    assert plain(token_batches([2, 5, 2, 5, 1], 10)) == [[1, 3], [0, 2, 4]]


def test_padding_counts_towards_the_budget():
    # 6 + 1 tokens would fit in 10, but padded they are 12.
    assert plain(token_batches([6, 1], 10)) == [[0], [1]]


def test_a_text_longer_than_the_budget_is_a_batch_of_its_own():
    assert plain(token_batches([50, 3, 3], 6)) == [[0], [1, 2]]


def test_empty_texts_cost_a_token():
    assert plain(token_batches([0, 0, 0], 2)) == [[0, 1], [2]]


def test_no_texts_no_batches():
    assert token_batches([], 10) == []


def test_every_position_once_and_within_budget():
    lengths = np.random.default_rng(1).integers(1, 300, 1000)
    batches = token_batches(lengths, 1024)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert max(lengths[batch].max() * len(batch) for batch in batches) <= 1024
    # Greedy: the next text would not have fitted.
    assert all(lengths[batch].max() * (len(batch) + 1) > 1024 for batch in batches[:-1])


def test_budget_below_one_is_refused():
    with pytest.raises(UsageError, match="--batch-tokens 0"):
        token_batches([1], 0)
