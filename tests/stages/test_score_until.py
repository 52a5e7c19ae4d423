"""`score --until` as a stage: its table, what `filter` makes of it, and what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.engines.reranker import Reranker
from hnmine.errors import ArtefactError, UsageError
from hnmine.execute.local import Execution
from hnmine.files.artefact import Artefact
from hnmine.files.collection import Collection
from hnmine.hashing import keyed_hash
from hnmine.options import FilterOptions, Pick, Relabel, ScoreOptions, Short
from hnmine.schema import Kind, Scale
from hnmine.stages.score import Score
from tests.e2e.harness import contents, write_beir

WORDS = [f"w{number}" for number in range(40)]
STRICT = FilterOptions(num_negatives=4, absolute_margin=1.0)


class Known(Reranker):
    """Scores a pair by the words it shares and by chance keyed by the pair; a few have none. It counts its work."""

    def __init__(self, salt: int = 0) -> None:
        self.salt = salt
        self.calls: list[int] = []

    @property
    def scale(self) -> Scale:
        return Scale.LOGIT

    def describe(self) -> dict[str, Any]:
        return {"known": self.salt}

    def score(self, pairs: Sequence[tuple[str, str]]) -> Any:
        self.calls.append(len(pairs))
        return np.array([self._one(query, document) for query, document in pairs], np.float32)

    def _one(self, query: str, document: str) -> float:
        chance = keyed_hash(self.salt, query, document) / 2**64
        shared = len({*query.split()} & {*document.split()})
        return np.nan if chance < 0.02 else shared + 6 * chance - 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 documents, 45 queries with a positive each (one has two), BM25, five random rows a query."""
    root = tmp_path_factory.mktemp("until")
    draw = random.Random(3)
    documents = {f"d{n}": " ".join(draw.choices(WORDS, k=8)) for n in range(150)}
    queries = {f"q{n}": " ".join(documents[f"d{n}"].split()[:5]) for n in range(45)}
    qrels = [(f"q{n}", f"d{n}", 1) for n in range(45)] + [("q3", "d100", 1), ("q4", "d101", 0)]
    write_beir(root / "data", documents, queries, qrels)
    hnmine.ingest(root / "data", root / "collection")
    hnmine.index_bm25(root / "collection", root / "bm25", options=hnmine.Bm25Options(language="none"))
    options = hnmine.MineOptions(top_k=40, random=5)
    hnmine.mine(root / "collection", root / "candidates", indexes=[root / "bm25"], options=options)
    return root


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "16")


def stage(
    root: Path,
    rules: FilterOptions | None = STRICT,
    *,
    reranker: Reranker | None = None,
    candidates: Path | None = None,
    **options: Any,
) -> Score:
    asked = ScoreOptions(**{"reranker": "known", "name": "ce", "until": 4, **options})
    source = Artefact.open(candidates or root / "candidates", Kind.CANDIDATES)
    return Score(Collection.open(root / "collection"), source, asked, rules=rules, reranker=reranker or Known())


def rows(path: Path) -> list[dict[str, Any]]:
    return [row for part in sorted(path.glob("part-*.parquet")) for row in pq.read_table(part).to_pylist()]


def negatives(path: Path) -> list[tuple[str, str, int, str]]:
    found = [row for row in rows(path) if row["verdict"] == "negative"]
    return sorted((row["query_id"], row["doc_id"], row["pick_rank"], row["step"]) for row in found)


def decide(candidates: Path, to: Path, rules: FilterOptions) -> Path:
    """Filter; a table that was scored in full is not judged by a score of which some failed, unless it is told to."""
    if candidates.name == "whole" or candidates.name == "ceNone":
        rules = replace(rules, judge_by="ce")
    hnmine.filter(candidates, to, options=rules)
    return to


