"""`downsample`: which documents stay, what is written, and what systems are said to be worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import hnmine
from hnmine.errors import ArtefactError, InputError, UsageError
from tests.e2e.harness import contents, invoke, write_jsonl

DOCUMENTS, QUERIES = 60, 6
GOOD, FAIR, POOR = "good", "fair", "poor"


def ranking(query: int, system: str) -> list[int]:
    """Documents in rank order: `good` has both relevant ones first, `fair` one, `poor` neither."""
    relevant = [query, query + 10]
    start = {GOOD: 20, FAIR: 33, POOR: 45}[system]
    others = [start + (query + n) % 12 for n in range(12)]
    if system == GOOD:
        return relevant + others
    return [relevant[0], *others, relevant[1]] if system == FAIR else [*others[:5], relevant[1], *others[5:]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    corpus = [{"_id": f"d{n}", "title": f"T{n}" if n % 2 else "", "text": f"text {n}"} for n in range(DOCUMENTS)]
    write_jsonl(data / "corpus.jsonl", corpus)
    write_jsonl(data / "queries.jsonl", [{"_id": f"q{n}", "text": f"query {n}"} for n in range(QUERIES + 1)])
    judged = [(f"q{n}", f"d{d}", grade) for n in range(QUERIES) for d, grade in ((n, 2), (n + 10, 1), (59, 0))]
    (data / "qrels").mkdir()
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, row)) for row in [*judged, (f"q{QUERIES}", "d58", 0)])]
    (data / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    for system in (GOOD, FAIR, POOR):
        rows = [
            f"q{q} Q0 d{d} {place} {-place} {system}"
            for q in range(QUERIES)
            for place, d in enumerate(ranking(q, system), 1)
        ]
        (data / f"{system}.trec").write_text("\n".join(rows) + "\n")
    return data


def options(data: Path, *pooled: str, others: tuple[str, ...] = (), **more: Any) -> hnmine.DownsampleOptions:
    return hnmine.DownsampleOptions(
        run=tuple(str(data / f"{name}.trec") for name in pooled),
        system=tuple(str(data / f"{name}.trec") for name in others),
        **more,
    )


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def judgments(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_what_is_judged_and_the_first_k_of_each_stay(data: Path, tmp_path: Path) -> None:
    given = options(data, GOOD, POOR, top_k=4)
    outcome = hnmine.downsample(data, tmp_path / "small", options=given, cache_dir=tmp_path / "cache")
    judged = {f"d{d}" for q in range(QUERIES) for d in (q, q + 10, 59)}
    pooled = {f"d{d}" for q in range(QUERIES) for system in (GOOD, POOR) for d in ranking(q, system)[:4]}
    corpus = [row for row in rows(data / "corpus.jsonl") if row["_id"] in judged | pooled]
    assert rows(tmp_path / "small" / "corpus.jsonl") == corpus, "the documents as they were, in their order"
    assert len(corpus) < DOCUMENTS / 2
    assert [row["_id"] for row in rows(tmp_path / "small" / "queries.jsonl")] == [f"q{n}" for n in range(QUERIES)]
    header, *lines = judgments(tmp_path / "small" / "qrels" / "test.tsv")
    assert header == ["query-id", "corpus-id", "score"]
    whole = [line for line in judgments(data / "qrels" / "test.tsv")[1:] if line[0] != f"q{QUERIES}"]
    assert sorted(lines) == sorted(whole), "also what was judged not relevant; no query without a positive"
    assert outcome.counts["documents"] == len(corpus)
    assert outcome.counts["documents_judged"] == len(judged)
    assert outcome.counts["documents_of"] == DOCUMENTS


def test_it_is_data_again(data: Path, tmp_path: Path) -> None:
    hnmine.downsample(data, tmp_path / "small", options=options(data, GOOD, top_k=4), cache_dir=tmp_path / "cache")
    found = hnmine.index_bm25(tmp_path / "small", tmp_path / "bm25", cache_dir=tmp_path / "cache")
    assert found.counts["documents"] == len(rows(tmp_path / "small" / "corpus.jsonl"))


def test_a_pooled_system_keeps_its_score_and_is_measured_without_its_own_pool(data: Path, tmp_path: Path) -> None:
    given = options(data, GOOD, FAIR, others=(POOR,), top_k=14)
    counts = hnmine.downsample(data, tmp_path / "small", options=given, cache_dir=tmp_path / "cache").counts
    found = counts["systems"]
    assert found[GOOD] == {"whole": 1.0, "small": 1.0, "left_out": 1.0, "holes_whole": 0.8, "holes_small": 0.8}
    assert found[FAIR]["small"] == found[FAIR]["whole"]
    # Left out of the pool, its second relevant document is at rank 2 and no more at 14: nothing stands between.
    assert found[FAIR]["left_out"] == 1.0
    # It never fed the pool: none of its documents that are not relevant is there, so the relevant one is first.
    assert found[POOR]["whole"] < found[POOR]["small"] == found[POOR]["left_out"]
    # Of the ordered pairs, FAIR ties with GOOD where it is new; of the other five, none is turned round.
    assert counts["kendall_tau"] == {"small": 1.0, "left_out": pytest.approx(5 / 6, abs=1e-4)}
    assert counts["comparisons"] == 6
    lead = round(found[GOOD]["whole"] - found[FAIR]["whole"], 4)
    assert counts["changed_places"] == {FAIR: {GOOD: {"whole": -lead, "small": 0.0}}}


def test_candidates_feed_the_pool(data: Path, tmp_path: Path) -> None:
    hnmine.ingest(data, tmp_path / "run" / "collection")
    runs = tuple(str(data / f"{name}.trec") for name in (GOOD, POOR))
    hnmine.mine(
        tmp_path / "run", tmp_path / "run" / "candidates", options=hnmine.MineOptions(run=runs, top_k=4, random=9)
    )
    given = hnmine.DownsampleOptions(top_k=4)
    found = hnmine.downsample(tmp_path / "run", tmp_path / "mined", candidates=[tmp_path / "run"], options=given)
    given = options(data, GOOD, POOR, top_k=4)
    hnmine.downsample(data, tmp_path / "given", options=given, cache_dir=tmp_path / "cache")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        assert (tmp_path / "mined" / name).read_bytes() == (tmp_path / "given" / name).read_bytes()
    assert found.counts["systems"][GOOD]["whole"] == 1.0
    again = tmp_path / "again"
    deeper = hnmine.downsample(tmp_path / "run", again, candidates=[tmp_path / "run"])
    assert deeper.notes["deepest rank"].startswith("good 4, poor 4: less than --top-k 250")


def test_any_number_of_workers_and_shards_makes_the_same_bytes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "7")
    monkeypatch.setenv("HNMINE_CACHE", str(tmp_path / "cache"))
    common = ["downsample", data, "--run", data / "good.trec", "--system", f"x={data / 'poor.trec'}", "-k", "5", "-q"]
    assert invoke(*common, "-o", tmp_path / "whole").code == 0
    for number in (2, 0, 1):
        assert invoke(*common, "-o", tmp_path / "shards", "--shard", f"{number}/3").code == 0
    assert invoke("merge", tmp_path / "shards", "-q").code == 0
    whole = contents(tmp_path / "whole")
    assert whole == contents(tmp_path / "shards")
    assert set(whole) == {"corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "plan.json", "manifest.json"}
    monkeypatch.delenv("HNMINE_TEST_BLOCK_SIZE")
    assert invoke(*common, "-o", tmp_path / "one").code == 0
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        assert (tmp_path / "one" / name).read_bytes() == whole[name]


def test_what_the_command_says(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNMINE_CACHE", str(tmp_path / "cache"))
    common = ["downsample", data, "--run", data / "good.trec", "--system", data / "poor.trec", "-k", "2"]
    dry = invoke(*common, "-o", tmp_path / "small", "--dry-run", "--json")
    assert dry.json["sizes"] == {"queries": 6, "documents": 13, "documents_of": 60}
    assert not (tmp_path / "small").exists()
    done = invoke(*common, "-o", tmp_path / "small", "--fail-if", "kendall_tau.left_out<0.9")
    assert done.code == 0
    assert "13 of 60 documents, 13 judged; 6 queries, 18 judgments" in done.stderr
    lines = [line.split() for line in done.stderr.splitlines()]
    assert ["good", "1.0000", "1.0000", "1.0000"] in lines
    assert ["poor", "0.1354", "0.3801", "0.3801"] in lines
    assert ["tau", "to", "whole", "1.000", "1.000"] in lines
    assert invoke(*common, "-o", tmp_path / "small", "--fail-if", "systems.poor.small>0.38").code == 6


def test_a_keyed_sample_of_the_queries(data: Path, tmp_path: Path) -> None:
    given = options(data, GOOD, top_k=3, limit=2)
    found = hnmine.downsample(data, tmp_path / "small", options=given, cache_dir=tmp_path / "cache")
    queries = {row["_id"] for row in rows(tmp_path / "small" / "queries.jsonl")}
    assert len(queries) == found.counts["queries"] == 2
    assert {line[0] for line in judgments(tmp_path / "small" / "qrels" / "test.tsv")[1:]} == queries


def test_refusals(data: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(UsageError, match=r"nothing to pool\n  expected: --candidates DIR or --run FILE"):
        hnmine.downsample(data, tmp_path / "small", cache_dir=cache)
    with pytest.raises(UsageError, match="--top-k 0"):
        hnmine.downsample(data, tmp_path / "small", options=options(data, GOOD, top_k=0), cache_dir=cache)
    given = options(data, GOOD, others=(GOOD,))
    with pytest.raises(UsageError, match="good"):
        hnmine.downsample(data, tmp_path / "small", options=given, cache_dir=cache)
    other = tmp_path / "other"
    write_jsonl(tmp_path / "pairs.jsonl", [{"anchor": "a b", "positive": "c d"}])
    hnmine.ingest(tmp_path / "pairs.jsonl", other / "collection")
    hnmine.mine(other, other / "candidates", options=hnmine.MineOptions(top_k=0))
    with pytest.raises(ArtefactError, match="made from another collection"):
        hnmine.downsample(data, tmp_path / "small", candidates=[other], cache_dir=cache)


def test_ids_that_readers_of_beir_would_change_are_refused(data: Path, tmp_path: Path) -> None:
    rows = [{"anchor": "what", "positive": "that", "id": "a\tb"}]
    write_jsonl(tmp_path / "pairs.jsonl", rows)
    (tmp_path / "run.tsv").write_text("q\td\t1\n")
    given = hnmine.InputOptions(positive_id_column="id")
    hnmine.ingest(tmp_path / "pairs.jsonl", tmp_path / "run" / "collection", options=given)
    hnmine.mine(tmp_path / "run", tmp_path / "run" / "candidates", options=hnmine.MineOptions(random=1))
    with pytest.raises(InputError, match=r"(?s)BEIR's layout: ids that its readers.*'a\\tb'.*try: rename"):
        hnmine.downsample(tmp_path / "run", tmp_path / "small", candidates=[tmp_path / "run"])
