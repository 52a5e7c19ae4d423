"""Every training format: exported, imported, and exported again, it says the same."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import ProblemLog
from hnmine.files.encodings import Parquet
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.margins import Margins
from hnmine.hashing import keyed_hash
from hnmine.options import Format
from hnmine.stages.formats import FORMATS
from hnmine.stages.formats.base import TrainingFormat
from tests.stages.test_importing import table, write

OF_A_RUN = {"rank", "sources", "step", "decisions"}
"""What a format tells of how a row came in: another run tells its own."""
WORDS = ["man", "eating", "food", "bread", "girl", "carries", "baby", "horse", "rides", "one", "two", "three"]
READ = [name for name, form in FORMATS.items() if type(form).examples is not TrainingFormat.examples]


@pytest.fixture(scope="module", autouse=True)
def _as_it_comes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HNMINE_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten queries with one to three positives and four negatives each, mined; with titles, answers and grades.

    Some documents are a title alone, and some titles are white space.
    """
    place, draw = tmp_path_factory.mktemp("formats"), random.Random(3)
    documents = [
        {"_id": f"d{n}", "title": ("a title", "", " ")[n % 3], "text": f"{' '.join(draw.sample(WORDS, 4))} {n}"}
        for n in range(40)
    ]
    for document in documents[::6]:
        document |= {"title": document["text"], "text": ""}
    queries = [
        {"_id": f"q{n}", "text": f"{' '.join(draw.sample(WORDS, 3))} {n}", "answers": ["bread", f"{n}"], "task": "find"}
        for n in range(10)
    ]
    write(place / "data" / "corpus.jsonl", documents)
    write(place / "data" / "queries.jsonl", queries)
    judged = [f"q{n}\td{3 * n + i}\t{1 + (n + i) % 2}\n" for n in range(10) for i in range(1 + n % 3)]
    judged += [f"q{n}\td{39 - n}\t{-(n % 4)}\n" for n in range(0, 10, 2)]
    (place / "data" / "qrels").mkdir()
    (place / "data" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    path = place / "run"
    options = hnmine.RunOptions(
        dense=None,
        bm25=hnmine.Bm25Options(language="none"),
        mine=hnmine.MineOptions(top_k=20, random=6),
        filter=hnmine.FilterOptions(num_negatives=4, no_margin=True, short="random"),
    )
    hnmine.run(place / "data", path, options=options)
    return path


def exported(run: Path, folder: Path, form: Format) -> Path:
    """The run in a format, with all that the format has a place for, and nothing of hnmine's beside it."""
    found = FORMATS[form]
    place = folder if found.beside else folder / f"train{found.encoding.suffixes[0]}"
    has_prompt = getattr(found, "has_instruction", False)
    options = hnmine.ExportOptions(
        format=form,
        scores=getattr(found, "takes_scores", True),
        instruction="query.task" if has_prompt and run.name == "run" else "query.instruction" if has_prompt else None,
    )
    hnmine.export(run, place, options=options)
    for beside in folder.rglob("*.ids.parquet"):
        beside.unlink()
    for beside in folder.glob("ids/*"):
        beside.unlink()
    return place


def read(form: Format, place: Path) -> list[Example]:
    problems = ProblemLog()
    found = list(FORMATS[form].examples(place, problems))
    assert not problems, problems.render()
    return found


def said(examples: list[Example]) -> list[str]:
    """What the examples say, in an order of its own; their places, and what is of a run, left out."""

    def plain(passage: Passage) -> dict[str, Any]:
        extra = {name: value for name, value in passage.extra.items() if name not in OF_A_RUN}
        score = None if passage.score is None else round(passage.score, 5)
        return {"text": passage.text, "id": passage.doc_id, "title": passage.title, "score": score, **extra}

    found = []
    for one in examples:
        extra = {name: plain(value) if name == "document" else value for name, value in one.extra.items()}
        for name in ("margin", "margins"):
            if name in extra:
                extra[name] = [round(margin, 4) for margin in ([extra[name]] if name == "margin" else extra[name])]
        row = {
            "query": [one.query_id, one.query, one.instruction],
            "positives": sorted(map(plain, one.positives), key=str),
            "negatives": list(map(plain, one.negatives)),
            "extra": {name: value for name, value in extra.items() if name not in OF_A_RUN},
        }
        found.append(json.dumps(row, sort_keys=True))
    return sorted(found)


@pytest.mark.parametrize("form", READ)
def test_export_import_export_gives_back_every_field(run: Path, form: Format, tmp_path: Path) -> None:
    first = exported(run, tmp_path / "first", form)
    examples = read(form, first)
    has_texts = all(one.text is not None for example in examples for one in (*example.positives, *example.negatives))
    beside = {} if has_texts else {"corpus": str(run), "queries": str(run)}
    given = hnmine.ImportOptions(format=form, score_scale="bm25", **beside)  # type: ignore[arg-type]
    if form is Format.LABELED_PAIR:
        with pytest.raises(hnmine.InputError, match="a score that does not tell positives from negatives"):
            hnmine.import_training(first, tmp_path / "x", options=given)
        return
    done = dict(hnmine.import_training(first, tmp_path / "x", options=given))
    assert not done["filter"].counts["verdicts"].get("dropped")
    again = read(form, exported(tmp_path / "x", tmp_path / "again", form))
    assert said(again) == said(examples)


def test_labeled_pairs_come_back_by_their_labels_and_by_the_ids_beside_scores(run: Path, tmp_path: Path) -> None:
    form = Format.LABELED_PAIR
    place = tmp_path / "pairs.parquet"
    hnmine.export(run, place, options=hnmine.ExportOptions(format=form))
    place.with_name("pairs.ids.parquet").unlink()
    hnmine.import_training(place, tmp_path / "x", options=hnmine.ImportOptions(format=form))
    hnmine.export(tmp_path / "x", tmp_path / "again.parquet", options=hnmine.ExportOptions(format=form))
    assert said(read(form, tmp_path / "again.parquet")) == said(read(form, place))
    place = tmp_path / "scored.parquet"
    hnmine.export(run, place, options=hnmine.ExportOptions(format=form, scores=True))
    hnmine.import_training(place, tmp_path / "y", options=hnmine.ImportOptions(format=form))
    picked = [
        {(r["query_id"], r["doc_id"], r["verdict"]) for r in table(path / "decisions")}
        for path in (run, tmp_path / "y")
    ]
    assert picked[1] == {row for row in picked[0] if row[2] in ("positive", "negative")}


def test_margins_are_scores_up_to_a_constant() -> None:
    truth = {"p1": 7.0, "p2": 4.5, "n1": 1.0, "n2": -2.0, "n3": 6.0}
    margins = Margins()
    assert not margins
    edges = [(p, n) for p in ("p1", "p2") for n in ("n1", "n2", "n3")]
    random.Random(5).shuffle(edges)
    for positive, negative in edges:
        margins.add("q", positive, negative, truth[positive] - truth[negative])
        margins.add("r", positive, negative, 1.0)
    assert margins
    found = {name: margins.score(keyed_hash(0, "q", name)) for name in truth}
    zero = next(name for name, score in found.items() if score == 0.0)
    assert zero in ("p1", "p2")
    assert found == pytest.approx({name: score - truth[zero] for name, score in truth.items()})
    assert margins.score(keyed_hash(0, "q", "other")) is None
    assert margins.score(keyed_hash(0, "r", "n1")) == -1.0


def broken(form: Format, place: Path) -> Path:
    """The file of rows, spoilt: a line that is none, or a Parquet column of nulls."""
    found = FORMATS[form]
    file = place / found.name if found.beside else place
    if isinstance(found.encoding, Parquet):
        rows = pq.read_table(file)
        pq.write_table(rows.set_column(0, rows.schema.field(0), pa.nulls(len(rows), rows.schema.field(0).type)), file)
    else:
        lines = file.read_text(encoding="utf-8").split("\n")
        lines[1] = "{"
        file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize("form", READ)
def test_audit_takes_the_file_and_refuses_it_spoilt(run: Path, form: Format, tmp_path: Path) -> None:
    place = exported(run, tmp_path / "first", form)
    options = hnmine.AuditOptions(format=form)
    report = hnmine.audit(place, options=options)
    assert report["queries"] == 10
    has_sides = form is not Format.LABELED_PAIR  # of scores alone
    assert (report["positives"] > 0, report["negatives"] > 0) == (has_sides, has_sides)
    assert {kind for kind, count in report["problems"].items() if count} <= {"non-finite-score", "too-few-negatives"}
    file = broken(form, place)
    with pytest.raises(hnmine.InputError) as caught:
        hnmine.audit(place, options=options)
    assert caught.value.exit_code == 3
    assert str(file) in caught.value.render()


@pytest.mark.parametrize(
    ("given", "written"),
    [(["symmetric_sts"] * 2, ["symmetric_sts"] * 2), (["my own"] * 2, [None] * 2), ([None] * 2, [None] * 2)],
)
def test_the_task_of_an_imported_file_is_kept(
    given: list[str | None], written: list[str | None], tmp_path: Path
) -> None:
    rows = [{"query": f"q{i}", "pos": [f"p{i}"], "neg": [f"n{i}"], "type": kind} for i, kind in enumerate(given)]
    lines = [json.dumps({key: value for key, value in row.items() if value is not None}) for row in rows]
    (tmp_path / "old.jsonl").write_text("\n".join(lines) + "\n")
    options = hnmine.ImportOptions(format=hnmine.Format.FLAGEMBEDDING)
    hnmine.import_training(tmp_path / "old.jsonl", tmp_path / "run", options=options)
    form = hnmine.ExportOptions(format=hnmine.Format.FLAGEMBEDDING)
    hnmine.export(tmp_path / "run", tmp_path / "new.jsonl", options=form)
    found = [json.loads(line).get("type") for line in (tmp_path / "new.jsonl").read_text().splitlines()]
    assert found == written
