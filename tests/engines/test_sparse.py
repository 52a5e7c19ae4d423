"""Learned sparse retrieval: the contract of a retriever against brute force, and the encoder against the model."""

from itertools import pairwise

import numpy as np
import pytest

from hnmine.core.sparse import SparseRows, invert
from hnmine.engines import sparse as module
from hnmine.engines.encoder import SentenceTransformerEncoder
from hnmine.engines.models import resolve_model
from hnmine.engines.reranker import CrossEncoderReranker
from hnmine.engines.retriever import Queries
from hnmine.engines.sparse import SparseIndex, write_sparse
from hnmine.engines.sparse_encoder import SparseTextEncoder
from hnmine.errors import ArtefactError, InputError, UsageError
from hnmine.options import DenseOptions, ScoreOptions, SparseOptions
from hnmine.schema import Scale, Side
from tests.conftest import build_masked_lm

TERMS = 40


def matrix(rng, count, *, values=None):
    """Rows with a few weights each, zeros elsewhere; the first row has none."""
    weights = rng.random((count, TERMS)) if values is None else rng.choice(values, (count, TERMS))
    weights = weights * (rng.random((count, TERMS)) < 0.15)
    weights[:1] = 0
    return weights.astype(np.float32)


def sparse_rows(dense):
    rows, terms = np.nonzero(dense)
    return SparseRows.gather(rows, terms, dense[rows, terms], len(dense))


def build(directory, documents, queries, *, tie_order=None, cuts=(3,)):
    parts = [sparse_rows(part) for part in np.split(documents, cuts)]
    directory.mkdir(exist_ok=True)
    write_sparse(directory, invert(parts, TERMS), sparse_rows(queries))
    order = np.arange(len(documents)) if tie_order is None else tie_order
    return SparseIndex(directory, name="splade", tie_order=order)


def block(rows):
    return Queries(rows=np.asarray(rows, np.int64), texts=[""] * len(rows))


def brute_force(documents, queries, tie_order, k):
    """(rows, float32 scores) of each query by (score descending, tie order); products are exact in float64."""
    scores = (queries.astype(np.float64) @ documents.astype(np.float64).T).astype(np.float32)
    orders = [[r for r in np.lexsort((tie_order, -row)) if row[r] > 0][:k] for row in scores]
    return orders, scores


def listed(found):
    return [found.rows[low:high].tolist() for low, high in pairwise(found.offsets)]


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_rows_and_postings_by_hand():
    rows = SparseRows.gather(np.array([2, 0, 0, 2]), [1, 3, 0, 0], [5.0, 2.0, 1.0, 0.0], 3)
    assert rows.offsets.tolist() == [0, 2, 2, 3]
    assert (rows.terms.tolist(), rows.weights.tolist()) == ([0, 3, 1], [1.0, 2.0, 5.0]), "the zero is left out"
    some = rows.take(np.array([2, 1, 0, 2]))
    assert some.offsets.tolist() == [0, 1, 1, 3, 4]
    assert (some.terms.tolist(), some.weights.tolist()) == ([1, 0, 3, 1], [5.0, 1.0, 2.0, 5.0])
    whole = SparseRows.stack([rows, some])
    assert whole.offsets.tolist() == [0, 2, 2, 3, 4, 4, 6, 7]
    found = invert([rows, some], 4)
    assert found.offsets.tolist() == [0, 2, 5, 5, 7]
    assert found.documents.tolist() == [0, 5, 2, 3, 6, 0, 5]
    assert found.impacts.tolist() == [1.0, 1.0, 5.0, 5.0, 5.0, 2.0, 2.0]
    assert SparseRows.stack([]).offsets.tolist() == [0]


@pytest.mark.parametrize("cuts", [(), (1,), (0, 50, 50, 299)])
def test_postings_do_not_depend_on_the_blocks(rng, cuts):
    documents = matrix(rng, 300)
    whole, parts = invert([sparse_rows(documents)], TERMS), [sparse_rows(p) for p in np.split(documents, cuts)]
    found = invert(parts, TERMS)
    for name in ("offsets", "documents", "impacts"):
        assert getattr(found, name).tobytes() == getattr(whole, name).tobytes()


