"""`generate`: what is written, the collection that is made of it, and that everything after takes it as it should."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import InputError, UsageError
from hnmine.files.collection import Collection
from hnmine.stages.lineage import Lineage, commands
from tests.e2e.harness import contents, invoke, write_jsonl

Row = dict[str, Any]
CORPUS = {
    "p1": ("Dogs", "The old dog is 12 years of age. It bit the postman in 1990."),
    "p2": ("", "Cats were sacred in ancient Egypt"),
    "p3": ("A title alone is here", ""),
    "p4": ("", "single"),
    **{f"n{n}": ("", f"another dog with {n} spots, and cats that sleep in the sun of Egypt") for n in range(40)},
}
QUERIES = {"q1": "how old is the dog", "q2": "sacred cats", "q3": "title here", "q4": "single", "q5": "dog again"}
QRELS = [("q1", "p1", 1), ("q2", "p2", 1), ("q3", "p3", 1), ("q4", "p4", 1), ("q5", "p1", 1), ("q5", "p2", 2)]
NEGATION = hnmine.GenerateOptions(change=("negation",), language="english")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    write_jsonl(
        data / "corpus.jsonl", [{"_id": i, "title": t, "text": x, "lang": "en"} for i, (t, x) in CORPUS.items()]
    )
    write_jsonl(data / "queries.jsonl", [{"_id": i, "text": text} for i, text in QUERIES.items()])
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in QRELS)]
    (data / "qrels").mkdir()
    (data / "qrels" / "train.tsv").write_text("\n".join(lines) + "\n")
    return data


@pytest.fixture(scope="module")
def written(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("written")
    cache = tmp_path_factory.mktemp("cache")
    hnmine.generate(data, written, options=hnmine.GenerateOptions(language="english"), cache_dir=cache)
    return written


@pytest.fixture(scope="module")
def mined(written: Path) -> Path:
    hnmine.index_bm25(written, written / "indexes" / "bm25", options=hnmine.Bm25Options(language="english"))
    options = hnmine.MineOptions(top_k=3, random=2)
    hnmine.mine(written, written / "candidates", options=options)
    return written


def table(path: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(path / "part-00000.parquet").to_pylist()
    return rows


def test_each_change_of_a_positive_is_a_text_and_no_ops_are_refused(written: Path) -> None:
    rows = table(written / "generated")
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["query_id"], []).append(row)
    assert [row["written_by"] for row in found["q1"]] == [
        f"perturb:{name}" for name in ("swap", "shuffle", "negation", "number")
    ]
    negated, other = found["q1"][2], found["q1"][3]
    assert negated["text"] == "The old dog is not 12 years of age. It bit the postman in 1990."
    assert {row["title"] for row in found["q1"]} == {"Dogs"}, "the title stays: its absence would give them away"
    assert other["text"] != CORPUS["p1"][1]
    assert other["text"].startswith("The old dog is ")
    assert {row["title"] for row in found["q3"]} != {""}
    assert "A title alone is not here" in {row["title"] for row in found["q3"]}
    assert "q4" not in found, "a word alone cannot be changed"
    # The better grade first: all four texts of q5 are of p2, as far as p2 can be changed, then of p1.
    assert [row["written_from"] for row in found["q5"]] == ["p2", "p2", "p2", "p1"]
    manifest = json.loads((written / "generated" / "manifest.json").read_text())["counts"]
    assert manifest["written"] == len(rows)
    assert manifest["refused"]["no-op"] > 0
    assert manifest["queries_short"] == 3  # q2, q3: no number; q4: nothing


def test_the_collection_has_all_there_was_and_what_was_written_once(data: Path, tmp_path: Path) -> None:
    hnmine.generate(data, tmp_path / "out", options=NEGATION, cache_dir=tmp_path / "cache")
    rows = table(tmp_path / "out" / "generated")
    assert [(row["query_id"], row["written_from"]) for row in rows] == [
        ("q1", "p1"),
        ("q2", "p2"),
        ("q3", "p3"),
        ("q5", "p2"),
        ("q5", "p1"),
    ]
    collection = Collection.open(tmp_path / "out" / "collection")
    documents = {row["doc_id"]: row for row in table(collection.path / "documents")}
    assert list(documents)[: len(CORPUS)] == list(CORPUS)
    assert {i: (documents[i]["title"], documents[i]["text"]) for i in CORPUS} == CORPUS
    assert documents["p1"]["lang"] == "en"
    assert documents["p1"]["written_by"] is None
    assert len(documents) == len(CORPUS) + 3, "of two queries with one text there is one document"
    assert documents[rows[0]["doc_id"]]["written_from"] == "p1"
    pairs = {(row["query_id"], row["doc_id"]) for row in table(collection.path / "curated")}
    assert pairs == {(row["query_id"], row["doc_id"]) for row in rows}
    assert {(r["query_id"], r["doc_id"], r["grade"]) for r in table(collection.path / "qrels")} == set(QRELS)


def test_a_text_that_the_corpus_has_is_refused(data: Path, tmp_path: Path) -> None:
    corpus = [json.loads(line) for line in (data / "corpus.jsonl").open()]
    taken = {"_id": "x", "title": "", "text": "Cats were NOT sacred in ancient Egypt!"}
    write_jsonl(tmp_path / "corpus.jsonl", [*corpus, taken])
    given = hnmine.InputOptions(corpus=str(tmp_path / "corpus.jsonl"))
    outcomes = hnmine.generate(data, tmp_path / "out", options=NEGATION, input=given, cache_dir=tmp_path / "cache")
    assert outcomes[0][1].counts["refused"] == {"in-corpus": 2, "no-op": 1}
    assert {row["written_from"] for row in table(tmp_path / "out" / "generated")} == {"p1", "p3"}


def test_only_its_own_query_gets_a_written_text(mined: Path) -> None:
    own = {(row["query_id"], row["doc_id"]) for row in table(mined / "generated")}
    rows = table(mined / "candidates")
    found = {(row["query_id"], row["doc_id"]) for row in rows if row["doc_id"].startswith("written-")}
    assert found == own
    for row in rows:
        is_own = (row["query_id"], row["doc_id"]) in own
        assert (row["sources"] == ["curated"]) == is_own
        assert row["score_bm25"] is not None, "every row has every index's score"
        assert not (is_own and row["rank_bm25"])
    ranks = sorted(row["rank_bm25"] for row in rows if row["query_id"] == "q1" and row["rank_bm25"])
    assert ranks == [1, 2, 3], "written texts take nobody's place"


def test_what_is_not_written_is_mined_as_without_it(data: Path, mined: Path, tmp_path: Path) -> None:
    """Ranks by one run: BM25's own weights know of the written documents."""
    lines = [f"{q} {d} {n}" for q in QUERIES for n, d in enumerate([*CORPUS, "gone"][:-1])]
    (tmp_path / "all.trec").write_text("\n".join(lines) + "\n")
    options = hnmine.MineOptions(top_k=5, run=(f"all={tmp_path / 'all.trec'}",), random=3)
    hnmine.ingest(data, tmp_path / "plain")
    hnmine.mine(tmp_path / "plain", tmp_path / "before", options=options, cache_dir=tmp_path / "cache")
    hnmine.mine(mined / "collection", tmp_path / "after", options=options, cache_dir=tmp_path / "cache")
    before, after = table(tmp_path / "before"), table(tmp_path / "after")
    assert before == [row for row in after if row["sources"] != ["curated"]]
    assert len(after) > len(before)


