from __future__ import annotations

import csv
import datetime
import decimal
import gc
import hashlib
import io
import json
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.readers import Document, Judgment, Query, Source, open_source
from hnmine.files.readers.pairs import PairsSource
from hnmine.hashing import digest_bytes
from hnmine.options import InputOptions

ROWS = [
    {"anchor": "which?", "positive": "this", "lang": "en"},
    {"anchor": "which?", "positive": 'that\nand\t"more", 🎉', "lang": "de"},
    {"anchor": "where?", "positive": "this", "lang": "fr"},
    {"anchor": "which?", "positive": "this", "lang": "en"},
]


def sha(prefix: str, text: str) -> str:
    return prefix + hashlib.sha256(text.encode()).hexdigest()[:16]


def jsonl(rows: list) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def delimited(rows: list[dict], delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def parquet(rows: list[dict]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


FORMS = {
    "pairs.jsonl": jsonl(ROWS),
    "pairs.csv": delimited(ROWS, ","),
    "pairs.tsv": delimited(ROWS, "\t"),
    "pairs.parquet": parquet(ROWS),
    "pairs": jsonl(ROWS),
}


def read_all(source: Source, problems: ProblemLog | None = None) -> tuple[list[Document], list[Query], list[Judgment]]:
    log = problems if problems is not None else ProblemLog()
    found = list(source.documents(log)), list(source.queries(log)), list(source.qrels(log))
    assert problems is not None or not log, log.render()
    return found


@pytest.mark.parametrize("name", list(FORMS))
def test_every_form_in_every_compression(packed, name: str) -> None:
    path = packed(name, FORMS[name])
    source = open_source(str(path), InputOptions())
    documents, queries, judgments = read_all(source)
    that = ROWS[1]["positive"]
    assert [(d.doc_id, d.title, d.text, d.metadata) for d in documents] == [
        (sha("d-", "this"), "", "this", {}),
        (sha("d-", that), "", that, {}),
    ]
    assert [(q.query_id, q.text, q.metadata) for q in queries] == [
        (sha("q-", "which?"), "which?", {"lang": "en"}),
        (sha("q-", "where?"), "where?", {"lang": "fr"}),
    ]
    assert [(j.query_id, j.doc_id, j.grade) for j in judgments] == [
        (sha("q-", "which?"), sha("d-", "this"), 1),
        (sha("q-", "which?"), sha("d-", that), 1),
        (sha("q-", "where?"), sha("d-", "this"), 1),
    ]
    # The second record of the CSV spans two lines, so the third starts on line 5.
    third = {"pairs.csv": 5, "pairs.tsv": 5}.get(name, 3)
    assert queries[1].where == f"{path}:{third}"
    assert source.kind == "pairs"
    assert source.has_queries
    assert source.fingerprint() == {"pairs": digest_bytes(path.read_bytes())}
    assert source.describe() == {
        "kind": "pairs",
        "files": [path.name],
        "anchor_column": "anchor",
        "positive_column": "positive",
    }


def test_ids_from_columns(write) -> None:
    rows = [
        {"anchor": "a", "positive": "x", "qid": 7, "did": "d 🎉\t1", "n": 1.5},
        {"anchor": "a", "positive": "y", "qid": 8, "did": "y", "n": None},
        {"anchor": "a", "positive": "x", "qid": 7, "did": "x2", "n": None},
    ]
    options = InputOptions(anchor_id_column="qid", positive_id_column="did")
    for name, content in (("p.jsonl", jsonl(rows)), ("p.parquet", parquet(rows))):
        documents, queries, judgments = read_all(open_source(str(write(name, content)), options))
        assert [(d.doc_id, d.text) for d in documents] == [("d 🎉\t1", "x"), ("y", "y"), ("x2", "x")]
        assert [(q.query_id, q.text, q.metadata) for q in queries] == [("7", "a", {"n": 1.5}), ("8", "a", {"n": None})]
        assert [(j.query_id, j.doc_id) for j in judgments] == [("7", "d 🎉\t1"), ("8", "y"), ("7", "x2")]


def test_one_id_with_two_texts_is_a_problem_with_both_places(write) -> None:
    rows = [
        {"anchor": "a", "positive": "x", "qid": "1", "did": "1"},
        {"anchor": "b", "positive": "x", "qid": "1", "did": "1"},
        {"anchor": "c", "positive": "z", "qid": "2", "did": "1"},
    ]
    path = write("p.jsonl", jsonl(rows))
    problems = ProblemLog()
    documents, queries, judgments = read_all(
        open_source(str(path), InputOptions(anchor_id_column="qid", positive_id_column="did")), problems
    )
    assert [d.text for d in documents] == ["x"]
    assert [q.text for q in queries] == ["a", "c"]
    assert [(j.query_id, j.doc_id) for j in judgments] == [("1", "1")]
    assert problems.counts == {"one id, two texts": 2}
    assert [str(found) for found in problems.first["one id, two texts"]] == [
        f"{path}:3: 1: another text at {path}:1",
        f"{path}:2: 1: another text at {path}:1",
    ]


BAD_ROWS = [
    ('{"anchor": "a", ', "broken JSON"),
    ("7", "not a JSON object"),
    ('{"positive": "p"}', "missing text"),
    ('{"anchor": "a"}', "missing text"),
    ('{"anchor": "", "positive": "p"}', "empty text"),
    ('{"anchor": "a", "positive": "  "}', "empty text"),
    ('{"anchor": "", "positive": ""}', "empty text"),
    ('{"anchor": "a", "positive": {"p": "q"}}', "text not a string"),
    ('{"anchor": null, "positive": "p"}', "missing text"),
    ('{"anchor": "a", "positive": "\\ud83d"}', "wrong encoding"),
]


@pytest.mark.parametrize(("line", "kind"), BAD_ROWS)
def test_a_bad_row_is_skipped_in_every_pass_and_reported_once(write, line: str, kind: str) -> None:
    path = write("p.jsonl", jsonl(ROWS[:1]) + line + "\n" + jsonl(ROWS[2:3]))
    problems = ProblemLog()
    documents, queries, judgments = read_all(open_source(str(path), InputOptions()), problems)
    assert ([d.text for d in documents], [q.text for q in queries], len(judgments)) == (
        ["this"],
        ["which?", "where?"],
        2,
    )
    assert problems.counts == {kind: 1}
    assert problems.first[kind][0].where == f"{path}:2"


def test_problems_are_reported_whichever_pass_comes_first_or_interleaved(write) -> None:
    path = write("p.jsonl", "".join(line + "\n" for line, _ in BAD_ROWS))
    source = open_source(str(path), InputOptions())
    for passes in ((source.qrels,), (source.queries, source.documents), (source.documents, source.queries)):
        problems = ProblemLog()
        assert list(zip(*(one(problems) for one in passes), strict=True)) == []
        for one in passes:
            list(one(problems))
        assert sum(problems.counts.values()) == len(BAD_ROWS)


def test_problems_of_csv(write) -> None:
    text = b'anchor,positive\na,x\nb\nc,y,z\n"d,\nw",\xe4\n"e"f,v\ng,"u\r\nU"\n\n h,t\n'
    path = write("p.csv", text)
    problems = ProblemLog()
    documents, queries, _ = read_all(open_source(str(path), InputOptions()), problems)
    assert [d.text for d in documents] == ["x", "u\r\nU", "t"]
    assert [(q.text, q.line) for q in queries] == [("a", 2), ("g", 8), (" h", 11)]
    assert {kind: [found.where for found in first] for kind, first in problems.first.items()} == {
        "wrong number of columns": [f"{path}:3", f"{path}:4"],
        "wrong encoding": [f"{path}:5"],
        "broken CSV": [f"{path}:7"],
    }


def test_lines_that_end_in_carriage_returns_alone(write) -> None:
    with pytest.raises(InputError, match=r"p\.csv:1: a line ends in a carriage return alone"):
        open_source(str(write("p.csv", "anchor,positive\ra,b\r")), InputOptions())


def test_an_open_quote_does_not_swallow_the_rest_silently(write) -> None:
    """Nor with --on-error skip, which would count all rows behind it as one."""
    source = open_source(str(write("p.csv", 'anchor,positive\na,x\nb,"y\nc,z\n')), InputOptions())
    with pytest.raises(InputError, match=r"p\.csv:3: a quotation mark opens here and is never closed"):
        read_all(source, ProblemLog())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "anchor;positive\r\na, b;x\r\n"),
        ("p.csv", "\ufeffanchor\tpositive\na, b\tx\n"),
        ("p.csv", '\n"anchor";"positive"\n"a, b";x\n'),
        ("p.tsv", "anchor;positive\na, b;x\n"),
        ("p.tsv", 'anchor,positive\n"a, b",x\n'),
        ("p.csv", 'anchor,positive;s\n"a, b",x\n'),
    ],
)
def test_the_header_tells_the_separator(write, name: str, text: str) -> None:
    column = "positive;s" if ";s" in text else "positive"
    source = open_source(str(write(name, text)), InputOptions(positive_column=column))
    documents, queries, _ = read_all(source)
    assert [d.text for d in documents] == ["x"]
    assert [q.text for q in queries] == ["a, b"]


