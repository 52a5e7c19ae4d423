"""FlagEmbedding's and Tevatron's files: what stands in them, and what their readers refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import InputError, ProblemLog, UsageError
from hnmine.files.readers.examples import Example, Passage
from hnmine.options import Format
from hnmine.stages.formats import FORMATS

WORDS = ["man", "food", "bread", "girl", "baby", "horse"]
DOCUMENTS = {
    f"d {number}": ("" if number % 3 else f'Títle "{number}"\n', f"{one} {other}" + "\u2028" * (number == 1))
    for number, (one, other) in enumerate((a, b) for a in WORDS for b in WORDS if a < b)
}
QUERIES = {f"q{number}": f"{word} “{number}”\t\\" for number, word in enumerate(WORDS)} | {"lone": "nothing like it"}
POSITIVES = {
    query: {doc_id for doc_id, (_, text) in DOCUMENTS.items() if WORDS[number] in text.split()} - {"d 14"}
    for number, query in enumerate(list(QUERIES)[:-1])
}
POSITIVES = {query: set(sorted(found)[: 1 + number % 2]) for number, (query, found) in enumerate(POSITIVES.items())}
POSITIVES["lone"] = {"d 14"}
NEGATIVES = 3

Row = dict[str, Any]
Export = Callable[..., Path]


def lines(rows: list[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def loads(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


@pytest.fixture(scope="module")
def decisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three negatives a query; the query `lone` has a positive and none."""
    folder = tmp_path_factory.mktemp("by-query")
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    corpus = [{"_id": doc_id, "title": title, "text": text} for doc_id, (title, text) in DOCUMENTS.items()]
    (data / "corpus.jsonl").write_text(lines(corpus), encoding="utf-8")
    asked = [{"_id": query_id, "text": text} for query_id, text in QUERIES.items()]
    (data / "queries.jsonl").write_text(lines(asked), encoding="utf-8")
    judged = [f"{query_id}\t{doc_id}\t1" for query_id, found in POSITIVES.items() for doc_id in sorted(found)]
    (data / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]), encoding="utf-8")
    hnmine.ingest(data, folder / "collection")
    hnmine.index_bm25(folder / "collection", folder / "bm25", options=hnmine.Bm25Options(language="none"))
    hnmine.mine(folder / "collection", folder / "candidates", indexes=[folder / "bm25"])
    how = hnmine.FilterOptions(num_negatives=NEGATIVES, no_margin=True)
    hnmine.filter(folder / "candidates", folder / "decisions", options=how)
    return folder / "decisions"


