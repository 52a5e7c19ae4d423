"""`audit` names what is planted to be found by everybody, and nothing else."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import hnmine
from hnmine import api
from hnmine.cli.app import app

WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in "rstxz"]
QUERIES, DOCUMENTS, DIMENSION = 150, 400, 32
HUBS = ["hub0", "hub1"]
COPIES = [f"copy{i}" for i in range(9)]
CLEAN = DOCUMENTS - len(HUBS) - len(COPIES)


def texts(draw: np.random.Generator, count: int) -> list[str]:
    return [" ".join(draw.choice(WORDS, 40)) for _ in range(count)]


def collection(root: Path, *, poisoned: bool) -> Path:
    """Queries and documents of 20 topics in a space where all queries lean one way, as those of real encoders do.

    Poisoned, it has two passages at the mean of the queries, which is where an attack on everybody's search ends
    (GASLITE), and nine near-copies at one topic of the queries.
    """
    draw = np.random.default_rng(11)
    lean = draw.standard_normal(DIMENSION)
    topics = draw.standard_normal((20, DIMENSION))
    of_query, of_document = draw.integers(0, 20, QUERIES), draw.integers(0, 20, CLEAN)
    queries = 1.2 * lean + topics[of_query] + 0.5 * draw.standard_normal((QUERIES, DIMENSION))
    documents = 0.4 * lean + topics[of_document] + 0.9 * draw.standard_normal((CLEAN, DIMENSION))
    ids, bodies = [f"d{i}" for i in range(CLEAN)], texts(draw, CLEAN)
    if poisoned:
        middle = queries.mean(axis=0)
        near = queries[of_query == 0].mean(axis=0)
        documents = np.concatenate([documents, [middle] * len(HUBS), [near] * len(COPIES)])
        spread = 0.05 * np.random.default_rng(1).standard_normal((len(HUBS) + len(COPIES), DIMENSION))
        documents[CLEAN:] += spread
        words = texts(draw, 1)[0].split()
        ids += HUBS + COPIES
        bodies += texts(draw, len(HUBS))
        bodies += [" ".join([*words[:i], "buy", *words[i + 1 :]]) for i in range(len(COPIES))]
    root.mkdir()
    lines = [{"_id": name, "text": body} for name, body in zip(ids, bodies, strict=True)]
    (root / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    asked = [{"_id": f"q{i}", "text": body} for i, body in enumerate(texts(draw, QUERIES))]
    (root / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    (root / "qrels").mkdir()
    nearest = [int(np.flatnonzero(of_document == topic)[0]) for topic in of_query]
    known = "".join(f"q{i}\td{place}\t1\n" for i, place in enumerate(nearest))
    (root / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + known)
    for name, vectors in (("documents", documents), ("queries", queries)):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.save(root / f"{name}.npy", unit.astype(np.float32))
    return root


def mined(root: Path, **rules: object) -> Path:
    vectors = {"vectors": str(root / "documents.npy"), "query_vectors": str(root / "queries.npy")}
    options = hnmine.RunOptions(
        bm25=None,
        dense=hnmine.DenseOptions(**vectors, name="dense"),
        mine=hnmine.MineOptions(top_k=30),
        filter=hnmine.FilterOptions(num_negatives=5, no_margin=True, **rules),  # type: ignore[arg-type]
    )
    hnmine.run(root, root / "run", options=options)
    return root / "run"


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mined(collection(tmp_path_factory.mktemp("hubs") / "poisoned", poisoned=True))


def audited(path: Path) -> dict[str, Any]:
    return api.audit(path)


def test_a_clean_collection_has_neither(tmp_path: Path) -> None:
    run = mined(collection(tmp_path / "clean", poisoned=False))
    for place in (run, run / "triplets.parquet"):
        report = audited(place)
        assert (report["hub_documents"], report["bulk_copies"]) == (0, 0)
        assert (report["crowding"]["hubs"], report["crowding"]["bulks"]) == ([], [])


def test_what_was_planted_is_named_and_nothing_else(poisoned: Path) -> None:
    report = audited(poisoned)
    found = report["crowding"]
    assert {hub["document"] for hub in found["hubs"]} == set(HUBS)
    assert report["hub_documents"] == 2
    (bulk,) = found["bulks"]
    assert sorted(bulk["documents"]) == COPIES
    assert report["bulk_copies"] == len(COPIES)
    decided = [row for part in sorted((poisoned / "decisions").glob("part-*")) for row in rows(part)]
    for hub in found["hubs"]:
        own = [row for row in decided if row["doc_id"] == hub["document"]]
        assert hub["queries"] == sum((row["rank_dense"] or 99) <= 10 for row in own)
        assert hub["negative_of"] == sum(row["verdict"] == "negative" for row in own)
        assert hub["share"] == hub["queries"] / QUERIES
        assert hub["queries"] >= hub["too_many"] > hub["typical"]
    negatives = {row["query_id"] for row in decided if row["doc_id"] in COPIES and row["verdict"] == "negative"}
    assert bulk["negative_of"] == len(negatives)
    spread = found["spreads"]["dense"]["documents"]
    seen = {row["doc_id"] for row in decided if (row["rank_dense"] or 99) <= 10 and not row["is_positive"]}
    assert sum(spread.values()) == len(seen)


def rows(part: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = pq.read_table(part).to_pylist()
    return found


def test_a_training_file_tells_hubs_by_its_negatives(poisoned: Path) -> None:
    report = audited(poisoned / "triplets.parquet")
    names = [hub["document"] for hub in report["crowding"]["hubs"]]
    table = {row["text"]: row["_id"] for row in map(json.loads, (poisoned.parent / "corpus.jsonl").open())}
    assert {table[name] for name in names} == set(HUBS)
    assert any(line.startswith("bulk-copies") for line in report["unchecked"])


def test_the_cap_takes_them_out_of_the_negatives_and_the_audit_says_so(poisoned: Path, tmp_path: Path) -> None:
    options = hnmine.FilterOptions(num_negatives=5, no_margin=True, max_reuse=8)
    hnmine.filter(poisoned, tmp_path / "capped", options=options)
    before = {hub["document"]: hub for hub in audited(poisoned)["crowding"]["hubs"]}
    after = {hub["document"]: hub for hub in audited(tmp_path / "capped")["crowding"]["hubs"]}
    assert set(after) == set(HUBS)  # they are found as often as before
    for name in HUBS:
        assert before[name]["capped"] == 0
        assert after[name]["queries"] == before[name]["queries"]
        assert after[name]["negative_of"] <= 8 < before[name]["negative_of"]
        assert after[name]["capped"] >= before[name]["negative_of"] - 8


def test_the_command(poisoned: Path) -> None:
    said = CliRunner().invoke(app, ["audit", str(poisoned)]).stdout
    assert "hubs: 2 " in said
    assert "  hub0: negative of " in said
    assert f"bulk-copies: {len(COPIES)} in 1 group (" in said
    assert CliRunner().invoke(app, ["audit", str(poisoned), "--fail-if", "hub_documents>0"]).exit_code == 6
    assert CliRunner().invoke(app, ["audit", str(poisoned), "--fail-if", "bulk_copies>9"]).exit_code == 0


def test_the_script_that_plants_passages(poisoned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = Path(__file__).parents[2] / "scripts" / "evaluate_hubs.py"
    main = runpy.run_path(str(script))["main"]
    main([str(poisoned)])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["passages"] for row in found] == [0, 1, 2, 5, 10, 20]
    assert (found[0]["named"], found[0]["others_named"], found[0]["in_first_tens_of_others"]) == (0, 2, 0.0)
    assert (found[1]["named"], found[1]["others_named"]) == (1, 2)  # the two that were in the collection before
    assert 0 < found[1]["in_first_tens_of_others"] < 1


def test_the_picture_is_that_of_the_report(poisoned: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.png"):
        done = CliRunner().invoke(app, ["audit", str(poisoned), "--plot", str(tmp_path / name)])
        assert done.exit_code == 0, done.output
    picture = (tmp_path / "a.svg").read_text()
    for words in ("Gap to the positive", "How often documents are found", "queries that find a document", ">dense<"):
        assert words in picture
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    assert CliRunner().invoke(app, ["audit", str(poisoned), "--plot", str(tmp_path / "c.pdf")]).exit_code == 2


def test_the_report_tells_of_them(poisoned: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    page = hnmine.report(poisoned, tmp_path / "page.html").read_text("utf-8")
    documents = page.partition('id="documents"')[2].partition("</section>")[0]
    assert "Hubs: 2" in documents
    assert all(f"<code>{name}</code>" in documents for name in HUBS)
    assert "9 documents in 1 group" in documents
