"""Disjoint slices of negatives for several epochs, and files of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.core.layout import Layout
from hnmine.errors import UsageError
from hnmine.files.artefact import Artefact
from hnmine.files.candidates import CandidatesTable
from hnmine.files.collection import Collection
from hnmine.stages.export_files import BLOCK_BYTES, MOST_TEXTS, rows_per_block
from hnmine.stages.picked import read_picked


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty questions about numbers, BM25 candidates, three negatives for each of two epochs."""
    place = tmp_path_factory.mktemp("epochs")
    rows = [f"what is number {n},the number {n} is {'odd' if n % 2 else 'even'}" for n in range(20)]
    rows.append("what is number 0,zero is what number 0 is called")
    (place / "pairs.csv").write_text("\n".join(["anchor,positive", *rows]) + "\n", encoding="utf-8")
    hnmine.ingest(place / "pairs.csv", place / "collection")
    hnmine.index_bm25(place / "collection", place / "indexes/bm25")
    hnmine.mine(place, place / "candidates")
    hnmine.filter(place, place / "decisions", options=hnmine.FilterOptions(num_negatives=3, epochs=2))
    return place


def test_negatives_are_dealt_out_in_the_order_of_the_pick(work: Path) -> None:
    decided = pq.read_table(work / "decisions" / "part-00000.parquet").to_pylist()
    for query in {row["query_id"] for row in decided}:
        own = [row for row in decided if row["query_id"] == query]
        negatives = sorted((r for r in own if r["verdict"] == "negative"), key=lambda r: r["pick_rank"])
        assert [(r["pick_rank"], r["epoch"]) for r in negatives] == [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1), (6, 2)]
        reserve = sorted(r["pick_rank"] for r in own if r["verdict"] == "reserve")
        assert reserve == list(range(7, 7 + len(reserve)))
        assert reserve
        assert {r["epoch"] for r in own if r["verdict"] != "negative"} == {None}


def test_the_picked_rows_stand_apart_too_and_are_read_as_the_others(work: Path) -> None:
    decided = pq.read_table(work / "decisions" / "part-00000.parquet")
    apart = pq.read_table(work / "decisions" / "picked" / "part-00000.parquet")
    rows = [row for row in decided.to_pylist() if row["verdict"] in ("positive", "negative")]
    assert apart.to_pylist() == [{name: row[name] for name in apart.column_names} for row in rows]
    table = CandidatesTable(Artefact.open(work / "decisions"))
    for queries in (np.arange(20), np.array([3, 7, 19]), np.zeros(0, np.int64)):
        asked = set(table.query_ids.take(queries).to_pylist())
        found = table.picked.read(queries, ["query_id", "doc_id"]).to_pylist()
        assert found == [
            {name: row[name] for name in ("query_id", "doc_id")} for row in rows if row["query_id"] in asked
        ]


def test_decisions_of_a_version_that_had_no_picked_rows_apart_read_the_same(work: Path) -> None:
    collection, queries = Collection.open(work / "collection"), np.arange(20)
    artefact = Artefact.open(work / "decisions")
    new = read_picked(collection, CandidatesTable(artefact), queries)
    del artefact.manifest["files"]["picked/part-00000.parquet"]
    old = read_picked(collection, CandidatesTable(artefact), queries)
    assert old.positives.rows.tolist() == new.positives.rows.tolist()
    assert old.negatives.rows.tolist() == new.negatives.rows.tolist()
    assert old.chosen.negative_offsets.tolist() == new.chosen.negative_offsets.tolist() == list(range(0, 121, 6))


def test_a_block_of_rows_is_cut_by_its_bytes_and_by_its_texts(work: Path) -> None:
    collection = Collection.open(work / "collection")
    layout = Layout(query=np.arange(3), offsets=np.arange(0, 19, 6), places=np.zeros(18, np.int64))
    assert rows_per_block(collection, layout, vectors=0) == MOST_TEXTS // 7, "short texts"
    assert rows_per_block(collection, layout, vectors=1) == MOST_TEXTS // 8
    long = SimpleNamespace(queries=SimpleNamespace(mean_bytes=100.0), documents=SimpleNamespace(mean_bytes=5_000.0))
    assert rows_per_block(long, layout, vectors=0) == BLOCK_BYTES // 30_100  # type: ignore[arg-type]
    huge = SimpleNamespace(queries=long.queries, documents=SimpleNamespace(mean_bytes=1e9))
    assert rows_per_block(huge, layout, vectors=0) == 1_024  # type: ignore[arg-type]


