"""Late interaction: MaxSim by hand and by brute force, and the encoder against PyLate."""

from itertools import pairwise

import numpy as np
import pytest

from hnmine.engines import late
from hnmine.engines.encoder import SentenceTransformerEncoder
from hnmine.engines.inference import model_family
from hnmine.engines.late import LateIndex, max_similarities
from hnmine.engines.late_encoder import LateTextEncoder
from hnmine.engines.models import resolve_model
from hnmine.engines.reranker import CrossEncoderReranker
from hnmine.engines.retriever import Queries
from hnmine.engines.sparse_encoder import SparseTextEncoder
from hnmine.engines.token_vectors import TokenRows, TokenStore, runs
from hnmine.errors import ArtefactError, InputError, MissingDependencyError, UsageError
from hnmine.options import DenseOptions, LateOptions, ScoreOptions, SparseOptions
from hnmine.schema import Scale, Side
from tests.conftest import build_late_encoder, build_masked_lm, build_stanford_colbert

DIMENSION = 10


def ragged(*texts):
    """Texts given as lists of token vectors."""
    lengths = [len(text) for text in texts]
    flat = [vector for text in texts for vector in text]
    return TokenRows(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        vectors=np.array(flat, np.float32).reshape(sum(lengths), -1),
    )


def draw_texts(rng, count, *, most=9, fewest=1, values=None):
    """A list of fp16 token matrices."""
    shapes = [(int(n), DIMENSION) for n in rng.integers(fewest, most + 1, count)]
    draw = rng.standard_normal if values is None else lambda shape: rng.choice(values, shape)
    return [np.asarray(draw(shape), np.float16) for shape in shapes]


def save(folder, name, texts, cuts):
    """The texts as shards cut at the given places: (files of vectors, files of lengths)."""
    folder.mkdir(exist_ok=True)
    vectors, lengths = [], []
    for number, (start, stop) in enumerate(pairwise([0, *cuts, len(texts)])):
        vectors.append(folder / f"{name}-vectors-{number}.npy")
        lengths.append(folder / f"{name}-lengths-{number}.npy")
        np.save(vectors[-1], np.concatenate([np.empty((0, DIMENSION), np.float16), *texts[start:stop]]))
        np.save(lengths[-1], np.array([len(text) for text in texts[start:stop]], np.int32))
    return vectors, lengths


def build(folder, documents, queries, *, tie_order=None, cuts=(3,)):
    order = np.arange(len(documents)) if tie_order is None else tie_order
    stores = save(folder, "documents", documents, cuts), save(folder, "queries", queries, ())
    return LateIndex(*stores, name="colbert", tie_order=order)


def block(rows):
    return Queries(rows=np.asarray(rows, np.int64), texts=[""] * len(rows))


def max_sim(query, document):
    """The definition, in float64."""
    return (query.astype(np.float64) @ document.astype(np.float64).T).max(axis=1).sum()


def brute_force(documents, queries):
    return np.array([[max_sim(query, document) for document in documents] for query in queries])


def listed(found):
    return [found.rows[low:high].tolist() for low, high in pairwise(found.offsets)]


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_max_sim_by_hand():
    queries = ragged([[1, 0], [0, 2]], [[-1, 1]])
    documents = ragged([[3, 0]], [[1, 1], [0, -4], [0.5, 5]], [[-2, -1]])
    # The first query's tokens find 3 and 0; 1 (of 1, 0, 0.5) and 10 (of 2, -8, 10); -2 and -2, which count too.
    # The second's one token finds -3; 4.5 (of 0, -4, 4.5); 1.
    assert max_similarities(queries, documents).tolist() == [[3, 11, -4], [-3, 4.5, 1]]


def test_without_tokens_there_is_no_score():
    found = max_similarities(ragged([[1.0, 0.0]], []), ragged([], [[2.0, 1.0]]))
    np.testing.assert_array_equal(found, [[np.nan, 2], [np.nan, np.nan]])