@pytest.mark.parametrize(
    "rules",
    [
        STRICT,
        FilterOptions(num_negatives=4, absolute_margin=1.0, short=Short.RELAX, skip_top=3),
        FilterOptions(num_negatives=4, absolute_margin=2.0, short=Short.RANDOM, seed=5),
        FilterOptions(num_negatives=2, epochs=2, relative_margin=0.3, pick=Pick.RANDOM, seed=5),
        FilterOptions(num_negatives=4, absolute_margin=1.0, pick=Pick.RANDOM, fn_weight=True),
        FilterOptions(num_negatives=4, max_score=1.0, min_score=-1.5, anchor="max", no_margin=True),  # type: ignore[arg-type]
        FilterOptions(num_negatives=3, absolute_margin=0.5, quota="bm25=2,random=1"),
    ],
    ids=["margin", "relax", "random fill", "random pick", "weighted pick", "limits", "quota"],
)
def test_the_negatives_are_those_of_a_table_scored_in_full(root: Path, tmp_path: Path, rules: FilterOptions) -> None:
    part, whole = Known(), Known()
    stage(root, rules, reranker=part).run(tmp_path / "part", Execution())
    stage(root, rules, reranker=whole, until=None).run(tmp_path / "whole", Execution())
    found = negatives(decide(tmp_path / "part", tmp_path / "d", rules))
    assert found == negatives(decide(tmp_path / "whole", tmp_path / "e", rules))
    assert len({query for query, *_ in found}) > 30
    assert sum(part.calls) < 0.8 * sum(whole.calls)


def test_the_margin_is_the_default_and_nothing_need_be_said_twice(root: Path, tmp_path: Path) -> None:
    part, whole = Known(), Known()
    stage(root, None, reranker=part, until=7).run(tmp_path / "part", Execution())
    stage(root, None, reranker=whole, until=None).run(tmp_path / "whole", Execution())
    decide(tmp_path / "part", tmp_path / "d", FilterOptions())
    plan = json.loads((tmp_path / "d" / "plan.json").read_text())
    assert plan["in_force"] == {"relative_margin": None, "absolute_margin": 3.0, "max_fn_probability": None}
    assert plan["judge_by"] == "ce"
    assert negatives(tmp_path / "d") == negatives(decide(tmp_path / "whole", tmp_path / "e", FilterOptions()))
    assert len(negatives(tmp_path / "d")) > 50
    assert sum(part.calls) < sum(whole.calls)


def test_what_the_guard_drops_is_never_scored(root: Path, tmp_path: Path) -> None:
    rules = FilterOptions(num_negatives=4, absolute_margin=1.0, max_fn_probability=1e-4)
    for name, until in (("part", 4), ("whole", 10**6)):
        stage(root, rules, until=until).run(tmp_path / name, Execution())
        decide(tmp_path / name, tmp_path / f"{name}.d", rules)
    assert negatives(tmp_path / "part.d") == negatives(tmp_path / "whole.d")
    for name in ("part", "whole"):
        by_guard = [row for row in rows(tmp_path / f"{name}.d") if row["reason"] == "max-fn-probability"]
        assert len(by_guard) > 100
        assert all(row["score_ce"] is None and row["p_false_negative"] > 1e-4 for row in by_guard)


def test_every_row_without_a_score_says_why(root: Path, tmp_path: Path) -> None:
    reranker = Known()
    outcome = stage(root, reranker=reranker).run(tmp_path / "part", Execution())
    decide(tmp_path / "part", tmp_path / "d", STRICT)
    seen: dict[str, int] = {}
    per_query: dict[str, int] = {}
    for row in rows(tmp_path / "d"):  # rows of a query are in rank-by order
        if row["is_positive"]:
            continue
        failed = np.isnan(Known()._one(*texts(root, row)))
        if row["score_ce"] is None:
            seen[row["reason"]] = seen.get(row["reason"], 0) + 1
            assert row["verdict"] == "dropped"
            assert row["reason"] != "no-score" or failed, "no-score is the reranker's failure alone"
            if row["reason"] == "not-scored" and row["sources"] != ["random"]:
                assert per_query[row["query_id"]] >= 4, "its query had its four before it"
        elif row["verdict"] in ("negative", "reserve"):
            per_query[row["query_id"]] = per_query.get(row["query_id"], 0) + 1
    assert seen["not-scored"] > 500
    assert seen["no-score"] >= 5
    counts = outcome.counts
    assert counts["not_scored"]["ce"] == counts["candidates"] - sum(reranker.calls)
    assert counts["null_scores"]["ce"] >= counts["not_scored"]["ce"] + seen["no-score"]
    assert counts["queries"] == 45
    reasons = Artefact.open(tmp_path / "d").counts["reasons"]
    assert reasons["not-scored"] == seen["not-scored"]


def texts(root: Path, row: dict[str, Any]) -> tuple[str, str]:
    collection = Collection.open(root / "collection")
    query = collection.query_texts(np.array([collection.query_ids.to_pylist().index(row["query_id"])]))[0]
    return query, collection.document_texts(np.array([collection.doc_ids.to_pylist().index(row["doc_id"])]))[0]


