"""A stage can be sent to another process, and plans the same there."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hnmine
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.options import Bm25Options, DenseOptions, FilterOptions, LateOptions, MineOptions, SparseOptions
from hnmine.stages.filter import Filter
from hnmine.stages.index_bm25 import IndexBm25
from hnmine.stages.index_dense import IndexDense
from hnmine.stages.index_late import IndexLate
from hnmine.stages.index_sparse import IndexSparse
from hnmine.stages.indexes import named_index
from hnmine.stages.mine import Mine
from hnmine.stages.stage import Stage

pytest.importorskip("sentence_transformers")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("travel")
    (root / "data" / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": f"a man number {i}", "lang": "en"} for i in range(20)]
    (root / "data" / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (root / "data" / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "a man"}) + "\n")
    (root / "data" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq\td0\t1\n")
    (root / "run.trec").write_text("q Q0 d3 1 0.5 s\n")
    np.save(root / "documents.npy", np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32))
    np.save(root / "queries.npy", np.ones((1, 4), np.float32))
    hnmine.ingest(root / "data", root / "collection")
    vectors = DenseOptions(vectors=str(root / "documents.npy"), query_vectors=str(root / "queries.npy"))
    hnmine.index_dense(root / "collection", root / "dense", options=vectors)
    hnmine.mine(root / "collection", root / "candidates", indexes=[root / "dense"])
    return root


def dense(root: Path) -> Stage:
    options = DenseOptions(vectors=str(root / "documents.npy"), query_vectors=str(root / "queries.npy"))
    return IndexDense(Collection.open(root / "collection"), options)


def mining(root: Path) -> Stage:
    options = MineOptions(run=(str(root / "run.trec"),), where="document.lang == 'en'", clusters=2)
    stage = Mine(Collection.open(root / "collection"), [named_index(str(root / "dense"))], options)
    stage.retrievers()  # opened ones stay behind
    return stage


STAGES: dict[str, Callable[[Path], Stage]] = {
    "bm25": lambda root: IndexBm25(Collection.open(root / "collection"), Bm25Options(language="en")),
    "vectors": dense,
    "mine": mining,
    "filter": lambda root: Filter(
        Collection.open(root / "collection"), Artefact.open(root / "candidates"), FilterOptions(skip_top=1)
    ),
}


@pytest.mark.parametrize("name", STAGES)
def test_the_plan_is_the_same_there(name: str, root: Path) -> None:
    stage = STAGES[name](root)
    assert pickle.loads(pickle.dumps(stage)).plan() == stage.plan()


def test_models_are_loaded_there(root: Path, tiny_sparse_encoder: Path, tiny_late_encoder: Path) -> None:
    collection = Collection.open(root / "collection")
    sparse = IndexSparse(collection, SparseOptions(model=str(tiny_sparse_encoder), device="cpu"))
    late = IndexLate(collection, LateOptions(model=str(tiny_late_encoder), device="cpu"))
    for stage in (sparse, late):
        plan = stage.plan()  # the model is loaded by now
        sent = pickle.dumps(stage)
        assert len(sent) < 100_000
        assert pickle.loads(sent).plan() == plan