def test_csv_with_byte_order_mark_crlf_and_a_field_of_five_megabytes(write) -> None:
    big = "word " * 1_000_000
    path = write("p.csv", b"\xef\xbb\xbf" + f"anchor,positive\r\na,{big}\r\n".encode())
    documents, _, _ = read_all(open_source(str(path), InputOptions()))
    assert documents[0].text == big


def test_values_of_parquet_become_json_values(write) -> None:
    row = {
        "anchor": "a",
        "positive": "x",
        "day": datetime.date(2024, 2, 29),
        "price": decimal.Decimal("1.50"),
        "nan": float("nan"),
        "blob": b"\xff",
        "nested": {"list": [{"t": datetime.datetime(2024, 1, 1, 12)}, None], "blob": b"x"},
    }
    _, queries, _ = read_all(open_source(str(write("p.parquet", parquet([row]))), InputOptions()))
    assert queries[0].metadata == {
        "day": "2024-02-29",
        "price": "1.50",
        "nan": None,
        "nested": {"list": [{"t": "2024-01-01T12:00:00"}, None]},
    }


def latin1_strings(*values: bytes) -> pa.Array:
    raw = pa.array(values, pa.binary())
    return pa.StringArray.from_buffers(len(values), raw.buffers()[1], raw.buffers()[2])


