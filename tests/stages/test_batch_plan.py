"""`export --batch-plan` and `--collisions`: what is listed, and how rows are put into batches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.api import prepare_export
from hnmine.core.batches.collisions import collisions_within
from hnmine.errors import UsageError
from hnmine.execute.local import Execution
from hnmine.hashing import text_key
from hnmine.training import held_rows

THINGS = ["oat", "rye", "corn", "rice"]
PLACES = ["field", "barn", "mill", "shop", "road", "port"]
SIZE = 5
Rows = list[dict[str, Any]]


def records() -> tuple[Rows, Rows, list[tuple[str, str]]]:
    """(queries, documents, relevant pairs): 24 questions on grains and places, and odd ones.

    d0 and d0-copy are the same text; so are the questions q0 and q0-again, whose positives differ, and the question
    q-echo and the document d-echo; q1 has three positives.
    """
    queries, documents, relevant = [], [], []
    for number in range(24):
        thing, place = THINGS[number % 4], PLACES[number // 4]
        queries.append(
            {
                "_id": f"q{number}",
                "text": f"where is {thing} in the {place}",
                "language": ["en", "de", "fr"][number % 3],
            }
        )
        documents.append({"_id": f"d{number}", "text": f"{thing} is kept in the {place} by {thing} people"})
        relevant.append((f"q{number}", f"d{number}"))
    documents += [
        {"_id": "d0-copy", "text": documents[0]["text"].upper() + "!"},
        {"_id": "d-echo", "text": "who eats rye and corn?"},
        {"_id": "d-other", "text": "oat in the field, said once more"},
    ]
    queries += [
        {"_id": "q0-again", "text": "Where is oat in the field?", "language": None},
        {"_id": "q-echo", "text": "who eats rye and corn", "language": "de"},
    ]
    relevant += [("q0-again", "d-other"), ("q-echo", "d5"), ("q1", "d2"), ("q1", "d3"), ("q2", "d0-copy")]
    return queries, documents, relevant


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("plans")
    queries, documents, relevant = records()
    (place / "data/qrels").mkdir(parents=True)
    for name, own in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(one) + "\n" for one in own)
        (place / f"data/{name}.jsonl").write_text(lines, encoding="utf-8")
    judged = "".join(f"{query}\t{document}\t1\n" for query, document in relevant)
    (place / "data/qrels/train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}q3\td4\t0\n", encoding="utf-8")
    hnmine.ingest(place / "data", place / "collection")
    hnmine.index_bm25(place / "collection", place / "indexes/bm25")
    hnmine.mine(place, place / "candidates")
    # A third of the candidates at the top is "too good": a rule that bars, whatever it is worth.
    options = hnmine.FilterOptions(num_negatives=3, epochs=2, no_margin=True, skip_top=2)
    hnmine.filter(place, place / "decisions", options=options)
    return place


@pytest.fixture(scope="module")
def exported(work: Path) -> Callable[..., tuple[Rows, Rows, Path]]:
    """(ids, listed pairs, file) of an export, each made once."""
    made: dict[str, tuple[Rows, Rows, Path]] = {}

    def export(**options: Any) -> tuple[Rows, Rows, Path]:
        key = json.dumps(options, sort_keys=True)
        if key not in made:
            file = work / f"{len(made)}.parquet"
            hnmine.export(work, file, options=hnmine.ExportOptions(**options))
            made[key] = (
                *(pq.read_table(work / f"{file.stem}.{end}.parquet").to_pylist() for end in ("ids", "collisions")),
                file,
            )  # type: ignore[assignment]
        return made[key]

    return export


def wanted_pairs(work: Path, ids: Rows) -> dict[tuple[str, str], str]:
    """The pairs by definition, from the decisions and the texts, with the reason of each."""
    queries, documents, _ = (
        {row["_id"]: row["text"] for row in rows} if i < 2 else {} for i, rows in enumerate(records())
    )
    in_file = {d for row in ids for d in row["doc_ids"]}
    barred: dict[tuple[int, int], str] = {}
    order = ["positive", "same-text-as-query", "same-text-as-positive", "skip-top"]

    def bar(query: str, key: int, reason: str) -> None:
        pair = (text_key(queries[query]), key)
        barred[pair] = min(barred.get(pair, reason), reason, key=order.index)

    own = {row["query_id"] for row in ids}
    for row in pq.read_table(work / "decisions" / "part-00000.parquet").to_pylist():
        if row["query_id"] in own and (row["is_positive"] or (row["reason"] in order and row["relevance"] is None)):
            bar(row["query_id"], row["text_key"], "positive" if row["is_positive"] else row["reason"])
    for query in own:
        bar(query, text_key(queries[query]), "same-text-as-query")
    found = {}
    for query in own:
        for document in in_file:
            reason = barred.get((text_key(queries[query]), text_key(documents[document])))
            elsewhere = [row for row in ids if document in row["doc_ids"]]
            only = [row for row in ids if row["query_id"] == query]
            if reason and (elsewhere != only or len(only) > 1):
                found[query, document] = reason
    return found


@pytest.mark.parametrize(
    "options", [{"format": "n-tuple"}, {"format": "triplet", "epoch": 1}, {"format": "labeled-pair"}]
)
def test_the_list_is_what_the_rules_say(exported: Any, work: Path, options: Any) -> None:
    ids, listed, _ = exported(collisions=True, **options)
    assert {(row["query_id"], row["doc_id"]): row["reason"] for row in listed} == wanted_pairs(work, ids)
    assert len(listed) == len({(row["query_id"], row["doc_id"]) for row in listed})
    reasons = Counter(row["reason"] for row in listed)
    assert reasons["positive"] > 20
    assert reasons["skip-top"] > 20


def test_copies_of_texts_are_told_of(exported: Any) -> None:
    pairs = {(row["query_id"], row["doc_id"]) for row in exported(collisions=True, format="triplet")[1]}
    assert {("q0", "d0-copy"), ("q2", "d0"), ("q0-again", "d0"), ("q0", "d-other")} <= pairs
    assert ("q3", "d4") not in pairs  # judged not to be relevant


def test_a_guide_makes_it_the_list_of_gistembed(work: Path, tmp_path: Path) -> None:
    """Every pair in which the guide puts a document of another row above the query's positive."""
    options = hnmine.FilterOptions(num_negatives=2, no_margin=True, guide="bm25")
    hnmine.filter(work / "candidates", tmp_path / "decisions", options=options)
    hnmine.export(
        tmp_path / "decisions", tmp_path / "t.parquet", options=hnmine.ExportOptions(format="n-tuple", collisions=True)
    )
    listed = pq.read_table(tmp_path / "t.collisions.parquet").to_pylist()
    decided = pq.read_table(tmp_path / "decisions" / "part-00000.parquet").to_pylist()
    score = {(row["query_id"], row["doc_id"]): row["score_bm25"] for row in decided}
    lowest = {}
    for row in decided:
        if row["is_positive"]:
            lowest[row["query_id"]] = min(lowest.get(row["query_id"], 1e9), row["score_bm25"])
    by_guide = [row for row in listed if row["reason"] == "guide"]
    assert len(by_guide) > 5
    assert all(score[row["query_id"], row["doc_id"]] > lowest[row["query_id"]] for row in by_guide)
    ids = pq.read_table(tmp_path / "t.ids.parquet").to_pylist()
    in_file = {d for row in ids for d in row["doc_ids"]}
    missed = {
        (row["query_id"], row["doc_id"])
        for row in decided
        if row["query_id"] in {known["query_id"] for known in ids}
        and row["doc_id"] in in_file
        and not row["is_positive"]
        and row["relevance"] is None
        and row["score_bm25"] > lowest[row["query_id"]]
    } - {(row["query_id"], row["doc_id"]) for row in listed}
    assert missed == set()


