"""Counts and impacts against the papers' formulas and against bm25s."""

import math
from collections import Counter

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.core.bm25 import Scoring, count
from hnmine.errors import UsageError

METHODS = ["lucene", "robertson", "atire", "bm25l", "bm25+"]
PARAMETERS = [(1.5, 0.75, 0.5), (0.9, 0.4, 1.0), (2.0, 1.0, 0.25), (1.2, 0.0, 0.0)]


def corpus(seed=0, documents=60, words=40):
    draw = np.random.default_rng(seed)
    weights = 1 / np.arange(1, words + 1)
    return [
        [f"w{word}" for word in draw.choice(words, size=draw.integers(0, 30), p=weights / weights.sum())]
        for _ in range(documents)
    ]


def paper(method, documents, token, row, k1, b, delta):
    """One token's part of one document's score, as Kamphuis et al. 2020, table 1, writes it."""
    n = len(documents)
    df = sum(token in document for document in documents)
    tf = documents[row].count(token)
    norm = 1 - b + b * len(documents[row]) / (sum(map(len, documents)) / n)
    saturated = tf / (tf + k1 * norm) if tf else 0.0  # an empty document has norm 0 where b = 1
    if method == "lucene":
        return math.log(1 + (n - df + 0.5) / (df + 0.5)) * saturated
    if method == "robertson":
        return max(0.0, math.log((n - df + 0.5) / (df + 0.5))) * saturated
    if method == "atire":
        return math.log(n / df) * (k1 + 1) * saturated
    if method == "bm25l":
        c = tf / norm if tf else 0.0
        bound = (k1 + 1) * (c + delta) / (k1 + c + delta) if k1 + c + delta else 0.0
        return math.log((n + 1) / (df + 0.5)) * bound
    return math.log((n + 1) / df) * ((k1 + 1) * saturated + delta)


def impacts(counts, *parameters):
    """(what each posting adds, what each token adds without one), of a collection that is one block."""
    scoring = Scoring(**dict(zip(("method", "k1", "b", "delta"), parameters, strict=True)))
    frequencies, documents = np.diff(counts.offsets), len(counts.lengths)
    idf = scoring.idf(frequencies, documents)
    mean_length = counts.lengths.sum() / max(documents, 1)
    lengths = counts.lengths[counts.documents]
    return scoring.impacts(np.repeat(idf, frequencies), counts.counts, lengths, mean_length), scoring.absent(idf)


def dense(counts, values, absent):
    scores = np.tile(absent.astype(np.float64), (len(counts.lengths), 1))
    for token in range(len(counts.vocabulary)):
        part = slice(counts.offsets[token], counts.offsets[token + 1])
        scores[counts.documents[part], token] += values[part]
    return scores


@given(documents=st.lists(st.lists(st.sampled_from(["a", "b", "é", "人", "𝒳", "￮"]), max_size=8), max_size=20))
def test_counts_are_those_of_a_counter(documents):
    counts = count(documents)
    assert counts.vocabulary == sorted({token for document in documents for token in document})
    assert counts.lengths.tolist() == list(map(len, documents))
    for token, word in enumerate(counts.vocabulary):
        part = slice(counts.offsets[token], counts.offsets[token + 1])
        held = {row: Counter(document)[word] for row, document in enumerate(documents) if word in document}
        assert dict(zip(counts.documents[part].tolist(), counts.counts[part].tolist(), strict=True)) == held
        assert counts.documents[part].tolist() == sorted(held)


@pytest.mark.parametrize(("k1", "b", "delta"), PARAMETERS)
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_the_papers(method, k1, b, delta):
    documents = corpus()
    counts = count(documents)
    values, absent = impacts(counts, method, k1, b, delta)
    assert values.dtype == absent.dtype == np.float32
    expected = [
        [paper(method, documents, token, row, k1, b, delta) for token in counts.vocabulary]
        for row in range(len(documents))
    ]
    np.testing.assert_allclose(dense(counts, values, absent), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("k1", "b", "delta"), PARAMETERS[:3])
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_bm25s(method, k1, b, delta):
    documents = corpus(seed=1)
    counts = count(documents)
    values, absent = impacts(counts, method, k1, b, delta)
    theirs = bm25s.BM25(method=method, k1=k1, b=b, delta=delta)
    theirs.index(documents, show_progress=False)
    scores = dense(counts, values, absent)
    for query in (["w0"], ["w3", "w9", "w3"], ["w1", "w2", "w20", "w30"]):
        ours = scores[:, [counts.vocabulary.index(token) for token in query]].sum(axis=1)
        np.testing.assert_allclose(ours, theirs.get_scores(query), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("documents", [[], [[]], [[], []], [["a"]], [["a", "a"], ["a"]]])
def test_degenerate_collections_have_finite_scores(method, documents):
    counts = count(documents)
    for k1, b, delta in (*PARAMETERS, (0.0, 1.0, 0.0)):
        values, absent = impacts(counts, method, k1, b, delta)
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert np.isfinite(absent).all()


def test_every_wrong_parameter_is_named_at_once():
    with pytest.raises(UsageError) as caught:
        Scoring(method="bm26", k1=-1, b=1.5, delta=math.nan)
    for part in ("bm26", "k1 = -1", "b = 1.5", "delta = nan"):
        assert part in str(caught.value)
