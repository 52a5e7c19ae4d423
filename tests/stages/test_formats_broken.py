"""A file with one broken line among good ones: the reader names the line, and gives the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.errors import InputError, ProblemLog
from hnmine.options import Format
from hnmine.stages.formats import FORMATS

ROWS = 3
BROKEN = 1
"""Which of the rows is broken, from 0."""


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def document(number: int) -> dict[str, Any]:
    return {"doc_id": f"d{number}", "text": f"text {number}", "score": 0.5}


def turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def json_row(form: Format, number: int) -> dict[str, Any]:
    """A good row of a format of JSON rows."""
    positive, negative = f"text {number}", f"text {number + 5}"
    if form is Format.JSONL:
        known = {"positives": [document(number)], "negatives": [document(number + 5)]}
        return {"query_id": f"q{number}", "query": f"query {number}", **known}
    if form is Format.DPR:
        contexts = {"positive_ctxs": [{"title": "", "text": positive}], "hard_negative_ctxs": [{"text": negative}]}
        return {"question": f"query {number}", "answers": [], **contexts, "negative_ctxs": []}
    if form is Format.NEMO:
        ids = {"pos_doc": [{"id": f"d{number}"}], "neg_doc": [{"id": f"d{number + 5}"}]}
        return {"question_id": f"q{number}", "question": f"query {number}", "corpus_id": "corpus", **ids}
    role = "user" if form is Format.MS_SWIFT else "assistant"
    sides = {"positive_messages": [turn(role, positive)], "negative_messages": [turn(role, negative)]}
    return {"messages": turn("user", f"query {number}"), **sides}


def write_json_format(form: Format, folder: Path, broken: Any) -> tuple[Path, str]:
    """A file of three rows, of which the second is `broken`; and where that row stands."""
    rows = [json_row(form, number) for number in range(ROWS)]
    rows[BROKEN] = broken
    shown = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    if form is Format.NEMO:
        (folder / "corpus").mkdir()
        documents = {"id": [f"d{n}" for n in range(9)], "text": [f"text {n}" for n in range(9)]}
        pq.write_table(pa.table(documents), folder / "corpus/train.parquet")
        about = {"class": "TextQADataset", "corpus_id": "corpus"}
        (folder / "corpus/merlin_metadata.json").write_text(json.dumps(about), encoding="utf-8")
        head, file = '{"corpus": [{"path": "corpus"}], "data": [\n', folder / "train.json"
        file.write_text(head + ",\n".join(shown) + "\n]}\n", encoding="utf-8")
        return folder, f"{file}:3"
    file = folder / f"{form}{FORMATS[form].encoding.suffixes[0]}"
    if form is Format.DPR:
        file.write_text("[\n" + ",\n".join(shown) + "\n]\n", encoding="utf-8")
        return file, f"{file}:3"
    file.write_text("\n".join(shown) + "\n", encoding="utf-8")
    return file, f"{file}:2"


def changed(**values: Any) -> Callable[[dict[str, Any]], Any]:
    """The row with other values; None takes a key away."""

    def change(row: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in {**row, **values}.items() if value is not None}

    return change


USER, ASSISTANT = turn("user", "a text"), turn("assistant", "a text")
JSON_ROWS: list[tuple[Format, Callable[[dict[str, Any]], Any], str]] = [
    *[(form, lambda row: json.dumps(row)[:-1], "broken JSON") for form in (Format.JSONL, Format.MS_SWIFT)],
    *[(form, lambda row: '["a list"]', "not a JSON object") for form in (Format.JSONL, Format.MS_SWIFT_RERANKER)],
    *[(form, lambda row: '["a list"]', "not an object") for form in (Format.DPR, Format.NEMO)],
    (Format.JSONL, changed(query_id=7), "id not a string"),
    (Format.JSONL, changed(query=None), "no query"),
    (Format.JSONL, changed(query=" "), "empty text"),
    (Format.JSONL, changed(positives=[]), "no document in positives"),
    (Format.JSONL, changed(negatives=[]), "no document in negatives"),
    (Format.JSONL, changed(negatives=[{"text": "no id"}]), "no doc_id"),
    (Format.JSONL, changed(negatives=[{**document(8), "score": "0.5"}]), "score not a finite number"),
    (Format.JSONL, changed(negatives=[{**document(8), "score": 10**400}]), "score not a finite number"),
    (Format.JSONL, changed(positives=[{**document(1), "relevance": 2**31}]), "grade out of range"),
    (Format.JSONL, changed(positives=[{**document(1), "title": 7}]), "not a text"),
    (Format.JSONL, changed(positives=[{**document(1), "title": " ", "text": ""}]), "empty text"),
    (Format.JSONL, lambda row: json.dumps(row).replace("0.5", "NaN"), "broken JSON"),
    (Format.DPR, changed(question=None), "no question"),
    (Format.DPR, changed(positive_ctxs=[]), "no document in positive_ctxs"),
    (Format.DPR, changed(positive_ctxs={"text": "one"}), "not a list"),
    (Format.DPR, changed(positive_ctxs=["a text"]), "not an object"),
    (Format.DPR, changed(hard_negative_ctxs=[{"title": "a title alone"}]), "no text"),
    (Format.DPR, changed(hard_negative_ctxs=[{"title": 7, "text": "a text"}]), "not a text"),
    (Format.DPR, changed(answers="one"), "answers not a list of texts"),
    (Format.NEMO, changed(question_id=None), "no question_id"),
    (Format.NEMO, changed(pos_doc=[]), "no document in pos_doc"),
    (Format.NEMO, changed(neg_doc=[]), "no document in neg_doc"),
    (Format.NEMO, changed(corpus_id="another"), "unknown corpus_id"),
    (Format.NEMO, changed(neg_doc=[{"id": "d99"}]), "unknown document"),
    (Format.NEMO, changed(neg_doc=[{"id": "d1", "score": "high"}]), "score not a finite number"),
    (Format.MS_SWIFT, changed(messages=[]), "no document in messages"),
    (Format.MS_SWIFT, changed(messages=ASSISTANT), "not one user's message"),
    (Format.MS_SWIFT, changed(messages=[*USER, *ASSISTANT]), "not one user's message"),
    (Format.MS_SWIFT, changed(positive_messages=[USER, USER]), "more than one positive"),
    (Format.MS_SWIFT, changed(positive_messages=USER), "not one user's message"),
    (Format.MS_SWIFT, changed(negative_messages=[ASSISTANT]), "not one user's message"),
    (Format.MS_SWIFT_RERANKER, changed(negative_messages=[USER]), "not one assistant's message"),
    (Format.MS_SWIFT_RERANKER, changed(positive_messages=None), "no positive_messages"),
    (Format.MS_SWIFT_RERANKER, changed(negative_messages=[turn("assistant", "")]), "empty text"),
]


@pytest.mark.parametrize(("form", "change", "kind"), JSON_ROWS, ids=[f"{form}-{kind}" for form, _, kind in JSON_ROWS])
def test_a_broken_row_is_named_and_left_out(
    form: Format, change: Callable[[dict[str, Any]], Any], kind: str, tmp_path: Path
) -> None:
    place, where = write_json_format(form, tmp_path, change(json_row(form, BROKEN)))
    problems = ProblemLog()
    found = list(FORMATS[form].examples(place, problems))
    told = {name: [problem.where for problem in own] for name, own in problems.first.items()}
    assert len(told) == 1, problems.render()
    assert next(iter(told)).startswith(kind)
    assert next(iter(told.values())) == [where]
    assert [example.query for example in found] == ["query 0", "query 2"]


@pytest.mark.parametrize("form", [Format.DPR, Format.NEMO])
@pytest.mark.parametrize("broken", ['{"question": "not closed"', '{"question": NaN}', "{'question': 1}"])
def test_what_breaks_a_document_ends_it(form: Format, broken: str, tmp_path: Path) -> None:
    place, where = write_json_format(form, tmp_path, broken)
    problems = ProblemLog()
    found = list(FORMATS[form].examples(place, problems))
    assert [example.query for example in found] == ["query 0"]
    (own,) = problems.first["broken JSON"]
    line = int(own.where.rpartition(":")[2]) - int(where.rpartition(":")[2])
    assert line in (0, 1)  # an object that is not closed goes on into the next line


Files = dict[str, str]
GOOD: dict[Format, Files] = {
    Format.MSMARCO: {
        "triples.train.ids.tsv": lines("q0\td0\td5", "q1\td1\td6", "q2\td2\td7"),
        "collection.tsv": lines(*(f"d{n}\ttext {n}" for n in range(9))),
        "queries.train.tsv": lines(*(f"q{n}\tquery {n}" for n in range(3))),
        "qrels.train.tsv": lines(*(f"q{n}\t0\td{n}\t1" for n in range(3))),
    },
    Format.BEIR: {
        "qrels/train.tsv": lines("query-id\tcorpus-id\tscore", "q0\td0\t2", "q0\td5\t0", "q1\td1\t1", "q1\td6\t0"),
        "corpus.jsonl": lines(*({"_id": f"d{n}", "title": "", "text": f"text {n}"} for n in range(9))),
        "queries.jsonl": lines(*({"_id": f"q{n}", "text": f"query {n}"} for n in range(3))),
    },
    Format.TREC: {
        "run.trec": lines("q0 Q0 d0 1 2.5 x", "q0 Q0 d5 2 1.5 x", "q1 Q0 d6 1 2 x", "q1 Q0 d1 2 1 x"),
        "qrels.trec": lines("q0 0 d0 1", "q1 0 d1 2"),
    },
    Format.GPL: {
        "gpl-training-data.tsv": lines("q0\td0\td5\t1.5", "q1\td1\td6\t-0.5", "q0\td0\td5\t1.5"),
        "hard-negatives.jsonl": lines(
            {"qid": "q0", "pos": ["d0"], "neg": {"bm25": ["d5"], "dense": ["d5", "d7"]}},
            {"qid": "q1", "pos": ["d1"], "neg": {"bm25": ["d6"]}},
        ),
        "qgen-queries.jsonl": lines(*({"_id": f"q{n}", "text": f"query {n}"} for n in range(3))),
        "qgen-qrels/train.tsv": lines("query-id\tcorpus-id\tscore", "q0\td0\t1", "q1\td1\t1"),
        "corpus.jsonl": lines(*({"_id": f"d{n}", "title": "", "text": f"text {n}"} for n in range(9))),
    },
}


def write(files: Files, folder: Path) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("form", GOOD)
def test_files_of_others_are_read(form: Format, tmp_path: Path) -> None:
    problems = ProblemLog()
    found = list(FORMATS[form].examples(write(GOOD[form], tmp_path), problems))
    assert not problems, problems.render()
    told = [
        (one.query_id, [p.doc_id for p in one.positives], [(p.doc_id, p.text) for p in one.negatives]) for one in found
    ]
    has_texts = form is not Format.TREC
    first, second = ((f"q{n}", [f"d{n}"], [(f"d{n + 5}", f"text {n + 5}" if has_texts else None)]) for n in range(2))
    assert told[:2] == [first, second]
    assert all(one.query == (f"query {one.query_id[1:]}" if has_texts else None) for one in found if one.query_id)


LINES: list[tuple[Format, str, int, str, str]] = [
    (Format.MSMARCO, "triples.train.ids.tsv", 2, "q1 d1 d6", "wrong number of columns"),
    (Format.MSMARCO, "triples.train.ids.tsv", 2, "", "wrong number of columns"),
    (Format.MSMARCO, "triples.train.ids.tsv", 2, "q9\td1\td6", "unknown query"),
    (Format.MSMARCO, "triples.train.ids.tsv", 2, "q1\td99\td6", "unknown document"),
    (Format.MSMARCO, "collection.tsv", 9, "d8\ttext\t8", "wrong number of columns"),
    (Format.MSMARCO, "collection.tsv", 9, "d0\tanother text", "document id twice"),
    (Format.MSMARCO, "collection.tsv", 9, "d8\t ", "empty text"),
    (Format.MSMARCO, "queries.train.tsv", 3, "q2", "wrong number of columns"),
    (Format.MSMARCO, "qrels.train.tsv", 2, "q1\t0\td1\thigh", "grade not an integer"),
    (Format.MSMARCO, "qrels.train.tsv", 2, "q1\t0\td1\t1_0", "grade not an integer"),
    (Format.MSMARCO, "qrels.train.tsv", 2, "q1\td1\t1", "wrong number of columns"),
    (Format.BEIR, "qrels/train.tsv", 3, "q0 d5 0", "wrong number of columns"),
    (Format.BEIR, "qrels/train.tsv", 3, "q0\td5\t0.5", "grade not an integer"),
    (Format.BEIR, "qrels/train.tsv", 3, "q0\td5\t-2147483649", "grade out of range"),
    (Format.BEIR, "qrels/train.tsv", 3, "q0\td0\t0", "judged twice"),
    (Format.BEIR, "qrels/train.tsv", 3, "q0\td99\t0", "unknown document"),
    (Format.BEIR, "qrels/train.tsv", 3, "q9\td5\t0", "unknown query"),
    (Format.BEIR, "corpus.jsonl", 9, '{"_id": "d8", "text": "text 8"}', "no title"),
    (Format.BEIR, "corpus.jsonl", 9, '{"_id": 8, "title": "", "text": "text 8"}', "id not a string"),
    (Format.BEIR, "corpus.jsonl", 9, '{"_id": "d8", "title": "", "text": ""}', "empty text"),
    (Format.BEIR, "corpus.jsonl", 9, '{"_id": "d8", "title": ""', "broken JSON"),
    (Format.BEIR, "queries.jsonl", 3, '{"_id": "q2"}', "no text"),
    (Format.TREC, "run.trec", 2, "q0 Q0 d 5 2 1.5 x", "wrong number of columns"),
    (Format.TREC, "run.trec", 2, "q0 Q0 d5 2 nan x", "not a finite number"),
    (Format.TREC, "run.trec", 2, "q0 Q0 d5 second 1.5 x", "rank not an integer"),
    (Format.TREC, "run.trec", 2, "q0 Q0 d0 2 1.5 x", "retrieved twice"),
    (Format.TREC, "qrels.trec", 2, "q1 d1 2", "wrong number of columns"),
    (Format.TREC, "qrels.trec", 2, "q0 0 d0 1", "judged twice"),
    (Format.GPL, "gpl-training-data.tsv", 2, "q1\td1\td6", "wrong number of columns"),
    (Format.GPL, "gpl-training-data.tsv", 2, "q1\td1\td6\tinf", "not a finite number"),
    (Format.GPL, "gpl-training-data.tsv", 2, "q1\td1\td99\t1", "unknown document"),
    (Format.GPL, "hard-negatives.jsonl", 2, '{"qid": "q1", "pos": [], "neg": {"a": ["d6"]}}', "no document in pos"),
    (Format.GPL, "hard-negatives.jsonl", 2, '{"qid": "q1", "pos": ["d1"], "neg": {"a": []}}', "no document in neg"),
    (Format.GPL, "hard-negatives.jsonl", 2, '{"qid": "q1", "pos": ["d1"], "neg": ["d6"]}', "neg not an object"),
    (Format.GPL, "hard-negatives.jsonl", 2, '{"qid": "q1", "pos": ["d1"], "neg": {"a": ["d99"]}}', "unknown document"),
    (Format.GPL, "hard-negatives.jsonl", 2, '{"qid": "q1", "pos": ["d1"], "neg": {"a": [6]}}', "id not a string"),
    (Format.GPL, "qgen-qrels/train.tsv", 3, "q1\td99\t1", "unknown document"),
    (Format.GPL, "qgen-queries.jsonl", 3, '{"_id": "q0", "text": "another"}', "query id twice"),
]


@pytest.mark.parametrize(
    ("form", "name", "line", "broken", "kind"), LINES, ids=[f"{form}-{name}-{kind}" for form, name, _, _, kind in LINES]
)
def test_a_broken_line_of_any_file_is_named(
    form: Format, name: str, line: int, broken: str, kind: str, tmp_path: Path
) -> None:
    good = GOOD[form][name].split("\n")
    good[line - 1] = broken
    files = {**GOOD[form], name: "\n".join(good)}
    problems = ProblemLog()
    found = list(FORMATS[form].examples(write(files, tmp_path), problems))
    told = [(what, problem.where) for what, own in problems.first.items() for problem in own]
    assert (f"{tmp_path / name}:{line}") in [where for what, where in told if what.startswith(kind)], problems.render()
    assert found


@pytest.mark.parametrize(
    ("form", "name"),
    [(form, name) for form, files in GOOD.items() for name in files if name != "gpl-training-data.tsv"],
)
def test_a_missing_file_is_named(form: Format, name: str, tmp_path: Path) -> None:
    write({other: text for other, text in GOOD[form].items() if other != name}, tmp_path)
    with pytest.raises(InputError, match=name.rpartition("/")[2]):
        list(FORMATS[form].examples(tmp_path, ProblemLog()))


def test_without_margins_gpl_has_its_pools_of_hard_negatives(tmp_path: Path) -> None:
    write({name: text for name, text in GOOD[Format.GPL].items() if "training" not in name}, tmp_path)
    problems = ProblemLog()
    found = list(FORMATS[Format.GPL].examples(tmp_path, problems))
    assert not problems, problems.render()
    assert [[(p.doc_id, p.extra["sources"]) for p in one.negatives] for one in found] == [
        [("d5", ["bm25", "dense"]), ("d7", ["dense"])],
        [("d6", ["bm25"])],
    ]


def test_texts_of_ms_marco_are_read_from_their_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "triples.train.small.tsv"
    file.write_text(lines("query 0\ttext 0\ttext 5", "query 1\t\ttext 6", "query 2\ttext 2\ttext 7"), encoding="utf-8")
    problems = ProblemLog()
    found = list(FORMATS[Format.MSMARCO].examples(file, problems))
    assert [(one.query, one.positives[0].text, one.negatives[0].text) for one in found] == [
        ("query 0", "text 0", "text 5"),
        ("query 2", "text 2", "text 7"),
    ]
    assert [problem.where for problem in problems.first["empty text"]] == [f"{file}:2"]