PLANS: list[dict[str, Any]] = [
    {"batch_plan": "random"},
    {"batch_plan": "language"},
    {"batch_plan": "source", "batch_by": "language"},
    {"batch_plan": "cluster"},
    {"batch_plan": "cluster", "cluster_size": 2},
    {"batch_plan": "cluster", "cluster_size": 10, "batch_by": "language"},
    {"batch_plan": "walk"},
    {"batch_plan": "snowball"},
]


@pytest.mark.parametrize("form", ["n-tuple", "triplet"])
@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: "-".join(map(str, plan.values())))
def test_batches_hold_all_rows_and_no_two_that_collide(exported: Any, form: str, plan: dict[str, Any]) -> None:
    ids, listed, file = exported(format=form, batch_size=SIZE, **plan)
    plain, _, _ = exported(format=form, collisions=True)

    def plainly(rows: Rows) -> Counter[str]:
        return Counter(json.dumps({k: v for k, v in row.items() if k != "batch_id"}, sort_keys=True) for row in rows)

    assert plainly(ids) == plainly(plain)
    batches = [[i for i, row in enumerate(ids) if row["batch_id"] == n] for n in range(ids[-1]["batch_id"] + 1)]
    assert [row for batch in batches for row in batch] == list(range(len(ids)))
    held = held_rows(file)
    barred = {(row["query_id"], row["doc_id"]) for row in listed}
    language = {row["_id"]: row["language"] for row in records()[0]}
    for batch in batches:
        assert 1 <= len(batch) <= SIZE
        assert len({ids[row]["epoch"] for row in batch}) == 1
        assert collisions_within(held, batch) == 0
        assert not any(
            (ids[a]["query_id"], d) in barred for a in batch for b in batch if a != b for d in ids[b]["doc_ids"]
        )
        if plan.get("batch_by") or plan["batch_plan"] == "language":
            assert len({language[ids[row]["query_id"]] for row in batch}) == 1
    for epoch in (1, 2):
        sizes = [len(batch) for batch in batches if ids[batch[0]]["epoch"] == epoch]
        assert sizes == sorted(sizes, key=lambda size: size < SIZE)  # the incomplete ones last
        assert sizes[0] == SIZE or plan["batch_plan"] != "random"


