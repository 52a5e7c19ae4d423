"""What the formats of sentence-transformers and PyLate read back, and what they refuse before the trainer does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers.examples import Example
from hnmine.options import Format
from hnmine.stages.formats import FORMATS

TRIPLET = {"anchor": "q", "positive": "p", "negative": "n"}
TUPLE = {"anchor": "q", "positive": "p", "negative_1": "n", "negative_2": "m"}
PAIR = {"query": "q", "document": "d", "label": 1}
LIST = {"query": "q", "documents": ["p", "n"], "labels": [1, 0]}
LATE = {"query": "q", "positive": "p", "negative_1": "n"}


def write(place: Path, rows: Sequence[dict[str, Any]], suffix: str) -> Path:
    place = place.with_suffix(suffix)
    place.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), place)
    else:
        place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return place


def read(form: str, place: Path) -> tuple[list[Example], ProblemLog]:
    problems = ProblemLog()
    return list(FORMATS[Format(form)].examples(place, problems)), problems


def texts(example: Example) -> tuple[str | None, list[str | None], list[str | None]]:
    return example.query, [one.text for one in example.positives], [one.text for one in example.negatives]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_shards_are_read_in_order_with_their_places(tmp_path: Path, suffix: str) -> None:
    for shard in range(2):
        rows = [{**TRIPLET, "anchor": f"q{shard}{row}"} for row in range(2)]
        write(tmp_path / "data" / f"train-0000{shard}", rows, suffix)
        write(tmp_path / "ids" / f"train-0000{shard}", [{"query_id": "x"}], ".parquet")
    found, problems = read("triplet", tmp_path)
    assert not problems
    assert [one.query for one in found] == ["q00", "q01", "q10", "q11"]
    assert found[3].where.endswith(f"data/train-00001{suffix}:2")


def test_scores_go_to_their_texts_and_margins_stay_margins(tmp_path: Path) -> None:
    scored = write(tmp_path / "s", [{**TUPLE, "scores": [3.0, 1.0, 2.0]}], ".parquet")
    [one], problems = read("n-tuple", scored)
    assert not problems
    assert [p.score for p in (*one.positives, *one.negatives)] == [3.0, 1.0, 2.0]
    [one], _ = read(
        "n-tuple", write(tmp_path / "m", [{**TUPLE, "label": [2.0, 1.0], "weights": [1, 1, 0.5]}], ".jsonl")
    )
    assert one.extra == {"margins": [2.0, 1.0], "weights": [1, 1, 0.5]}
    assert [p.score for p in (*one.positives, *one.negatives)] == [None, None, None]
    [one], _ = read("triplet", write(tmp_path / "t", [{**TRIPLET, "label": 0.5}], ".parquet"))
    assert one.extra == {"margins": [0.5]}


def test_labels_tell_positives_and_scores_do_not(tmp_path: Path) -> None:
    rows = [PAIR, {**PAIR, "label": 0}, {**PAIR, "label": 0.7}]
    found, _ = read("labeled-pair", write(tmp_path / "p", rows, ".jsonl"))
    assert [texts(one) for one in found] == [("q", ["d"], []), ("q", [], ["d"]), ("q", ["d"], [])]
    assert found[2].extra == {"label": 0.7}
    [one], _ = read("labeled-pair", write(tmp_path / "s", [{"query": "q", "document": "d", "score": 7.5}], ".parquet"))
    assert texts(one) == ("q", [], [])
    assert (one.extra["document"].text, one.extra["document"].score) == ("d", 7.5)


def test_lists_may_be_ragged_and_graded(tmp_path: Path) -> None:
    rows = [{**LIST, "labels": [0, 1]}, {"query": "q", "documents": ["a", "b", "c"], "labels": [2, 0, 1]}]
    found, problems = read("labeled-list", write(tmp_path / "l", rows, ".parquet"))
    assert not problems
    assert [texts(one) for one in found] == [("q", ["n"], ["p"]), ("q", ["a", "c"], ["b"])]
    assert found[1].extra == {"labels": [2.0, 0.0, 1.0]}
    scored = [{"query": "q", "documents": ["p", "n"], "scores": [0.2, 0.9]}]
    [one], _ = read("labeled-list", write(tmp_path / "s", scored, ".parquet"))
    assert [(p.text, p.score) for p in (*one.positives, *one.negatives)] == [("p", 0.2), ("n", 0.9)]


COLUMNS = [
    ("triplet", {"query_id": "1", **TRIPLET}, "query_id: the trainer takes ids for texts"),
    ("triplet", {**TRIPLET, "doc_ids": "1"}, "doc_ids: the trainer takes ids for texts"),
    ("triplet", {**TRIPLET, "source": "bm25"}, r"4 columns of texts \(anchor, positive, negative, source\) where 3"),
    ("triplet", {"anchor": "q", "positive": "p"}, "2 columns of texts"),
    ("triplet", {"positive": "p", "anchor": "q", "negative": "n"}, "positive is column 1 of the texts"),
    ("triplet", {**TRIPLET, "label": 1.0, "scores": [1.0, 0.0]}, "scores beside label: only one is the label"),
    ("triplet", {**TRIPLET, "dataset_name": "x"}, "dataset_name is a word of the trainer's own"),
    ("n-tuple", {**TUPLE, "source": "bm25"}, "negative_1, negative_2, source: not one kind of text"),
    ("n-tuple", {"anchor": "q", "positive": "p"}, "2 columns of texts .* where 3 or more are read"),
    ("labeled-pair", {"query": "q", "document": "d"}, "no column of labels"),
    ("labeled-pair", {"document": "d", "query": "q", "label": 1}, "query is column 2 of the texts"),
    ("labeled-pair", {**PAIR, "query_id": "1"}, "query_id: the trainer takes ids for texts"),
    ("labeled-list", {**LIST, "scores": [1.0, 0.0]}, "scores beside labels"),
    ("pylate", {"question": "q", "positive": "p", "negative": "n"}, "question: the trainer takes it for a document"),
    (
        "pylate",
        {"query": "q", "positive": "p", "negative_query": "n"},
        "negative_query: the trainer takes it for a query",
    ),
    ("pylate", {**LATE, "labels": [1.0, 0.0]}, "not one kind of text"),
]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize(("form", "row", "message"), COLUMNS)
def test_columns_that_the_trainer_would_misread(
    tmp_path: Path, form: str, row: dict[str, Any], message: str, suffix: str
) -> None:
    place = write(tmp_path / "file", [row], suffix)
    with pytest.raises(InputError, match=message) as refused:
        read(form, place)
    assert str(place) in str(refused.value)


ROWS = [
    ("triplet", TRIPLET, {"negative": None}, "not a text", "negative: None"),
    ("n-tuple", {**TUPLE, "scores": [1.0, 2.0, 3.0]}, {"scores": [1.0, 2.0]}, "labels of different lengths", "2;"),
    ("n-tuple", {**TUPLE, "scores": [1.0, 2.0, 3.0]}, {"scores": [1.0] * 4}, "labels of another length", "4 scores"),
    ("n-tuple", {**TUPLE, "scores": [1.0, 2.0, 3.0]}, {"scores": [1.0, None, 2.0]}, "not a finite number", "None"),
    ("labeled-pair", PAIR, {"label": None}, "not a finite number", "label: None"),
    ("labeled-list", LIST, {"labels": [1]}, "labels of another length", "1 labels for 2 documents"),
    ("labeled-list", LIST, {"documents": [], "labels": []}, "not a list of texts", r"\[\]"),
    ("pylate", LATE, {"positive": None}, "not a text", "positive: None"),
]
"""(format, good row, what is broken, kind, value)."""


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize(("form", "row", "broken", "kind", "value"), ROWS)
def test_rows_that_the_trainer_would_refuse_are_left_out(
    tmp_path: Path, form: str, row: dict[str, Any], broken: dict[str, Any], kind: str, value: str, suffix: str
) -> None:
    place = write(tmp_path / "file", [row, {**row, **broken}, row], suffix)
    found, problems = read(form, place)
    assert [one.where for one in found] == [f"{place}:1", f"{place}:3"]
    assert problems.counts == {kind: 1}
    [problem] = problems.first[kind]
    assert problem.where == f"{place}:2"
    assert value.replace("\\", "") in problem.value


@pytest.mark.parametrize(
    ("form", "row", "kind"),
    [
        ("triplet", {**TRIPLET, "negative": 3}, "not a text"),
        ("triplet", {**TRIPLET, "negative": ["n"]}, "not a text"),
        ("triplet", {"anchor": "q", "positive": "p"}, "not a text"),
        ("triplet", {**TRIPLET, "rank": "1"}, "unknown column"),
        ("labeled-list", {**LIST, "documents": "p"}, "not a list of texts"),
        ("labeled-list", {**LIST, "labels": 1}, "not a list of numbers"),
        ("labeled-pair", {**PAIR, "label": 10**400}, "not a finite number"),
        ("labeled-pair", {**PAIR, "label": "1"}, "not a finite number"),
    ],
)
def test_values_that_only_json_can_mix(tmp_path: Path, form: str, row: dict[str, Any], kind: str) -> None:
    good = {"triplet": TRIPLET, "labeled-list": LIST, "labeled-pair": PAIR}[form]
    place = write(tmp_path / "file", [*[good] * 100, row], ".jsonl")
    found, problems = read(form, place)
    assert len(found) == 100
    assert problems.counts == {kind: 1}
    assert problems.first[kind][0].where == f"{place}:101"


def directory(folder: Path, rows: Sequence[dict[str, Any]], documents: Sequence[dict[str, Any]] | None = None) -> Path:
    write(folder / "train", rows, ".parquet")
    write(folder / "queries", [{"query_id": "q1", "text": "one"}, {"query_id": "q2", "text": "two"}], ".parquet")
    known = documents or [{"document_id": f"d{number}", "text": f"text {number}"} for number in range(4)]
    write(folder / "documents", known, ".parquet")
    return folder


BY_ID = {"query_id": "q1", "document_ids": ["d0", "d1", "d2"], "scores": [3.0, 2.0, 1.0]}


@pytest.mark.parametrize("form", ["ids", "pylate-kd"])
def test_ids_are_joined_with_their_texts(tmp_path: Path, form: str) -> None:
    written_as_text = {**BY_ID, "document_ids": "['d3', 'd1', 'd0']", "scores": "[1, 0.5, 0]", "query_id": "q2"}
    folder = directory(tmp_path, [BY_ID])
    write(folder / "train" / "two", [written_as_text], ".jsonl")  # a folder of the part comes before the file
    [one], problems = read(form, folder)
    assert not problems
    assert texts(one) == ("two", ["text 3"], ["text 1", "text 0"])
    assert [(p.doc_id, p.score) for p in (*one.positives, *one.negatives)] == [("d3", 1.0), ("d1", 0.5), ("d0", 0.0)]
    [one], _ = read(form, folder / "train.parquet")
    assert (one.query_id, texts(one)) == ("q1", ("one", ["text 0"], ["text 1", "text 2"]))


@pytest.mark.parametrize("form", ["ids", "pylate-kd"])
@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ({"query_id": "q9"}, "unknown id"),
        ({"document_ids": ["d0", "d9", "d1"]}, "unknown id"),
        ({"document_ids": ["d0", "d1"], "scores": [1.0, 0.0]}, "rows of different lengths"),
        ({"scores": [1.0]}, "labels of another length"),
        ({"scores": [1.0, 2.0, None]}, "not a finite number"),
        ({"document_ids": ["d0"]}, "no list of ids"),
    ],
)
def test_rows_of_ids_that_break_the_join(tmp_path: Path, form: str, broken: dict[str, Any], kind: str) -> None:
    folder = directory(tmp_path, [BY_ID, {**BY_ID, **broken}, BY_ID])
    found, problems = read(form, folder)
    assert len(found) == 2
    assert problems.counts == {kind: 1}
    assert problems.first[kind][0].where == f"{folder}/train.parquet:2"


def test_margins_and_missing_scores_are_for_ids_alone(tmp_path: Path) -> None:
    margins = directory(tmp_path / "m", [{**BY_ID, "scores": [1.0, 2.0]}])
    [one], problems = read("ids", margins)
    assert (one.extra, bool(problems)) == ({"margins": [1.0, 2.0]}, False)
    assert read("pylate-kd", margins)[1].counts == {"labels of another length": 1}
    labels = directory(tmp_path / "l", [{"query_id": "q1", "document_ids": ["d1", "d0"], "labels": [0, 1]}])
    [one], _ = read("ids", labels)
    assert texts(one) == ("one", ["text 0"], ["text 1"])
    assert read("pylate-kd", labels)[1].counts == {"no scores": 1}


def test_lookups_that_the_trainer_would_misread(tmp_path: Path) -> None:
    twice = [{"document_id": one, "text": text} for one, text in (("d0", "a"), ("d1", "b"), ("d2", "c"), ("d0", "z"))]
    _, problems = read("ids", directory(tmp_path / "twice", [BY_ID], twice))
    assert problems.counts == {"repeated id": 1}
    titled = [{"document_id": f"d{number}", "title": "t", "text": "x"} for number in range(3)]
    with pytest.raises(InputError, match="columns document_id, title, text"):
        read("ids", directory(tmp_path / "titled", [BY_ID], titled))
    assert len(read("pylate-kd", tmp_path / "titled")[0]) == 1, "PyLate reads its two columns by name"
    named = [{"id": f"d{number}", "body": "x"} for number in range(3)]
    assert len(read("ids", directory(tmp_path / "named", [BY_ID], named))[0]) == 1
    with pytest.raises(InputError, match="no column document_id, text"):
        read("pylate-kd", tmp_path / "named")
    numbers = [{"document_id": number, "text": "x"} for number in range(3)]
    _, problems = read("ids", directory(tmp_path / "numbers", [BY_ID], numbers))
    assert problems.counts == {"unknown id": 1}, "1 is not '1'"
    (tmp_path / "named" / "documents.parquet").unlink()
    with pytest.raises(InputError, match=r"no documents\.parquet"):
        read("ids", tmp_path / "named")
