"""A column of words."""

from __future__ import annotations

import numpy as np

from hnmine.core.tokens import Tokens


def test_words_are_set_read_compared_and_counted() -> None:
    tokens = Tokens(5, "reserve")
    tokens[np.array([0, 1, 0, 1, 0], bool)] = "dropped"
    tokens[np.array([3, 4])] = "negative"
    assert tokens.tolist() == list(tokens) == ["reserve", "dropped", "reserve", "negative", "negative"]
    assert tokens[1] == "dropped"
    assert (tokens == "negative").tolist() == [False, False, False, True, True]
    assert (tokens != "negative").tolist() == [True, True, True, False, False]
    assert (tokens == "unheard-of").tolist() == [False] * 5
    assert np.isin(tokens, ["dropped", "negative"]).tolist() == [False, True, False, True, True]
    assert tokens.counts() == {"reserve": 2, "dropped": 1, "negative": 2}
    assert tokens.counts(np.array([1, 1, 0, 0, 0], bool)) == {"reserve": 1, "dropped": 1}


def test_a_word_that_no_row_has_left_is_not_counted() -> None:
    tokens = Tokens(2, "")
    tokens[np.array([True, True])] = "picked"
    assert tokens.counts() == {"picked": 2}
    assert Tokens(0, "").counts() == {}