def test_parquet_strings_that_are_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    table = pa.table(
        {
            "anchor": ["a", "b", "c"],
            "positive": latin1_strings(b"good", b"b\xe4d", b"fine"),
            "note": latin1_strings(b"\xe4", b"n", b"n"),
        }
    )
    pq.write_table(table, path)
    problems = ProblemLog()
    documents, queries, judgments = read_all(open_source(str(path), InputOptions()), problems)
    assert [d.text for d in documents] == ["good", "fine"]
    assert problems.counts == {"wrong encoding": 1}
    assert problems.first["wrong encoding"][0].where == f"{path}:2"
    assert [(q.text, q.metadata) for q in queries] == [("a", {}), ("c", {"note": "n"})]
    assert len(judgments) == 2


def test_parquet_text_without_the_string_annotation(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"anchor": [b"a", b"b"], "positive": ["ä".encode(), "ä".encode("latin-1")]}), path)
    problems = ProblemLog()
    documents, queries, _ = read_all(open_source(str(path), InputOptions()), problems)
    assert [d.text for d in documents] == ["ä"]
    assert [q.text for q in queries] == ["a"]
    assert problems.counts == {"wrong encoding": 1}


def test_a_mistyped_column_is_an_error_that_lists_the_columns(write) -> None:
    for name, content in FORMS.items():
        path = str(write(name, content))
        with pytest.raises(UsageError) as caught:
            open_source(path, InputOptions(anchor_column="ancor", anchor_id_column="nope"))
        message = str(caught.value)
        assert "no column 'ancor' and no column 'nope'" in message
        assert "anchor, positive, lang" in message
        assert "--anchor-column anchor --anchor-id-column COLUMN" in message


