from __future__ import annotations

from pathlib import Path

import pytest

from hnmine.errors import InputError, ProblemLog
from hnmine.files.readers import InputFile, RunRow, read_qrels, read_trec_run

SHARED = Path(__file__).parents[2] / "../shared/data/beir"


def judged(path: Path, problems: ProblemLog | None = None) -> list[tuple[str, str, int]]:
    log = problems if problems is not None else ProblemLog()
    found = [(j.query_id, j.doc_id, j.grade) for j in read_qrels(InputFile(path=path, shown=path.name), log)]
    assert problems is not None or not log, log.render()
    return found


def ranked(path: Path, problems: ProblemLog | None = None) -> list[tuple[str, str, int | None, float, str]]:
    log = problems if problems is not None else ProblemLog()
    found = [(r.query_id, r.doc_id, r.rank, r.score, r.tag) for r in read_trec_run(path, log)]
    assert problems is not None or not log, log.render()
    return found


@pytest.mark.parametrize(
    "content",
    [
        "query-id\tcorpus-id\tscore\nq 1\td 1\t2\nq2\td2\t-1\n",
        "q 1\td 1\t2\nq2\td2\t-1\n",
        "q 1\td 1\t2.0\r\nq2\td2\t-1\r\n",
        "q 1\t0\td 1\t2\nq2\t0\td2\t-1",
        "\nq 1\t0\td 1\t2\n\nq2\tQ0\td2\t-1\n\n",
    ],
    ids=["beir", "no header", "crlf", "trec by tabs", "blank lines"],
)
def test_forms_with_tabs(packed, content: str) -> None:
    assert judged(packed("qrels.tsv", content)) == [("q 1", "d 1", 2), ("q2", "d2", -1)]


def test_trec_by_white_space(packed) -> None:
    assert judged(packed("qrels.txt", "1 0 d1  1\n2   Q0 d2 0\n3 0\td3 +2\n")) == [
        ("1", "d1", 1),
        ("2", "d2", 0),
        ("3", "d3", 2),
    ]


def test_an_empty_file_has_no_judgments(packed) -> None:
    assert judged(packed("qrels.tsv", "")) == []
    assert judged(packed("header.tsv", "query-id\tcorpus-id\tscore\n")) == []


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("q\td\t0.5", "grade not an integer"),
        ("q\td\tyes", "grade not an integer"),
        ("q\td\t", "grade not an integer"),
        ("q\td\t1_0", "grade not an integer"),
        ("q\td\t٣", "grade not an integer"),
        ("q\td\t4294967296", "grade out of range"),
        ("q\td\t" + "9" * 5000, "grade out of range"),
        ("\td\t1", "empty id"),
        ("q\t\t1", "empty id"),
        ("\t\t", "empty id"),
        ("q d 1", "wrong number of columns"),
        ("q\t0\td\t1", "wrong number of columns"),
    ],
)
def test_each_problem_of_a_judgment(write, line: str, kind: str) -> None:
    problems = ProblemLog()
    path = write("r.tsv", f"a\tb\t1\n{line}\nc\td\t1\n")
    assert judged(path, problems) == [("a", "b", 1), ("c", "d", 1)]
    assert problems.counts == {kind: 1}
    assert problems.first[kind][0].where == "r.tsv:2"


def test_an_id_with_a_space_in_a_trec_file_is_refused_not_split(write) -> None:
    problems = ProblemLog()
    assert judged(write("r", "1 0 d1 1\n1 0 d 2 1\n\t\t\n"), problems) == [("1", "d1", 1)]
    assert problems.counts == {"wrong number of columns": 2}


def test_qrels_with_commas_are_told_what_belongs_between_the_columns(write) -> None:
    problems = ProblemLog()
    assert judged(write("r.tsv", "query-id,corpus-id,score\nq,d,1\n"), problems) == []
    assert problems.first["wrong number of columns"][1].value == "1 instead of 3 with tabs between: q,d,1"


def test_latin1_in_qrels(write) -> None:
    problems = ProblemLog()
    assert judged(write("r", b"q\td\xe9\t1\nq\td\t1\n"), problems) == [("q", "d", 1)]
    assert problems.counts == {"wrong encoding": 1}


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real collections here")
def test_real_grades() -> None:
    found = judged(SHARED / "trecdl_19_20/qrels/judged.tsv")
    assert len(found) == 9478
    assert {grade for _, _, grade in found} == {0, 1, 2, 3}


