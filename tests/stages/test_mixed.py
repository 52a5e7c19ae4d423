"""`export --mixed`: what each mixture is made of, recomputed from the index; the same bytes from any workers."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import ArtefactError, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact

DOCUMENTS, QUERIES, DIMENSION = 40, 30, 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory of random vectors, not of unit length."""
    root = tmp_path_factory.mktemp("mixed")
    (root / "data" / "qrels").mkdir(parents=True)
    for name, count in (("corpus", DOCUMENTS), ("queries", QUERIES)):
        lines = [json.dumps({"_id": f"{name[0]}{n:02}", "text": f"{name} number {n}"}) + "\n" for n in range(count)]
        (root / "data" / f"{name}.jsonl").write_text("".join(lines))
    judged = "".join(f"q{n:02}\tc{n:02}\t1\n" for n in range(QUERIES))
    (root / "data" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    hnmine.ingest(root / "data", root / "collection")
    rng = np.random.default_rng(2)
    for name, count in (("documents", DOCUMENTS), ("queries", QUERIES)):
        np.save(root / f"{name}.npy", (3 * rng.standard_normal((count, DIMENSION))).astype(np.float32))
    files = {"vectors": str(root / "documents.npy"), "query_vectors": str(root / "queries.npy")}
    hnmine.index_dense(root, root / "indexes" / "own", options=hnmine.DenseOptions(**files, store="fp32"))  # type: ignore[arg-type]
    hnmine.mine(root, root / "candidates", options=hnmine.MineOptions(top_k=12))
    rules = hnmine.FilterOptions(num_negatives=4, no_margin=True, max_rank=6)
    hnmine.filter(root, root / "decisions", options=rules)
    return root


def vectors(root: Path) -> dict[str, np.ndarray]:
    """The unit vector of every document and query by id."""
    found = {}
    for name, letter in (("documents", "c"), ("queries", "q")):
        own = np.load(root / f"{name}.npy").astype(np.float64)
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        found |= {f"{letter}{n:02}": vector for n, vector in enumerate(own)}
    return found


def negatives(root: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for file in Artefact.open(root / "decisions").files():
        for row in pq.read_table(file).to_pylist():
            if row["verdict"] == "negative":
                found.setdefault(row["query_id"], set()).add(row["doc_id"])
    return found


def mixtures(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


@pytest.mark.parametrize("form", ["triplet", "n-tuple", "labeled-list"])
@pytest.mark.parametrize("mixing", ["mochi", "kalm", "geodesic"])
def test_each_row_has_its_mixtures_and_says_what_they_are(root: Path, tmp_path: Path, form: str, mixing: str) -> None:
    options = hnmine.ExportOptions(format=form, mixed=3, mixing=mixing)  # type: ignore[arg-type]
    outcome = hnmine.export(root, tmp_path / "train.parquet", options=options)
    rows, ids = mixtures(tmp_path / "train.mixed.parquet"), mixtures(tmp_path / "train.ids.parquet")
    assert [row["query_id"] for row in rows] == [row["query_id"] for row in ids]
    assert len(rows) == pq.read_metadata(tmp_path / "train.parquet").num_rows == outcome.counts["rows"] > QUERIES / 2
    assert outcome.counts["rows_without_mixture"] == 0
    unit, own, with_query = vectors(root), negatives(root), 0
    for row in rows:
        assert len(row["first"]) == len(row["second"]) == len(row["shares"]) == len(row["vectors"]) == 3
        for first, second, share, vector in zip(
            row["first"], row["second"], row["shares"], row["vectors"], strict=True
        ):
            with_query += first is None
            assert {first or second, second} <= own[row["query_id"]]
            x, y = unit[first or row["query_id"]], unit[second]
            if mixing == "geodesic":
                angle = math.acos(float(x @ y))
                wanted = (math.sin(share * angle) * x + math.sin((1 - share) * angle) * y) / math.sin(angle)
            else:
                wanted = share * x + (1 - share) * y
            np.testing.assert_allclose(vector, wanted / np.linalg.norm(wanted), atol=1e-6)
    assert (with_query > 0) == (mixing == "mochi")


def test_the_same_bytes_from_any_workers_and_without_it_the_same_training_file(root: Path, tmp_path: Path) -> None:
    options = hnmine.ExportOptions(mixed=2, rows_per_file=16)
    made = []
    for name, how in (("one", Execution()), ("two", Execution(executor="local:2"))):
        hnmine.export(root, tmp_path / name, options=options, how=how)
        made.append({p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.parquet")})
    assert made[0] == made[1]
    names = sorted(path.as_posix() for path in made[0])
    assert [name.replace("mixed/", "ids/") for name in names if name.startswith("mixed/")] == [
        name for name in names if name.startswith("ids/")
    ]
    for shard in range(3):
        hnmine.export(root, tmp_path / "shards", options=options, how=Execution(shard=(shard, 3)))
    hnmine.merge(tmp_path / "shards")
    assert made[0] == {
        p.relative_to(tmp_path / "shards"): p.read_bytes() for p in (tmp_path / "shards").rglob("*.parquet")
    }
    hnmine.export(root, tmp_path / "plain", options=hnmine.ExportOptions(rows_per_file=16))
    plain = {p.relative_to(tmp_path / "plain"): p.read_bytes() for p in (tmp_path / "plain").rglob("*.parquet")}
    assert plain == {name: data for name, data in made[0].items() if not name.as_posix().startswith("mixed/")}


def test_other_seeds_mix_others(root: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        hnmine.export(root, tmp_path / f"{seed}.parquet", options=hnmine.ExportOptions(mixed=1, seed=seed))
    shares = [{row["shares"][0] for row in mixtures(tmp_path / f"{seed}.mixed.parquet")} for seed in (0, 1)]
    assert not shares[0] & shares[1]


def test_one_negative_alone_is_counted(root: Path, tmp_path: Path) -> None:
    options = hnmine.ExportOptions(mixed=2, negatives=1, mixing="kalm")  # type: ignore[arg-type]
    outcome = hnmine.export(root, tmp_path / "train.parquet", options=options)
    assert outcome.counts["rows_without_mixture"] == outcome.counts["rows"] > 0
    assert all(row["vectors"] == [] for row in mixtures(tmp_path / "train.mixed.parquet"))


def test_the_index_is_found_where_it_was_and_known_by_its_fingerprint(root: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(root / "indexes" / "own", moved)
    options = hnmine.ExportOptions(mixed=1)
    for spec in (str(moved), f"own={moved}"):
        hnmine.export(root, tmp_path / "train.parquet", options=options, index=spec, how=Execution(overwrite=True))
    files = {"vectors": str(root / "documents.npy"), "query_vectors": str(root / "queries.npy")}
    hnmine.index_dense(root, tmp_path / "other", options=hnmine.DenseOptions(**files, store="fp16"))  # type: ignore[arg-type]
    with pytest.raises(ArtefactError, match="were not mined with this index"):
        hnmine.export(root, tmp_path / "x.parquet", options=options, index=tmp_path / "other")
    with pytest.raises(UsageError, match="it goes with --mixed N"):
        hnmine.export(root, tmp_path / "x.parquet", index=moved)


def test_without_a_dense_index_there_are_no_vectors(root: Path, tmp_path: Path) -> None:
    options = hnmine.MineOptions(random=5, run=(str(_run(tmp_path)),))
    hnmine.mine(root / "collection", tmp_path / "candidates", options=options)
    rules = hnmine.FilterOptions(no_margin=True)
    hnmine.filter(tmp_path / "candidates", tmp_path / "decisions", options=rules, collection=root / "collection")
    with pytest.raises(UsageError, match="have no dense index"):
        hnmine.export(tmp_path / "decisions", tmp_path / "x.parquet", options=hnmine.ExportOptions(mixed=1))


def _run(folder: Path) -> Path:
    path = folder / "run.trec"
    path.write_text("".join(f"q{n:02} Q0 c{(n + 3) % DOCUMENTS:02} 1 1.0 s\n" for n in range(QUERIES)))
    return path


@pytest.mark.parametrize(
    ("shape", "files"),
    [
        ({"validation": 0.4, "order": "easy-to-hard", "max_rows": 60}, ("out", "out.validation")),
        ({"batch_plan": "random", "batch_size": 4}, ("out",)),
    ],
)
def test_rows_of_any_shape_have_their_own(
    root: Path, tmp_path: Path, shape: dict[str, Any], files: tuple[str, ...]
) -> None:
    hnmine.export(root, tmp_path / "out.parquet", options=hnmine.ExportOptions(mixed=2, **shape))
    own = negatives(root)
    for name in files:
        rows, ids = mixtures(tmp_path / f"{name}.mixed.parquet"), mixtures(tmp_path / f"{name}.ids.parquet")
        assert [row["query_id"] for row in rows] == [row["query_id"] for row in ids]
        assert all(set(row["second"]) <= own[row["query_id"]] for row in rows)
        assert rows