@pytest.mark.parametrize(
    "rules",
    [
        FilterOptions(),
        FilterOptions(num_negatives=4, absolute_margin=0.5),
        FilterOptions(num_negatives=5, absolute_margin=1.0),
        FilterOptions(num_negatives=2, epochs=3, absolute_margin=1.0),
        FilterOptions(num_negatives=4, absolute_margin=1.0, anchor="max"),  # type: ignore[arg-type]
        FilterOptions(num_negatives=4, absolute_margin=1.0, short=Short.RELAX),
        FilterOptions(num_negatives=4, absolute_margin=1.0, pick=Pick.RANDOM),
        FilterOptions(num_negatives=4, absolute_margin=1.0, skip_fused=3),
        FilterOptions(num_negatives=4, judge_by="bm25", guide="ce"),
    ],
    ids=str,
)
def test_filtering_it_by_other_rules_exits_4(root: Path, tmp_path: Path, rules: FilterOptions) -> None:
    stage(root).run(tmp_path / "part", Execution())
    with pytest.raises(ArtefactError, match="--until 4") as refused:
        decide(tmp_path / "part", tmp_path / "d", rules)
    assert refused.value.exit_code == 4
    assert "->" in str(refused.value) or "had passed" in str(refused.value)
    assert not (tmp_path / "d").exists()


def test_less_of_the_same_and_rules_that_leave_it_out_are_served(root: Path, tmp_path: Path) -> None:
    stage(root).run(tmp_path / "part", Execution())
    stage(root, until=None).run(tmp_path / "whole", Execution())
    fewer = FilterOptions(num_negatives=2, absolute_margin=1.0, short=Short.DROP, seed=9, limit=20)
    assert negatives(decide(tmp_path / "part", tmp_path / "d", fewer)) == negatives(
        decide(tmp_path / "whole", tmp_path / "e", fewer)
    )
    other = FilterOptions(num_negatives=6, judge_by="bm25")
    assert negatives(decide(tmp_path / "part", tmp_path / "f", other)) == negatives(
        decide(root / "candidates", tmp_path / "g", other)
    )