def test_a_run_of_six_columns(packed) -> None:
    path = packed("run.trec", "q1 Q0 d1 1 12.5 bm25\nq1 Q0 d2 2 -1e-3 bm25\n")
    rows = list(read_trec_run(path, ProblemLog()))
    assert rows[0] == RunRow(query_id="q1", doc_id="d1", rank=1, score=12.5, tag="bm25", file=str(path), line=1)
    assert (rows[1].rank, rows[1].score, rows[1].where) == (2, -0.001, f"{path}:2")


def test_a_run_of_three_columns(packed) -> None:
    assert ranked(packed("run.tsv", "q 1\td 🎉 1\t0.5\nq2\td\t7\n")) == [
        ("q 1", "d 🎉 1", None, 0.5, ""),
        ("q2", "d", None, 7.0, ""),
    ]
    assert ranked(packed("run.txt", "q1   d1 0.5\n")) == [("q1", "d1", None, 0.5, "")]


def test_tabs_keep_ids_with_spaces_whole(packed) -> None:
    assert ranked(packed("run", "q 1\tQ0\td 1\t1\t2.0\ta tag\n")) == [("q 1", "d 1", 1, 2.0, "a tag")]


@pytest.mark.parametrize(
    ("first", "line"),
    [
        ("q Q0 d 1 2.0 t", "q Q0 d 7 1 2.0 t"),
        ("q Q0 d 1 2.0 t", "q d 2.0"),
        ("q Q0 d 1 2.0 t", "q\tQ0\td 7\t1\t2.0\tt"),
        ("q Q0 d 1 2.0 t", "q Q0 d 7\t1 2.0"),
        ("q d 2.0", "q d 7 2.0"),
        ("q d 2.0", "q 1 d 1 2 0.5"),
        ("q\td\t2.0", "q d 2.0"),
        ("q\tQ0\td\t1\t2.0\tt", "q Q0 d 1 2.0 t"),
        ("q\td\t2.0", "\t"),
    ],
)
def test_another_number_of_fields_is_refused_never_split(write, first: str, line: str) -> None:
    problems = ProblemLog()
    assert len(ranked(write("run", f"{first}\n{line}\n{first}\n"), problems)) == 2
    assert problems.counts == {"wrong number of columns: an id with a space? use tabs": 1}


def test_a_bad_first_line_does_not_decide_the_number_of_columns(write) -> None:
    problems = ProblemLog()
    assert ranked(write("run", "q 1 d 2.0\nq d 2.0\n"), problems) == [("q", "d", None, 2.0, "")]
    assert list(problems.counts.values()) == [1]


def test_six_fields_that_are_not_the_six_columns(write) -> None:
    problems = ProblemLog()
    assert ranked(write("run", "q 1 d 1 2 0.5\n"), problems) == []
    assert problems.counts == {"second column is not Q0: an id with a space? use tabs": 1}


@pytest.mark.parametrize("score", ["nan", "inf", "-Infinity", "x", "1_0", "1,5", "1e999"])
def test_scores_must_be_finite_numbers(write, score: str) -> None:
    problems = ProblemLog()
    assert ranked(write("run", f"q Q0 d 1 {score} t\nq Q0 e 2 1 t\n"), problems) == [("q", "e", 2, 1.0, "t")]
    assert problems.counts == {"score not a finite number": 1}
    assert problems.first["score not a finite number"][0].value == score


def test_other_problems_of_a_run(write, tmp_path: Path) -> None:
    problems = ProblemLog()
    assert ranked(write("run", "q\tQ0\td\tx\t1\tt\nq\tQ0\t\t1\t1\tt\n\tQ0\td\t1\t1\tt\n"), problems) == []
    assert problems.counts == {"rank not an integer": 1, "empty id": 2}
    assert ranked(write("empty", "")) == []
    with pytest.raises(InputError, match="no such file"):
        ranked(tmp_path / "nothing")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real collections here")
def test_a_real_run_has_rows_of_every_query() -> None:
    for path in sorted((SHARED / "trecdl_19_20/runs").iterdir())[:2]:
        rows = ranked(path)
        assert len(rows) > 1000
        assert all(isinstance(row[2], int) for row in rows)
