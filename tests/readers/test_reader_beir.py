from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.readers import Judgment, Source, open_source
from hnmine.hashing import digest_bytes, digest_json
from hnmine.options import InputOptions

SHARED = Path(__file__).parents[2] / "../shared/data/beir"

CORPUS = '{"_id": "d1", "title": "T", "text": "first", "year": 1999}\n{"_id": 2, "text": "second"}\n'
QUERIES = '{"_id": "q1", "text": "which?", "metadata": {"a": [1, null]}}\n'
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\t2\t0\n"


def triples(judgments) -> list[tuple[str, str, int]]:
    return [(item.query_id, item.doc_id, item.grade) for item in judgments]


def read_all(source: Source, problems: ProblemLog | None = None):
    log = problems if problems is not None else ProblemLog()
    found = list(source.documents(log)), list(source.queries(log)), list(source.qrels(log))
    if problems is None:
        assert not log, log.render()
    return found


def corpus_problems(write, content: str | bytes, name: str = "corpus.jsonl") -> tuple[list[str], ProblemLog]:
    path = write(name, content)
    problems = ProblemLog()
    source = open_source(str(path), InputOptions())
    assert source.kind == "corpus"
    return [document.doc_id for document in source.documents(problems)], problems


def test_a_directory_in_every_compression(packed, tmp_path: Path) -> None:
    corpus, queries = packed("corpus.jsonl", CORPUS), packed("queries.jsonl", QUERIES)
    qrels = packed("qrels/test.tsv", QRELS)
    source = open_source(str(tmp_path), InputOptions())
    documents, found, judgments = read_all(source)
    assert [(d.doc_id, d.title, d.text, d.metadata, d.where) for d in documents] == [
        ("d1", "T", "first", {"year": 1999}, f"{corpus}:1"),
        ("2", "", "second", {}, f"{corpus}:2"),
    ]
    assert [(q.query_id, q.text, q.metadata, q.where) for q in found] == [
        ("q1", "which?", {"metadata": {"a": [1, None]}}, f"{queries}:1")
    ]
    assert judgments == [
        Judgment(query_id="q1", doc_id="d1", grade=1, file=str(qrels), line=2),
        Judgment(query_id="q1", doc_id="2", grade=0, file=str(qrels), line=3),
    ]
    assert source.kind == "beir"
    assert source.has_queries
    assert source.describe() == {"kind": "beir", "split": "test", "files": [corpus.name, queries.name, qrels.name]}
    assert source.fingerprint() == {
        "corpus": digest_bytes(corpus.read_bytes()),
        "queries": digest_bytes(queries.read_bytes()),
        "qrels": digest_bytes(qrels.read_bytes()),
    }


def test_the_description_knows_no_directory(write, tmp_path: Path) -> None:
    write("a/corpus.jsonl", CORPUS)
    write("a/queries.jsonl", QUERIES)
    write("a/qrels/train.tsv", QRELS)
    assert str(tmp_path) not in json.dumps(open_source(str(tmp_path / "a"), InputOptions()).describe())


def test_strange_ids_and_texts_survive_as_written(write, tmp_path: Path) -> None:
    ids = ["with space", "tab\tinside", "emoji 🎉", "line\nend", " padded ", "0", "é", "e\u0301"]
    write("corpus.jsonl", "".join(json.dumps({"_id": one, "text": f"{one}\r\n\u2028x"}) + "\n" for one in ids))
    write("queries.jsonl", '{"_id": "a b 🎉", "text": "q"}\n')
    write("qrels/train.tsv", "query-id\tcorpus-id\tscore\na b 🎉\twith space\t1\na b 🎉\t padded \t2\n")
    documents, queries, judgments = read_all(open_source(str(tmp_path), InputOptions()))
    assert [d.doc_id for d in documents] == ids
    assert [d.text for d in documents] == [f"{one}\r\n\u2028x" for one in ids]
    assert queries[0].query_id == "a b 🎉"
    assert triples(judgments) == [("a b 🎉", "with space", 1), ("a b 🎉", " padded ", 2)]


