"""What `export --instruction` and `--document-instruction` put into training files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import UsageError
from hnmine.files.collection import Collection
from hnmine.stages.formats import FORMATS
from hnmine.stages.formats.base import Documents, Queries
from hnmine.stages.prompts import Prompts

TASKS = {"q0": "find an even number: ", "q1": "find an odd number: ", "q2": None, "q3": " "}
"""A blank one is none."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve questions about numbers, two of them with a task of their own, and two negatives for each."""
    place = tmp_path_factory.mktemp("prompts")
    (place / "data/qrels").mkdir(parents=True)
    queries: list[dict[str, Any]] = [{"_id": f"q{n}", "text": f"what is number {n}"} for n in range(12)]
    for query, task in zip(queries, TASKS.values(), strict=False):
        query |= {"task": task, "place": 3}
    documents = [
        {"_id": f"d{n}", "title": "numbers" if n % 2 else "", "text": f"number {n} is {'odd' if n % 2 else 'even'}"}
        for n in range(12)
    ]
    for name, records in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (place / f"data/{name}.jsonl").write_text(lines, encoding="utf-8")
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(12))
    (place / "data/qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    hnmine.ingest(place / "data", place / "collection")
    hnmine.index_bm25(place / "collection", place / "indexes/bm25")
    hnmine.mine(place, place / "candidates")
    hnmine.filter(place, place / "decisions", options=hnmine.FilterOptions(num_negatives=2, no_margin=True))
    return place


def exported(work: Path, name: str, **options: Any) -> tuple[pa.Table, list[str]]:
    """The training file, and the query id of each of its rows."""
    hnmine.export(work, work / f"{name}.parquet", options=hnmine.ExportOptions(**options))
    found, ids = (pq.read_table(work / f"{name}{end}.parquet") for end in ("", ".ids"))
    return found, ids["query_id"].to_pylist()


def test_a_text_stands_before_every_query_and_another_before_every_document(work: Path) -> None:
    plain, _ = exported(work, "plain")
    found, _ = exported(work, "both", instruction="query: ", document_instruction="passage: ")
    assert found["anchor"].to_pylist() == [f"query: {text}" for text in plain["anchor"].to_pylist()]
    for name in ("positive", "negative"):
        assert found[name].to_pylist() == [f"passage: {text}" for text in plain[name].to_pylist()]


def test_a_column_gives_each_query_its_own(work: Path) -> None:
    plain, ids = exported(work, "plain")
    found, _ = exported(work, "column", instruction="query.task")
    wanted = [
        (TASKS.get(query) or "").lstrip() + text for query, text in zip(ids, plain["anchor"].to_pylist(), strict=True)
    ]
    assert found["anchor"].to_pylist() == wanted
    assert {TASKS["q0"], TASKS["q1"]} <= {text[: -len("what is number 0")] for text in wanted}
    assert found.drop_columns(["anchor"]).equals(plain.drop_columns(["anchor"]))


def test_a_field_takes_the_instruction_and_leaves_the_query_as_it_is(work: Path) -> None:
    collection = Collection.open(work / "collection")
    rows = collection.query_ids.to_pylist()
    prompts = Prompts(collection, "query.task", None, in_field=True)
    queries = Queries(collection, pc.index_in(pa.array(["q1", "q2", "q3", "q1"]), pa.array(rows)).to_numpy(), prompts)
    assert queries.instructions.to_pylist() == [TASKS["q1"], None, None, TASKS["q1"]]
    assert queries.texts.to_pylist() == ["what is number 1", "what is number 2", "what is number 3", "what is number 1"]


def test_nothing_stands_before_what_nobody_asked_for(work: Path) -> None:
    collection = Collection.open(work / "collection")
    queries = Queries(collection, pc.index_in(pa.array(["q0"]), collection.query_ids).to_numpy(), Prompts(collection))
    assert queries.instructions is None


def test_titles_that_stand_apart_come_behind_the_prompt(work: Path) -> None:
    collection = Collection.open(work / "collection")
    rows = pc.index_in(pa.array(["d1", "d2"]), pa.chunked_array(collection.doc_ids.chunks).combine_chunks()).to_numpy()
    documents = Documents(collection, rows, Prompts(collection, document="passage: "))
    assert documents.titles.to_pylist() == ["passage: numbers", ""]
    assert documents.bodies.to_pylist() == ["number 1 is odd", "passage: number 2 is even"]
    assert documents.texts.to_pylist() == ["passage: numbers number 1 is odd", "passage: number 2 is even"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("flag", "value"), [("instruction", "Frage 7: "), ("document_instruction", "Text 8: ")])
def test_every_format_carries_prompts_or_refuses_them(work: Path, form: str, flag: str, value: str) -> None:
    options = hnmine.ExportOptions(**{"format": form, flag: value})  # type: ignore[arg-type]
    if not FORMATS[options.format].has_texts:
        with pytest.raises(UsageError, match="has ids and no texts"):
            hnmine.export(work, work / f"{form}-{flag}", options=options)
        return
    hnmine.export(work, work / f"{form}-{flag}", options=options)
    files = [file for file in (work / f"{form}-{flag}").rglob("*") if file.is_file() and "ids" not in file.parts]
    written = [str(pq.read_table(f).to_pylist()) if f.suffix == ".parquet" else f.read_text("utf-8") for f in files]
    named = [text for text, file in zip(written, files, strict=True) if file.name not in ("plan.json", "manifest.json")]
    assert any(value in text for text in named)


@pytest.mark.parametrize(
    ("value", "message"), [("query.tasks", "did you mean 'task'"), ("query.place", "the column holds int64")]
)
def test_a_column_that_cannot_be_one_is_refused(work: Path, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hnmine.export(work, work / "refused.parquet", options=hnmine.ExportOptions(instruction=value))
