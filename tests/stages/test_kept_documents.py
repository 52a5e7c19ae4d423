"""`index dense --keep-documents`: the documents' vectors stay, the queries are those of a newer model."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hnmine
from hnmine.engines.encoder import Encoded, Encoder
from hnmine.engines.vectors import normalise_rows
from hnmine.errors import ArtefactError, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.hashing import keyed_hash
from hnmine.schema import Side
from hnmine.stages.index_dense import IndexDense

DOCUMENTS, QUERIES = 7, 5


class Drawn(Encoder):
    """A vector for every text, drawn by its hash; a newer one is moved by `drift`. Documents are refused if told so."""

    max_length = None

    def __init__(self, dimension: int = 6, drift: float = 0.0, *, only_queries: bool = False) -> None:
        self._dimension, self._drift, self._only_queries = dimension, drift, only_queries

    @property
    def dimension(self) -> int:
        return self._dimension

    def describe(self) -> dict[str, Any]:
        return {"drawn": self._dimension, "drift": self._drift}

    def encode(self, texts: Sequence[str], side: Side) -> Encoded:
        assert side is Side.QUERY or not self._only_queries, "a document was encoded again"
        drawn = [np.random.default_rng(keyed_hash(0, text)).standard_normal(self._dimension) for text in texts]
        vectors = np.array(drawn, np.float32).reshape(len(texts), self._dimension)
        vectors[:, 0] += self._drift
        return Encoded(vectors=normalise_rows(vectors), truncated=0)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return write_collection(tmp_path, DOCUMENTS)


def write_collection(place: Path, documents: int) -> Collection:
    folder = place / f"data{documents}"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{row}", "text": f"a man is eating {row}"} for row in range(documents)]
    queries = [{"_id": f"q{row}", "text": f"the girl carries {row}"} for row in range(QUERIES)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    judged = "".join(f"q{row}\td{row}\t1\n" for row in range(3))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    hnmine.ingest(folder, place / f"collection{documents}")
    return Collection.open(place / f"collection{documents}")


def build(collection: Collection, path: Path, encoder: Encoder | None = None, **options: Any) -> Artefact:
    stage = IndexDense(collection, hnmine.DenseOptions(store="fp32", **options), encoder=encoder)
    artefact = pickle.loads(pickle.dumps(stage)).run(path, Execution()).artefact
    assert isinstance(artefact, Artefact)
    return artefact


def vectors(index: Artefact, side: str) -> np.ndarray:
    return np.concatenate([np.load(path) for path in index.files(f"vectors/{side}-", ".npy")])


def test_documents_stay_and_queries_are_encoded(collection: Collection, tmp_path: Path) -> None:
    old = build(collection, tmp_path / "old", Drawn())
    new = build(collection, tmp_path / "new", Drawn(drift=1.0, only_queries=True), keep_documents=str(old.path))
    whole = build(collection, tmp_path / "whole", Drawn(drift=1.0))
    assert np.array_equal(vectors(new, "documents"), vectors(old, "documents"))
    assert np.array_equal(vectors(new, "queries"), vectors(whole, "queries"))
    assert not np.allclose(vectors(new, "queries"), vectors(old, "queries"))
    assert (new.plan["scale"], new.plan["inputs"]["documents"]) == ("cosine", old.fingerprint)
    assert str(tmp_path) not in (new.path / "plan.json").read_text()
    found = hnmine.mine(
        collection.artefact.path, tmp_path / "mined", indexes=[new.path], options=hnmine.MineOptions(top_k=3)
    )
    assert found.counts["queries"] == 3


def test_drift_is_that_of_the_judged_queries(
    collection: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = build(collection, tmp_path / "old", Drawn())
    how = {"keep_documents": str(old.path), "compensate_drift": True}
    new = build(collection, tmp_path / "new", Drawn(drift=1.0), **how)
    before = vectors(old, "queries")
    after = vectors(build(collection, tmp_path / "whole", Drawn(drift=1.0)), "queries")
    drift = (after[:3] - before[:3]).mean(axis=0)  # of five queries three have a judgment
    assert np.allclose(vectors(new, "queries"), normalise_rows(after - drift), atol=1e-6)
    assert np.allclose(np.linalg.norm(vectors(new, "queries"), axis=1), 1, atol=1e-6)
    assert (vectors(new, "queries") * before).sum(axis=1).mean() > (after * before).sum(axis=1).mean()
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "2")
    blocks = build(collection, tmp_path / "blocks", Drawn(drift=1.0), **how)
    assert np.array_equal(vectors(blocks, "queries"), vectors(new, "queries"))


def test_the_same_model_gives_the_same_index(
    collection: Collection, tmp_path: Path, tiny_encoder: Path, make_encoder: Callable[..., Path]
) -> None:
    run = tmp_path / "run"
    model = {"model": str(tiny_encoder), "dtype": "fp32"}
    old = build(collection, run / "indexes" / "tiny", **model)
    new = build(collection, tmp_path / "new", **model, keep_documents=str(run), compensate_drift=True)
    for side in ("documents", "queries"):
        assert np.allclose(vectors(new, side), vectors(old, side), atol=1e-6)
    later = build(
        collection,
        tmp_path / "new-documents-kept",
        model=str(make_encoder("later", seed=1)),
        dtype="fp32",
        keep_documents=str(run),
    )
    assert np.array_equal(vectors(later, "documents"), vectors(old, "documents"))
    assert not np.allclose(vectors(later, "queries"), vectors(old, "queries"), atol=0.1)
    shutil.copytree(run / "indexes" / "tiny", run / "indexes" / "another")
    with pytest.raises(UsageError, match=r"has several dense indexes: another, tiny"):
        build(collection, tmp_path / "a", **model, keep_documents=str(run))


def test_an_index_that_does_not_fit_is_refused(collection: Collection, tmp_path: Path) -> None:
    old = build(collection, tmp_path / "old", Drawn())
    kept = {"keep_documents": str(old.path)}
    with pytest.raises(UsageError, match="its documents have 6 dimensions, and the model's queries 4"):
        build(collection, tmp_path / "a", Drawn(4), **kept)
    with pytest.raises(ArtefactError, match="was made from another collection"):
        build(write_collection(tmp_path, DOCUMENTS + 1), tmp_path / "b", Drawn(), **kept)
    with pytest.raises(UsageError, match="--compensate-drift goes with --keep-documents"):
        build(collection, tmp_path / "c", Drawn(), compensate_drift=True)
    with pytest.raises(UsageError, match="both say where the documents' vectors come from"):
        build(collection, tmp_path / "d", vectors="x.npy", query_vectors="y.npy", **kept)
    with pytest.raises(ArtefactError, match="dense"):
        build(collection, tmp_path / "e", Drawn(), keep_documents=str(collection.artefact.path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtefactError, match="dense"):
        build(collection, tmp_path / "f", Drawn(), keep_documents=str(tmp_path / "empty"))
    assert not any((tmp_path / name).exists() for name in "abcdef")