@pytest.fixture(scope="module")
def known(decisions: Path) -> dict[str, dict[bool, dict[str, float]]]:
    """Of each query with negatives the positives (True) and the negatives (False) of the decisions, with scores."""
    found: dict[str, dict[bool, dict[str, float]]] = {}
    rows = [row for part in sorted(decisions.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]
    rows.sort(key=lambda row: row["pick_rank"] or 0)
    for row in rows:
        if row["verdict"] in ("positive", "negative"):
            own = found.setdefault(row["query_id"], {True: {}, False: {}})
            own[row["verdict"] == "positive"][row["doc_id"]] = row["score_bm25"]
    assert found.pop("lone")[False] == {}
    assert {query: set(own[True]) for query, own in found.items()} == {
        query: own for query, own in POSITIVES.items() if query != "lone"
    }
    assert {len(own[False]) for own in found.values()} == {NEGATIVES}
    return found


@pytest.fixture
def exported(decisions: Path, tmp_path: Path) -> Export:
    def export(name: str, **options: Any) -> Path:
        hnmine.export(decisions, tmp_path / name, options=hnmine.ExportOptions(**options))
        return tmp_path / name

    return export


def text(doc_id: str) -> str:
    """Title, separator, text."""
    return " ".join(part for part in DOCUMENTS[doc_id] if part)


def examples(form: str, place: Path) -> list[Example]:
    """What the format reads from its own file, which must be without problems."""
    problems = ProblemLog()
    found = list(FORMATS[Format(form)].examples(place, problems))
    assert not problems, problems.render()
    return found


def approx(values: Any) -> Any:
    return pytest.approx(list(values), rel=1e-6)


# --- what is written


def test_flagembedding_rows(exported: Export, known: Any) -> None:
    path = exported("t.jsonl", format="flagembedding")
    by_text = {QUERIES[query]: query for query in QUERIES}
    rows = loads(path)
    assert sorted(by_text[row["query"]] for row in rows) == sorted(known), "each query once"
    assert max(len(row["pos"]) for row in rows) == 2
    for row in rows:
        own = known[by_text[row["query"]]]
        assert list(row) == ["query", "pos", "neg"]
        assert sorted(row["pos"]) == sorted(map(text, own[True]))
        assert row["neg"] == list(map(text, own[False])), "in the order of picking"


def test_flagembedding_scores_stand_beside_their_texts(exported: Export, known: Any) -> None:
    by_text = {QUERIES[query]: query for query in QUERIES}
    for row in loads(exported("t.json", format="flagembedding", scores=True)):
        assert list(row) == ["query", "pos", "neg", "pos_scores", "neg_scores"]
        own = known[by_text[row["query"]]]
        for side, is_positive in (("pos", True), ("neg", False)):
            scores = {text(doc_id): score for doc_id, score in own[is_positive].items()}
            assert row[f"{side}_scores"] == approx(scores[one] for one in row[side])
        assert len(set(row["pos_scores"] + row["neg_scores"])) > 1


def test_tevatron_rows(exported: Export, known: Any) -> None:
    for scores in (False, True):
        rows = loads(exported(f"{scores}.jsonl", format="tevatron", scores=scores))
        assert sorted(row["query_id"] for row in rows) == sorted(known)
        for row in rows:
            assert list(row) == ["query_id", "query", "positive_passages", "negative_passages"]
            assert row["query"] == QUERIES[row["query_id"]]
            own = known[row["query_id"]]
            for side, is_positive in (("positive_passages", True), ("negative_passages", False)):
                ids = [passage["docid"] for passage in row[side]]
                order = sorted if is_positive else list  # negatives: in the order of picking
                assert order(ids) == order(own[is_positive])
                for passage in row[side]:
                    assert list(passage) == ["docid", "title", "text", *(["score"] if scores else [])]
                    assert (passage["title"], passage["text"]) == DOCUMENTS[passage["docid"]]
                if scores:
                    assert [passage["score"] for passage in row[side]] == approx(own[is_positive][i] for i in ids)


def test_tevatron_v2_rows_and_the_documents_that_they_name(exported: Export, known: Any) -> None:
    folder = exported("t", format="tevatron-v2")
    rows = loads(folder / "train.jsonl")
    assert sorted(row["query_id"] for row in rows) == sorted(known)
    named = set()
    for row in rows:
        assert list(row) == ["query_id", "query_text", "positive_document_ids", "negative_document_ids"]
        assert row["query_text"] == QUERIES[row["query_id"]]
        assert sorted(row["positive_document_ids"]) == sorted(known[row["query_id"]][True])
        assert row["negative_document_ids"] == list(known[row["query_id"]][False])
        named |= {*row["positive_document_ids"], *row["negative_document_ids"]}
    corpus = loads(folder / "corpus.jsonl")
    assert [row["docid"] for row in corpus] == [doc_id for doc_id in DOCUMENTS if doc_id in named]
    assert all(row == {"docid": row["docid"], "text": text(row["docid"])} for row in corpus)


@pytest.mark.parametrize("form", ["flagembedding", "tevatron", "tevatron-v2"])
def test_what_is_read_back_is_what_was_written(exported: Export, known: Any, form: str) -> None:
    has_scores = form != "tevatron-v2"
    name = "t.jsonl" if has_scores else "t"
    found = examples(form, exported(name, format=form, scores=has_scores))
    assert len(found) == len(known)
    by_text = {QUERIES[query]: query for query in QUERIES}
    for example in found:
        query = example.query_id or by_text[str(example.query)]
        assert example.query == QUERIES[query]
        assert example.instruction is None
        assert dict(example.extra) == {}
        for passages, is_positive in ((example.positives, True), (example.negatives, False)):
            own = known[query][is_positive]
            ids = [one.doc_id or next(d for d in own if text(d) == one.text) for one in passages]
            assert sorted(ids) == sorted(own)
            for passage, doc_id in zip(passages, ids, strict=True):
                whole = passage.text if passage.title is None else (passage.title, passage.text)
                assert whole == (text(doc_id) if passage.title is None else DOCUMENTS[doc_id])
                assert passage.score == (pytest.approx(own[doc_id], rel=1e-6) if has_scores else None)


@pytest.mark.parametrize("form", ["flagembedding", "tevatron"])
def test_shards_hold_the_rows_of_the_file(exported: Export, form: str) -> None:
    one, many = exported("t.jsonl", format=form), exported("shards", format=form, rows_per_file=2)
    assert len(list((many / "data").glob("*.jsonl"))) == 3
    assert [(e.query, e.positives, e.negatives) for e in examples(form, many)] == [
        (e.query, e.positives, e.negatives) for e in examples(form, one)
    ]


@pytest.mark.parametrize("form", ["flagembedding", "tevatron", "tevatron-v2"])
def test_what_has_no_place_is_refused(exported: Export, form: str) -> None:
    for option in ("weight", *(["scores"] if form == "tevatron-v2" else [])):
        with pytest.raises(UsageError, match=f"--{option}: .*{form} has no place for {option}s?"):
            exported("t", format=form, **{option: True})


def test_flagembedding_takes_no_name_that_the_trainer_passes_over(exported: Export) -> None:
    with pytest.raises(UsageError, match=r"ends in \.jsonl or \.json"):
        exported("t.ndjson", format="flagembedding")


# --- what is refused

FLAG = {"query": "q", "pos": ["p"], "neg": ["n", "m"]}
SCORED = {**FLAG, "pos_scores": [2], "neg_scores": [1.5, -1]}


def refused(form: str, place: Path) -> tuple[list[Example], list[str]]:
    """The rows that are read, and the problems: kind, place in the file, value."""
    problems = ProblemLog()
    found = list(FORMATS[Format(form)].examples(place, problems))
    told = [(p.where.rpartition("/")[2], kind, p.value) for kind, own in problems.first.items() for p in own]
    return found, [" | ".join(one) for one in sorted(told)]


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        (FLAG, {**FLAG, "pos": "p"}, "not a list | pos: 'p'"),
        (FLAG, {**FLAG, "neg": []}, "no document in neg"),
        (FLAG, {**FLAG, "neg": None}, "no neg"),
        (FLAG, {"query": "q", "pos": ["p"]}, "no neg"),
        (FLAG, {**FLAG, "neg": ["n", None]}, "not a text | neg: None"),
        (FLAG, {**FLAG, "neg": [["n"]]}, "not a text | neg: ['n']"),
        (FLAG, {"pos": ["p"], "neg": ["n"]}, "no query"),
        (FLAG, {**FLAG, "neg": ["n", " "]}, "empty text | neg"),
        (FLAG, {**FLAG, "query": 7}, "not a text | query: 7"),
        (FLAG, {**FLAG, "query": "\ud800"}, "wrong encoding | lone surrogate in query"),
        (FLAG, SCORED, "key in some rows only | neg_scores, pos_scores"),
        (SCORED, FLAG, "key in some rows only | neg_scores, pos_scores"),
        (SCORED, {**SCORED, "neg_scores": [1]}, "wrong number of scores | neg_scores: 1 for 2 texts"),
        (SCORED, {**SCORED, "neg_scores": [1, "2"]}, "score not a finite number | '2'"),
        (SCORED, {**SCORED, "pos_scores": [True]}, "score not a finite number | True"),
        (SCORED, {**SCORED, "pos_scores": [1e999]}, "broken JSON"),
        (SCORED, {**SCORED, "pos_scores": 2}, "not a list | pos_scores: 2"),
        (SCORED, {**SCORED, "neg_scores": None}, "key in some rows only | neg_scores"),
        ({**FLAG, "prompt": "i"}, FLAG, "key in some rows only | prompt"),
        ({**FLAG, "prompt": "i"}, {**FLAG, "prompt": 3}, "not a text | prompt: 3"),
        ({**FLAG, "type": "normal"}, {**FLAG, "type": "only_1neg"}, "another type than in the first row"),
        ({**FLAG, "batch_size": 4}, {**FLAG, "batch_size": 0}, "not a whole number above 0 | batch_size: 0"),
    ],
)
def test_flagembedding_refuses_what_the_trainer_would(tmp_path: Path, good: Row, bad: Row, told: str) -> None:
    (tmp_path / "t.jsonl").write_text(lines([good, bad, good]), encoding="utf-8")
    found, problems = refused("flagembedding", tmp_path / "t.jsonl")
    assert len(found) == 2
    assert len(problems) == 1
    assert problems[0].startswith(f"t.jsonl:2 | {told}")