def test_the_rows_follow_their_ids(exported: Any) -> None:
    ids, _, file = exported(format="n-tuple", batch_size=SIZE, batch_plan="cluster")
    queries, documents, _ = records()
    text = {row["_id"]: row["text"] for row in [*queries, *documents]}
    for row, known in zip(pq.read_table(file).to_pylist(), ids, strict=True):
        assert list(row.values()) == [text[known["query_id"]], *(text[d] for d in known["doc_ids"])]


@pytest.mark.parametrize("plan", ["random", "cluster", "snowball"])
def test_a_directory_of_shards_holds_the_same(exported: Any, work: Path, tmp_path: Path, plan: str) -> None:
    ids, listed, file = exported(format="n-tuple", batch_size=SIZE, batch_plan=plan)
    options = hnmine.ExportOptions(format="n-tuple", batch_size=SIZE, batch_plan=plan, rows_per_file=7)
    outcome = hnmine.export(work, tmp_path / "shards", options=options)
    assert outcome.counts["batches"] == ids[-1]["batch_id"] + 1
    assert outcome.counts["collisions"] == len(listed)
    parts = [sorted((tmp_path / "shards" / name).glob("*.parquet")) for name in ("data", "ids")]
    assert [row for part in parts[0] for row in pq.read_table(part).to_pylist()] == pq.read_table(file).to_pylist()
    found = [row for part in parts[1] for row in pq.read_table(part).to_pylist()]
    first = next(row["batch_id"] for row in ids if row["epoch"] == 2)
    assert found == [{**row, "batch_id": row["batch_id"] - first * (row["epoch"] - 1)} for row in ids]
    pairs = [pq.read_table(tmp_path / f"shards/collisions/epoch_{epoch}.parquet").to_pylist() for epoch in (1, 2)]
    assert all(row in listed for row in [*pairs[0], *pairs[1]])
    # A pair that is on neither list meets only across epochs, which do not share batches.
    for epoch in (1, 2):
        own = [row for row in ids if row["epoch"] == epoch]
        meets = {(a["query_id"], d) for a in own for b in own if a is not b for d in b["doc_ids"]}
        wanted = [row for row in listed if (row["query_id"], row["doc_id"]) in meets]
        assert pairs[epoch - 1] == wanted


