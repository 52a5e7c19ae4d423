"""Class-labelled texts: who is whose positive, and what is told about texts that have none, or two classes."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.readers import Document, Judgment, Query, Source, open_source
from hnmine.options import InputOptions

ROWS: list[dict[str, Any]] = [
    {"text": "play a song", "label": 1, "lang": "en"},
    {"text": "louder please", "label": 1, "lang": "en"},
    {"text": "stop the music", "label": 1, "lang": "en"},
    {"text": 'next\ttrack, "now"\n', "label": 1, "lang": "en"},
    {"text": "will it rain?", "label": 2, "lang": "en"},
    {"text": "Regnet es?", "label": 2, "lang": "de"},
    {"text": "louder please", "label": 1, "lang": "fr"},
    {"text": "wake me at six", "label": 3, "lang": "en"},
]
KEPT = [row["text"] for n, row in enumerate(ROWS) if n != 6]


def options(**given: Any) -> InputOptions:
    return InputOptions(**{"class_column": "label", **given})


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def csv(rows: list[dict[str, Any]]) -> str:
    lines = [",".join('"' + str(value).replace('"', '""') + '"' for value in row.values()) for row in rows]
    return "text,label,lang\n" + "\n".join(lines) + "\n"


def read_all(source: Source) -> tuple[list[Document], list[Query], list[Judgment]]:
    log = ProblemLog()
    judgments = list(source.qrels(log))  # the order in which `ingest` reads
    found = list(source.documents(log)), list(source.queries(log)), judgments
    assert not log, log.render()
    return found


@pytest.mark.parametrize(
    ("name", "content"), [("c.jsonl", jsonl(ROWS)), ("c.parquet", parquet(ROWS)), ("c.csv", csv(ROWS))]
)
def test_each_text_is_a_document_and_a_query_with_a_positive_of_its_class(packed, name: str, content: Any) -> None:
    source = open_source(str(packed(name, content)), options())
    documents, queries, judgments = read_all(source)
    assert [document.text for document in documents] == [query.text for query in queries] == KEPT
    for found in (documents, queries):
        assert [record.metadata["label"] for record in found] == ["1", "1", "1", "1", "2", "2", "3"]
        assert [record.metadata["lang"] for record in found] == ["en"] * 5 + ["de", "en"]
    text = {record.doc_id: record.text for record in documents} | {record.query_id: record.text for record in queries}
    label = {row["text"]: row["label"] for row in ROWS}
    pairs = [(text[one.query_id], text[one.doc_id]) for one in judgments]
    assert all(query != document and label[query] == label[document] for query, document in pairs)
    alone = {"wake me at six"}
    assert Counter(query for query, _ in pairs) == Counter(document for _, document in pairs)
    assert Counter(query for query, _ in pairs) == Counter(set(KEPT) - alone), "each as often as any other"
    assert all(one.grade == 1 for one in judgments)
    assert source.negatives_where == "document['label'] != query['label']"
    assert source.notes() == {"classes": "3", "no positive": "1 texts, each the only one of its class"}


def test_positives_are_the_same_in_any_order_of_the_rows(write) -> None:
    pairs = []
    for name, rows in (("a.jsonl", ROWS), ("b.jsonl", ROWS[::-1])):
        judgments = read_all(open_source(str(write(name, jsonl(rows))), options()))[2]
        pairs.append({(one.query_id, one.doc_id) for one in judgments})
    assert pairs[0] == pairs[1]


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_class_positives(write, count: int) -> None:
    source = open_source(str(write("c.jsonl", jsonl(ROWS))), options(class_positives=count))
    positives = defaultdict(set)
    for one in read_all(source)[2]:
        positives[one.query_id].add(one.doc_id)
    assert sorted(len(own) for own in positives.values()) == [1, 1, *([min(count, 3)] * 4)]


def test_ids_of_the_file(write) -> None:
    rows = [{"id": n, "sentence": row["text"], "topic": f"t{row['label']}"} for n, row in enumerate(ROWS)]
    source = open_source(str(write("c.jsonl", jsonl(rows))), options(class_column="topic", text_column="sentence"))
    documents, queries, judgments = read_all(source)
    ids = ["0", "1", "2", "3", "4", "5", "7"]
    assert [document.doc_id for document in documents] == [query.query_id for query in queries] == ids
    assert {one.query_id for one in judgments} == set(ids) - {"7"}


def test_what_is_wrong_is_told_once_with_its_place(write) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "a", "label": "x"},
        {"text": "a", "label": "y"},
        {"text": "b", "label": "x"},
        {"text": "c", "label": None},
        {"text": " ", "label": "x"},
        {"text": "d", "label": 1.5},
        {"text": "e", "label": True},
        {"text": "f", "label": True},
    ]
    path = write("c.jsonl", jsonl(rows) + "{broken\n")
    source, log = open_source(str(path), options()), ProblemLog()
    judgments = list(source.qrels(log))
    documents = list(source.documents(log))
    list(source.queries(log))
    assert log.counts == {
        "one text, two classes": 1,
        "missing class": 1,
        "empty text": 1,
        "class not a text or whole number": 1,
        "broken JSON": 1,
    }
    assert str(log.first["one text, two classes"][0]) == f"{path}:2: 'y', and 'x' at {path}:1: a"
    assert [document.text for document in documents] == ["b", "e", "f"], "a text of two classes is in neither"
    assert {one.line for one in judgments} == {7, 8}


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"class_column": "lable"}, UsageError, "--class-column label"),
        ({"text_column": "txt"}, UsageError, "--text-column text"),
        ({"text_column": "label"}, UsageError, "two columns"),
        ({"class_positives": 0}, UsageError, "--class-positives 0: at least 1"),
        ({"corpus": "x.jsonl"}, UsageError, "--corpus x.jsonl"),
    ],
)
def test_options_that_do_not_fit(write, given: dict[str, Any], error: type[Exception], words: str) -> None:
    path = write("c.jsonl", jsonl(ROWS))
    with pytest.raises(error, match=words):
        open_source(str(path), options(**given))


def test_text_and_label_alone_are_not_guessed_at(write) -> None:
    with pytest.raises(InputError, match="--class-column label"):
        open_source(str(write("c.jsonl", jsonl(ROWS))), InputOptions())


def test_many_problems_are_counted(write, tmp_path: Path) -> None:
    path = write("c.jsonl", jsonl([{"text": f"t{n}", "label": None} for n in range(30)]))
    log = ProblemLog()
    list(open_source(str(path), options()).qrels(log))
    assert log.counts == {"missing class": 30}
    assert len(log.first["missing class"]) == 10
