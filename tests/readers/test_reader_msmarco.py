from __future__ import annotations

from pathlib import Path

import pytest

from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.readers import open_source
from hnmine.options import InputOptions


def collection(packed) -> None:
    packed("collection.tsv", '0\tThe "presence" of communication\n7\tsecond, text\n')
    packed("queries.dev.small.tsv", "1048585\twhat is paula deen's brother\n")
    packed("qrels.dev.small.tsv", "1048585\t0\t7\t1\n")


def test_a_directory_in_every_compression(packed, tmp_path: Path) -> None:
    collection(packed)
    problems = ProblemLog()
    source = open_source(str(tmp_path), InputOptions())
    assert [(d.doc_id, d.title, d.text, d.line) for d in source.documents(problems)] == [
        ("0", "", 'The "presence" of communication', 1),
        ("7", "", "second, text", 2),
    ]
    assert [(q.query_id, q.text) for q in source.queries(problems)] == [("1048585", "what is paula deen's brother")]
    assert [(j.query_id, j.doc_id, j.grade) for j in source.qrels(problems)] == [("1048585", "7", 1)]
    assert not problems
    assert source.kind == "msmarco"
    assert source.describe()["split"] == "dev.small"
    assert sorted(source.fingerprint()) == ["corpus", "qrels", "queries"]


def test_the_queries_are_those_of_the_split(write, tmp_path: Path) -> None:
    write("collection.tsv", "0\tx\n")
    for split in ("train", "dev"):
        write(f"queries.{split}.tsv", f"{split}\tquery of {split}\n")
        write(f"qrels.{split}.tsv", f"{split}\t0\t0\t1\n")
    write("queries.eval.tsv", "e\tnobody judged this\n")
    for wanted, split in ((None, "train"), ("dev", "dev")):
        source = open_source(str(tmp_path), InputOptions(split=wanted))
        assert [q.query_id for q in source.queries(ProblemLog())] == [split]
    with pytest.raises(UsageError, match="no split 'eval'"):
        open_source(str(tmp_path), InputOptions(split="eval"))
    (tmp_path / "queries.train.tsv").unlink()
    with pytest.raises(InputError, match=r"no queries\.train\.tsv for the qrels of split 'train'"):
        open_source(str(tmp_path), InputOptions())


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("1", "wrong number of columns"),
        ("1\ttext\twith a tab", "wrong number of columns"),
        ("\ttext", "empty id"),
        ("1\t ", "empty text"),
    ],
)
def test_each_problem_of_a_line(write, line: str, kind: str) -> None:
    path = write("collection.tsv", f"a\tx\n{line}\nb\ty\n")
    problems = ProblemLog()
    source = open_source(str(path), InputOptions())
    assert source.kind == "corpus"
    assert [d.doc_id for d in source.documents(problems)] == ["a", "b"]
    assert problems.counts == {kind: 1}
    assert problems.first[kind][0].where == f"{path}:2"


def test_a_corpus_tsv_with_a_header_is_a_table(write, tmp_path: Path) -> None:
    write("queries.jsonl", '{"_id": "q", "text": "x"}\n')
    write("qrels/train.tsv", "q\ta\t1\n")
    corpus = write("c.tsv", "_id\ttitle\ttext\na\tT\tx\n")
    source = open_source(str(tmp_path), InputOptions(corpus=str(corpus)))
    assert [(d.doc_id, d.title, d.text, d.line) for d in source.documents(ProblemLog())] == [("a", "T", "x", 2)]