def test_byte_order_mark_and_crlf(write, tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    write("corpus.jsonl", mark + CORPUS.replace("\n", "\r\n").encode())
    write("queries.jsonl", mark + QUERIES.replace("\n", "\r\n").encode())
    write("qrels/train.tsv", mark + QRELS.replace("\n", "\r\n").encode())
    documents, queries, judgments = read_all(open_source(str(tmp_path), InputOptions()))
    assert [d.text for d in documents] == ["first", "second"]
    assert [q.text for q in queries] == ["which?"]
    assert triples(judgments) == [("q1", "d1", 1), ("q1", "2", 0)]


def test_a_document_of_five_megabytes(packed) -> None:
    text = "ä word " * 700_000
    path = packed("corpus.jsonl", json.dumps({"_id": "big", "text": text}) + '\n{"_id": "small", "text": "s"}\n')
    documents, _, _ = read_all(open_source(str(path), InputOptions()))
    assert [len(d.text) for d in documents] == [4_900_000, 1]
    assert documents[0].text == text


def test_an_empty_corpus_file_has_no_documents(write, tmp_path: Path) -> None:
    write("corpus.jsonl", "")
    source = open_source(str(tmp_path), InputOptions())
    assert source.kind == "corpus"
    assert not source.has_queries
    assert read_all(source) == ([], [], [])


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('{"_id": "a", "text": ', "broken JSON"),
        ('{"_id": "a", "text": "x", "n": NaN}', "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ('["_id", "text"]', "not a JSON object"),
        ('"text"', "not a JSON object"),
        ('{"text": "x"}', "missing id"),
        ('{"_id": null, "text": "x"}', "missing id"),
        ('{"_id": "", "text": "x"}', "empty id"),
        ('{"_id": 1.5, "text": "x"}', "id not a string or integer"),
        ('{"_id": true, "text": "x"}', "id not a string or integer"),
        ('{"_id": ["a"], "text": "x"}', "id not a string or integer"),
        ('{"_id": "a"}', "missing text"),
        ('{"_id": "a", "text": ""}', "empty text"),
        ('{"_id": "a", "title": " ", "text": " \\n"}', "empty text"),
        ('{"_id": "a", "text": null}', "missing text"),
        ('{"_id": "a", "text": ["x"]}', "text not a string"),
        ('{"_id": "a", "title": 7, "text": "x"}', "text not a string"),
        ('{"_id": "a", "text": "\\ud800"}', "wrong encoding"),
        ('{"_id": "\\udfff", "text": "x"}', "wrong encoding"),
    ],
)
def test_each_problem_of_a_record_has_its_kind_and_place(write, line: str, kind: str) -> None:
    good = '{"_id": "ok%d", "text": "x", "title": ""}\n'
    ids, problems = corpus_problems(write, good % 1 + "\n" + line + "\n" + good % 2)
    assert ids == ["ok1", "ok2"]
    assert problems.counts == {kind: 1}
    assert problems.first[kind][0].where.endswith("corpus.jsonl:3")


def test_a_latin1_line_is_a_problem(write) -> None:
    ids, problems = corpus_problems(write, b'{"_id": "a", "text": "x"}\n{"_id": "b", "text": "M\xfcll"}\n')
    assert ids == ["a"]
    assert problems.counts == {"wrong encoding": 1}


def test_a_title_makes_up_for_an_empty_text(write) -> None:
    ids, problems = corpus_problems(write, '{"_id": "a", "title": "T", "text": ""}\n')
    assert ids == ["a"]
    assert not problems


def test_metadata_of_lone_surrogates_is_made_writable(write) -> None:
    path = write("corpus.jsonl", '{"_id": "a", "text": "x", "m": {"k": ["\\ud800b"]}}\n')
    documents, _, _ = read_all(open_source(str(path), InputOptions()))
    assert json.dumps(documents[0].metadata, ensure_ascii=False).encode() == '{"m": {"k": ["\ufffdb"]}}'.encode()