@pytest.mark.parametrize("k", [1, 10, 199, 1000])
def test_search_is_brute_force(tmp_path, rng, monkeypatch, k):
    monkeypatch.setattr(late, "CHUNK_TOKENS", 64)
    monkeypatch.setattr(late, "CHUNK_TEXTS", 11)
    documents, queries, tie_order = draw_texts(rng, 200, most=20), draw_texts(rng, 30), rng.permutation(200)
    index = build(tmp_path, documents, queries, tie_order=tie_order, cuts=(0, 7, 7, 199))
    wanted = rng.permutation(30)[:21]
    found = index.search(block(wanted), k)
    expected = brute_force(documents, [queries[row] for row in wanted])
    assert listed(found) == [np.lexsort((tie_order, -row))[:k].tolist() for row in expected]
    scores = np.concatenate([-np.sort(-row)[:k] for row in expected])
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5, atol=1e-5)
    assert index.scale is Scale.DOT


def test_ties_go_by_doc_id_however_many_there_are(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(late, "CHUNK_TEXTS", 37)
    # Small whole numbers: every sum is exact, and most of them tie.
    documents, queries = draw_texts(rng, 600, most=3, values=[0, 1]), draw_texts(rng, 20, most=2, values=[0, 1])
    tie_order = rng.permutation(600)
    index = build(tmp_path, documents, queries, tie_order=tie_order)
    expected = brute_force(documents, queries)
    assert listed(index.search(block(range(20)), 7)) == [np.lexsort((tie_order, -r))[:7].tolist() for r in expected]


def test_a_pair_has_the_same_bits_in_every_batch_and_in_search(tmp_path, rng, monkeypatch):
    documents, queries = draw_texts(rng, 120, most=30), draw_texts(rng, 40, most=33)
    index = build(tmp_path, documents, queries)
    offsets, rows = np.arange(41) * 120, np.tile(np.arange(120), 40)
    whole = index.pair_scores(block(range(40)), offsets, rows)
    np.testing.assert_allclose(whole.reshape(40, 120), brute_force(documents, queries), rtol=1e-5, atol=1e-5)
    kernel_rows, kernel_scores = index._search(block(range(40)), 120)
    for query in (0, 17, 39):
        alone = index.pair_scores(block([query]), np.array([0, 120]), np.arange(120))
        assert alone.tobytes() == whole[query * 120 : (query + 1) * 120].tobytes()
        assert kernel_scores[query].tobytes() == alone[kernel_rows[query]].tobytes(), "search is the same sums"
        found = index.search(block([query]), 50)
        assert found.scores.tobytes() == alone[found.rows].tobytes()
    order = rng.permutation(120)
    shuffled = index.pair_scores(block([5]), np.array([0, 120]), order)
    assert shuffled.tobytes() == whole[600:720][order].tobytes()
    monkeypatch.setattr(late, "_PAIR_TOKENS", 40)
    sharded = build(tmp_path / "sharded", documents, queries, cuts=(1, 50, 90))
    assert sharded.pair_scores(block(range(40)), offsets, rows).tobytes() == whole.tobytes()


def test_texts_without_tokens_are_no_hits(tmp_path, rng):
    documents, queries = draw_texts(rng, 6), draw_texts(rng, 2)
    documents[4] = queries[1] = np.empty((0, DIMENSION), np.float16)
    index = build(tmp_path, documents, queries)
    found = index.search(block([0, 1]), 9)
    assert sorted(listed(found)[0]) == [0, 1, 2, 3, 5]
    assert listed(found)[1] == []
    scores = index.pair_scores(block([0, 1]), np.array([0, 2, 4]), np.array([4, 5, 4, 5]))
    assert np.isnan(scores).tolist() == [True, False, True, True]


@pytest.mark.parametrize("count", [0, 1])
def test_degenerate_collections(tmp_path, rng, count):
    index = build(tmp_path, draw_texts(rng, count), draw_texts(rng, 2), cuts=())
    assert listed(index.search(block([0, 1]), 5)) == [[0] * count] * 2
    assert index.search(block([]), 5).offsets.tolist() == [0]
    assert len(index.pair_scores(block([]), np.array([0]), np.array([], np.int64))) == 0


def test_the_kernel_is_the_python_that_is_written(tmp_path, rng, monkeypatch):
    documents, queries = draw_texts(rng, 12), draw_texts(rng, 3)
    index = build(tmp_path, documents, queries)
    compiled = index.search(block(range(3)), 12)
    monkeypatch.setattr(late, "_kernel", lambda: late._score_all)
    plain = index.search(block(range(3)), 12)
    assert plain.rows.tolist() == compiled.rows.tolist()
    assert plain.scores.tobytes() == compiled.scores.tobytes()


def test_the_store_reads_texts_in_any_order_across_shards(tmp_path, rng):
    texts = draw_texts(rng, 20, fewest=0)
    store = TokenStore(*save(tmp_path, "t", texts, (0, 6, 6, 15)))
    rows = np.array([19, 0, 7, 7, 5, 6, 15])
    found = store.take(rows)
    assert np.diff(found.offsets).tolist() == [len(texts[row]) for row in rows]
    assert found.vectors.dtype == np.float32
    assert found.vectors.tobytes() == np.concatenate([texts[row] for row in rows]).astype(np.float32).tobytes()
    chunks = list(store.chunks(20, 4))
    assert np.concatenate([rows for rows, _ in chunks]).tolist() == list(range(20))
    assert all(len(rows) == len(c.offsets) - 1 <= 4 for rows, c in chunks)
    assert (
        np.concatenate([chunk.vectors for _, chunk in chunks]).tobytes() == store.take(np.arange(20)).vectors.tobytes()
    )
    some = list(store.chunks(20, 4, np.array([2, 3, 5, 11, 12, 19])))
    assert np.concatenate([rows for rows, _ in some]).tolist() == [2, 3, 5, 11, 12, 19]
    assert all(c.vectors.tobytes() == store.take(rows).vectors.tobytes() for rows, c in some)
    for bad in (20, -1):
        with pytest.raises(IndexError):
            store.take(np.array([bad]))


def test_runs_by_hand():
    assert list(runs(np.array([3, 3, 3, 9, 1, 0, 0]), 6, 3)) == [(0, 2), (2, 3), (3, 4), (4, 7)]
    assert list(runs(np.array([1, 1, 1, 1]), 100, 3)) == [(0, 3), (3, 4)]
    assert list(runs(np.array([], np.int64), 6, 3)) == []


def test_files_that_do_not_fit_are_refused(tmp_path, rng):
    documents, queries = draw_texts(rng, 5), draw_texts(rng, 2)
    with pytest.raises(ArtefactError, match="5 documents"):
        build(tmp_path, documents, queries, tie_order=np.arange(4))
    narrow = ([tmp_path / "narrow.npy"], [tmp_path / "queries-lengths-0.npy"])
    np.save(narrow[0][0], np.zeros((sum(map(len, queries)), 3), np.float16))
    with pytest.raises(ArtefactError, match="query vectors of 3"):
        LateIndex(save(tmp_path, "documents", documents, ()), narrow, name="colbert", tie_order=np.arange(5))
    vectors, lengths = save(tmp_path, "other", documents, ())
    with pytest.raises(ArtefactError, match="pairs"):
        TokenStore(vectors, [])
    np.save(lengths[0], np.array([1, 2], np.int32))
    with pytest.raises(ArtefactError, match="expected: 3 tokens"):
        TokenStore(vectors, lengths)
    np.save(lengths[0], np.array([1.0, 2.0]))
    with pytest.raises(ArtefactError, match="token counts"):
        TokenStore(vectors, lengths)
    lengths[0].write_bytes(b"")
    with pytest.raises(ArtefactError, match="other-lengths"):
        TokenStore(vectors, lengths)


# The encoder.

QUERIES = ["a man is eating food", "one two three four girl horse baby : a man is eating bread", "horse"]
DOCUMENTS = [
    "the girl carries a baby : horse",
    "one",
    "a man rides a horse one two three four a man is eating food piece of bread the girl carries baby horse rides",
    ": :",
]
PYLATE = [
    (
        {},
        [[12, 12, 12], [9, 4, 20, 3]],
        [
            [11.82797, 11.82054, 11.87615, 11.60219],
            [11.8273, 11.7103, 11.88778, 11.32979],
            [11.75992, 11.71802, 11.90192, 11.10165],
        ],
    ),
    (
        {"do_query_expansion": False, "skiplist_words": []},
        [[8, 12, 4], [10, 4, 20, 5]],
        [
            [7.86405, 7.86066, 7.91307, 7.85654],
            [11.8273, 11.7103, 11.88778, 11.6772],
            [3.91955, 3.90218, 3.96525, 3.85008],
        ],
    ),
    (
        {"attend_to_expansion_tokens": True, "query_prefix": "", "document_prefix": ""},
        [[12, 12, 12], [8, 3, 20, 2]],
        [
            [11.64762, 11.70445, 11.81401, 11.7751],
            [11.6102, 11.6537, 11.68915, 11.46925],
            [11.90452, 11.86123, 11.85881, 11.72385],
        ],
    ),
    (
        None,
        [[12, 12, 12], [9, 4, 20, 3]],
        [
            [11.81633, 11.87422, 11.92433, 11.62358],
            [11.83002, 11.62731, 11.89638, 11.82936],
            [11.88131, 11.95647, 11.90706, 11.49236],
        ],
    ),
]
"""What PyLate itself gives (pylate 1.6.0 with the sentence-transformers 5.3.0 that it pins, `scores.colbert_scores` in
fp32) for the models of `build_late_encoder` with these settings, and for `build_stanford_colbert`: tokens of
each query and document, and their scores.
"""


def encoder(path, **options):
    return LateTextEncoder(resolve_model(str(path), revision=None), LateOptions(dtype="fp32", **options))


@pytest.fixture
def needs_late():
    pytest.importorskip("sentence_transformers", minversion="6")


@pytest.mark.usefixtures("needs_late")
@pytest.mark.parametrize(("settings", "lengths", "scores"), PYLATE)
def test_scores_are_those_of_pylate(tmp_path, settings, lengths, scores):
    folder = tmp_path / "colbert"
    own = encoder(build_stanford_colbert(folder) if settings is None else build_late_encoder(folder, settings=settings))
    exact = [
        [vectors.numpy() for vectors in own.forward(texts, side)]
        for texts, side in ((QUERIES, Side.QUERY), (DOCUMENTS, Side.DOCUMENT))
    ]
    np.testing.assert_allclose(brute_force(exact[1], exact[0]), scores, atol=2e-5)
    for vectors, texts, side, wanted in zip(
        exact, (QUERIES, DOCUMENTS), (Side.QUERY, Side.DOCUMENT), lengths, strict=True
    ):
        found = own.encode(texts, side)
        assert found.lengths.tolist() == wanted
        assert found.truncated == 1
        np.testing.assert_allclose(found.vectors, np.concatenate(vectors), atol=5e-4)  # fp16


def test_vectors_have_length_one_in_bf16_too(tiny_late_encoder):
    resolved = resolve_model(str(tiny_late_encoder), revision=None)
    own = LateTextEncoder(resolved, LateOptions(dtype="bf16"))
    lengths = np.linalg.norm(own.encode(DOCUMENTS, Side.DOCUMENT).vectors.astype(np.float64), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=6e-4)  # fp16; the model's own are off by 2e-3
    raw = np.concatenate([v.float().numpy() for v in own.forward(DOCUMENTS, Side.DOCUMENT)])
    assert np.abs(np.linalg.norm(raw, axis=1) - 1).max() > 1e-3


def test_equal_texts_have_equal_vectors_and_order_is_kept(tiny_late_encoder):
    own = encoder(tiny_late_encoder, batch_tokens=24)
    found = own.encode([*DOCUMENTS, "", DOCUMENTS[1], DOCUMENTS[0]], Side.DOCUMENT)
    parts = np.split(found.vectors, np.cumsum(found.lengths)[:-1])
    assert parts[5].tobytes() == parts[1].tobytes()
    assert parts[6].tobytes() == parts[0].tobytes()
    np.testing.assert_allclose(parts[2], own.forward([DOCUMENTS[2]], Side.DOCUMENT)[0].numpy(), atol=1e-3)
    assert found.lengths[4] == 3, "[CLS], the marker, [SEP]"
    none = own.encode([], Side.QUERY)
    assert (none.lengths.tolist(), none.vectors.shape) == ([], (0, DIMENSION))
    assert own.dimension == DIMENSION


def test_max_length_is_the_documents(tiny_late_encoder):
    own = encoder(tiny_late_encoder, max_length=6)
    assert own.encode(["one two three", "one two three four"], Side.DOCUMENT).lengths.tolist() == [6, 6]
    assert own.encode(["one two three", "one two three four"], Side.DOCUMENT).truncated == 1
    assert own.encode(["one two three four girl horse baby"], Side.QUERY).lengths.tolist() == [12]
    assert own.max_length == 6
    assert encoder(tiny_late_encoder, max_length=40).max_length == 40
    assert encoder(tiny_late_encoder).max_length == 20
    assert own.describe() != encoder(tiny_late_encoder).describe()
    assert own.describe()["fingerprint"] == encoder(tiny_late_encoder).describe()["fingerprint"]
    with pytest.raises(UsageError, match="--max-length 65"):
        encoder(tiny_late_encoder, max_length=65).encode(["one"], Side.DOCUMENT)


def test_a_prompt_stands_in_place_of_the_models_marker(tiny_late_encoder):
    own = encoder(tiny_late_encoder)
    assert own.prompts == {Side.QUERY: "[Q] ", Side.DOCUMENT: "[D] "}
    assert own.encode(["one"], Side.DOCUMENT).lengths.tolist() == [4], "the marker is one token"
    bare = encoder(tiny_late_encoder, document_prompt="").encode(["one"], Side.DOCUMENT)
    assert bare.lengths.tolist() == [3]


@pytest.mark.parametrize(("value", "normalises"), [(float("nan"), True), (7e4, False)])
def test_vectors_that_are_not_finite_are_refused(tiny_late_encoder, monkeypatch, value, normalises):
    import torch

    own = encoder(tiny_late_encoder)
    monkeypatch.setattr(own, "_normalises", normalises, raising=False)
    broken = [torch.ones(2, 3), torch.tensor([[1.0, value, 0.0]])]  # 7e4 is too large for fp16
    monkeypatch.setattr(LateTextEncoder, "forward", lambda self, texts, side: broken)
    with pytest.raises(InputError, match="not finite in fp16 for the document 'b"):
        own.encode(["aa", "b"], Side.DOCUMENT)


def test_models_of_another_kind_say_where_they_belong(
    tmp_path, tiny_encoder, tiny_cross_encoder, tiny_sparse_encoder, tiny_late_encoder
):
    others = {tiny_encoder: "index dense", tiny_cross_encoder: "--reranker", tiny_sparse_encoder: "index sparse"}
    others[build_masked_lm(tmp_path / "bare")] = "index sparse"
    for path, where in others.items():
        with pytest.raises(UsageError, match=r"not a late-interaction model|cross-encoder") as caught:
            encoder(path).encode(["a"], Side.QUERY)
        assert where in str(caught.value.remedy)
    resolved = resolve_model(str(tiny_late_encoder), revision=None)
    for kind, options in ((SentenceTransformerEncoder, DenseOptions()), (SparseTextEncoder, SparseOptions())):
        with pytest.raises(UsageError, match="late-interaction") as caught:
            kind(resolved, options).encode(["a"], Side.QUERY)
        assert caught.value.remedy == "hnmine index late"
    with pytest.raises(UsageError, match="not a cross-encoder"):
        CrossEncoderReranker(resolved, ScoreOptions()).score([("a", "b")])


def test_checkpoints_of_stanford_and_of_old_pylate_are_known(tmp_path):
    stanford, old = tmp_path / "stanford", tmp_path / "old"
    for folder, name, text in (
        (stanford, "config.json", '{"architectures": ["HF_ColBERT"]}'),
        (old, "config_sentence_transformers.json", '{"query_prefix": ""}'),
    ):
        folder.mkdir()
        (folder / name).write_text(text)
        assert model_family(str(folder)) == "late"


def test_an_old_sentence_transformers_names_the_extra(tiny_late_encoder, monkeypatch):
    import sentence_transformers

    monkeypatch.delattr(sentence_transformers, "MultiVectorEncoder")
    with pytest.raises(MissingDependencyError, match=r"pip install 'hnmine\[late\]'"):
        encoder(tiny_late_encoder).encode(["a"], Side.QUERY)
