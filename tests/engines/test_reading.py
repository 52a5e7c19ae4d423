"""Tokenising once gives what the model's own preparation gives, or is not done."""

import functools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hnmine.engines import reading
from hnmine.engines.encoder import SentenceTransformerEncoder
from hnmine.engines.models import resolve_model
from hnmine.engines.reading import TokenReader, ahead
from hnmine.engines.sparse_encoder import SparseTextEncoder
from hnmine.options import DenseOptions, SparseOptions
from hnmine.schema import Side

pytest.importorskip("sentence_transformers")

TEXTS = [
    "a man is eating food",
    "the girl",
    "",
    "one two three four " * 30,
    "A Man\tis  eating\nbread",
    "horse",
    "füü!",
]


def dense(folder, **options):
    options = {"dtype": "fp32", "device": "cpu", "batch_tokens": 128, **options}
    return SentenceTransformerEncoder(resolve_model(str(folder), revision=None), DenseOptions(**options))


def prepared_by_the_model(encoder):
    encoder.reads_tokens = False
    return encoder


@pytest.mark.parametrize("options", [{}, {"query_prompt": "query : "}, {"max_length": 5}, {"truncate_dim": 7}])
@pytest.mark.parametrize("side", list(Side))
def test_vectors_and_cuts_are_those_of_the_models_own_preparation(tiny_prompted_encoder, options, side):
    fast, slow = dense(tiny_prompted_encoder, **options), prepared_by_the_model(dense(tiny_prompted_encoder, **options))
    found, expected = fast.encode(TEXTS, side), slow.encode(TEXTS, side)
    assert isinstance(fast._readers[side], TokenReader)
    assert slow._readers[side] is None
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert found.truncated == expected.truncated >= 1


def test_sparse_weights_too(tiny_sparse_encoder):
    options = SparseOptions(dtype="fp32", device="cpu", batch_tokens=64)
    fast, slow = (SparseTextEncoder(resolve_model(str(tiny_sparse_encoder), revision=None), options) for _ in "ab")
    found, expected = fast.encode(TEXTS, Side.QUERY), prepared_by_the_model(slow).encode(TEXTS, Side.QUERY)
    assert isinstance(fast._readers[Side.QUERY], TokenReader)
    np.testing.assert_array_equal(found.vectors.terms, expected.vectors.terms)
    np.testing.assert_allclose(found.vectors.weights, expected.vectors.weights, rtol=1e-6)


@pytest.mark.parametrize("change", [{"padding_side": "left"}, {"truncation_side": "left"}])
def test_the_tokenizers_own_settings_hold(tiny_encoder, change):
    fast, slow = dense(tiny_encoder), prepared_by_the_model(dense(tiny_encoder))
    for encoder in (fast, slow):
        for name, value in change.items():
            setattr(encoder._model.tokenizer, name, value)
    found, expected = fast.encode(TEXTS, Side.DOCUMENT), slow.encode(TEXTS, Side.DOCUMENT)
    assert fast._readers[Side.DOCUMENT] is not None
    np.testing.assert_array_equal(found.vectors, expected.vectors)


def _other_words(module):
    own = module.preprocess
    module.preprocess = lambda texts, **how: own([text.replace("a", "b") for text in texts], **how)


def _another_width(module):
    own = module.preprocess

    def preprocess(texts, **how):
        features = own(texts, **how)
        features["attention_mask"] = features["attention_mask"].clone()
        features["attention_mask"][:, 0] = 0
        return features

    module.preprocess = preprocess


def _one_more_input(module):
    own = module.preprocess
    module.preprocess = lambda texts, **how: {**own(texts, **how), "task_id": [1] * len(texts)}


@pytest.mark.parametrize("change", [_other_words, _another_width, _one_more_input])
def test_a_model_that_prepares_texts_in_a_way_of_its_own_keeps_it(tiny_encoder, change):
    encoder = dense(tiny_encoder)
    change(encoder._model[0])
    assert encoder._readers == {Side.QUERY: None, Side.DOCUMENT: None}


def test_each_text_is_tokenised_once(tiny_encoder, monkeypatch):
    encoder = dense(tiny_encoder)
    assert encoder._readers[Side.DOCUMENT] is not None
    seen = []
    own = TokenReader._encode
    monkeypatch.setattr(TokenReader, "_encode", lambda self, texts: seen.extend(texts) or own(self, texts))
    monkeypatch.setattr("hnmine.engines.text_model.WINDOW", 3)
    encoder.encode(TEXTS, Side.DOCUMENT)
    assert sorted(text[:99] for text in seen) == sorted(text[:99] for text in TEXTS)


@functools.cache
def reader(folder, limit, *, heads=True):
    found = dense(folder, max_length=limit)._readers[Side.DOCUMENT]
    assert found._heads
    found._heads = heads
    return found


WORDS = ["a", "man", "one", "[SEP]", "x" * 120, "!", "é", "你好", "\u0301", "\x00", "\u00a0", "\u3000", "\t", "\n"]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(WORDS), max_size=60), st.sampled_from([" ", "  ", ""]), st.integers(3, 6))
def test_reading_only_the_beginning_of_a_long_text_changes_nothing(tiny_encoder, words, joiner, limit):
    text = joiner.join(words)
    found, expected = (reader(tiny_encoder, limit, heads=heads).read([text, "a"]) for heads in (True, False))
    for name in ("ids", "types", "offsets", "cut"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_only_the_beginning_of_a_long_text_is_tokenised(tiny_encoder, monkeypatch):
    short = reader(tiny_encoder, 4)
    seen = []
    own = TokenReader._encode
    monkeypatch.setattr(TokenReader, "_encode", lambda self, texts: seen.append(texts) or own(self, texts))
    text = "one two " * 1000
    tokens = short.read([text, "one", " " * 100 + "one"])
    assert [len(head) for head in seen[0]] == [35, 3, 32]
    assert seen[1] == [" " * 100 + "one"]  # its beginning was not enough
    assert tokens.cut.tolist() == [True, False, False]
    assert tokens.lengths.tolist() == [4, 3, 3]


def test_a_tokenizer_that_looks_across_spaces_reads_the_whole_text(tiny_encoder):
    tokenizer = dense(tiny_encoder)._model.tokenizer
    assert reading._splits_at_spaces(tokenizer)
    tokenizer.add_tokens(["one two"])
    assert not reading._splits_at_spaces(tokenizer)


def test_the_next_item_is_computed_while_this_one_is_used():
    started = threading.Event()

    def function(item):
        if item == 1:
            started.set()
        return item * 10

    found = ahead(function, [0, 1, 2])
    assert next(found) == (0, 0)
    assert started.wait(5)
    assert list(found) == [(1, 10), (2, 20)]
    assert list(ahead(function, [])) == []


def test_an_error_ahead_comes_where_its_item_is_due():
    found = ahead(lambda item: 1 // item, [1, 0])
    assert next(found) == (1, 1)
    with pytest.raises(ZeroDivisionError):
        next(found)