@pytest.mark.parametrize("column", ["id", "doc_id", "docid"])
def test_other_names_of_the_id_and_text(write, column: str) -> None:
    path = write("c.jsonl", json.dumps({column: "a", "contents": "x", "other": 1}) + "\n")
    documents, _, _ = read_all(open_source(str(path), InputOptions()))
    assert [(d.doc_id, d.text, d.metadata) for d in documents] == [("a", "x", {"other": 1})]


def test_the_id_column_is_chosen_for_the_file_not_for_the_record(write) -> None:
    ids, problems = corpus_problems(write, '{"_id": "a", "id": "x", "text": "t"}\n{"id": "b", "text": "t"}\n')
    assert ids == ["a"]
    assert problems.counts == {"missing id": 1}


def test_parquet_and_several_files(tmp_path: Path, write) -> None:
    (tmp_path / "corpus").mkdir()
    pieces = [tmp_path / "corpus" / f"corpus-0000{n}-of-00002.parquet" for n in range(2)]
    pq.write_table(pa.table({"_id": [1, 2], "title": ["T", None], "text": ["a", "b"], "blob": [b"x", b"y"]}), pieces[0])
    pq.write_table(pa.table({"_id": ["three", None], "text": ["c", "d"], "tags": [["x"], None]}), pieces[1])
    write("queries.jsonl", '{"qid": "q1", "text": "which?"}\n')
    write("qrels/dev.tsv", "q1\t1\t1\n")
    problems = ProblemLog()
    source = open_source(str(tmp_path), InputOptions())
    documents, queries, judgments = read_all(source, problems)
    assert [(d.doc_id, d.title, d.text, d.metadata, d.line) for d in documents] == [
        ("1", "T", "a", {}, 1),
        ("2", "", "b", {}, 2),
        ("three", "", "c", {"tags": ["x"]}, 1),
    ]
    assert problems.counts == {"missing id": 1}
    assert problems.first["missing id"][0].where == f"{pieces[1]}:2"
    assert queries[0].query_id == "q1"
    assert triples(judgments) == [("q1", "1", 1)]
    digests = [digest_bytes(piece.read_bytes()) for piece in pieces]
    assert source.fingerprint()["corpus"] == digest_json(digests)


def test_split_rule(write, tmp_path: Path) -> None:
    write("corpus.jsonl", CORPUS)
    write("queries.jsonl", QUERIES)
    write("qrels/test.tsv", "q1\td1\t1\n")
    assert open_source(str(tmp_path), InputOptions()).describe()["split"] == "test"
    write("qrels/dev.tsv.gz", "q1\t2\t1\n")
    with pytest.raises(InputError, match="none is train: dev, test"):
        open_source(str(tmp_path), InputOptions())
    assert triples(open_source(str(tmp_path), InputOptions(split="dev")).qrels(ProblemLog())) == [("q1", "2", 1)]
    write("qrels/train.tsv", "q1\td1\t3\n")
    assert triples(open_source(str(tmp_path), InputOptions()).qrels(ProblemLog())) == [("q1", "d1", 3)]
    with pytest.raises(UsageError, match="no split 'tset'") as caught:
        open_source(str(tmp_path), InputOptions(split="tset"))
    assert "dev, test, train" in str(caught.value)
    assert "--split test" in str(caught.value)


