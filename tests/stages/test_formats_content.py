"""What stands in the files of the plain formats, field by field, against decisions and raw data; what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import InputError, UsageError
from hnmine.options import Format
from hnmine.stages.export_checks import refuse_ids
from hnmine.stages.formats import FORMATS
from tests.e2e.harness import write_jsonl

Row = dict[str, Any]
Export = Callable[..., Path]


@dataclass(frozen=True)
class Mined:
    """A run directory and what its decisions say: picked rows by query and document id."""

    path: Path
    picked: dict[tuple[str, str], Row]

    def of(self, query: str, verdict: str) -> list[str]:
        """The documents of a query with a verdict: positives by rank, negatives in the order of the pick."""
        rows = [row for row in self.picked.values() if (row["query_id"], row["verdict"]) == (query, verdict)]
        return [row["doc_id"] for row in sorted(rows, key=lambda row: row["pick_rank"] or row["rank_bm25"] or 99)]

    def queries(self) -> list[str]:
        return list(dict.fromkeys(query for query, _ in self.picked))


def mine(place: Path, ids: Callable[[int], str], **options: Any) -> Mined:
    """Ten questions about numbers, two of them with two positives, every third with a judged negative; BM25 and random
    documents, three negatives.
    """
    documents = [
        {"_id": ids(n), "title": "numbers" if n % 2 else "", "text": f"number {n} is {'odd' if n % 2 else 'even'}"}
        for n in range(14)
    ]
    queries = [
        {"_id": f"q{n}", "text": f"what is number {n}", "answers": [f"is {n}"] if n else None} for n in range(10)
    ]
    judged = [(f"q{n}", ids(n), 1 + n % 3) for n in range(10)] + [("q0", ids(10), 1), ("q5", ids(11), 2)]
    judged += [(f"q{n}", ids(n + 1), 0) for n in range(0, 10, 3)]
    write_jsonl(place / "data/corpus.jsonl", documents)
    write_jsonl(place / "data/queries.jsonl", queries)
    (place / "data/qrels").mkdir()
    lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t{grade}" for q, d, grade in judged)]
    (place / "data/qrels/train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    hnmine.ingest(place / "data", place / "collection")
    hnmine.index_bm25(place, place / "indexes/bm25")
    hnmine.mine(place, place / "candidates", options=hnmine.MineOptions(top_k=6, random=3))
    hnmine.filter(
        place,
        place / "decisions",
        options=hnmine.FilterOptions(**{"num_negatives": 3, "no_margin": True, "pick": "random", **options}),
    )
    rows = pq.read_table(sorted((place / "decisions").glob("*.parquet"))).to_pylist()
    picked = [row for row in rows if row["verdict"] in ("positive", "negative")]
    return Mined(path=place, picked={(row["query_id"], row["doc_id"]): row for row in picked})


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Mined:
    return mine(tmp_path_factory.mktemp("content"), "d{}".format)


@pytest.fixture
def exported(mined: Mined, tmp_path: Path) -> Export:
    def export(form: str, **options: Any) -> Path:
        found = FORMATS[hnmine.ExportOptions(format=form).format]  # type: ignore[arg-type]
        place = tmp_path / (form if found.beside else f"{form}{found.encoding.suffixes[0]}")
        hnmine.export(mined.path, place, options=hnmine.ExportOptions(format=form, **options))  # type: ignore[arg-type]
        return place

    return export


def objects(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def fields(file: Path, separator: str = "\t") -> list[list[str]]:
    return [line.split(separator) for line in file.read_text(encoding="utf-8").split("\n") if line]


def text(number: int) -> str:
    return f"{'numbers ' if number % 2 else ''}number {number} is {'odd' if number % 2 else 'even'}"


def number_of(doc_id: str) -> int:
    return int(doc_id[1:])


def test_jsonl_keeps_all_that_is_known(mined: Mined, exported: Export) -> None:
    rows = objects(exported("jsonl", weight=True))
    assert sorted(row["query_id"] for row in rows) == sorted(mined.queries())
    for row in rows:
        query = row["query_id"]
        assert row["query"] == f"what is number {query[1:]}"
        for side in ("positive", "negative"):
            documents = row[f"{side}s"]
            assert [one["doc_id"] for one in documents] == mined.of(query, side)
            for one in documents:
                known, number = mined.picked[query, one["doc_id"]], number_of(one["doc_id"])
                assert one.pop("text") == f"number {number} is {'odd' if number % 2 else 'even'}"
                assert one.pop("title", "") == ("numbers" if number % 2 else "")
                wanted = {
                    "doc_id": known["doc_id"],
                    "score": known["score_bm25"],
                    "rank": known["rank_bm25"],
                    "relevance": known["relevance"],
                    "sources": known["sources"],
                    "step": None if known["step"] == "none" else known["step"],
                    "weight": pytest.approx(1 if side == "positive" else 1 - known["p_false_negative"]),
                }
                assert one == {key: value for key, value in wanted.items() if value is not None}


def test_dpr_has_titles_apart_and_answers(mined: Mined, exported: Export) -> None:
    rows = json.loads(exported("dpr", scores=True).read_text(encoding="utf-8"))
    assert len(rows) == len(mined.queries())
    for row in rows:
        query = "q" + row["question"].removeprefix("what is number ")
        assert row["answers"] == ([] if query == "q0" else [f"is {query[1:]}"])
        assert row["negative_ctxs"] == []
        for key, side in (("positive_ctxs", "positive"), ("hard_negative_ctxs", "negative")):
            assert [one["passage_id"] for one in row[key]] == mined.of(query, side)
            for one in row[key]:
                assert f"{one['title']} {one['text']}".strip() == text(number_of(one["passage_id"]))
                assert one["score"] == mined.picked[query, one["passage_id"]]["score_bm25"]


def test_nemo_names_documents_of_its_own_corpus(mined: Mined, exported: Export) -> None:
    folder = exported("nemo", scores=True)
    found = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    assert found["corpus"] == [{"path": "corpus"}]
    about = json.loads((folder / "corpus/merlin_metadata.json").read_text(encoding="utf-8"))
    corpus = {row["id"]: row["text"] for row in pq.read_table(folder / "corpus/train.parquet").to_pylist()}
    assert len(found["data"]) == sum(len(mined.of(query, "positive")) for query in mined.queries()) == 12
    named = set()
    for row in found["data"]:
        assert row["corpus_id"] == about["corpus_id"]
        assert len(row["pos_doc"]) == 1
        assert [one["id"] for one in row["neg_doc"]] == mined.of(row["question_id"], "negative")
        for one in (*row["pos_doc"], *row["neg_doc"]):
            assert one["score"] == mined.picked[row["question_id"], one["id"]]["score_bm25"]
            named.add(one["id"])
    assert corpus == {doc_id: text(number_of(doc_id)) for doc_id in named}
    assert about["class"] == "TextQADataset"
    assert about["corpus_id"].startswith("hnmine-")


def test_ms_swift_tells_query_and_documents_by_role(mined: Mined, exported: Export) -> None:
    instruction = "Which number is meant?"
    for form, role in (("ms-swift", "user"), ("ms-swift-reranker", "assistant")):
        rows = objects(exported(form, instruction=instruction))
        for row in rows:
            system, asked = row["messages"]
            assert system == {"role": "system", "content": instruction}
            assert asked["role"] == "user"
            query = "q" + asked["content"].removeprefix("what is number ")
            for key, side in (("positive_messages", "positive"), ("negative_messages", "negative")):
                wanted = [[{"role": role, "content": text(number_of(one))}] for one in mined.of(query, side)]
                assert row[key] == wanted or (form == "ms-swift" and side == "positive" and row[key][0] in wanted)
        assert len(rows) == (12 if form == "ms-swift" else 10)


def test_beir_judges_what_was_mined_as_0_and_has_the_whole_corpus(mined: Mined, exported: Export) -> None:
    folder = exported("beir")
    header, *lines = fields(folder / "qrels/train.tsv")
    assert header == ["query-id", "corpus-id", "score"]
    wanted = [
        [query, one, str(mined.picked[query, one]["relevance"] or 0)]
        for query in mined.queries()
        for side in ("positive", "negative")
        for one in mined.of(query, side)
    ]
    assert lines == wanted
    assert [row["_id"] for row in objects(folder / "corpus.jsonl")] == [f"d{n}" for n in range(14)]
    assert objects(folder / "corpus.jsonl")[1] == {"_id": "d1", "title": "numbers", "text": "number 1 is odd"}
    assert objects(folder / "queries.jsonl")[1] == {"_id": "q1", "text": "what is number 1"}


def test_a_beir_directory_is_data_again(exported: Export, tmp_path: Path) -> None:
    hnmine.ingest(exported("beir"), tmp_path / "collection")
    grades = pq.read_table(sorted((tmp_path / "collection/qrels").glob("*.parquet")))["grade"].to_pylist()
    assert grades.count(0) == 30


def test_a_run_falls_by_score_and_qrels_know_what_is_judged(mined: Mined, exported: Export) -> None:
    folder = exported("trec")
    found: dict[str, list[list[str]]] = {}
    for line in fields(folder / "run.trec", " "):
        assert (line[1], line[5]) == ("Q0", "hnmine")
        found.setdefault(line[0], []).append(line)
    assert list(found) == mined.queries()
    for query, lines in found.items():
        assert {line[2] for line in lines} == {*mined.of(query, "positive"), *mined.of(query, "negative")}
        assert [int(line[3]) for line in lines] == list(range(1, len(lines) + 1))
        scores = [float(line[4]) for line in lines]
        assert scores == sorted(scores, reverse=True)
        assert scores == [mined.picked[query, line[2]]["score_bm25"] for line in lines]
    judged = {(q, d): int(grade) for q, _, d, grade in fields(folder / "qrels.trec", " ")}
    known = {key: row["relevance"] for key, row in mined.picked.items() if row["relevance"] is not None}
    assert judged == known
    assert 0 in judged.values()


def test_gpl_has_margins_and_the_sources_of_negatives(mined: Mined, exported: Export) -> None:
    folder = exported("gpl")
    triples = fields(folder / "gpl-training-data.tsv")
    assert len(triples) == 36
    for query, positive, negative, margin in triples:
        scores = [mined.picked[query, one]["score_bm25"] for one in (positive, negative)]
        assert float(margin) == pytest.approx(scores[0] - scores[1], abs=1e-6)
    pools = objects(folder / "hard-negatives.jsonl")
    assert [row["qid"] for row in pools] == mined.queries()
    seen = set()
    for row in pools:
        assert row["pos"] == mined.of(row["qid"], "positive")
        for source, listed in row["neg"].items():
            negatives = mined.of(row["qid"], "negative")
            brought = [(one, mined.picked[row["qid"], one]["sources"] or ["judged"]) for one in negatives]
            assert listed == [one for one, sources in brought if source in sources]
            seen.add(source)
    assert {"bm25", "random"} <= seen
    positives = fields(folder / "qgen-qrels/train.tsv")[1:]
    assert [line[:2] for line in positives] == [[q, one] for q in mined.queries() for one in mined.of(q, "positive")]


def test_ms_marco_has_ids_and_the_texts_of_the_same_rows(mined: Mined, exported: Export) -> None:
    folder = exported("msmarco")
    ids, texts = fields(folder / "triples.train.ids.tsv"), fields(folder / "triples.train.small.tsv")
    wanted = [
        (query, positive, negative)
        for query in mined.queries()
        for positive in mined.of(query, "positive")
        for negative in mined.of(query, "negative")
    ]
    assert sorted(map(tuple, ids)) == sorted(wanted)
    assert texts == [[f"what is number {q[1:]}", text(number_of(p)), text(number_of(n))] for q, p, n in ids]
    assert fields(folder / "collection.tsv") == [[f"d{n}", text(n)] for n in range(14)]
    assert fields(folder / "queries.train.tsv") == [[f"q{n}", f"what is number {n}"] for n in range(10)]
    grades = [
        [q, "0", d, str(mined.picked[q, d]["relevance"])] for q in mined.queries() for d in mined.of(q, "positive")
    ]
    assert fields(folder / "qrels.train.tsv") == grades


def test_validation_rows_have_files_of_their_own(mined: Mined, exported: Export) -> None:
    folder = exported("msmarco", validation=0.4, seed=1)
    train, held = fields(folder / "triples.train.ids.tsv"), fields(folder / "triples.validation.ids.tsv")
    assert len(train) + len(held) == 36
    assert not {row[0] for row in train} & {row[0] for row in held}
    assert {row[0] for row in fields(folder / "qrels.validation.tsv")} == {row[0] for row in held}


@pytest.mark.parametrize("form", ["beir", "msmarco", "ms-swift", "ms-swift-reranker"])
def test_scores_have_no_place_everywhere(exported: Export, form: str) -> None:
    with pytest.raises(UsageError, match=f"--scores: --format {form} has no place"):
        exported(form, scores=True)


ODD = {"space": "d {}", "tab": "d\t{}", "quotation mark": '"d{}', "no-break space": "d\xa0{}", "trailing space": "d{} "}
REFUSED = {
    "trec": {"space", "tab", "no-break space", "trailing space"},
    "msmarco": {"tab", "trailing space"},
    "beir": {"tab", "quotation mark", "trailing space"},
    "gpl": {"tab", "quotation mark", "trailing space"},
    "jsonl": set(),
    "nemo": set(),
}


@pytest.mark.parametrize("odd", ODD)
def test_ids_that_readers_would_split_are_refused_before_anything_is_written(odd: str, tmp_path: Path) -> None:
    # A line of qrels could not say a tab: there only documents that nobody judged have one.
    path = mine(tmp_path / "run", lambda n: (ODD[odd] if n > 11 or odd != "tab" else "d{}").format(n)).path
    for form, refused in REFUSED.items():
        place = tmp_path / (form if FORMATS[hnmine.ExportOptions(format=form).format].beside else f"{form}.jsonl")  # type: ignore[arg-type]
        options = hnmine.ExportOptions(format=form)  # type: ignore[arg-type]
        if odd in refused:
            with pytest.raises(InputError, match="document id with white space or quotation mark") as error:
                hnmine.export(path, place, options=options)
            assert any(repr(ODD[odd].format(n)) in str(error.value) for n in range(14))
            assert not place.exists()
        else:
            hnmine.export(path, place, options=options)
            assert place.exists()


@pytest.mark.parametrize("form", [name for name, refused in REFUSED.items() if refused])
def test_nul_is_refused_too_since_a_file_with_it_is_no_text(form: str) -> None:
    without = FORMATS[Format(form)].ids_without
    assert without is not None
    refuse_ids(without, form, "", document=pa.array(["d1"]))
    with pytest.raises(InputError, match="document id with white space"):
        refuse_ids(without, form, "", document=pa.array(["d\0001"]))


def test_formats_that_hold_a_query_once_want_one_epoch(tmp_path: Path) -> None:
    path = mine(tmp_path / "run", "d{}".format, num_negatives=1, epochs=2).path
    for form in ("trec", "beir", "gpl", "msmarco"):
        with pytest.raises(UsageError, match="--epoch 1"):
            hnmine.export(path, tmp_path / form, options=hnmine.ExportOptions(format=form))  # type: ignore[arg-type]
    hnmine.export(path, tmp_path / "second", options=hnmine.ExportOptions(format="trec", epoch=2))  # type: ignore[arg-type]
    hnmine.export(path, tmp_path / "both.jsonl", options=hnmine.ExportOptions(format="jsonl"))  # type: ignore[arg-type]
    epochs = [row["epoch"] for row in objects(tmp_path / "both.jsonl")]
    assert epochs == [1] * 10 + [2] * 10
