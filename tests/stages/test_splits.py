"""Which rows of an export are written, on which side, in which order and under which names."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import hnmine
from hnmine.errors import InputError, UsageError
from hnmine.stages.formats import FORMATS

Row = dict[str, Any]
QUERIES = 40


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions about numbers, every fourth asked twice under two ids; two negatives for each of two epochs."""
    return mined(tmp_path_factory.mktemp("splits"), QUERIES)


def mined(place: Path, number: int) -> Path:
    (place / "data/qrels").mkdir(parents=True)
    queries = [{"_id": f"q{n}", "text": f"what is number {n}"} for n in range(number)]
    queries += [{"_id": f"again{n}", "text": f"What is number {n}?"} for n in range(0, number, 4)]
    documents = [
        {"_id": f"d{n}", "text": f"number {n} is {'odd' if n % 2 else 'even'} " + "so " * n} for n in range(50)
    ]
    for name, records in (("corpus", documents), ("queries", queries)):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (place / f"data/{name}.jsonl").write_text(lines, encoding="utf-8")
    pairs = [(query["_id"], f"d{query['_id'].strip('qagin')}") for query in queries]
    pairs += [("q5", "d6"), ("q6", "d7")]
    lines = "".join(f"{query}\t{document}\t1\n" for query, document in pairs)
    (place / "data/qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines, encoding="utf-8")
    hnmine.ingest(place / "data", place / "collection")
    hnmine.index_bm25(place / "collection", place / "indexes/bm25")
    hnmine.mine(place, place / "candidates")
    rules = hnmine.FilterOptions(num_negatives=2, epochs=2, no_margin=True)
    hnmine.filter(place, place / "decisions", options=rules)
    return place


def read(file: Path) -> list[Row]:
    """The rows of a training file, each with its ids."""
    beside = (
        file.with_name(f"{file.stem}.ids.parquet")
        if file.parent.name != "data"
        else file.parents[1] / "ids" / file.name
    )
    rows, ids = (pq.read_table(one).to_pylist() for one in (file, beside))
    return [{**row, **about} for row, about in zip(rows, ids, strict=True)]


def one_epoch(form: Any) -> dict[str, int]:
    """What says which epoch, to a format that holds a query once."""
    return {} if FORMATS[form].takes_epochs else {"epoch": 1}


def exported(work: Path, name: str, **options: Any) -> list[Row]:
    options = {**one_epoch(options.get("format", "triplet")), **options}
    hnmine.export(work, work / name, options=hnmine.ExportOptions(**options))
    return read(work / name) if name.endswith(".parquet") else []


def ids_of(work: Path, name: str, form: str, **options: Any) -> list[Row]:
    """The ids of an export to a directory."""
    exported(work, name, format=form, **options)
    return [row for path in sorted((work / name / "ids").iterdir()) for row in pq.read_table(path).to_pylist()]


def queries_of(rows: list[Row]) -> set[str]:
    return {row["query_id"] for row in rows}


@pytest.fixture(scope="module")
def sides(work: Path) -> tuple[list[Row], list[Row]]:
    train = exported(work, "held.parquet", validation=0.3)
    return train, read(work / "held.validation.parquet")


def test_no_query_is_on_both_sides_whatever_its_ids(sides: tuple[list[Row], list[Row]], work: Path) -> None:
    train, validation = sides
    assert train
    assert validation
    whole = exported(work, "whole.parquet")
    assert queries_of(train) | queries_of(validation) == queries_of(whole)
    said = [{query.strip("qagin") for query in queries_of(side)} for side in sides]
    assert not said[0] & said[1]
    assert any(query.startswith("again") for query in queries_of(validation))


def test_the_training_rows_stand_as_without_a_split_and_validation_is_of_one_epoch(
    sides: tuple[list[Row], list[Row]], work: Path
) -> None:
    train, validation = sides
    whole = exported(work, "whole.parquet")
    held = queries_of(validation)
    assert train == [row for row in whole if row["query_id"] not in held]
    assert validation == [row for row in whole if row["query_id"] in held and row["epoch"] == 1]


def test_more_queries_move_none_to_the_other_side(sides: tuple[list[Row], list[Row]], tmp_path: Path) -> None:
    grown = mined(tmp_path, QUERIES + 9)
    train = exported(grown, "held.parquet", validation=0.3)
    validation = read(grown / "held.validation.parquet")
    assert queries_of(sides[0]) < queries_of(train)
    assert queries_of(sides[1]) <= queries_of(validation)


def test_another_seed_holds_out_others(sides: tuple[list[Row], list[Row]], work: Path) -> None:
    exported(work, "seeded.parquet", validation=0.3, seed=1)
    assert queries_of(read(work / "seeded.validation.parquet")) != queries_of(sides[1])


@pytest.mark.parametrize(("share", "message"), [(1e-9, "none of the 50"), (1 - 1e-9, "every one of the 50")])
def test_a_side_without_queries_is_refused(work: Path, share: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        exported(work, "empty.parquet", validation=share)


def test_shards_hold_what_the_files_hold(sides: tuple[list[Row], list[Row]], work: Path) -> None:
    exported(work, "shards", validation=0.3, rows_per_file=30)
    names = sorted(path.name for path in (work / "shards/data").iterdir())
    assert names == sorted(path.name for path in (work / "shards/ids").iterdir())
    found: dict[str, list[Row]] = {}
    for name in names:
        split, number, _, total = name.removesuffix(".parquet").split("-")
        assert int(number) < int(total) == sum(other.startswith(f"{split}-") for other in names)
        found.setdefault(split, []).extend(read(work / "shards/data" / name))
    assert list(found) == ["epoch_1", "epoch_2", "validation"]
    assert found["epoch_1"] + found["epoch_2"] == sides[0]
    assert found["validation"] == sides[1]
    for epoch in (1, 2):
        assert {row["epoch"] for row in found[f"epoch_{epoch}"]} == {epoch}
    exported(work, "one", epoch=2)
    assert [path.name for path in (work / "one/data").iterdir()] == ["train-00000-of-00001.parquet"]


def test_the_hub_reads_a_split_an_epoch(sides: tuple[list[Row], list[Row]], work: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    exported(work, "hub", validation=0.3, rows_per_file=30)
    loaded = datasets.load_dataset(str(work / "hub"), cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in loaded.items()} == {
        "epoch_1": sum(row["epoch"] == 1 for row in sides[0]),
        "epoch_2": sum(row["epoch"] == 2 for row in sides[0]),
        "validation": len(sides[1]),
    }


def test_the_hub_tells_the_sides_of_a_directory_of_tables_apart(work: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for _ in range(2):  # what lies there is known to be an export's, and can be replaced
        options = hnmine.ExportOptions(format="ids", validation=0.3)  # type: ignore[arg-type]
        how = hnmine.Execution(overwrite=True)
        counts = hnmine.export(work, work / "tables", options=options, how=how).counts
    loaded = datasets.load_dataset(str(work / "tables"), "train", cache_dir=str(tmp_path))
    rows = {"train": counts["rows"] - counts["validation_rows"], "validation": counts["validation_rows"]}
    assert {name: len(split) for name, split in loaded.items()} == rows
    known = datasets.load_dataset(str(work / "tables"), "queries", split="train", cache_dir=str(tmp_path))["query_id"]
    assert {row["query_id"] for split in loaded.values() for row in split} <= set(known)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_both_sides_in_files_of_their_own(work: Path, form: str) -> None:
    made = FORMATS[hnmine.ExportOptions(format=form).format]  # type: ignore[arg-type]
    options = hnmine.ExportOptions(format=form, validation=0.3, **one_epoch(form))  # type: ignore[arg-type]
    outcome = hnmine.export(work, work / f"of-{form}", options=options)
    files = [name for name in outcome.artefact.manifest["files"] if not name.startswith("ids/")]  # type: ignore[union-attr]
    assert sum("validation" in Path(name).name for name in files) >= 1
    if not made.beside:
        assert len(files) == (3 if made.takes_epochs else 2)
    ids = [pq.read_table(path) for path in (work / f"of-{form}/ids").iterdir()]
    assert outcome.counts["rows"] == sum(map(len, ids))
    assert 0 < outcome.counts["validation_rows"] < outcome.counts["rows"]


@pytest.mark.parametrize("form", FORMATS)
def test_at_most_so_many_rows_and_whole_queries(work: Path, form: str) -> None:
    whole = ids_of(work, f"all-{form}", form)
    per_query = Counter(row["query_id"] for row in whole)
    kept: set[str] = set()
    for most in (len(whole) // 4, len(whole) // 2, len(whole)):
        found = ids_of(work, f"{form}-{most}", form, max_rows=most)
        assert most - max(per_query.values()) < len(found) <= most
        assert found == [row for row in whole if row["query_id"] in queries_of(found)]
        assert kept <= queries_of(found)
        kept = queries_of(found)
    assert kept == queries_of(whole)


def test_a_sample_of_rows_has_its_share_of_validation(work: Path) -> None:
    train = exported(work, "both.parquet", max_rows=120, validation=0.3)
    validation = read(work / "both.validation.parquet")
    assert 100 < len(train) + len(validation) <= 120
    assert queries_of(validation) <= queries_of(read(work / "held.validation.parquet"))


def test_fewer_rows_than_a_query_has_are_refused(work: Path) -> None:
    with pytest.raises(UsageError, match="--max-rows 1: the rows of one query are more"):
        exported(work, "few.parquet", max_rows=1)


@pytest.mark.parametrize("form", FORMATS)
def test_rows_go_from_easy_to_hard_within_each_epoch(work: Path, form: str) -> None:
    whole = ids_of(work, f"plain-{form}", form)
    found = ids_of(work, f"order-{form}", form, order="easy-to-hard")
    assert Counter(map(str, found)) == Counter(map(str, whole))
    order = [(row["epoch"], -1e9 if row["difficulty"] is None else row["difficulty"]) for row in found]
    assert order == sorted(order)
    assert len(set(order)) > 10
    places = {str(row): place for place, row in enumerate(whole)}
    ties = [(a, b) for a, b, x, y in zip(found, found[1:], order, order[1:], strict=False) if x == y]
    assert all(places[str(a)] < places[str(b)] for a, b in ties)  # shuffled, as ever


def test_difficulty_is_the_negatives_mean_less_the_positives(work: Path) -> None:
    for row in exported(work, "n-tuples.parquet", format="n-tuple", difficulty=True):
        near, *far = row["scores"]
        assert row["difficulty"] == pytest.approx(sum(far) / len(far) - near, rel=1e-5)
    pairs = exported(work, "pairs.parquet", format="labeled-pair", epoch=1)
    by_query: dict[tuple[str, int], list[float]] = {}
    for row in pairs:
        by_query.setdefault((row["query_id"], row["labels"][0]), []).extend(row["scores"])
    for row in pairs:
        near, far = (
            row["scores"] if row["labels"] == [label] else by_query[row["query_id"], label] for label in (1, 0)
        )
        assert row["difficulty"] == pytest.approx(sum(far) / len(far) - sum(near) / len(near), rel=1e-5)


def test_difficulty_is_a_column_where_it_is_asked_for(work: Path) -> None:
    exported(work, "hard.parquet", difficulty=True)
    table, ids = (pq.read_table(work / f"hard{end}.parquet") for end in ("", ".ids"))
    assert table.column_names == ["anchor", "positive", "negative", "difficulty"]
    assert table["difficulty"].equals(ids["difficulty"])


def test_columns_get_other_names(work: Path) -> None:
    hnmine.export(work, work / "plain.parquet")
    columns = ("anchor=query", "positive=document", "difficulty=label")
    hnmine.export(work, work / "named.parquet", options=hnmine.ExportOptions(difficulty=True, columns=columns))
    plain, named = (pq.read_table(work / f"{name}.parquet") for name in ("plain", "named"))
    assert named.column_names == ["query", "document", "negative", "label"]
    assert named.drop_columns(["label"]).equals(plain.rename_columns(["query", "document", "negative"]))


@pytest.mark.parametrize(
    ("form", "columns", "message"),
    [
        ("triplet", ("anchr=query",), "no column 'anchr'; did you mean 'anchor'"),
        ("triplet", ("anchor",), "not OLD=NEW"),
        ("triplet", ("anchor=a", "anchor=b"), "anchor has been called a already"),
        ("triplet", ("anchor=positive",), "two columns called 'positive'"),
        ("triplet", ("anchor=return_loss",), "keep that name to themselves"),
        ("triplet", ("negative=dataset_name",), "keep that name to themselves"),
        ("triplet", ("positive=label",), "take the texts for labels"),
        ("labeled-list", ("documents=scores",), "take the texts for labels"),
        ("labeled-pair", ("difficulty=score",), "score and label would both be labels|label and score would both be"),
    ],
)
def test_names_that_would_be_misread_are_refused(work: Path, form: str, columns: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        exported(work, "refused.parquet", format=form, columns=columns, difficulty="difficulty" in columns[0])


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("options", [{"difficulty": True}, {"columns": ("anchor=query",)}])
def test_columns_that_trainers_know_by_name_stay_as_they_are(work: Path, form: str, options: dict[str, Any]) -> None:
    asked = hnmine.ExportOptions(format=form, **options)  # type: ignore[arg-type]
    if not FORMATS[asked.format].has_free_columns:
        with pytest.raises(UsageError, match="has columns that are fixed"):
            hnmine.export(work, work / "fixed", options=asked)


def test_a_judge_that_left_rows_out_cannot_order_them(work: Path) -> None:
    lines = "".join(f"q{n} Q0 d{n + 3 + i} {i + 1} {9 - i} other\n" for n in range(QUERIES) for i in range(3))
    (work / "run.trec").write_text(lines, encoding="utf-8")
    hnmine.mine(work, work / "two", options=hnmine.MineOptions(run=(f"other={work / 'run.trec'}",)))
    rules = hnmine.FilterOptions(num_negatives=2, no_margin=True, judge_by="other", rank_by="bm25")
    hnmine.filter(work / "two", work / "unjudged", options=rules)
    for options in ({"order": "easy-to-hard"}, {"difficulty": True}):
        with pytest.raises(InputError, match=r"have no score under other"):
            hnmine.export(work / "unjudged", work / "unjudged.parquet", options=hnmine.ExportOptions(**options))  # type: ignore[arg-type]
    hnmine.export(work / "unjudged", work / "unjudged.parquet")
    assert pq.read_table(work / "unjudged.ids.parquet")["difficulty"].null_count > 0


@pytest.mark.parametrize(("form", "output"), [("triplet", "x.parquet"), ("n-tuple", "x"), ("ids", "x")])
def test_shapes_are_the_same_whoever_does_which_block(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, output: str
) -> None:
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", "25")
    shape: dict[str, Any] = {"validation": 0.3, "max_rows": 100, "order": "easy-to-hard", "seed": 3}
    options = hnmine.ExportOptions(format=form, **shape)  # type: ignore[arg-type]
    found = []
    for workers in (1, 3):
        place = tmp_path / str(workers)
        for worker in reversed(range(workers)):
            outcome = hnmine.export(
                work, place / output, options=options, how=hnmine.Execution(shard=(worker, workers))
            )
        assert outcome.blocks_total > 4
        if workers > 1:
            hnmine.merge(outcome.path)
        files = [path for path in place.rglob("*") if path.suffix in (".parquet", ".md")]
        found.append({path.relative_to(place): path.read_bytes() for path in files})
    assert found[0] == found[1]
    assert len(found[0]) >= 4


def test_a_pipe_takes_one_side_only(work: Path) -> None:
    stage, _ = hnmine.api.prepare_export(work, Path("-"), options=hnmine.ExportOptions(validation=0.3), collection=None)
    with pytest.raises(UsageError, match="--validation makes two files"):
        next(stage.stream())
    stage, _ = hnmine.api.prepare_export(work, Path("-"), options=hnmine.ExportOptions(max_rows=60), collection=None)
    rows = exported(work, "sixty.parquet", max_rows=60)
    assert [json.loads(line) for line in stage.stream()] == [
        {name: row[name] for name in ("anchor", "positive", "negative")} for row in rows
    ]
