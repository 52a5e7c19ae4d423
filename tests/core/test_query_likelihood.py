"""Which tokens are the query's, and what becomes of their log-probabilities: values, and what never happens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.core.grouped import mean_ranks
from hnmine.core.query_likelihood import content_of, gecko_scores, likelihood_of, query_tokens
from tests.tiny_lm import decoded, tiny_lm

HEAD = ["<s>", "Doc", "ument", ":\n", "what", "\n\n", "Query", ":\n"]


@pytest.mark.parametrize(
    ("tail", "query", "found"),
    [
        (["what", " is", "\n"], "what is", (8, 10)),
        (["what", " is"], "what is", (8, 10)),  # nothing was generated
        (["what", " ", "is", "</s>"], "what  is", (8, 11)),
        (["▁what", "▁is", "▁it"], "what is", (8, 10)),  # SentencePiece's own sign
        (["WHAT", "is", "x"], "What is", (8, 10)),  # a tokenizer without case and spaces
        (["ﬁ", "ne", "x"], "fine", (8, 10)),
        (["�", "�", "�", "吗", "x"], "龘吗", (8, 12)),  # parts of a character, as vLLM shows them
        (["", "", "龘", "吗", "x"], "龘吗", (8, 12)),  # as llama-cpp-python does
        (["吗", "�", "�", "x"], "吗龘", (8, 11)),
        (["what", " was", "x"], "what is", None),
        (["吗", "吗", "x"], "龘吗", None),
        (["x"], " ", None),
        (["what what", " is", "x"], "what is", None),
    ],
)
def test_the_tokens_of_the_query(tail: list[str], query: str, found: tuple[int, int] | None) -> None:
    expected = slice(*found) if found else None
    assert query_tokens([*HEAD, *tail], query, behind="\n\nQuery:\n") == expected


def test_without_words_before_it_only_whole_characters_tell_where_a_query_begins() -> None:
    assert query_tokens(["a", "\n", "b", "c", "x"], "bc", behind="\n") == slice(2, 4)
    assert query_tokens(["a", "�", "�", "\n", "�", "�", "c", "x"], "龘c", behind="\n") is None


@given(st.text(max_size=12), st.text(st.characters(exclude_categories=("Cs",)), max_size=12))
def test_they_are_exactly_those_that_a_tokenizer_adds_for_it_or_none(document: str, query: str) -> None:
    lm, query = tiny_lm(), query.strip()
    before = f"Document:\n{document}\n\nAnswers:\n"
    ids = lm.ids(before + query)
    found = query_tokens([*decoded(lm, ids), "x"], query, behind="\n\nAnswers:\n")
    if found is not None:
        assert lm.tokenizer.decode(ids[found]).strip() == query
        assert lm.tokenizer.decode(ids[: found.start]) == before
    elif query.isascii() and query.isprintable():
        assert query == ""


def test_the_mean_of_the_log_probabilities() -> None:
    content = content_of([" a", "龘"], [-0.25, -1.5])
    assert likelihood_of(content) == -0.875
    assert "龘" in content
    assert math.isnan(likelihood_of(content_of([], [])))


def test_gecko_by_hand() -> None:
    """1/r + 1/s: ranks by likelihood 1 2 3, by grades 2.5 1 2.5 of the first query; the last row has no grade."""
    owner = np.array([0, 0, 0, 0, 1, 1, 2])
    likelihoods = np.array([-1.0, -2, -3, -0.5, np.nan, -1, -9])
    grades = np.array([0, 3, 0, -1, 1, 1, 0])
    expected = [1 + 1 / 2.5, 1 / 2 + 1, 1 / 3 + 1 / 2.5, np.nan, np.nan, 2.0, 2.0]
    np.testing.assert_allclose(gecko_scores(owner, likelihoods, grades), expected)


ROWS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([-3.0, -2.0, -1.0]), st.integers(-1, 3)), max_size=30)


@given(ROWS, st.randoms())
def test_rows_that_tie_share_a_score_and_no_order_matters(rows: list[tuple[int, float, int]], random: Any) -> None:
    rows = sorted(rows, key=lambda row: row[0])
    owner, likelihoods, grades = (np.array([row[i] for row in rows], kind) for i, kind in enumerate((int, float, int)))
    scores = gecko_scores(owner, likelihoods, grades)
    told = dict[tuple[int, float, int], float]()
    for row, score in zip(rows, scores.tolist(), strict=True):
        assert math.isnan(score) == (row[2] < 0)
        assert math.isnan(score) or told.setdefault(row, score) == score
    ranks = mean_ranks(owner, likelihoods, grades >= 0)
    for query in range(4):
        count = int(((owner == query) & (grades >= 0)).sum())
        assert ranks[owner == query].sum() == count * (count + 1) / 2
    order = sorted(range(len(rows)), key=lambda i: (rows[i][0], random.random()))
    np.testing.assert_array_equal(gecko_scores(owner[order], likelihoods[order], grades[order]), scores[order])