@pytest.mark.parametrize("positive", ["answer", "passage", "document"])
@pytest.mark.parametrize("anchor", ["query", "question"])
def test_likely_columns_are_proposed_never_taken(write, anchor: str, positive: str) -> None:
    path = str(write("p.jsonl", jsonl([{"id": 1, anchor: "a", positive: "x", "text": "?"}])))
    with pytest.raises(InputError) as caught:
        open_source(path, InputOptions())
    assert f"--anchor-column {anchor} --positive-column {positive}" in str(caught.value)
    source = open_source(path, InputOptions(anchor_column=anchor, positive_column=positive))
    assert [d.text for d in source.documents(ProblemLog())] == ["x"]


def test_a_column_with_a_likely_word_in_its_name_is_proposed_for_the_shell(write) -> None:
    path = str(write("p.csv", "User Question, Best Answer ,row\na,x,1\n"))
    with pytest.raises(InputError) as caught:
        open_source(path, InputOptions())
    assert "columns of this file: User Question, ' Best Answer ', row" in str(caught.value)
    assert str(caught.value).endswith("try: --anchor-column 'User Question' --positive-column ' Best Answer '")


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        ("Frage,Antwort", "--anchor-column Frage --positive-column Antwort"),
        ("positive,ancor", "--anchor-column ancor"),
        ("anchor,Antwort", "--positive-column Antwort"),
        ("query,pos,neg", "--anchor-column query --positive-column pos"),
        (
            "what is tin,Tin is a metal.",
            "--anchor-column COLUMN --positive-column COLUMN"
            " (if the first line is a pair and no header, put one above it)",
        ),
        ("Nummer,Frage,Antwort", "--anchor-column COLUMN --positive-column COLUMN"),
    ],
)
def test_of_two_columns_the_first_is_proposed_for_the_anchor(write, header: str, flags: str) -> None:
    with pytest.raises(InputError) as caught:
        open_source(str(write("p.csv", f"{header}\n")), InputOptions())
    assert str(caught.value).endswith(f"try: {flags}")


def test_one_missing_column_is_proposed_alone(write) -> None:
    path = str(write("p.csv", "query,positive\na,x\n"))
    with pytest.raises(InputError) as caught:
        open_source(path, InputOptions())
    assert str(caught.value).endswith("try: --anchor-column query")


def test_empty_files(write) -> None:
    assert read_all(open_source(str(write("p.jsonl", "")), InputOptions())) == ([], [], [])
    assert read_all(open_source(str(write("q.csv", "anchor,positive\n")), InputOptions())) == ([], [], [])
    with pytest.raises(InputError, match=r"p\.csv: empty"):
        open_source(str(write("p.csv", "")), InputOptions())
    with pytest.raises(InputError, match="'anchor' is there more than once"):
        open_source(str(write("r.csv", "anchor,positive,anchor\n")), InputOptions())


def test_options_of_other_forms_are_refused_all_at_once(write) -> None:
    path = str(write("p.jsonl", jsonl(ROWS)))
    with pytest.raises(UsageError) as caught:
        open_source(path, InputOptions(split="train", qrels="x", anchor_column="nope"))
    message = str(caught.value)
    assert "--split train" in message
    assert "--qrels x" in message
    assert "no column 'nope'" in message


def test_positives_are_matched_to_a_corpus_by_text_or_appended(write) -> None:
    corpus = write(
        "corpus.jsonl.gz",
        jsonl([{"_id": "c1", "title": "T", "text": "this"}, {"_id": "c2", "text": "this"}, {"_id": "c3", "text": "o"}]),
    )
    source = open_source(str(write("p.jsonl", jsonl(ROWS))), InputOptions(corpus=str(corpus)))
    documents, queries, judgments = read_all(source)
    that = ROWS[1]["positive"]
    assert [(d.doc_id, d.title, d.text) for d in documents] == [
        ("c1", "T", "this"),
        ("c2", "", "this"),
        ("c3", "", "o"),
        (sha("d-", that), "", that),
    ]
    assert documents[3].line == 2
    assert [(j.query_id, j.doc_id) for j in judgments] == [
        (queries[0].query_id, "c1"),
        (queries[0].query_id, sha("d-", that)),
        (queries[1].query_id, "c1"),
    ]
    assert source.fingerprint()["corpus"] == digest_bytes(corpus.read_bytes())
    assert source.notes() == {"added to the corpus": "1 texts that it lacks"}


