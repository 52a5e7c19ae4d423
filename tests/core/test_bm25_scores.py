"""Counts, postings and impacts against the papers' formulas and against bm25s."""

import math
from collections import Counter
from itertools import pairwise

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hnmine.core import bm25 as module
from hnmine.core.bm25 import combine, count, impacts
from hnmine.errors import UsageError

METHODS = ["lucene", "robertson", "atire", "bm25l", "bm25+"]
PARAMETERS = [(1.5, 0.75, 0.5), (0.9, 0.4, 1.0), (2.0, 1.0, 0.25), (1.2, 0.0, 0.0)]
ARRAYS = ("offsets", "documents", "counts", "lengths")


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


def dense(postings, values, absent):
    scores = np.tile(absent.astype(np.float64), (len(postings.lengths), 1))
    for token in range(len(postings.vocabulary)):
        part = slice(postings.offsets[token], postings.offsets[token + 1])
        scores[postings.documents[part], token] += values[part]
    return scores


def test_counts_of_a_small_block():
    counts = count([["b", "a", "b"], [], ["c"]])
    assert counts.vocabulary == ["a", "b", "c"]
    assert counts.document_offsets.tolist() == [0, 2, 2, 3]
    assert counts.tokens.tolist() == [0, 1, 2]
    assert counts.counts.tolist() == [1, 2, 1]
    assert counts.lengths.tolist() == [3, 0, 1]


def test_postings_of_a_small_collection():
    postings = combine([count([["b", "a", "b"], []]), count([["c", "b"]])])
    assert postings.vocabulary == ["a", "b", "c"]
    assert postings.offsets.tolist() == [0, 1, 3, 4]
    assert postings.documents.tolist() == [0, 0, 2, 2]
    assert postings.counts.tolist() == [1, 2, 1, 1]
    assert postings.lengths.tolist() == [3, 0, 2]


@given(
    documents=st.lists(st.lists(st.sampled_from(["a", "b", "é", "人", "𝒳", "￮"]), max_size=8), max_size=20),
    cuts=st.lists(st.integers(0, 20), max_size=4),
)
def test_postings_do_not_depend_on_the_blocks(documents, cuts):
    edges = [0, *sorted(min(cut, len(documents)) for cut in cuts), len(documents)]
    split = combine([count(documents[low:high]) for low, high in pairwise(edges)])
    whole = combine([count(documents)])
    assert split.vocabulary == whole.vocabulary == sorted({token for document in documents for token in document})
    for name in ARRAYS:
        one, other = getattr(split, name), getattr(whole, name)
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()
    for token, word in enumerate(whole.vocabulary):
        part = slice(whole.offsets[token], whole.offsets[token + 1])
        held = {row: Counter(document)[word] for row, document in enumerate(documents) if word in document}
        assert dict(zip(whole.documents[part].tolist(), whole.counts[part].tolist(), strict=True)) == held
        assert whole.documents[part].tolist() == sorted(held)


@pytest.mark.parametrize(("k1", "b", "delta"), PARAMETERS)
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_the_papers(method, k1, b, delta):
    documents = corpus()
    postings = combine([count(documents)])
    values, absent = impacts(postings, method, k1, b, delta)
    assert values.dtype == absent.dtype == np.float32
    expected = [
        [paper(method, documents, token, row, k1, b, delta) for token in postings.vocabulary]
        for row in range(len(documents))
    ]
    np.testing.assert_allclose(dense(postings, values, absent), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("k1", "b", "delta"), PARAMETERS[:3])
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_bm25s(method, k1, b, delta):
    documents = corpus(seed=1)
    postings = combine([count(documents[:17]), count(documents[17:])])
    values, absent = impacts(postings, method, k1, b, delta)
    theirs = bm25s.BM25(method=method, k1=k1, b=b, delta=delta)
    theirs.index(documents, show_progress=False)
    scores = dense(postings, values, absent)
    for query in (["w0"], ["w3", "w9", "w3"], ["w1", "w2", "w20", "w30"]):
        ours = scores[:, [postings.vocabulary.index(token) for token in query]].sum(axis=1)
        np.testing.assert_allclose(ours, theirs.get_scores(query), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_chunks_leave_no_seam(method, monkeypatch):
    postings = combine([count(corpus(seed=2))])
    whole = impacts(postings, method, 1.5, 0.75, 0.5)
    for chunk in (1, 7, 64):
        monkeypatch.setattr(module, "_CHUNK", chunk)
        chunked = impacts(postings, method, 1.5, 0.75, 0.5)
        assert chunked[0].tobytes() == whole[0].tobytes()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("documents", [[], [[]], [[], []], [["a"]], [["a", "a"], ["a"]]])
def test_degenerate_collections_have_finite_scores(method, documents):
    postings = combine([count(documents)])
    for k1, b, delta in (*PARAMETERS, (0.0, 1.0, 0.0)):
        values, absent = impacts(postings, method, k1, b, delta)
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert np.isfinite(absent).all()


def test_no_blocks_at_all():
    postings = combine([])
    assert (postings.vocabulary, postings.offsets.tolist(), postings.lengths.tolist()) == ([], [0], [])


def test_every_wrong_parameter_is_named_at_once():
    with pytest.raises(UsageError) as caught:
        impacts(combine([]), "bm26", -1, 1.5, math.nan)
    for part in ("bm26", "k1 = -1", "b = 1.5", "delta = nan"):
        assert part in str(caught.value)
