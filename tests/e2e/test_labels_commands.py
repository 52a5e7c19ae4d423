"""From labels to a training file by the command line: classes, a knowledge graph, mixed vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.e2e.harness import Cli


def save_vectors(folder: Path, **counts: int) -> list[object]:
    """Random vectors of documents and queries, and the options that take them."""
    rng, options = np.random.default_rng(0), list[object]()
    for flag, count in counts.items():
        np.save(folder / f"{flag}.npy", rng.standard_normal((count, 8)).astype(np.float32))
        options += [f"--{flag.replace('_', '-')}", folder / f"{flag}.npy"]
    return options


def test_classes_with_mixed_vectors(cli: Cli, tmp_path: Path) -> None:
    label = {f"text {n}": "abc"[n % 3] for n in range(30)}
    lines = [json.dumps({"text": text, "label": own}) + "\n" for text, own in label.items()]
    (tmp_path / "data.jsonl").write_text("".join(lines))
    vectors = save_vectors(tmp_path, vectors=30, query_vectors=30)
    command = ["run", tmp_path / "data.jsonl", "--class-column", "label", "--no-bm25", *vectors, "-n", 4]
    done = cli(*command, "--mixed", 2, "--mixing", "geodesic", "-o", tmp_path / "out.parquet")
    assert done.code == 0, done.stderr
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert len(rows) == 4 * 30
    for row in rows:
        assert row["anchor"] != row["positive"]
        assert label[row["anchor"]] == label[row["positive"]] != label[row["negative"]]
    found = pq.read_table(tmp_path / "out.mixed.parquet").to_pylist()
    assert len(found) == len(rows)
    assert all(len(row["vectors"]) == 2 for row in found)
    again = cli(
        "export", tmp_path / "out.hnmine", "--mixed", 2, "--mixing", "geodesic", "-o", tmp_path / "more.parquet"
    )
    assert again.code == 0, again.stderr
    assert (tmp_path / "more.mixed.parquet").read_bytes() == (tmp_path / "out.mixed.parquet").read_bytes()
    piped = cli("export", tmp_path / "out.hnmine", "--mixed", 2, "-o", "-")
    assert (piped.code, piped.stdout) == (2, "")
    assert "mixed vectors are a file of their own" in piped.stderr


def test_a_file_of_two_classes_is_refused_with_its_places(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("text,label\none,a\ntwo,b\none,b\nthree,a\nfour,a\nfive,b\nsix,b\n")
    command = ["ingest", tmp_path / "data.csv", "--class-column", "label", "-o", tmp_path / "collection"]
    done = cli(*command)
    assert done.code == 3
    assert f"{tmp_path}/data.csv:4: 'b', and 'a' at {tmp_path}/data.csv:2: one" in done.stderr
    done = cli(*command, "--on-error", "skip", "--json")
    assert done.code == 0, done.stderr
    assert done.json["counts"]["documents"] == 5
    assert done.json["counts"]["skipped"] == {"one text, two classes": 1}


def test_a_graph(cli: Cli, tmp_path: Path) -> None:
    graph = tmp_path / "kg"
    graph.mkdir()
    (graph / "entity2text.txt").write_text("".join(f"e{n}\tentity {n}\n" for n in range(20)))
    rng = np.random.default_rng(1)
    triples = sorted({(int(h), int(t)) for h, t in rng.integers(0, 20, (60, 2))})
    asked = {head for head, _ in triples[::2]}
    for name, own in (("train.txt", triples[::2]), ("test.txt", triples[1::2])):
        (graph / name).write_text("".join(f"e{head}\tnext_to\te{tail}\n" for head, tail in own))
    vectors = save_vectors(tmp_path, vectors=20, query_vectors=len(asked))
    sources = ["--random-near", 4, "--clusters", 5, "--top-k", 5]
    done = cli("run", graph, "--no-bm25", *vectors, *sources, "--no-margin", "-n", 3, "-o", tmp_path / "out")
    assert done.code == 0, done.stderr
    rows = pq.read_table(tmp_path / "out" / "triplets.parquet").to_pylist()
    true = {(f"entity {head}: next to", f"entity {tail}") for head, tail in triples}
    trained = {(f"entity {head}: next to", f"entity {tail}") for head, tail in triples[::2]}
    assert {(row["anchor"], row["positive"]) for row in rows} == trained
    assert not {(row["anchor"], row["negative"]) for row in rows} & true