def test_a_corpus_with_no_positive_in_it_gets_all_of_them(write) -> None:
    corpus = write("c.jsonl", '{"_id": "c", "text": "other"}\n')
    documents, _, judgments = read_all(
        open_source(str(write("p.jsonl", jsonl(ROWS[:1]))), InputOptions(corpus=str(corpus)))
    )
    assert [d.doc_id for d in documents] == ["c", sha("d-", "this")]
    assert judgments[0].doc_id == sha("d-", "this")


def test_a_list_of_positives_is_a_pair_for_each(write) -> None:
    listed = [{"anchor": "which?", "positive": ["this", "that"]}, {"anchor": "where?", "positive": ["this"]}]
    spread = [{"anchor": row["anchor"], "positive": text} for row in listed for text in row["positive"]]
    for form, content in (("l.jsonl", jsonl(listed)), ("l.parquet", parquet(listed))):
        found = read_all(open_source(str(write(form, content)), InputOptions()))
        wanted = read_all(open_source(str(write("s.jsonl", jsonl(spread))), InputOptions()))
        assert [d.text for d in found[0]] == [d.text for d in wanted[0]]
        assert [q.query_id for q in found[1]] == [q.query_id for q in wanted[1]]
        assert [(j.query_id, j.doc_id) for j in found[2]] == [(j.query_id, j.doc_id) for j in wanted[2]]


def test_what_is_wrong_with_a_list_of_positives(write) -> None:
    rows = [{"anchor": "a", "positive": []}, {"anchor": "b", "positive": ["x", ""]}, {"anchor": "c", "positive": [1]}]
    problems = ProblemLog()
    read_all(open_source(str(write("p.jsonl", jsonl(rows))), InputOptions()), problems)
    assert problems.counts == {"missing text": 1, "empty text": 1, "text not a string": 1}
    rows = [{"anchor": "a", "positive": ["x", "y"], "did": 1}]
    problems = ProblemLog()
    read_all(open_source(str(write("i.jsonl", jsonl(rows))), InputOptions(positive_id_column="did")), problems)
    assert problems.counts == {"several positives with one id": 1}


def test_a_corpus_without_ids_has_those_of_its_texts(write) -> None:
    corpus = write("c.jsonl", '{"text": "this"}\n{"text": "other"}\n{"text": "this"}\n')
    source = open_source(str(write("p.jsonl", jsonl(ROWS[:2]))), InputOptions(corpus=str(corpus)))
    documents, _, judgments = read_all(source)
    assert [(d.doc_id, d.text) for d in documents] == [
        (sha("d-", t), t) for t in ("this", "other", ROWS[1]["positive"])
    ]
    assert {j.doc_id for j in judgments} == {sha("d-", "this"), sha("d-", ROWS[1]["positive"])}


@pytest.mark.parametrize("name", ["ID", "doc-id", "docId", "passage_id"])
def test_an_id_column_of_another_name_is_not_passed_over(write, name: str) -> None:
    corpus = write("c.jsonl", json.dumps({name: "d1", "text": "this"}) + "\n")
    with pytest.raises(InputError, match="no id or no text column"):
        open_source(str(write("p.jsonl", jsonl(ROWS))), InputOptions(corpus=str(corpus)))


def test_positives_are_matched_to_a_corpus_by_id(write) -> None:
    corpus = write("c.jsonl", '{"_id": 5, "text": "X"}\n{"_id": 6, "text": "Y"}\n')
    pairs = write("p.jsonl", jsonl([{"anchor": "a", "did": 5}, {"anchor": "a", "did": "gone"}, {"anchor": "b"}]))
    problems = ProblemLog()
    source = open_source(str(pairs), InputOptions(corpus=str(corpus), positive_id_column="did"))
    documents, _, judgments = read_all(source, problems)
    assert [d.doc_id for d in documents] == ["5", "6"]
    assert [j.doc_id for j in judgments] == ["5", "gone"]
    assert problems.counts == {"missing id": 1}
    assert source.describe()["positive_column"] is None