def test_they_are_spared_by_guesses_and_a_quota_counts_them(mined: Path, tmp_path: Path) -> None:
    options = hnmine.FilterOptions(absolute_margin=1000.0, num_negatives=4)
    decided = hnmine.filter(mined / "candidates", tmp_path / "kept", options=options)
    rows = table(tmp_path / "kept")
    assert {tuple(r["sources"]) for r in rows if r["verdict"] == "negative"} == {("curated",)}
    assert decided.counts["spared"]["absolute-margin"] == sum(row["sources"] == ["curated"] for row in rows)
    options = hnmine.FilterOptions(no_margin=True, num_negatives=3, quota="curated=1,bm25=2")
    hnmine.filter(mined / "candidates", tmp_path / "mixed", options=options)
    picked = [
        row["sources"] for row in table(tmp_path / "mixed") if row["verdict"] == "negative" and row["query_id"] == "q1"
    ]
    assert sorted("curated" in sources for sources in picked) == [False, False, True]


def test_a_card_tells_how_they_were_written(mined: Path, tmp_path: Path) -> None:
    hnmine.filter(mined / "candidates", tmp_path / "decisions", options=hnmine.FilterOptions(no_margin=True))
    exported = hnmine.export(tmp_path / "decisions", tmp_path / "export").artefact
    assert exported is not None
    found = list(commands(Lineage.of(exported)))
    assert found[:2] == [
        "hnmine ingest DATA -o data --split train",
        "hnmine generate data -o . --by perturb --change swap --change shuffle --change negation --change number"
        " --language english",
    ]