def exported(work: Path, name: str, **options: object) -> tuple[list[dict], list[dict]]:  # type: ignore[type-arg]
    hnmine.export(work, work / f"{name}.parquet", options=hnmine.ExportOptions(**options))  # type: ignore[arg-type]
    return tuple(pq.read_table(work / f"{name}{end}.parquet").to_pylist() for end in ("", ".ids"))  # type: ignore[return-value]


def test_a_file_holds_every_epoch_one_after_the_other(work: Path) -> None:
    rows, ids = exported(work, "all", format="n-tuple")
    assert [row["epoch"] for row in ids] == [1] * 21 + [2] * 21
    assert len(rows) == 42
    decided = pq.read_table(work / "decisions" / "part-00000.parquet").to_pylist()
    slices = {(r["query_id"], r["epoch"], r["doc_id"]) for r in decided if r["verdict"] == "negative"}
    for row, about in zip(rows, ids, strict=True):
        assert about["labels"] == [1, 0, 0, 0]
        assert {(about["query_id"], about["epoch"], d) for d in about["doc_ids"][1:]} <= slices
        assert len({row["positive"], *(row[f"negative_{i}"] for i in (1, 2, 3))}) == 4
    # Every negative serves every positive of its query, once.
    used = Counter((r["query_id"], r["epoch"], d) for r in ids for d in r["doc_ids"][1:])
    assert used.keys() == slices
    positives = Counter(row["query_id"] for row in decided if row["verdict"] == "positive")
    assert all(count == positives[query] for (query, _, _), count in used.items())
    order = [[r["query_id"] for r in ids if r["epoch"] == epoch] for epoch in (1, 2)]
    assert sorted(order[0]) == sorted(order[1])
    assert order[0] != order[1]  # each epoch is shuffled for itself


@pytest.mark.parametrize("form", ["triplet", "n-tuple", "labeled-pair", "labeled-list"])
def test_one_epoch_alone_is_that_part_of_the_whole_file(work: Path, form: str) -> None:
    rows, ids = exported(work, f"whole-{form}", format=form)
    second, second_ids = exported(work, f"second-{form}", format=form, epoch=2)
    assert [about["epoch"] for about in second_ids] == [2] * len(second)
    assert (second, second_ids) == (rows[-len(second) :], ids[-len(second) :])
    assert len(second) == len(rows) / 2


def test_an_epoch_that_was_not_picked_for_is_refused(work: Path) -> None:
    with pytest.raises(UsageError, match=r"--epoch 3: the decisions are for 2 epoch"):
        exported(work, "third", epoch=3)


def test_picks_of_several_epochs_are_those_of_one_longer_pick(work: Path) -> None:
    for pick in ("random", "softmax"):
        chosen = []
        for number, epochs in ((6, 1), (3, 2)):
            options = hnmine.FilterOptions(num_negatives=number, epochs=epochs, pick=pick)
            hnmine.filter(work, work / f"{pick}-{epochs}", options=options)
            table = pq.read_table(work / f"{pick}-{epochs}" / "part-00000.parquet")
            chosen.append(table.select(["query_id", "doc_id", "verdict", "pick_rank"]))
        assert chosen[0].equals(chosen[1])


def test_negatives_of_all_epochs_are_wanted_by_an_audit(work: Path) -> None:
    hnmine.filter(work, work / "starved", options=hnmine.FilterOptions(num_negatives=15, epochs=2))
    report = hnmine.audit(work / "starved", collection=work / "collection")
    decided = pq.read_table(work / "starved" / "part-00000.parquet").to_pylist()
    negatives = Counter(row["query_id"] for row in decided if row["verdict"] == "negative")
    assert report["problems"]["too-few-negatives"] == sum(count < 30 for count in negatives.values()) == 20
    assert report["coverage"] == pytest.approx(sum(negatives.values()) / (30 * 20))