def test_looking_up_positives_does_not_report_their_rows_again(write) -> None:
    corpus = write("c.jsonl", '{"_id": "d", "text": "this"}\n')
    source = open_source(
        str(write("p.jsonl", jsonl(ROWS) + '{"anchor": ""}\n')),
        InputOptions(corpus=str(corpus)),
    )
    problems = ProblemLog()
    for one in (source.queries, source.documents, source.qrels):
        list(one(problems))
    assert problems.counts == {"empty text": 1}


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_every_form_gives_the_same_collection(pairs: list[tuple[str, str]], write) -> None:
    rows = [{"anchor": anchor, "positive": positive} for anchor, positive in pairs]
    forms = {"p.jsonl": jsonl(rows), "p.csv": delimited(rows, ","), "p.tsv": delimited(rows, "\t")}
    for name, content in {**forms, "p.parquet": parquet(rows)}.items():
        documents, queries, judgments = read_all(open_source(str(write(name, content)), InputOptions()))
        assert [d.text for d in documents] == list(dict.fromkeys(positive for _, positive in pairs)), name
        assert [q.text for q in queries] == list(dict.fromkeys(anchor for anchor, _ in pairs)), name
        assert len(judgments) == len(set(pairs)), name


def test_problems_of_the_corpus_are_reported_once(write) -> None:
    corpus = write("c.jsonl", '{"_id": "c", "text": ""}\n{"_id": "d", "text": "this"}\n')
    problems = ProblemLog()
    read_all(open_source(str(write("p.jsonl", jsonl(ROWS))), InputOptions(corpus=str(corpus))), problems)
    assert problems.counts == {"empty text": 1}


class Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("form", ["pairs.jsonl", "pairs.parquet"])
def test_standard_input_is_kept_until_closed(packed, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    content = packed("x", FORMS[form]).read_bytes()
    monkeypatch.setattr("sys.stdin", Stdin(content))
    source = open_source("-", InputOptions())
    assert isinstance(source, PairsSource)
    documents, queries, _ = read_all(source)
    assert [d.where for d in documents] == ["<stdin>:1", "<stdin>:2"]
    assert len(queries) == 2
    assert source.describe()["files"] == ["<stdin>"]
    assert source.fingerprint() == {"pairs": digest_bytes(content)}
    copy = source.file.path
    assert copy.exists()
    with source:
        pass
    assert not copy.exists()
    source.close()


def test_standard_input_leaves_no_copy_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sys.stdin", Stdin(b'{"query": "a", "answer": "b"}\n'))
    with pytest.raises(InputError, match="<stdin>: no column 'anchor' and no column 'positive'"):
        open_source("-", InputOptions())
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("sys.stdin", Stdin(FORMS["pairs.jsonl"].encode()))
    source = open_source("-", InputOptions())
    assert len(list(tmp_path.iterdir())) == 1
    del source
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_read_once_like_standard_input(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(FORMS["pairs.jsonl"]))
    writer.start()
    with open_source(str(pipe), InputOptions()) as source:
        documents, _, _ = read_all(source)
        assert [d.where for d in documents] == ["<pipe>:1", "<pipe>:2"]
        assert source.describe()["files"] == ["<pipe>"]
    writer.join()


def test_a_pipe_as_another_part_is_refused_and_does_not_hang(tmp_path: Path, write) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="not a regular file"):
        open_source(str(write("p.jsonl", jsonl(ROWS))), InputOptions(corpus=str(pipe)))


def test_empty_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(b""))
    with open_source("-", InputOptions()) as source:
        assert read_all(source) == ([], [], [])


@pytest.mark.parametrize("separator", [",", "\t"])
def test_standard_input_with_a_header_line(monkeypatch: pytest.MonkeyPatch, separator: str) -> None:
    lines = (("anchor", "positive"), ("what is rye?", "a, b"), ("what is hail?", "weather"))
    text = "".join(f'{anchor}{separator}"{positive}"\n' for anchor, positive in lines)
    monkeypatch.setattr("sys.stdin", Stdin(text.encode()))
    with open_source("-", InputOptions()) as source:
        documents, queries, _ = read_all(source)
    assert [d.text for d in documents] == ["a, b", "weather"]
    assert [q.text for q in queries] == ["what is rye?", "what is hail?"]


def test_standard_input_that_is_a_json_array_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(b'[{"anchor": "a", "positive": "b"}]'))
    with pytest.raises(InputError, match="a JSON array"):
        open_source("-", InputOptions())