def test_a_report_goes_without_other_settings(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    stage(root).run(tmp_path / "part", Execution())
    page = hnmine.report(decide(tmp_path / "part", tmp_path / "d", STRICT), tmp_path / "page.html")
    assert "not-scored" in page.read_text(encoding="utf-8")


def test_a_score_that_came_later_changes_nothing(root: Path, tmp_path: Path) -> None:
    rules = replace(STRICT, max_fn_probability=0.02)
    stage(root, rules).run(tmp_path / "part", Execution())
    scored = stage(root, None, reranker=Known(7), candidates=tmp_path / "part", name="later", until=None, top=12)
    scored.run(tmp_path / "both", Execution())
    then, now = (decide(tmp_path / name, tmp_path / f"{name}-d", rules) for name in ("part", "both"))
    assert negatives(now) == negatives(then)
    assert [row["p_false_negative"] for row in rows(now)] == [row["p_false_negative"] for row in rows(then)]


def test_labels_are_known_by_what_they_say(root: Path, tmp_path: Path) -> None:
    file, copy = tmp_path / "labels.tsv", tmp_path / "copy.tsv"
    for one in (file, copy):
        one.write_text("query-id\tcorpus-id\tscore\nq0\td1\t0\n")
    rules = replace(STRICT, labels=str(file))
    stage(root, rules).run(tmp_path / "part", Execution())
    assert negatives(decide(tmp_path / "part", tmp_path / "d", replace(rules, labels=str(copy))))
    file.write_text("query-id\tcorpus-id\tscore\nq0\td1\t1\n")
    with pytest.raises(ArtefactError, match="labels: "):
        decide(tmp_path / "part", tmp_path / "e", rules)


def test_who_calls_a_row_relevant_is_a_rule_too(root: Path, tmp_path: Path) -> None:
    stage(root, None, reranker=Known(3), name="first", until=None).run(tmp_path / "first", Execution())
    rules = replace(STRICT, relabel=Relabel.DROP)
    stage(root, rules, candidates=tmp_path / "first").run(tmp_path / "part", Execution())
    scored = stage(root, None, reranker=Known(7), candidates=tmp_path / "part", name="later", until=None, top=12)
    scored.run(tmp_path / "both", Execution())
    with pytest.raises(ArtefactError, match="called_relevant_by"):
        decide(tmp_path / "both", tmp_path / "d", replace(rules, judge_by="ce"))


def test_a_second_reranker_scores_what_a_first_one_leaves(root: Path, tmp_path: Path) -> None:
    """The cascade: a cheap score of every row as a guide, the dear one only where the guide agrees."""
    rules = FilterOptions(num_negatives=4, absolute_margin=1.0, guide="cheap", guide_margin=2.0)
    stage(root, reranker=Known(7), name="cheap", until=None).run(tmp_path / "cheap", Execution())
    source = Artefact.open(tmp_path / "cheap", Kind.CANDIDATES)
    collection = Collection.open(root / "collection")
    dear: dict[int | None, Known] = {4: Known(), None: Known()}
    for until, model in dear.items():
        asked = ScoreOptions(reranker="known", name="ce", until=until)
        Score(collection, source, asked, rules=rules, reranker=model).run(tmp_path / f"ce{until}", Execution())
        decide(tmp_path / f"ce{until}", tmp_path / f"d{until}", rules)
    assert negatives(tmp_path / "d4") == negatives(tmp_path / "dNone")
    assert len(negatives(tmp_path / "d4")) > 50
    assert sum(dear[4].calls) < 0.6 * sum(dear[None].calls)
    scored = [row for row in rows(tmp_path / "d4") if row["reason"] == "guide"]
    assert scored
    assert all(row["score_ce"] is None for row in scored)


def test_two_scores_made_for_other_rules_do_not_go_together(root: Path, tmp_path: Path) -> None:
    stage(root, reranker=Known(7), name="cheap").run(tmp_path / "cheap", Execution())
    rules = FilterOptions(num_negatives=4, absolute_margin=1.0, guide="cheap")
    source = Artefact.open(tmp_path / "cheap", Kind.CANDIDATES)
    asked = ScoreOptions(reranker="known", name="ce", until=4)
    with pytest.raises(UsageError, match="cheap, and both were made with --until"):
        Score(Collection.open(root / "collection"), source, asked, rules=rules, reranker=Known())
    # Beside each other they are no trouble: each is filtered by its own rules.
    Score(Collection.open(root / "collection"), source, asked, rules=STRICT, reranker=Known()).run(
        tmp_path / "both", Execution()
    )
    first = negatives(decide(tmp_path / "both", tmp_path / "d", replace(STRICT, judge_by="cheap")))
    assert first == negatives(decide(tmp_path / "cheap", tmp_path / "e", STRICT))
    assert first != negatives(decide(tmp_path / "both", tmp_path / "f", STRICT))


def test_shards_and_a_second_start_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    stage(root).run(tmp_path / "whole", Execution())
    for index in (1, 0):
        stage(root).run(tmp_path / "shards", Execution(shard=(index, 2)))
    hnmine.merge(tmp_path / "shards")
    assert contents(tmp_path / "shards") == contents(tmp_path / "whole")
    again = Known()
    stage(root, reranker=again).run(tmp_path / "whole", Execution())
    assert again.calls == []


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (FilterOptions(absolute_margin=1.0, pick=Pick.SOFTMAX), "pick softmax"),
        (FilterOptions(absolute_margin=1.0, pick=Pick.MARGIN_BINS), "pick margin-bins"),
        (FilterOptions(absolute_margin=1.0, pick_pool=10), "pick pool"),
        (FilterOptions(absolute_margin=1.0, skip_fused=5), "skip-fused"),
        (FilterOptions(absolute_margin=1.0, iqr=1.5), "iqr"),
        (FilterOptions(absolute_margin=1.0, max_reuse=3), "max-reuse"),
        (FilterOptions(max_fn_probability=0.1), "none of the rules looks at"),
        (FilterOptions(no_margin=True), "none of the rules looks at"),
        (FilterOptions(absolute_margin=1.0, judge_by="bm25"), "judge by bm25"),
        (FilterOptions(absolute_margin=1.0, rank_by="ce"), "orders nothing"),
    ],
    ids=str,
)
def test_rules_that_need_every_score_are_refused_before_any_is_made(
    root: Path, rules: FilterOptions, message: str
) -> None:
    reranker = Known()
    with pytest.raises(UsageError, match=message):
        stage(root, rules, reranker=reranker)
    assert reranker.calls == []


def test_a_number_that_ends_nothing_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="--until 0"):
        stage(root, until=0)


def test_waves_are_as_large_as_the_block(root: Path, tmp_path: Path) -> None:
    reranker = Known()
    stage(root, reranker=reranker).run(tmp_path / "part", Execution())
    # 45 queries in blocks of 16: each begins with its positives and four candidates a query.
    first = 16 * (1 + 4)
    assert [calls for calls in reranker.calls if calls >= first][:2] == [first + 1, first]
    assert len(reranker.calls) < 3 * 20