def test_any_number_of_workers_and_shards_makes_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "2")
    monkeypatch.setenv("HNMINE_CACHE", str(tmp_path / "cache"))
    for write in ("negatives", "queries"):
        whole, many, shards = (tmp_path / f"{write}-{name}" for name in ("whole", "many", "shards"))
        common = ["generate", data, "--write", write, "-q"]
        assert invoke(*common, "-o", whole).code == 0
        if write == "negatives":
            assert invoke(*common, "-o", many, "--executor", "local:2").code == 0
            assert contents(whole) == contents(many)
        for number in (1, 0):
            assert invoke(*common, "-o", shards, "--shard", f"{number}/2").code == 0
        assert not (shards / "collection").exists()
        assert invoke("merge", shards / "generated", "-q").code == 0
        assert invoke(*common, "-o", shards).code == 0
        assert contents(whole) == contents(shards)
        assert len(list((whole / "generated").glob("part-*.parquet"))) > 2


def test_queries_are_sentences_that_left_their_documents(tmp_path: Path) -> None:
    boilerplate = "All rights are reserved by us."
    documents = [f"Number {n} has a story of its own. It is told on page {n} of it. {boilerplate}" for n in range(60)]
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": f"d{n}", "text": text} for n, text in enumerate(documents)])
    options = hnmine.GenerateOptions(write="queries")
    outcomes = hnmine.generate(tmp_path / "corpus.jsonl", tmp_path / "out", options=options, cache_dir=tmp_path / "c")
    rows = table(tmp_path / "out" / "generated")
    assert len(rows) == outcomes[0][1].counts["written"] == 60
    left_out = [row for row in rows if row["text"] == boilerplate]
    assert 5 < len(left_out) < 40
    assert outcomes[1][1].notes["written for several documents"] == "1 texts, left out"
    queries = {row["query_id"]: row for row in table(tmp_path / "out" / "collection" / "queries")}
    assert len(queries) == 60 - len(left_out)
    texts = {row["doc_id"]: row["text"] for row in table(tmp_path / "out" / "collection" / "documents")}
    kept = 0
    for judged in table(tmp_path / "out" / "collection" / "qrels"):
        query, doc_id = queries[judged["query_id"]], judged["doc_id"]
        assert query["written_from"] == doc_id
        whole = documents[int(doc_id[1:])]
        assert query["text"] in whole
        kept += query["text"] in texts[doc_id]
        assert texts[doc_id] in (whole, whole.replace(query["text"], "").replace("  ", " ").strip())
    assert 0 < kept < 15, "one sentence in ten stays"
    assert all(texts[row["doc_id"]] == documents[int(row["doc_id"][1:])] for row in left_out), "nothing was asked of it"


