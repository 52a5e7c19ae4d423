"""A training file becomes a run: its collection, its pairs as candidates with their scores, its decisions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.encodings import JsonLines
from hnmine.files.readers.examples import Example, Passage
from hnmine.files.readers.rows import TrainingRows
from hnmine.options import AuditOptions, Format, ImportOptions, OnError
from hnmine.schema import Scale
from hnmine.stages.formats import FORMATS
from hnmine.stages.formats.labeled_list import LabeledList

OWN = Format.LABELED_LIST


class Lines(LabeledList):
    """A format of this test's own, in another's place: passages are texts, or objects with `id`, `title`, `text`."""

    encoding = JsonLines()

    def examples(self, place: Path, problems: ProblemLog) -> Iterator[Example]:
        for where, row in TrainingRows(place, self.encoding.suffixes).read(problems):
            if not row.get("neg"):
                problems.add("no negatives", where, row.get("query"))
                continue
            yield Example(
                where=where,
                query=row.get("query"),  # type: ignore[arg-type]
                query_id=row.get("qid"),  # type: ignore[arg-type]
                positives=[passage(one) for one in row["pos"]],  # type: ignore[attr-defined]
                negatives=[passage(one) for one in row["neg"]],  # type: ignore[attr-defined]
                instruction=row.get("prompt"),  # type: ignore[arg-type]
                extra={"task": row["task"]} if "task" in row else {},
            )


def passage(value: Any) -> Passage:
    if isinstance(value, dict):
        return Passage(doc_id=value.get("id"), **{n: value.get(n) for n in ("title", "text", "score")})
    return Passage(text=value)


@pytest.fixture(autouse=True)
def _own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, OWN, Lines())


ROWS: list[dict[str, Any]] = [
    {
        "query": "man eating food",
        "pos": [{"text": "a man is eating food", "score": 5.0}, {"text": "a man eats", "score": 4.0}],
        "neg": [
            {"text": "horse rides", "score": -1.0},
            {"text": "girl carries baby", "score": 0.5},
            {"text": "man eating bread", "score": 3.5},
        ],
        "prompt": "find it",
        "task": "a",
    },
    {
        "query": "horse",
        "pos": [{"text": "a horse", "score": 6.0}],
        "neg": [{"text": "a man is eating food", "score": -3.0}, {"text": "the horse rides", "score": None}],
    },
    {  # the first query again: a positive that was there, one of its negatives is a positive of the first row
        "query": "man eating food",
        "pos": [{"text": "a man is eating food", "score": 5.0}],
        "neg": [{"text": "one two three", "score": -4.0}, {"text": "a man eats", "score": 1.0}],
        "prompt": "another",
    },
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def imported(file: Path, output: Path, **options: Any) -> dict[str, hnmine.Outcome]:
    return dict(hnmine.import_training(file, output, options=ImportOptions(format=OWN, **options)))


def table(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(sorted(path.glob("part-*.parquet"))).to_pylist()
    return rows


def texts(run: Path, side: str = "documents") -> dict[str, str]:
    name = {"documents": "doc_id", "queries": "query_id"}[side]
    return {row[name]: row["text"] for row in table(run / "collection" / side)}


def said(run: Path, artefact: str = "candidates") -> list[tuple[str, str, bool, float | None]]:
    """(query, document, is positive, score) of every row, in order, as texts."""
    queries, documents = texts(run, "queries"), texts(run)
    return [
        (queries[r["query_id"]], documents[r["doc_id"]], r["is_positive"], r["score_imported"])
        for r in table(run / artefact)
    ]


def test_a_file_alone_is_the_collection_and_its_pairs_are_the_candidates(tmp_path: Path) -> None:
    done = imported(write(tmp_path / "a.jsonl", ROWS), tmp_path / "x", score_scale="logit")
    assert list(done) == ["ingest", "mine", "filter"]
    # Equal queries are one, equal texts one document; rows stand as in the file, positives first.
    assert said(tmp_path / "x") == [
        ("man eating food", "a man is eating food", True, 5.0),
        ("man eating food", "a man eats", True, 4.0),
        ("man eating food", "horse rides", False, -1.0),
        ("man eating food", "girl carries baby", False, 0.5),
        ("man eating food", "man eating bread", False, 3.5),
        ("man eating food", "one two three", False, -4.0),
        ("horse", "a horse", True, 6.0),
        ("horse", "a man is eating food", False, -3.0),
        ("horse", "the horse rides", False, None),
    ]
    rows = table(tmp_path / "x" / "candidates")
    assert {tuple(r["sources"]) for r in rows if not r["is_positive"]} == {("existing",)}
    assert {r["relevance"] for r in rows if not r["is_positive"]} == {None}, "nobody judged them"
    queries = {r["text"]: (r["instruction"], r["task"]) for r in table(tmp_path / "x" / "collection" / "queries")}
    assert queries == {"man eating food": ("find it", "a"), "horse": (None, None)}
    assert done["ingest"].notes == {
        "both positive and negative": "1 pairs, which are taken for positives",
        "without a score": "1 of 10 pairs",
    }
    plan = hnmine.Artefact.open(tmp_path / "x" / "candidates").plan
    assert plan["scores"] == [{"name": "imported", "scale": "logit", "origin": "imported"}]
    assert plan["rank_by"] is None


def test_the_decisions_are_the_files(tmp_path: Path) -> None:
    imported(write(tmp_path / "a.jsonl", ROWS), tmp_path / "x")
    documents = texts(tmp_path / "x")
    rows = table(tmp_path / "x" / "decisions")
    assert [r["is_positive"] for r in rows] == [r["verdict"] == "positive" for r in rows]
    picked = [(r["pick_rank"], documents[r["doc_id"]]) for r in rows if r["verdict"] == "negative"]
    assert picked == [
        (1, "horse rides"),
        (2, "girl carries baby"),
        (3, "man eating bread"),
        (4, "one two three"),
        (1, "a man is eating food"),
        (2, "the horse rides"),
    ]


def test_what_another_file_says_of_a_pair_is_told_apart_from_what_it_repeats(tmp_path: Path) -> None:
    rows = [
        {"query": "q", "pos": [{"text": "p", "score": 1.0}], "neg": [{"text": "n", "score": None}]},
        {"query": "q", "pos": [{"text": "p", "score": 2.0}], "neg": [{"text": "n", "score": 0.5}]},
    ]
    done = imported(write(tmp_path / "a.jsonl", rows), tmp_path / "x")
    assert said(tmp_path / "x") == [("q", "p", True, 1.0), ("q", "n", False, 0.5)]
    assert done["ingest"].notes == {"several scores": "of 1 pairs, of which the first is taken"}
    without = [{"query": "q", "pos": ["p"], "neg": ["n"]}]
    done = imported(write(tmp_path / "b.jsonl", without), tmp_path / "y")
    assert done["ingest"].notes == {}
    assert "score_imported" not in table(tmp_path / "y" / "candidates")[0]


@pytest.fixture
def corpus(tmp_path: Path) -> dict[str, str]:
    documents = [
        {"_id": "c1", "title": "Food", "text": "a man is eating it"},
        {"_id": "c2", "title": "", "text": "Horse rides!", "year": 1999},
        {"_id": "c3", "text": "girl carries baby"},
        {"_id": "c4", "text": "never named"},
    ]
    write(tmp_path / "corpus.jsonl", documents)
    write(tmp_path / "queries.jsonl", [{"_id": "q1", "text": "Man eating food"}, {"_id": "q2", "text": "unasked"}])
    return {"corpus": str(tmp_path / "corpus.jsonl"), "queries": str(tmp_path / "queries.jsonl")}


def pairs(run: Path) -> list[tuple[str, str, bool]]:
    return [(r["query_id"], r["doc_id"], r["is_positive"]) for r in table(run / "candidates")]


def test_texts_are_found_in_a_corpus_whatever_their_case_and_spaces(tmp_path: Path, corpus: dict[str, str]) -> None:
    rows = [
        # The title alone before the text, the text alone, and a text that the corpus does not have.
        {"query": "man  eating food", "pos": ["food A man is eating it"], "neg": ["horse  rides", "new text"]},
        {"query": "new query", "pos": ["A man is eating it"], "neg": ["girl carries baby"]},
    ]
    done = imported(write(tmp_path / "a.jsonl", rows), tmp_path / "x", **corpus)
    new_text, new_query = (
        next(i for i, text in texts(tmp_path / "x", side).items() if text.startswith("new"))
        for side in ("documents", "queries")
    )
    assert pairs(tmp_path / "x") == [
        ("q1", "c1", True),
        ("q1", "c2", False),
        ("q1", new_text, False),
        (new_query, "c1", True),
        (new_query, "c3", False),
    ]
    assert new_text.startswith("d-")
    assert new_query.startswith("q-")
    assert list(texts(tmp_path / "x")) == ["c1", "c2", "c3", "c4", new_text], "the corpus whole, then what it lacks"
    assert table(tmp_path / "x" / "collection" / "documents")[1]["year"] == 1999
    assert done["ingest"].notes == {
        "added to the corpus": "1 that its files do not have",
        "added to the queries": "1 that its files do not have",
    }
    assert done["ingest"].counts["left_out"] == {"queries_not_judged": 1}


def test_ids_are_looked_up_before_texts(tmp_path: Path, corpus: dict[str, str]) -> None:
    rows = [
        {"qid": "q1", "pos": [{"id": "c1"}], "neg": [{"id": "c3"}, {"id": "c2", "text": "horse rides"}]},
        # Of another numbering: found by the text, else added under its own id.
        {
            "qid": "z",
            "query": "MAN eating food",
            "pos": [{"id": "7", "text": "girl carries baby."}],
            "neg": ["never named"],
        },
        {"qid": "q9", "query": "who", "pos": [{"id": "8", "title": "t", "text": "new"}], "neg": [{"id": "c4"}]},
    ]
    imported(write(tmp_path / "a.jsonl", rows), tmp_path / "x", **corpus)
    assert pairs(tmp_path / "x") == [
        ("q1", "c1", True),
        ("q1", "c3", True),
        ("q1", "c2", False),
        ("q1", "c4", False),
        ("q9", "8", True),
        ("q9", "c4", False),
    ]
    added = table(tmp_path / "x" / "collection" / "documents")[-1]
    assert (added["doc_id"], added["title"], added["text"]) == ("8", "t", "new")


def test_a_run_directory_is_a_corpus_too(tmp_path: Path, corpus: dict[str, str]) -> None:
    rows = [{"query": "man eating food", "pos": ["food A man is eating it"], "neg": ["horse rides"]}]
    file = write(tmp_path / "a.jsonl", rows)
    imported(file, tmp_path / "x", **corpus)
    imported(file, tmp_path / "y", corpus=str(tmp_path / "x"), queries=str(tmp_path / "x"))
    assert pairs(tmp_path / "y") == pairs(tmp_path / "x") == [("q1", "c1", True), ("q1", "c2", False)]


BAD: list[dict[str, Any]] = [
    {"query": "fine", "pos": ["p"], "neg": ["n"]},
    {"query": "no negatives", "pos": ["p"], "neg": []},
    {"qid": "nobody", "pos": ["p"], "neg": ["n"]},
    {"query": "some", "pos": ["p", {"id": "gone"}], "neg": ["  ", {"id": "c1", "text": "not its text"}]},
    {
        "query": "twice",
        "pos": [{"id": "7", "text": "one"}],
        "neg": [{"id": "7", "text": "two"}, {"text": "n", "score": 1e39}],
    },
]


def test_every_problem_is_told_with_its_place_and_nothing_is_left(tmp_path: Path, corpus: dict[str, str]) -> None:
    file = write(tmp_path / "a.jsonl", BAD)
    with pytest.raises(InputError) as caught:
        imported(file, tmp_path / "x", **corpus)
    told = caught.value.render()
    for kind, line, value in (
        ("no negatives", 2, "no negatives"),
        ("query unknown (not in the queries files)", 3, "nobody"),
        ("document unknown (not in the corpus files)", 4, "gone"),
        ("empty text", 4, "document"),
        ("another text than the corpus files have", 4, "c1: not its text"),
        ("one id, two texts", 5, "7: two"),
        ("score not a finite number of 32 bits", 5, "1e+39"),
    ):
        assert f"{kind} (1)\n  {file}:{line}: {value}" in told
    assert "--on-error skip" in told
    assert not (tmp_path / "x" / "collection").exists()


def test_bad_rows_can_be_left_out_and_are_counted(tmp_path: Path, corpus: dict[str, str]) -> None:
    done = imported(write(tmp_path / "a.jsonl", BAD), tmp_path / "x", on_error=OnError.SKIP, **corpus)
    assert done["ingest"].counts["skipped"] == {
        "another text than the corpus files have": 1,
        "document unknown (not in the corpus files)": 1,
        "empty text": 1,
        "no negatives": 1,
        "one id, two texts": 1,
        "score not a finite number of 32 bits": 1,
        "query unknown (not in the queries files)": 1,
    }
    queries = texts(tmp_path / "x", "queries")
    assert {queries[query] for query, _, _ in pairs(tmp_path / "x")} == {"fine", "some", "twice"}


def test_ids_alone_ask_for_a_corpus(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"qid": "1", "query": "q", "pos": [{"id": "a"}], "neg": [{"id": "b"}]}])
    with pytest.raises(InputError, match=r"(?s)its text is nowhere; give --corpus FILE\) \(2\)\n  .*a.jsonl:1: a"):
        imported(file, tmp_path / "x")


def test_what_names_no_format_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="of which format"):
        hnmine.import_training(tmp_path / "a.jsonl", tmp_path / "x", options=ImportOptions())
    with pytest.raises(InputError, match="no such file"):
        imported(tmp_path / "a.jsonl", tmp_path / "x")


def test_from_import_to_another_training_file(tmp_path: Path) -> None:
    """Scores of an index for the imported rows, more candidates, another decision, another format."""
    run = tmp_path / "x"
    imported(write(tmp_path / "a.jsonl", ROWS), run, score_scale="logit")
    hnmine.index_bm25(run, run / "indexes" / "bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.mine(run, run / "mined", options=hnmine.MineOptions(top_k=0))
    mined, before = table(run / "mined"), table(run / "candidates")
    assert {(r["query_id"], r["doc_id"]) for r in mined} == {(r["query_id"], r["doc_id"]) for r in before}
    assert all(r["score_bm25"] is not None and r["rank_bm25"] is None for r in mined)
    assert sorted(r[3] or 9 for r in said(run, "mined")) == sorted(r[3] or 9 for r in said(run))
    hnmine.mine(run, run / "deep", options=hnmine.MineOptions(top_k=5))
    deep = table(run / "deep")
    alone = [r for r in deep if r["sources"] == ["bm25"] and not r["is_positive"]]
    assert alone
    assert all(r["score_imported"] is None and r["rank_bm25"] is not None for r in alone)
    # The file's scores judge where all rows have one; the margin of the positives' least (4.0) takes 3.5.
    options = hnmine.FilterOptions(num_negatives=9, absolute_margin=1.0, judge_by="imported")
    decided = hnmine.filter(run / "candidates", run / "strict", options=options)
    dropped = {r["doc_id"]: r["reason"] for r in table(run / "strict") if r["verdict"] == "dropped"}
    assert {texts(run)[doc_id]: reason for doc_id, reason in dropped.items()} == {
        "man eating bread": "absolute-margin",
        "the horse rides": "no-score",
    }
    assert decided.counts["verdicts"]["negative"] == 4
    hnmine.export(run / "strict", tmp_path / "t.parquet")
    triplets = {tuple(row.values()) for row in pq.read_table(tmp_path / "t.parquet").to_pylist()}
    assert triplets == {
        ("man eating food", positive, negative)
        for positive in ("a man is eating food", "a man eats")
        for negative in ("horse rides", "girl carries baby", "one two three")
    } | {("horse", "a horse", "a man is eating food")}


def test_scores_of_every_row_judge_unasked_and_scores_of_some_do_not(tmp_path: Path) -> None:
    imported(write(tmp_path / "a.jsonl", ROWS), tmp_path / "x", score_scale="logit")
    done = hnmine.filter(tmp_path / "x" / "candidates", tmp_path / "d")
    assert done.notes["not judged by imported"].startswith("1 rows have no such score")
    assert "no scores" in done.notes["judged by"]
    imported(write(tmp_path / "b.jsonl", ROWS[::2]), tmp_path / "y", score_scale="logit")
    done = hnmine.filter(tmp_path / "y" / "candidates", tmp_path / "e")
    assert done.notes["judged by"] == "imported (logit)"
    assert "absolute margin 3" in done.notes["false negatives"], "the default of its scale"


def test_scores_of_the_files_own_rows_say_nothing_of_what_was_mined_beside_them(tmp_path: Path) -> None:
    run = tmp_path / "x"
    other = {"query": "horse", "pos": [{"text": "a horse", "score": 6.0}], "neg": [{"text": "girl", "score": 0.0}]}
    imported(write(tmp_path / "a.jsonl", [ROWS[0], other]), run)
    hnmine.index_bm25(run, run / "indexes" / "bm25", options=hnmine.Bm25Options(language="none"))
    signals = {}
    for depth in (0, 5):
        hnmine.mine(run, run / f"mined{depth}", options=hnmine.MineOptions(top_k=depth))
        hnmine.filter(run / f"mined{depth}", run / f"decided{depth}")
        fitted = hnmine.Artefact.open(run / f"decided{depth}").plan["fitted"]["max-fn-probability"]
        signals[depth] = set(fitted["centre"])
    assert signals == {0: {"lexical", "reranker"}, 5: {"lexical"}}


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", ROWS)
    first, again = imported(file, tmp_path / "x"), imported(file, tmp_path / "y")
    for step in first:
        one, other = first[step].artefact, again[step].artefact
        assert one is not None
        assert other is not None
        assert one.manifest == other.manifest
    assert {outcome.blocks_done_now for outcome in imported(file, tmp_path / "x").values()} == {0}, "all there"


def test_audit_of_a_format_refuses_what_its_trainer_would(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [*ROWS, {"query": "no", "pos": ["p"], "neg": []}, {"query": "no", "pos": []}])
    with pytest.raises(InputError, match=r"(?s)2 problems in the input\nno negatives \(2\)\n.*a.jsonl:4: no"):
        hnmine.audit(file, options=AuditOptions(format=OWN))
    report = hnmine.audit(write(file, ROWS), options=AuditOptions(format=OWN))
    found = {kind: count for kind, count in report["problems"].items() if count}
    assert found == {"positive-among-negatives": 1, "non-finite-score": 1}
    assert report["first"]["positive-among-negatives"] == [{"where": f"{file}:3", "value": "a man eats"}]
    assert (report["rows"], report["positives"], report["negatives"]) == (3, 4, 7)


def test_ids_that_an_export_wrote_beside_texts_come_back(tmp_path: Path) -> None:
    imported(write(tmp_path / "a.jsonl", ROWS), tmp_path / "x")
    data = tmp_path / "data"
    write(
        data / "corpus.jsonl", [{"_id": f"c{i}", "text": text} for i, text in enumerate(texts(tmp_path / "x").values())]
    )
    queries = {f"n{i}": text for i, text in enumerate(texts(tmp_path / "x", "queries").values())}
    write(data / "queries.jsonl", [{"_id": identity, "text": text} for identity, text in queries.items()])
    again = tmp_path / "y"
    imported(tmp_path / "a.jsonl", again, corpus=str(data / "corpus.jsonl"), queries=str(data / "queries.jsonl"))
    options = hnmine.ExportOptions(format=OWN)
    written = tmp_path / "b.jsonl"
    hnmine.export(again, written, options=options)
    rows = [json.loads(line) for line in written.read_text().splitlines()]
    lists = [
        {
            "query": r["query"],
            **{
                side: [d for d, one in zip(r["documents"], r["labels"], strict=True) if one == label]
                for side, label in (("pos", 1), ("neg", 0))
            },
        }
        for r in rows
    ]
    write(written, lists)
    imported(written, tmp_path / "z")
    assert sorted(pairs(tmp_path / "z")) == sorted(pairs(again))
    assert {query for query, _, _ in pairs(tmp_path / "z")} == set(queries)
    write(written, lists[1:])
    with pytest.raises(InputError, match=r"b.ids.parquet: (more rows|another number of documents)"):
        imported(written, tmp_path / "w")


@pytest.mark.parametrize(
    ("form", "broken"),
    [
        (Format.FLAGEMBEDDING, '{"query": "query 1", "pos": ["positive 1"], "neg": []}'),
        (Format.MS_SWIFT, "{"),
        (Format.DPR, '{"question": 1},'),
    ],
)
def test_ids_beside_texts_stay_in_step_with_rows_that_are_left_out(form: Format, broken: str, tmp_path: Path) -> None:
    rows = [
        {
            "query": f"query {n}",
            "pos": [{"id": f"p{n}", "text": f"positive {n}"}],
            "neg": [{"id": f"n{n}", "text": f"negative {n}"}],
        }
        for n in range(4)
    ]
    imported(write(tmp_path / "a.jsonl", rows), tmp_path / "x")
    written = tmp_path / ("b.json" if form is Format.DPR else "b.jsonl")
    hnmine.export(tmp_path / "x", written, options=hnmine.ExportOptions(format=form))
    lines = written.read_text().splitlines()
    line = next(number for number, text in enumerate(lines) if "query" in text)
    gone = next(n for n in range(4) if f"query {n}" in lines[line])
    lines[line] = broken
    written.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError) as caught:
        hnmine.import_training(written, tmp_path / "y", options=ImportOptions(format=form))
    assert f"  {written}:{line + 1}" in caught.value.render()
    given = ImportOptions(format=form, on_error=OnError.SKIP)
    hnmine.import_training(written, tmp_path / "y", options=given)
    kept = {n for n in range(4) if n != gone}
    assert {(doc_id, text) for doc_id, text in texts(tmp_path / "y").items()} == {
        (f"{side[0]}{n}", f"{side} {n}") for n in kept for side in ("positive", "negative")
    }


def test_the_scale_is_one_of_the_known_ones() -> None:
    assert ImportOptions(score_scale="bm25").score_scale is Scale.BM25
    with pytest.raises(UsageError, match="score_scale = 'percent'"):
        ImportOptions(score_scale="percent")


@pytest.mark.parametrize("was_there", [False, True])
def test_a_refused_file_leaves_nothing_behind(was_there: bool, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"query": "a", "pos": "p", "neg": []}\n')
    if was_there:
        (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"bad.jsonl:1: pos: 'p'"):
        hnmine.import_training(
            tmp_path / "bad.jsonl", tmp_path / "run", options=hnmine.ImportOptions(format=Format.FLAGEMBEDDING)
        )
    assert (tmp_path / "run").exists() == was_there
    assert not was_there or not list((tmp_path / "run").iterdir())