def test_options_replace_parts(write, tmp_path: Path) -> None:
    write("d/corpus.jsonl", CORPUS)
    write("d/queries.jsonl", QUERIES)
    write("d/qrels/train.tsv", QRELS)
    options = InputOptions(
        corpus=str(write("c.jsonl", '{"_id": "x", "text": "X"}\n')),
        queries=str(write("q.tsv", "q9\twhere?\n")),
        qrels=str(write("r.txt", "q9 0 x 2\n")),
    )
    source = open_source(str(tmp_path / "d"), options)
    documents, queries, judgments = read_all(source)
    assert [d.doc_id for d in documents] == ["x"]
    assert [(q.query_id, q.text) for q in queries] == [("q9", "where?")]
    assert triples(judgments) == [("q9", "x", 2)]
    alone = open_source(options.corpus or "", InputOptions(queries=options.queries, qrels=options.qrels))
    assert read_all(alone)[1:] == (queries, judgments)
    with pytest.raises(UsageError, match="do not go together"):
        open_source(str(tmp_path / "d"), InputOptions(qrels=options.qrels, split="test"))


def test_all_that_is_missing_is_told_at_once(write, tmp_path: Path) -> None:
    write("corpus.jsonl", '{"identifier": 1, "body": "x"}\n')
    write("queries.jsonl", '{"_id": 1, "txt": "x"}\n')
    write("qrels/train.tsv", QRELS)
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path), InputOptions())
    message = str(caught.value)
    assert "corpus.jsonl: no id or no text column among: identifier, body" in message
    assert "queries.jsonl: no id or no text column among: _id, txt" in message
    assert "'txt' looks like 'text'" in message
    with pytest.raises(InputError) as caught:
        open_source(str(tmp_path), InputOptions(split="trian", queries=str(tmp_path / "querys.jsonl")))
    message = str(caught.value)
    assert "corpus.jsonl: no id or no text column" in message
    assert "no split 'trian'" in message
    assert "querys.jsonl: no such file" in message
    assert "there are" not in message


def test_queries_without_qrels_and_the_reverse(write, tmp_path: Path) -> None:
    write("corpus.jsonl", CORPUS)
    path = write("queries.jsonl", QUERIES)
    with pytest.raises(InputError, match=r"queries \(.*queries\.jsonl\) but no qrels"):
        open_source(str(tmp_path), InputOptions())
    path.unlink()
    write("qrels/train.tsv", QRELS)
    with pytest.raises(InputError, match=r"qrels \(.*train\.tsv\) but no queries"):
        open_source(str(tmp_path), InputOptions())


def test_a_part_that_is_there_twice_is_not_guessed(write, tmp_path: Path) -> None:
    write("corpus.jsonl", CORPUS)
    other = write("corpus.jsonl.gz", CORPUS)
    with pytest.raises(InputError, match="which of"):
        open_source(str(tmp_path), InputOptions())
    other.rename(tmp_path / "corpus-old.jsonl")
    with pytest.raises(InputError, match="which of"):
        open_source(str(tmp_path), InputOptions())