def test_pseudo_queries_that_do_not_find_their_document_are_dropped_by_rank(tmp_path: Path) -> None:
    story = "The {a} lives in {b}. Every {a} of {b} is glad. People in {b} like the {a}."
    names = [("zebra", "Kenya"), ("panda", "China"), ("moose", "Canada"), ("emu", "Australia")]
    documents = [story.format(a=a, b=b) for a, b in names]
    documents.append("Something else is written down here. Every zebra of Kenya lives in Kenya with zebra people.")
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": f"d{n}", "text": text} for n, text in enumerate(documents)])
    place = tmp_path / "out"
    hnmine.generate(
        tmp_path / "corpus.jsonl", place, options=hnmine.GenerateOptions(write="queries"), cache_dir=tmp_path / "c"
    )
    hnmine.index_bm25(place, place / "indexes" / "bm25", options=hnmine.Bm25Options(language="english"))
    hnmine.mine(place, place / "candidates", options=hnmine.MineOptions(top_k=10))
    options = hnmine.FilterOptions(no_margin=True, consistency_top=1, num_negatives=1)
    hnmine.filter(place / "candidates", place / "decisions", options=options)
    rows = table(place / "decisions")
    first = {row["query_id"]: row["rank_bm25"] == 1 for row in rows if row["is_positive"]}
    assert set(first.values()) == {True, False}
    for row in rows:
        assert (row["reason"] == "inconsistent-query") == (not first[row["query_id"]] and not row["is_positive"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "ict"}, "--by ict writes queries"),
        ({"by": "perturb", "write": "queries"}, "it writes no queries"),
        ({"change": ("swop",)}, "did you mean 'swap'"),
        ({"write": "queries", "change": ("swap",)}, "for --by perturb, not for ict"),
        ({"texts": 0}, "--texts 0: at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused(data: Path, tmp_path: Path, options: Row, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hnmine.generate(data, tmp_path / "out", options=hnmine.GenerateOptions(**options), cache_dir=tmp_path / "c")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_collection_that_is_read_is_never_written_over(overwrite: bool, written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "run")
    before = contents(tmp_path / "run" / "collection")
    options, how = hnmine.GenerateOptions(change=("shuffle",), seed=9), hnmine.Execution(overwrite=overwrite)
    (tmp_path / "run" / "generated").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"run/collection is read to make it"):
        hnmine.generate(tmp_path / "run", tmp_path / "run", options=options, how=how)
    assert contents(tmp_path / "run" / "collection") == before


def test_nothing_written_is_an_error_and_no_collection(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pairs.jsonl", [{"anchor": f"q {n}", "positive": f"word{n}"} for n in range(3)])
    with pytest.raises(InputError, match=r"(?s)nothing was written; refused: no-op 12.*try: another --by"):
        hnmine.generate(tmp_path / "pairs.jsonl", tmp_path / "out", cache_dir=tmp_path / "c")
    assert not (tmp_path / "out" / "collection").exists()


def test_seed_limit_and_number(data: Path, tmp_path: Path) -> None:
    def texts(**more: Any) -> dict[tuple[str, str], str]:
        place = tmp_path / "-".join(map(str, more.items()))
        options = replace(hnmine.GenerateOptions(change=("swap", "number")), **more)
        hnmine.generate(data, place, options=options, cache_dir=tmp_path / "cache")
        return {(r["query_id"], r["written_by"]): r["text"] for r in table(place / "generated")}

    whole = texts()
    assert texts(limit=2) == {pair: text for pair, text in whole.items() if pair in texts(limit=2)}
    assert len({query for query, _ in texts(limit=2)}) <= 2
    assert set(texts(texts=1)) == {pair for pair in whole if pair[1] == "perturb:swap"}
    assert texts(seed=1)[("q1", "perturb:swap")] != whole[("q1", "perturb:swap")]


def test_a_dry_run_tells_and_writes_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNMINE_CACHE", str(tmp_path / "cache"))
    done = invoke("generate", data, "-o", tmp_path / "out", "--dry-run", "--json")
    assert done.code == 0
    assert done.json["generate"]["sizes"] == {"queries": 5, "texts_at_most": 20}
    assert done.json["ingest"] == {"path": str(tmp_path / "out" / "collection")}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("slices", [1, 4])
def test_hits_are_searched_without_written_negatives(slices: int, mined: Path, tmp_path: Path) -> None:
    """The last of four slices holds nothing but written documents."""
    options = hnmine.MineOptions(top_k=3)
    hnmine.search(mined, tmp_path / "hits", options=hnmine.SearchOptions(top_k=3, slices=slices))
    hnmine.mine(mined, tmp_path / "with", hits=tmp_path / "hits", options=options)
    hnmine.mine(mined, tmp_path / "without", options=options)
    assert contents(tmp_path / "with") == contents(tmp_path / "without")
    assert any("curated" in row["sources"] for row in table(tmp_path / "with"))
