"""Every table of docs/formats.md has the columns, types and nulls of the Parquet files that the stages write."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markdown_blocks import table

import hnmine

NAMES = ("bm25", "tiny", "judge")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path, tiny_cross_encoder: Path) -> Path:
    """A run with everything: two indexes, random documents, a reranker, grades, and short queries."""
    place = tmp_path_factory.mktemp("formats")
    data = place / "data"
    (data / "qrels").mkdir(parents=True)
    texts = [
        "a man is eating food",
        "a man is eating a piece of bread",
        "the girl carries a baby",
        "a man rides a horse",
    ]
    texts += [f"{text} {word}" for text in texts for word in ("one", "two", "three")]
    documents = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]
    queries = [{"_id": f"q{i}", "text": text.replace("a ", "")} for i, text in enumerate(texts[:4])]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    grades = [("q0", "d0", 2), ("q0", "d4", 1), ("q0", "d1", 0), ("q1", "d1", 1), ("q2", "d2", 1), ("q3", "d3", 1)]
    lines = "".join(f"{q}\t{d}\t{grade}\n" for q, d, grade in grades)
    (data / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines, encoding="utf-8")
    hnmine.ingest(data, place / "collection")
    hnmine.index_bm25(place, place / "indexes/bm25")
    hnmine.index_dense(place, place / "indexes/tiny", options=hnmine.DenseOptions(model=str(tiny_encoder)))
    hnmine.mine(place, place / "candidates", options=hnmine.MineOptions(top_k=6, random=2, clusters=3))
    hnmine.score(
        place,
        place / "candidates",
        place / "scored",
        options=hnmine.ScoreOptions(reranker=str(tiny_cross_encoder), name="judge"),
    )
    hnmine.filter(place, place / "decisions", options=hnmine.FilterOptions(num_negatives=2, no_margin=True))
    for form in ("triplet", "n-tuple", "labeled-pair", "labeled-list"):
        hnmine.export(place, place / f"{form}.parquet", options=hnmine.ExportOptions(format=form))
    return place


def documented(heading: str) -> list[list[str]]:
    """(column, type, null) of a table of the page, NAME spelled out for every name; columns stripped of backticks."""
    return [[column.strip("`"), kind, null] for column, kind, null, _ in table("docs/formats.md", f"Table `{heading}`")]


def spell_out(rows: list[list[str]], schema: pa.Schema) -> list[list[str]]:
    """The rows with a row per real column for `rank_NAME`, `score_NAME`, ...: as they come in the schema."""
    wanted: list[list[str]] = []
    for column, kind, null in rows:
        stem = column.removesuffix("NAME")
        names = [stem + name for name in NAMES if stem + name in schema.names] if stem != column else [column]
        wanted += [[name, kind, null] for name in names]
    return wanted


def check(rows: list[list[str]], found: pa.Table) -> None:
    wanted = spell_out(rows, found.schema)
    assert [(name, kind) for name, kind, _ in wanted] == [(f.name, str(f.type)) for f in found.schema]
    for name, _, null in wanted:
        if null == "no":
            assert found[name].null_count == 0, name


@pytest.mark.parametrize("name", ["collection/documents", "collection/queries", "collection/qrels"])
def test_collection(work: Path, name: str) -> None:
    check(documented(name), pq.read_table(work / name))


def test_generated(work: Path, tmp_path: Path) -> None:
    hnmine.generate(work, tmp_path, options=hnmine.GenerateOptions(language="english"))
    check(documented("generated"), pq.read_table(sorted((tmp_path / "generated").glob("*.parquet"))))
    documents = pq.read_table(tmp_path / "collection" / "documents")
    assert {"written_by", "written_from"} < set(documents.schema.names)
    assert pq.read_schema(next((tmp_path / "collection" / "curated").glob("*"))).names == ["query_id", "doc_id"]


def test_candidates(work: Path) -> None:
    found = pq.read_table(sorted((work / "candidates").glob("*.parquet")))
    check(documented("candidates"), found)
    assert found["relevance"].null_count > 0
    assert found["rank_bm25"].null_count > 0
    assert found["sim_positive_tiny"].null_count > 0


def test_scored_and_decisions_add_their_columns_at_the_end(work: Path) -> None:
    candidates = documented("candidates")
    scored = [*candidates, *documented("scored")]
    found = pq.read_table(sorted((work / "scored").glob("*.parquet")))
    # score_NAME of the indexes comes in the middle, the reranker's at the end
    names = [f.name for f in found.schema]
    assert names[-1] == "score_judge"
    check(candidates, found.drop_columns(["score_judge"]))
    assert (scored[-1][0], scored[-1][1]) == ("score_NAME", str(found.schema.field("score_judge").type))
    decided = pq.read_table(sorted((work / "decisions").glob("*.parquet")))
    added = documented("decisions")
    assert decided.schema.names == [*names, *(row[0] for row in added)]
    check(added, decided.select([row[0] for row in added]))
    assert decided["pick_rank"].null_count > 0


@pytest.mark.parametrize("form", ["triplet", "labeled-pair", "labeled-list"])
def test_training_files(work: Path, form: str) -> None:
    check(documented(form), pq.read_table(work / f"{form}.parquet"))


def test_weights(work: Path, tmp_path: Path) -> None:
    for form, column, kind, _ in table("docs/formats.md", "Weights"):
        name = form.strip("`")
        hnmine.export(work, tmp_path / f"{name}.parquet", options=hnmine.ExportOptions(format=name, weight=True))
        found = pq.read_table(tmp_path / f"{name}.parquet")
        assert (found.schema[-1].name, str(found.schema[-1].type)) == (column.strip("`"), kind)
        assert found.drop_columns([found.schema[-1].name]).equals(pq.read_table(work / f"{name}.parquet"))
    assert len(table("docs/formats.md", "Weights")) == 4


def test_n_tuple(work: Path) -> None:
    rows = documented("n-tuple")
    many = rows.pop()
    assert many[0] == "negative_1`, ..."
    check([*rows, *([f"negative_{i}", *many[1:]] for i in (1, 2))], pq.read_table(work / "n-tuple.parquet"))


@pytest.mark.parametrize("form", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
def test_siblings(work: Path, form: str) -> None:
    found = pq.read_table(work / f"{form}.ids.parquet")
    check(documented("ids"), found)
    assert found.num_rows == pq.read_metadata(work / f"{form}.parquet").num_rows


def test_batches(work: Path, tmp_path: Path) -> None:
    options = hnmine.ExportOptions(format="n-tuple", batch_plan="cluster", batch_size=2)
    hnmine.export(work, tmp_path / "rows.parquet", options=options)
    check(documented("collisions"), pq.read_table(tmp_path / "rows.collisions.parquet"))
    ids = documented("ids")
    check([*ids[:2], ["batch_id", "int32", "no"], *ids[2:]], pq.read_table(tmp_path / "rows.ids.parquet"))


def test_mixed(work: Path, tmp_path: Path) -> None:
    """The run of this page was scored: the index is found through the scores."""
    hnmine.export(work, tmp_path / "train.parquet", options=hnmine.ExportOptions(mixed=2))
    found = pq.read_table(tmp_path / "train.mixed.parquet")
    check(documented("mixed"), found)
    assert found.num_rows == pq.read_metadata(tmp_path / "train.parquet").num_rows


def test_keys_of_plans_and_manifests_are_on_their_page(work: Path) -> None:
    text = (Path(__file__).parents[2] / "docs/artefacts.md").read_text(encoding="utf-8")
    sections = {
        name: text.split(f"\n## `{name}`\n")[1].split("\n## ")[0] for name in ("plan.json", "manifest.json", "run.json")
    }
    files = [path for name in sections for path in work.rglob(name)]
    assert len(files) > 20
    for file in files:
        for key in json.loads(file.read_text(encoding="utf-8")):
            assert f"`{key}`" in sections[file.name], f"{key} of {file.relative_to(work)}"
