"""Collections made from labels: what may become a negative, and what is known of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.core import kmeans
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection

TEXTS = 60


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row for file in Artefact.open(path).files() for row in pq.read_table(file).to_pylist()]


def dense_index(collection: Path, path: Path, dimension: int = 8) -> dict[tuple[str, str], float]:
    """An index of random unit vectors; returns the cosine of every (query, document)."""
    found = Collection.open(collection)
    rng = np.random.default_rng(5)
    sides = {}
    for name, ids in (("documents", found.doc_ids), ("queries", found.query_ids)):
        vectors = rng.standard_normal((len(ids), dimension))
        sides[name] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        np.save(path.parent / f"{name}.npy", sides[name])
    files = {"vectors": str(path.parent / "documents.npy"), "query_vectors": str(path.parent / "queries.npy")}
    hnmine.index_dense(collection, path, options=hnmine.DenseOptions(**files, store="fp32"))  # type: ignore[arg-type]
    cosines = sides["queries"] @ sides["documents"].T
    queries, documents = found.query_ids.to_pylist(), found.doc_ids.to_pylist()
    return {(q, d): float(cosines[i, j]) for i, q in enumerate(queries) for j, d in enumerate(documents)}


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty texts of three classes, one of them with a single text; an index of random vectors."""
    root = tmp_path_factory.mktemp("classes")
    label = ["odd" if n % 2 else "even" for n in range(TEXTS - 1)] + ["lone"]
    lines = [json.dumps({"id": f"t{n:02}", "text": f"text number {n}", "label": label[n]}) for n in range(TEXTS)]
    (root / "data.jsonl").write_text("\n".join(lines) + "\n")
    options = hnmine.InputOptions(class_column="label")
    hnmine.ingest(root / "data.jsonl", root / "collection", options=options)
    (root / "indexes").mkdir()
    cosines = dense_index(root / "collection", root / "indexes" / "dense")
    (root / "cosines.json").write_text(json.dumps([[*pair, score] for pair, score in cosines.items()]))
    return root


def test_the_hardest_texts_of_other_classes_are_mined_and_known_to_be_negatives(classes: Path) -> None:
    hnmine.mine(classes, classes / "candidates", options=hnmine.MineOptions(top_k=10, random=3))
    rows = rows_of(classes / "candidates")
    label = {f"t{n:02}": "odd" if n % 2 else "even" for n in range(TEXTS - 1)} | {"t59": "lone"}
    cosines = {(q, d): score for q, d, score in json.loads((classes / "cosines.json").read_text())}
    queries = {row["query_id"] for row in rows}
    assert queries == set(label) - {"t59"}, "the only text of its class has no positive"
    for query in queries:
        own = {row["doc_id"]: row for row in rows if row["query_id"] == query}
        (positive,) = [d for d, row in own.items() if row["is_positive"]]
        assert label[positive] == label[query]
        assert positive != query
        others = {d: row for d, row in own.items() if d != positive}
        assert all(label[d] != label[query] and row["relevance"] == 0 for d, row in others.items())
        best = sorted((d for d in label if label[d] != label[query]), key=lambda d: -cosines[query, d])
        assert set(best[:9]) <= set(others), "as deep as asked, whatever lies between"


def test_no_rule_that_guesses_drops_what_the_labels_know(classes: Path, tmp_path: Path) -> None:
    hnmine.mine(classes, tmp_path / "candidates", options=hnmine.MineOptions(top_k=10))
    options = hnmine.FilterOptions(num_negatives=5, relative_margin=0.9)
    hnmine.filter(tmp_path / "candidates", tmp_path / "decisions", options=options, collection=classes / "collection")
    rows = rows_of(tmp_path / "decisions")
    assert sum(row["verdict"] == "negative" for row in rows) == 5 * (TEXTS - 1)
    assert {row["reason"] for row in rows if row["verdict"] == "dropped"} == set()