def test_two_workers_write_the_same_bytes(
    exported: Any, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, file = exported(format="triplet", batch_size=SIZE, batch_plan="cluster")
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "9")
    options = hnmine.ExportOptions(format="triplet", batch_size=SIZE, batch_plan="cluster")
    for shard in (1, 0):
        hnmine.export(work, tmp_path / "t.parquet", options=options, how=Execution(shard=(shard, 2)))
    hnmine.merge(tmp_path / "t.hnmine/export")
    for end in ("", ".ids", ".collisions"):
        found, wanted = (
            pq.read_table(f"{place.with_suffix('')}{end}.parquet") for place in (tmp_path / "t.parquet", file)
        )
        assert found.equals(wanted), end


def test_rows_to_validate_on_have_batches_and_a_list_of_their_own(work: Path, tmp_path: Path) -> None:
    options = hnmine.ExportOptions(format="triplet", epoch=1, batch_plan="cluster", batch_size=SIZE, validation=0.3)
    outcome = hnmine.export(work, tmp_path / "t.parquet", options=options)
    numbers = []
    for name in ("t", "t.validation"):
        ids = pq.read_table(tmp_path / f"{name}.ids.parquet").to_pylist()
        batches = [row["batch_id"] for row in ids]
        assert batches == sorted(batches)
        assert set(batches) == set(range(batches[-1] + 1))
        numbers.append(batches[-1] + 1)
        held = held_rows(tmp_path / f"{name}.parquet")
        for batch in range(numbers[-1]):
            assert collisions_within(held, [row for row, own in enumerate(batches) if own == batch]) == 0
        listed = pq.read_table(tmp_path / f"{name}.collisions.parquet").to_pylist()
        assert listed
        assert {row["query_id"] for row in listed} <= {row["query_id"] for row in ids}
        assert {row["doc_id"] for row in listed} <= {d for row in ids for d in row["doc_ids"]}
    assert outcome.counts["batches"] == sum(numbers)


def test_a_pipe_takes_rows_in_the_order_of_the_plan(exported: Any, work: Path) -> None:
    _, _, file = exported(format="triplet", batch_size=SIZE, batch_plan="cluster")
    options = hnmine.ExportOptions(format="triplet", batch_size=SIZE, batch_plan="cluster")
    stage, _ = prepare_export(work, work / "piped", options=options, collection=None)
    assert [json.loads(line) for line in stage.stream()] == pq.read_table(file).to_pylist()
    stage, _ = prepare_export(work, work / "piped", options=hnmine.ExportOptions(collisions=True), collection=None)
    with pytest.raises(UsageError, match="--collisions are a file of their own"):
        next(stage.stream())


def test_a_format_of_several_files_keeps_the_list_beside_them(work: Path, tmp_path: Path) -> None:
    options = hnmine.ExportOptions(format="tevatron-v2", epoch=1, batch_plan="walk", batch_size=SIZE)
    hnmine.export(work, tmp_path / "t", options=options)
    assert pq.read_table(tmp_path / "t/collisions/train.parquet").num_rows > 0
    (ids,) = sorted((tmp_path / "t/ids").glob("*.parquet"))
    assert pq.read_table(ids)["batch_id"].to_pylist()[0] == 0
    assert collisions_within(held_rows(tmp_path / "t"), range(2)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 4}, "--batch-size: nothing without a plan"),
        ({"batch_plan": "random"}, "--batch-plan random needs --batch-size"),
        ({"batch_plan": "random", "batch_size": 1}, "--batch-size 1: at least 2"),
        ({"batch_plan": "walk", "batch_size": 4, "cluster_size": 2}, "walk has no clusters"),
        ({"batch_plan": "source", "batch_size": 4}, "the queries have no column 'source'"),
        ({"batch_plan": "random", "batch_size": 4, "batch_by": "langage"}, "did you mean 'language'?"),
    ],
)
def test_options_that_make_no_sense(work: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        hnmine.export(work, tmp_path / "t.parquet", options=hnmine.ExportOptions(**options))