@pytest.mark.parametrize("k", [1, 10, 299, 1000])
def test_search_is_brute_force(tmp_path, rng, k):
    documents, queries, tie_order = matrix(rng, 300), matrix(rng, 150), rng.permutation(300)
    index = build(tmp_path, documents, queries, tie_order=tie_order)
    wanted = rng.permutation(150)
    found = index.search(block(wanted), k)
    orders, scores = brute_force(documents, queries[wanted], tie_order, k)
    # One term may be added in another order by the matrix product: the rows are compared where scores are apart.
    for query, (low, high) in enumerate(pairwise(found.offsets)):
        assert set(found.rows[low:high]) == set(orders[query])
        np.testing.assert_allclose(found.scores[low:high], scores[query][orders[query]], rtol=1e-6)
    assert index.scale is Scale.DOT


def test_ties_go_by_doc_id_and_what_shares_nothing_is_no_hit(tmp_path, rng):
    documents, queries = matrix(rng, 800, values=[0.5, 1.0]), matrix(rng, 60, values=[1.0, 2.0])
    tie_order = rng.permutation(800)  # weights are halves: every sum is exact, and most of them tie
    index = build(tmp_path, documents, queries, tie_order=tie_order)
    found = index.search(block(range(60)), 7)
    assert listed(found) == brute_force(documents, queries, tie_order, 7)[0]
    assert found.lengths()[0] == 0, "the first query has no weights"
    assert (found.scores > 0).all()


def test_negative_sums_are_no_hits(tmp_path):
    documents, queries = np.zeros((3, TERMS), np.float32), np.zeros((1, TERMS), np.float32)
    documents[:, 0], queries[0, 0] = [1.0, -1.0, 2.0], 1.0
    index = build(tmp_path, documents, queries, cuts=())
    assert listed(index.search(block([0]), 3)) == [[2, 0]]
    assert index.pair_scores(block([0]), np.array([0, 3]), np.arange(3)).tolist() == [1.0, -1.0, 2.0]


def test_a_pair_has_the_same_bits_in_every_batch_and_in_search(tmp_path, rng):
    documents, queries = matrix(rng, 300), matrix(rng, 150)
    index = build(tmp_path, documents, queries)
    offsets, rows = np.arange(151) * 300, np.tile(np.arange(300), 150)
    whole = index.pair_scores(block(range(150)), offsets, rows)
    np.testing.assert_allclose(
        whole.reshape(150, 300), brute_force(documents, queries, np.arange(300), 1)[1], rtol=1e-6
    )
    for query in (1, 77, 149):
        alone = index.pair_scores(block([query]), np.array([0, 300]), np.arange(300))
        assert alone.tobytes() == whole[query * 300 : (query + 1) * 300].tobytes()
        found = index.search(block([query]), 300)
        assert found.scores.tobytes() == alone[found.rows].tobytes()
        kernel_rows, kernel_scores = index._search(block([query]), 300)
        real = kernel_rows[0] >= 0
        assert kernel_scores[0][real].tobytes() == alone[kernel_rows[0][real]].tobytes(), (
            "search sums in the same order"
        )
    order = rng.permutation(300)
    assert index.pair_scores(block([5]), np.array([0, 300]), order).tobytes() == whole[1500:1800][order].tobytes()


@pytest.mark.parametrize("count", [0, 1])
def test_degenerate_collections(tmp_path, rng, count):
    documents = np.zeros((count, TERMS), np.float32)
    index = build(tmp_path, documents, matrix(rng, 3), cuts=())
    assert index.search(block([0, 1, 2]), 5).lengths().tolist() == [0, 0, 0]
    assert index.search(block([]), 5).offsets.tolist() == [0]


def test_arrays_that_do_not_fit_are_refused(tmp_path, rng):
    build(tmp_path, matrix(rng, 30), matrix(rng, 3))
    with pytest.raises(ArtefactError, match="do not fit"):
        SparseIndex(tmp_path, name="splade", tie_order=np.arange(3))
    np.save(tmp_path / "postings/impacts.npy", np.ones(3, np.float32))
    with pytest.raises(ArtefactError, match="do not fit"):
        SparseIndex(tmp_path, name="splade", tie_order=np.arange(30))
    (tmp_path / "queries/weights.npy").unlink()
    with pytest.raises(ArtefactError, match=r"weights\.npy"):
        SparseIndex(tmp_path, name="splade", tie_order=np.arange(30))