def test_a_condition_narrows_the_other_classes_further(classes: Path, tmp_path: Path) -> None:
    options = hnmine.MineOptions(top_k=10, where="document.label != 'lone'")
    hnmine.mine(classes, tmp_path / "candidates", options=options)
    rows = rows_of(tmp_path / "candidates")
    assert "t59" not in {row["doc_id"] for row in rows}
    assert {int(row["doc_id"][1:]) % 2 == int(row["query_id"][1:]) % 2 for row in rows if not row["is_positive"]} == {
        False
    }
    plan = Artefact.open(tmp_path / "candidates").plan
    wanted = "(document.label != 'lone') and (document['label'] != query['label'])"
    assert plan["options"]["where"] == wanted


def test_hits_of_the_whole_corpus_are_refused(classes: Path, tmp_path: Path) -> None:
    hnmine.search(classes, tmp_path / "hits", options=hnmine.SearchOptions(top_k=10))
    with pytest.raises(UsageError, match=r"(?s)classes narrow it for each query.*leave --hits out"):
        hnmine.mine(classes, tmp_path / "candidates", hits=tmp_path / "hits", options=hnmine.MineOptions(top_k=10))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty entities in three relations; one triple in ten is held out."""
    root = tmp_path_factory.mktemp("graph")
    (root / "kg").mkdir()
    (root / "kg" / "entity2text.txt").write_text("".join(f"e{n}\tentity number {n}\n" for n in range(30)))
    rng = np.random.default_rng(1)
    triples = sorted({(int(h), int(r), int(t)) for h, r, t in rng.integers(0, (30, 3, 30), (150, 3))})
    for name, own in (("train", triples[0::2] + triples[1::4]), ("valid", triples[3::4])):
        (root / "kg" / f"{name}.tsv").write_text("".join(f"e{h}\tr{r}\te{t}\n" for h, r, t in own))
    hnmine.ingest(root / "kg", root / "collection", options=hnmine.InputOptions(inverse=True))
    (root / "indexes").mkdir()
    dense_index(root / "collection", root / "indexes" / "dense")
    return root


def triples_of(root: Path, split: str) -> set[tuple[str, str]]:
    """(query, answer) of a split, both ways."""
    found = set()
    for line in (root / "kg" / f"{split}.tsv").read_text().splitlines():
        head, relation, tail = line.split("\t")
        found |= {(f"{head}|{relation}", tail), (f"{tail}|^{relation}", head)}
    return found


def test_true_triples_of_any_split_are_no_negatives_and_those_of_train_alone_positives(
    graph: Path, tmp_path: Path
) -> None:
    hnmine.mine(graph, tmp_path / "candidates", options=hnmine.MineOptions(top_k=30))
    options = hnmine.FilterOptions(num_negatives=5, no_margin=True)
    hnmine.filter(tmp_path / "candidates", tmp_path / "decisions", options=options, collection=graph / "collection")
    rows = {(row["query_id"], row["doc_id"]): row for row in rows_of(tmp_path / "decisions")}
    train, valid = triples_of(graph, "train"), triples_of(graph, "valid")
    assert {pair for pair, row in rows.items() if row["is_positive"]} == train
    asked = {query for query, _ in train}
    held_out = {pair for pair in valid - train if pair[0] in asked}
    assert held_out
    assert {pair for pair, row in rows.items() if row["reason"] == "judged-grade"} == held_out
    assert not {pair for pair, row in rows.items() if row["verdict"] in ("negative", "reserve")} & (train | valid)
    assert Artefact.open(tmp_path / "candidates").plan["options"]["min_relevance"] == 2


def test_search_and_mine_agree_on_the_queries(graph: Path, tmp_path: Path) -> None:
    hnmine.search(graph, tmp_path / "hits", options=hnmine.SearchOptions(top_k=30, slices=2))
    options = hnmine.MineOptions(top_k=20)
    hnmine.mine(graph, tmp_path / "with", hits=tmp_path / "hits", options=options)
    hnmine.mine(graph, tmp_path / "without", options=options)
    assert Artefact.open(tmp_path / "with").fingerprint == Artefact.open(tmp_path / "without").fingerprint


def test_random_near_draws_from_the_clusters_around_the_positives(graph: Path, tmp_path: Path) -> None:
    options = hnmine.MineOptions(top_k=1, random_near=4, clusters=8)
    hnmine.mine(graph, tmp_path / "candidates", options=options)
    vectors = np.load(graph / "indexes" / "documents.npy")
    centres = kmeans.centroids(vectors, 8)
    cluster = kmeans.nearest(vectors, centres)
    around = np.argsort(kmeans.order_of_centres(vectors, centres), axis=1)[:, :3]
    rows = rows_of(tmp_path / "candidates")
    drawn = [row for row in rows if "random-near" in row["sources"]]
    known = triples_of(graph, "train") | triples_of(graph, "valid")
    for query in {row["query_id"] for row in rows}:
        own = [int(row["doc_id"][1:]) for row in drawn if row["query_id"] == query]
        positives = [int(row["doc_id"][1:]) for row in rows if row["query_id"] == query and row["is_positive"]]
        near = set(around[positives].ravel().tolist())
        may = [d for d in range(len(vectors)) if cluster[d] in near and (query, f"e{d}") not in known]
        assert set(own) <= set(may)
        assert len(own) == min(4, len(may))
    assert any(cluster[int(row["doc_id"][1:])] != cluster[0] for row in drawn)


@pytest.mark.parametrize(("random_near", "clusters"), [(4, 0), (-1, 8)])
def test_random_near_needs_clusters(graph: Path, tmp_path: Path, random_near: int, clusters: int) -> None:
    options = hnmine.MineOptions(random_near=random_near, clusters=clusters)
    with pytest.raises(UsageError, match=f"--random-near {random_near}"):
        hnmine.mine(graph, tmp_path / "candidates", options=options)


def test_deepening_draws_as_the_earlier_mine_did(graph: Path, tmp_path: Path) -> None:
    how = {"random_near": 4, "clusters": 8}
    hnmine.mine(graph, tmp_path / "c", options=hnmine.MineOptions(top_k=1, seed=1, **how))
    hnmine.filter(tmp_path / "c", tmp_path / "d", collection=graph)
    deeper = {"top_k": 2, "deepen_from": str(tmp_path / "d"), "clusters": 8}
    with pytest.raises(UsageError, match="with --random-near 4, and this with --random-near 0"):
        hnmine.mine(graph, tmp_path / "e", options=hnmine.MineOptions(**deeper))
    with pytest.raises(UsageError, match="with --seed 1, and this with --seed 0"):
        hnmine.mine(graph, tmp_path / "e", options=hnmine.MineOptions(**{**deeper, **how}))


def test_a_graph_has_no_margin_unless_one_is_asked_for(graph: Path, tmp_path: Path) -> None:
    hnmine.mine(graph, tmp_path / "candidates", options=hnmine.MineOptions(top_k=30))
    reasons = {}
    for name, options in (
        ("default", hnmine.FilterOptions()),
        ("none", hnmine.FilterOptions(no_margin=True)),
        ("asked", hnmine.FilterOptions(max_fn_probability=0.03)),
    ):
        hnmine.filter(tmp_path / "candidates", tmp_path / name, options=options, collection=graph / "collection")
        reasons[name] = [row["reason"] for row in rows_of(tmp_path / name)]
    assert reasons["default"] == reasons["none"]
    assert "max-fn-probability" not in reasons["default"]
    assert "max-fn-probability" in reasons["asked"]
    plan = Artefact.open(tmp_path / "default").plan
    assert plan["in_force"] == {"relative_margin": None, "absolute_margin": None, "max_fn_probability": None}


def test_flagembedding_is_told_that_the_task_is_no_retrieval(classes: Path, tmp_path: Path) -> None:
    hnmine.mine(classes, tmp_path / "candidates", options=hnmine.MineOptions(top_k=10))
    place = {"collection": classes / "collection"}
    hnmine.filter(tmp_path / "candidates", tmp_path / "d", options=hnmine.FilterOptions(num_negatives=2), **place)
    form = hnmine.ExportOptions(format=hnmine.Format.FLAGEMBEDDING)
    hnmine.export(tmp_path / "d", tmp_path / "train.jsonl", options=form, **place)
    lines = (tmp_path / "train.jsonl").read_text().splitlines()
    assert len(lines) == TEXTS - 1
    assert {json.loads(line)["type"] for line in lines} == {"symmetric_class"}