def test_what_is_no_input(write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no corpus in this directory, which has: nothing"):
        open_source(str(tmp_path), InputOptions())
    write("corpus.jsonl", CORPUS)
    with pytest.raises(InputError, match=r"did you mean .*corpus\.jsonl\?"):
        open_source(str(tmp_path / "corpsu.jsonl"), InputOptions())
    with pytest.raises(InputError, match="did you mean the built-in stdlib"):
        open_source("stdlb", InputOptions())
    with pytest.raises(UsageError, match="nowhere://datasets"):
        open_source("nowhere://datasets/BeIR/nfcorpus", InputOptions())
    with pytest.raises(InputError, match=r"(?s)cannot tell the format.*try: save it as CSV in UTF-8"):
        open_source(str(write("pairs.xlsx", b"PK\x03\x04")), InputOptions())
    with pytest.raises(InputError, match=r"(?s)cannot tell the format.*try: rename it"):
        open_source(str(write("pairs.txt", "a\tb\n")), InputOptions())
    with pytest.raises(InputError, match="a JSON array"):
        open_source(str(write("pairs.json", '[{"anchor": 1}]')), InputOptions())
    with pytest.raises(InputError, match="not a Parquet file"):
        open_source(str(write("x.parquet", "text")), InputOptions())
    with pytest.raises(InputError, match="broken or cut short"):
        open_source(str(write("z.parquet.gz", gzip.compress(b"PAR1" + bytes(99))[:-9])), InputOptions())
    with pytest.raises(InputError, match="broken Parquet"):
        open_source(str(write("y.parquet", b"PAR1 and nothing more")), InputOptions())


def test_problems_of_queries(write, tmp_path: Path) -> None:
    write("corpus.jsonl", CORPUS)
    path = write("queries.jsonl", '{"_id": "a", "text": "x"}\n{"_id": "b", "text": ""}\n{"text": "x"}\n{"_id": "c"}\n')
    write("qrels/train.tsv", "query-id\tcorpus-id\tscore\na\td1\tyes\n")
    problems = ProblemLog()
    _, queries, judgments = read_all(open_source(str(tmp_path), InputOptions()), problems)
    assert [q.query_id for q in queries] == ["a"]
    assert judgments == []
    assert {kind: [str(one) for one in found] for kind, found in problems.first.items()} == {
        "empty text": [f"{path}:2: b"],
        "missing id": [f"{path}:3: no _id"],
        "missing text": [f"{path}:4: no text in c"],
        "grade not an integer": [f"{tmp_path}/qrels/train.tsv:2: yes"],
    }


def test_options_that_name_directories(write, tmp_path: Path) -> None:
    for n in (1, 2):
        write(f"pieces/part-{n}.jsonl", f'{{"_id": {n}, "text": "x"}}\n')
    write("pieces/.hidden.jsonl", "broken")
    queries = write("q.jsonl", QUERIES)
    write("judged/README.txt", "about these files\n")
    write("judged/qrels.dev.tsv", "q1\t1\t1\n")
    options = InputOptions(queries=str(queries), qrels=str(tmp_path / "judged"))
    source = open_source(str(write("c.jsonl", CORPUS)), options)
    assert source.describe() == {"kind": "beir", "split": "dev", "files": ["c.jsonl", "q.jsonl", "qrels.dev.tsv"]}
    other = open_source(
        str(tmp_path / "c.jsonl"),
        InputOptions(corpus=str(tmp_path / "pieces"), queries=options.queries, qrels=options.qrels, split="dev"),
    )
    assert [d.doc_id for d in other.documents(ProblemLog())] == ["1", "2"]
    with pytest.raises(InputError, match="no JSONL or Parquet file"):
        open_source(str(tmp_path / "c.jsonl"), InputOptions(corpus=str(tmp_path / "judged")))
    with pytest.raises(UsageError, match="is a corpus alone"):
        open_source(str(tmp_path / "c.jsonl"), InputOptions(split="dev"))


def test_a_split_that_is_there_twice_is_not_guessed(write, tmp_path: Path) -> None:
    write("corpus.jsonl", CORPUS)
    write("queries.jsonl", QUERIES)
    write("qrels/train.tsv", QRELS)
    write("qrels/train.tsv.gz", QRELS)
    with pytest.raises(InputError, match="are the same part"):
        open_source(str(tmp_path), InputOptions())


COLLECTIONS = ["cacm", "cisi", "cranfield", "gesetze_de", "medquad", "scifact", "squad_v11_dev", "xquad_zh"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real collections here")
@pytest.mark.parametrize("name", COLLECTIONS)
def test_real_collections_have_the_counts_they_state(name: str) -> None:
    stated = json.loads((SHARED / name / "meta.json").read_text())
    for split, counts in stated["splits"].items():
        problems = ProblemLog()
        source = open_source(str(SHARED / name), InputOptions(split=split))
        judgments = list(source.qrels(problems))
        assert len(judgments) == counts["qrels"]
        assert len({item.query_id for item in judgments}) == counts["queries"]
    assert sum(1 for _ in source.documents(problems)) == stated["docs"]
    assert sum(1 for _ in source.queries(problems)) == stated["queries"]
    assert not problems
