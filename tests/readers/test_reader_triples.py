"""A knowledge graph: questions of head and relation, true tails of every split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.readers import open_source
from hnmine.options import InputOptions

FILES = {
    "entity2text.txt": "/m/1\tBerlin\n/m/2\tGermany\n/m/3\tParis\n/m/4\tFrance\n/m/5\tEurope\n",
    "relation2text.txt": "/loc/capital_of\tcapital of\n",
    "train.tsv": "/m/1\t/loc/capital_of\t/m/2\n/m/3\t/loc/capital_of\t/m/4\n/m/1\t/loc/part_of\t/m/2\n"
    "/m/1\t/loc/part_of\t/m/2\n",
    "dev.tsv": "/m/1\t/loc/part_of\t/m/5\n/m/1\t/loc/part_of\t/m/2\n",
    "test.tsv": "/m/4\t/loc/part_of\t/m/5\n/m/1\t/loc/part_of\t/m/99\n",
}


@pytest.fixture
def graph(write: Callable[[str, str], Path], tmp_path: Path) -> Path:
    for name, content in FILES.items():
        write(f"kg/{name}", content)
    return tmp_path / "kg"


def test_questions_and_answers(graph: Path) -> None:
    source, log = open_source(str(graph), InputOptions()), ProblemLog()
    judgments = [(one.query_id, one.doc_id, one.grade) for one in source.qrels(log)]
    assert judgments == [
        ("/m/1|/loc/capital_of", "/m/2", 2),
        ("/m/3|/loc/capital_of", "/m/4", 2),
        ("/m/1|/loc/part_of", "/m/2", 2),
        ("/m/1|/loc/part_of", "/m/5", 1),  # of dev.tsv: true, and not trained on
    ]
    assert [(one.doc_id, one.text) for one in source.documents(log)][:2] == [("/m/1", "Berlin"), ("/m/2", "Germany")]
    queries = {one.query_id: one for one in source.queries(log)}
    assert [one.text for one in queries.values()] == [
        "Berlin: capital of",
        "Paris: capital of",
        "Berlin: loc part of",  # a relation without a text
    ]
    assert queries["/m/1|/loc/part_of"].metadata == {"entity": "/m/1", "relation": "/loc/part_of", "inverse": False}
    assert not log, log.render()
    assert source.min_relevance == 2
    assert source.negatives_where is None
    assert source.notes() == {"true, neither positives nor negatives": "the triples of dev.tsv, test.tsv"}
    assert set(source.fingerprint()) == {"corpus", "relations", "triples", "held_out"}


def test_inverse(graph: Path) -> None:
    source, log = open_source(str(graph), InputOptions(inverse=True)), ProblemLog()
    judgments = {(one.query_id, one.doc_id): one.grade for one in source.qrels(log)}
    assert judgments["/m/2|^/loc/part_of", "/m/1"] == 2
    assert ("/m/5|^/loc/part_of", "/m/1") not in judgments, "nobody asks it: dev.tsv alone answers"
    texts = {one.query_id: one.text for one in source.queries(log)}
    assert texts["/m/2|^/loc/capital_of"] == "Germany: inverse of capital of"
    assert len(texts) == 3 + 3


def test_another_split(graph: Path) -> None:
    source = open_source(str(graph), InputOptions(split="dev"))
    grades = {(one.query_id, one.doc_id): one.grade for one in source.qrels(ProblemLog())}
    assert grades == {("/m/1|/loc/part_of", "/m/5"): 2, ("/m/1|/loc/part_of", "/m/2"): 2}
    with pytest.raises(UsageError, match="no split 'tset'"):
        open_source(str(graph), InputOptions(split="tset"))


def test_texts_of_another_file(graph: Path, write: Callable[[str, str], Path]) -> None:
    longer = write("long.jsonl", '{"_id": "/m/1", "title": "Berlin", "text": "a city"}\n')
    source = open_source(str(graph), InputOptions(corpus=str(longer)))
    texts = [one.text for one in source.queries(ProblemLog())]
    assert texts == ["Berlin a city: capital of", "Berlin a city: loc part of"]


def test_broken_lines_are_told_once(graph: Path) -> None:
    (graph / "train.tsv").write_text("/m/1\t/loc/part_of\t/m/2\n/m/1 /loc/part_of /m/2\n/m/1\t\t/m/2\n")
    source, log = open_source(str(graph), InputOptions()), ProblemLog()
    list(source.qrels(log)), list(source.documents(log)), list(source.queries(log))
    assert log.counts == {"wrong number of columns": 1, "empty id": 1}
    assert str(log.first["empty id"][0]).startswith(f"{graph}/train.tsv:3")


@pytest.mark.parametrize("name", ["qrels", "queries", "class_column"])
def test_options_that_do_not_apply(graph: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} x"):
        open_source(str(graph), InputOptions(**{name: "x"}))


def test_no_triples(graph: Path) -> None:
    for name in ("train.tsv", "dev.tsv", "test.tsv"):
        (graph / name).unlink()
    with pytest.raises(InputError, match=r"no triples beside entity2text\.txt"):
        open_source(str(graph), InputOptions())