def test_flagembedding_reads_numbers_as_large_as_json_has_them(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(lines([SCORED]).replace("-1]", "1e999]"), encoding="utf-8")
    assert refused("flagembedding", tmp_path / "t.jsonl") == (
        [],
        ["t.jsonl:1 | score not a finite number | inf"],
    )


def test_flagembedding_has_no_softmax_of_whole_numbers(tmp_path: Path) -> None:
    whole = {**FLAG, "pos_scores": [1], "neg_scores": [0, 0]}
    (tmp_path / "t.jsonl").write_text(lines([whole, whole]), encoding="utf-8")
    assert refused("flagembedding", tmp_path / "t.jsonl")[1] == [
        "t.jsonl | scores are whole numbers, all of them | write 1.0 for 1"
    ]
    (tmp_path / "t.jsonl").write_text(lines([whole, {**whole, "pos_scores": [1.0]}]), encoding="utf-8")
    assert len(examples("flagembedding", tmp_path / "t.jsonl")) == 2


def test_flagembedding_scores_on_one_side(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(lines([{**FLAG, "pos_scores": [1]}]), encoding="utf-8")
    assert refused("flagembedding", tmp_path / "t.jsonl")[1] == ["t.jsonl:1 | scores of one side only | pos_scores"]


def test_flagembedding_fields_for_the_trainer_are_kept(tmp_path: Path) -> None:
    more = {"query_prompt": "a", "passage_prompt": "b", "type": "only_1neg", "batch_size": 4, "train_group_size": 2}
    (tmp_path / "t.jsonl").write_text(lines([{**SCORED, "prompt": "i", **more}]), encoding="utf-8")
    (found,) = examples("flagembedding", tmp_path / "t.jsonl")
    assert found.instruction == "i"
    assert dict(found.extra) == more
    assert list(found.positives) == [Passage(text="p", score=2.0)]
    assert list(found.negatives) == [Passage(text="n", score=1.5), Passage(text="m", score=-1.0)]


def test_flagembedding_directories_are_read_as_the_trainer_does(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(lines([{**FLAG, "type": "normal"}]), encoding="utf-8")
    (tmp_path / "b.json").write_text(lines([{**FLAG, "type": "only_1neg"}]), encoding="utf-8")
    (tmp_path / "c.ndjson").write_text("nobody reads it", encoding="utf-8")
    assert [example.extra["type"] for example in examples("flagembedding", tmp_path)] == ["normal", "only_1neg"]
    with pytest.raises(InputError, match="FlagEmbedding passes over files of this name"):
        refused("flagembedding", tmp_path / "c.ndjson")


@pytest.mark.parametrize("form", ["flagembedding", "tevatron"])
def test_other_files_are_refused_whole(tmp_path: Path, form: str) -> None:
    for content in ('{"anchor": "a", "positive": "p", "negative": "n"}\n', ""):
        (tmp_path / "t.jsonl").write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"no query.* or pos.* among its keys"):
            refused(form, tmp_path / "t.jsonl")


TEVATRON = {
    "query_id": "1",
    "query": "q",
    "positive_passages": [{"docid": "a", "title": "t", "text": "p"}],
    "negative_passages": [{"docid": "b", "title": "", "text": "n"}],
}


@pytest.mark.parametrize(
    ("passages", "told"),
    [
        ([], "no document in negative_passages | "),
        ("n", "not a list | negative_passages: 'n'"),
        (["n"], "passage not an object | negative_passages: 'n'"),
        ([{"docid": "b", "title": "", "contents": "n"}], "no text | docid, title, contents"),
        ([{"docid": "b", "title": "", "text": ""}], "empty text | text"),
        ([{"docid": "b", "text": "n"}], "key in some rows only | title"),
        ([{"docid": "b", "title": None, "text": "n"}], "key in some rows only | title"),
        ([{"docid": "b", "title": "", "text": "n", "score": 1.0}], "key in some rows only | score"),
        ([{"docid": ["b"], "title": "", "text": "n"}], "id not a string | docid: ['b']"),
    ],
)
def test_tevatron_refuses_what_the_trainer_would(tmp_path: Path, passages: Any, told: str) -> None:
    (tmp_path / "t.jsonl").write_text(
        lines([TEVATRON, {**TEVATRON, "negative_passages": passages}, TEVATRON]), encoding="utf-8"
    )
    found, problems = refused("tevatron", tmp_path / "t.jsonl")
    assert (len(found), problems) == (2, [f"t.jsonl:2 | {told}"])


def test_tevatron_documents_may_be_titles_alone(tmp_path: Path) -> None:
    row = {**TEVATRON, "negative_passages": [{"docid": 7, "title": "t", "text": ""}]}
    (tmp_path / "t.jsonl").write_text(lines([row]), encoding="utf-8")
    assert list(examples("tevatron", tmp_path / "t.jsonl")[0].negatives) == [Passage(doc_id="7", title="t", text="")]


def test_tevatron_scores_and_answers(tmp_path: Path) -> None:
    def scored(negative: object) -> Row:
        sides = {
            "positive_passages": [{"text": "p", "score": 2}],
            "negative_passages": [{"text": "n", "score": negative}],
        }
        return {**TEVATRON, "answers": ["x"], **sides}

    rows = [scored(1), scored("1"), scored(None), {**TEVATRON, "query_id": None}]
    (tmp_path / "t.jsonl").write_text(lines(rows), encoding="utf-8")
    found, problems = refused("tevatron", tmp_path / "t.jsonl")
    assert [(e.positives[0], e.negatives[0], dict(e.extra)) for e in found] == [
        (Passage(text="p", score=2.0), Passage(text="n", score=1.0), {"answers": ["x"]})
    ]
    assert problems == [
        "t.jsonl:2 | score not a finite number | '1'",
        "t.jsonl:3 | key in some rows only | score",
        "t.jsonl:4 | key in some rows only | score, title",
    ]


BY_ID = {"query_id": "1", "query_text": "q", "positive_document_ids": ["a"], "negative_document_ids": ["b"]}
CORPUS = [{"docid": "a", "text": "p"}, {"docid": "b", "text": "n"}]


def write_by_id(folder: Path, rows: list[Row], corpus: list[Row]) -> Path:
    (folder / "train.jsonl").write_text(lines(rows), encoding="utf-8")
    (folder / "corpus.jsonl").write_text(lines(corpus), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({**BY_ID, "negative_document_ids": ["c"]}, 'unknown document | "c"'),
        ({**BY_ID, "negative_document_ids": [7]}, "unknown document | 7"),
        ({**BY_ID, "negative_document_ids": [None]}, "unknown document | null"),
        ({**BY_ID, "negative_document_ids": []}, "no document in negative_document_ids | "),
        ({**BY_ID, "positive_document_ids": "a"}, "not a list | positive_document_ids: 'a'"),
        (
            {"query": "q", **{k: v for k, v in BY_ID.items() if k != "query_text"}},
            "no query_text | query, query_id, positive_document_ids, negative_document_ids",
        ),
        (
            {k: v for k, v in BY_ID.items() if k != "query_id"},
            "no query_id | query_text, positive_document_ids, negative_document_ids",
        ),
    ],
)
def test_tevatron_v2_refuses_what_the_trainer_would(tmp_path: Path, row: Row, told: str) -> None:
    found, problems = refused(
        "tevatron-v2", write_by_id(tmp_path, [BY_ID, row], [*CORPUS, {"docid": "7", "text": "x"}])
    )
    assert (len(found), problems) == (1, [f"train.jsonl:2 | {told}"])


def test_tevatron_v2_refuses_a_corpus_that_the_trainer_would_misread(tmp_path: Path) -> None:
    corpus = [*CORPUS, {"docid": "a", "text": "other"}, {"docid": "c", "document_text": "x"}, {"text": "x"}]
    found, problems = refused("tevatron-v2", write_by_id(tmp_path, [BY_ID], corpus))
    assert problems == [
        'corpus.jsonl:3 | document id twice | "a"',
        "corpus.jsonl:4 | no text | docid, document_text",
        "corpus.jsonl:5 | no docid | text",
    ]
    assert len(found) == 1


def test_tevatron_v2_reads_ids_that_are_numbers_in_both_files(tmp_path: Path) -> None:
    row = {**BY_ID, "positive_document_ids": [1], "negative_document_ids": [2]}
    place = write_by_id(tmp_path, [row], [{"docid": 1, "text": "p"}, {"docid": 2, "text": "n"}])
    (found,) = examples("tevatron-v2", place)
    assert [found.positives[0], found.negatives[0]] == [
        Passage(doc_id="1", text="p"),
        Passage(doc_id="2", text="n"),
    ]


def test_tevatron_v2_needs_its_corpus(tmp_path: Path) -> None:
    write_by_id(tmp_path, [BY_ID], CORPUS)
    (tmp_path / "corpus.jsonl").unlink()
    with pytest.raises(InputError, match=r"has no such file: corpus\.jsonl"):
        refused("tevatron-v2", tmp_path)


def test_an_instruction_stands_in_every_row_as_a_text() -> None:
    """A null would reach the trainer as the word None."""

    class Given:
        queries = documents = pa.array(["a", "b"])
        scores = None
        instructions = pa.array(["find", None])
        of_queries = SimpleNamespace(task=None)

        def lists_of(self, values: pa.Array, *, positive: bool) -> pa.Array:
            return pa.array([[value] for value in values.to_pylist()])

    table = FORMATS[Format.FLAGEMBEDDING].table(Given(), width=1)  # type: ignore[arg-type]
    assert table.column_names == ["query", "pos", "neg", "prompt", "query_prompt"]
    assert table["prompt"].to_pylist() == table["query_prompt"].to_pylist() == ["find", ""]