def test_kernels_are_the_python_that_is_written(tmp_path, rng, monkeypatch):
    documents, queries = matrix(rng, 50), matrix(rng, 5)
    index = build(tmp_path, documents, queries)
    compiled = index.search(block(range(5)), 20)
    monkeypatch.setattr(module, "_adding_kernel", lambda: module._add_up)
    monkeypatch.setattr(module, "_pair_kernel", lambda: module._score_pairs)
    plain = index.search(block(range(5)), 20)
    assert plain.rows.tolist() == compiled.rows.tolist()
    assert plain.scores.tobytes() == compiled.scores.tobytes()


# The encoder.

TEXTS = ["a man is eating food", "the girl carries a baby", "", "a man rides a horse", "one two three four five"]


def encoder(path, **options):
    return SparseTextEncoder(resolve_model(str(path), revision=None), SparseOptions(dtype="fp32", **options))


def dense_of(rows, dimension):
    out = np.zeros((len(rows), dimension), np.float32)
    out[np.repeat(np.arange(len(rows)), np.diff(rows.offsets)), rows.terms] = rows.weights
    return out


def test_vectors_are_the_models_own(tiny_sparse_encoder):
    from sentence_transformers import SparseEncoder

    own = encoder(tiny_sparse_encoder)
    model = SparseEncoder(str(tiny_sparse_encoder), device="cpu")
    for side, encode in ((Side.DOCUMENT, model.encode_document), (Side.QUERY, model.encode_query)):
        found = own.encode([*TEXTS, TEXTS[1]], side)
        expected = np.stack([encode(text).to_dense().numpy() for text in [*TEXTS, TEXTS[1]]])
        assert found.vectors.weights.any()
        np.testing.assert_allclose(dense_of(found.vectors, own.dimension), expected, atol=1e-4)
    assert all((np.diff(found.vectors.terms[low:high]) > 0).all() for low, high in pairwise(found.vectors.offsets))
    assert own.encode([], Side.QUERY).vectors.offsets.tolist() == [0]


def test_a_splade_model_without_modules_is_a_masked_language_model(tmp_path, tiny_sparse_encoder):
    bare = build_masked_lm(tmp_path / "bare")  # the same seed: the same weights
    found, expected = (encoder(path).encode(TEXTS, Side.QUERY).vectors for path in (bare, tiny_sparse_encoder))
    assert found.terms.tolist() == expected.terms.tolist()
    assert found.weights.tobytes() == expected.weights.tobytes()
    reranker = CrossEncoderReranker(resolve_model(str(bare), revision=None), ScoreOptions(dtype="fp32"))
    with pytest.raises(UsageError, match="not a cross-encoder"):
        reranker.score([("a", "b")])


def test_prompts_and_truncation(tmp_path, tiny_sparse_encoder):
    plain = encoder(tiny_sparse_encoder)
    prompted = encoder(tiny_sparse_encoder, query_prompt="query : ", max_length=6)
    assert prompted.encode(["a man is eating food", "man"], Side.QUERY).truncated == 1
    expected = plain.encode(["query : man"], Side.QUERY).vectors
    found = prompted.encode(["man"], Side.QUERY).vectors
    np.testing.assert_allclose(dense_of(found, plain.dimension), dense_of(expected, plain.dimension), atol=1e-4)
    assert plain.describe()["fingerprint"] == prompted.describe()["fingerprint"]
    assert plain.describe() != prompted.describe()


def test_weights_that_are_not_finite_are_refused(tiny_sparse_encoder, monkeypatch):
    import torch

    own = encoder(tiny_sparse_encoder)
    broken = torch.tensor([[0.0, 1.0], [float("nan"), 0.0]])
    monkeypatch.setattr(SparseTextEncoder, "_run", lambda self, inputs, side: broken)
    with pytest.raises(InputError, match="not finite for the document 'b"):
        own.encode(["aa", "b"], Side.DOCUMENT)


def test_models_of_another_kind_say_where_they_belong(tiny_encoder, tiny_cross_encoder, tiny_sparse_encoder):
    with pytest.raises(UsageError, match="not a sparse encoder"):
        encoder(tiny_encoder).encode(["a"], Side.QUERY)
    with pytest.raises(UsageError, match="cross-encoder"):
        encoder(tiny_cross_encoder).encode(["a"], Side.QUERY)
    resolved = resolve_model(str(tiny_sparse_encoder), revision=None)
    with pytest.raises(UsageError, match="a sparse encoder"):
        SentenceTransformerEncoder(resolved, DenseOptions(dtype="fp32")).encode(["a"], Side.QUERY)
