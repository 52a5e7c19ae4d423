"""The batches that sentence-transformers' trainer gets from a plan, and how hard they are."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import sentence_transformers as st
from sentence_transformers.sentence_transformer import losses

import hnmine
from hnmine.core.batches.collisions import collisions_within
from hnmine.errors import InputError, UsageError
from hnmine.training import CollisionFreeBatches, PlannedBatches, held_rows

TOPICS, QUERIES, SIZE = 9, 20, 12
WORDS = ["man", "eating", "food", "piece", "bread", "girl", "carries", "baby", "horse", "rides"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Training files of 180 questions on nine topics, each made once."""
    place = tmp_path_factory.mktemp("batches")
    (place / "data/qrels").mkdir(parents=True)
    numbers = [(topic, number) for topic in range(TOPICS) for number in range(QUERIES)]
    queries = [{"_id": f"q{t}-{n}", "text": f"{WORDS[t]} {WORDS[t + 1]} the one{t}x{n}"} for t, n in numbers]
    documents = [{"_id": f"d{t}-{n}", "text": f"{WORDS[t]} {WORDS[t + 1]} is one{t}x{n}"} for t, n in numbers]
    for name, rows in (("queries", queries), ("corpus", documents)):
        (place / f"data/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    judged = "".join(f"q{t}-{n}\td{t}-{n}\t1\n" for t, n in numbers)
    (place / "data/qrels/train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    hnmine.ingest(place / "data", place / "collection")
    hnmine.index_bm25(place / "collection", place / "indexes/bm25")
    hnmine.mine(place, place / "candidates")
    hnmine.filter(place, place / "decisions", options=hnmine.FilterOptions(num_negatives=2, no_margin=True))
    made: dict[str, Path] = {}

    def export(plan: str | None, *, form: str = "triplet", **options: Any) -> Path:
        key = json.dumps([plan, form, options], sort_keys=True)
        if key not in made:
            made[key] = place / f"{len(made)}.parquet"
            size = {"batch_size": SIZE} if plan else {"collisions": True}
            how = hnmine.ExportOptions(format=form, batch_plan=plan, **size, **options)  # type: ignore[arg-type]
            hnmine.export(place, made[key], options=how)
        return made[key]

    return export


def load(file: Path) -> Any:
    return datasets.load_dataset(
        "parquet", data_files=str(file), split="train", cache_dir=str(file.parent / "datasets-cache")
    )


def delivered(file: Path, sampler: Any, student: Any, folder: Path, **more: Any) -> list[list[tuple[str, ...]]]:
    """The rows of each batch that the real trainer trains on, in two epochs."""
    arguments = st.SentenceTransformerTrainingArguments(
        output_dir=str(folder / "out"),
        num_train_epochs=2,
        per_device_train_batch_size=SIZE,
        batch_sampler=sampler,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        **more,
    )
    loss = losses.MultipleNegativesRankingLoss(student)
    running = st.SentenceTransformerTrainer(model=student, args=arguments, train_dataset=load(file), loss=loss)
    found: list[list[tuple[str, ...]]] = []
    collate = running.data_collator

    class Listening:
        def __call__(self, rows: list[dict[str, Any]]) -> Any:
            found.append([tuple(row[name] for name in ("anchor", "positive", "negative")) for row in rows])
            return collate(rows)

        def __getattr__(self, name: str) -> Any:
            return getattr(collate, name)

    running.data_collator = Listening()
    result = running.train()
    assert result.global_step == len(found)
    return found


def rows_of(file: Path) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in pq.read_table(file).to_pylist()]


def planned(file: Path) -> list[list[tuple[str, ...]]]:
    numbers = pq.read_table(file.with_name(f"{file.stem}.ids.parquet"))["batch_id"].to_pylist()
    rows = rows_of(file)
    return [[row for row, number in zip(rows, numbers, strict=True) if number == n] for n in range(numbers[-1] + 1)]


def test_the_trainer_trains_on_the_planned_batches_in_every_epoch(
    exported: Callable[..., Path], student: Any, tmp_path: Path
) -> None:
    file = exported("cluster", limit=20)
    wanted = planned(file)
    assert len(wanted[-1]) < SIZE  # the last one is incomplete
    found = delivered(file, PlannedBatches(file), student, tmp_path)
    assert found[: len(wanted)] == wanted
    again = found[len(wanted) :]
    assert Counter(map(tuple, again)) == Counter(map(tuple, wanted))
    assert again != wanted  # in another order
    assert again[-1] == wanted[-1]


def test_incomplete_batches_are_left_out_where_the_trainer_says_so(
    exported: Callable[..., Path], student: Any, tmp_path: Path
) -> None:
    file = exported("cluster", limit=20)
    full = [batch for batch in planned(file) if len(batch) == SIZE]
    found = delivered(file, PlannedBatches(file), student, tmp_path, dataloader_drop_last=True)
    assert len(found) == 2 * len(full) < 2 * len(planned(file))
    assert all(
        Counter(map(tuple, half)) == Counter(map(tuple, full)) for half in (found[: len(full)], found[len(full) :])
    )


def test_random_batches_without_collisions(exported: Callable[..., Path], student: Any, tmp_path: Path) -> None:
    """All rows in each epoch, in other batches, and a query's rows (they share its positive) never in one."""
    file = exported(None, limit=30)
    found = delivered(file, CollisionFreeBatches(file), student, tmp_path)
    half = len(found) // 2
    epochs = [[row for batch in part for row in batch] for part in (found[:half], found[half:])]
    assert all(Counter(rows) == Counter(rows_of(file)) for rows in epochs)
    assert epochs[0] != epochs[1]
    assert all(len({row[0] for row in batch}) == len(batch) for batch in found)
    own = CollisionFreeBatches(file)(load(file), SIZE, seed=3)
    held = held_rows(file)
    for epoch in range(4):
        own.set_epoch(epoch)
        assert all(collisions_within(held, batch) == 0 for batch in own)
        assert len(list(own)) == len(own)
    # At random, without looking, some would meet.
    assert sum(collisions_within(held, range(start, start + SIZE)) for start in range(0, 60, SIZE)) > 0


def similarity(file: Path) -> float:
    """Mean cosine of a query's words with those of the positives of the other rows of its batch."""

    def bag(text: str) -> set[str]:
        return set(text.split())

    def pairs() -> Iterator[float]:
        for batch in planned(file):
            for a in batch:
                for b in batch:
                    if a is not b:
                        query, positive = bag(a[0]), bag(b[1])
                        yield len(query & positive) / (len(query) * len(positive)) ** 0.5

    return float(np.mean(list(pairs())))


def test_batches_are_harder_than_random_ones(exported: Callable[..., Path]) -> None:
    """At random a ninth of a batch is of a query's topic, and two ninths share a word with it."""
    at_random = similarity(exported("random"))
    assert at_random == pytest.approx(0.5 / 9 + 0.25 * 16 / 81, abs=0.04)
    for plan in ("cluster", "walk", "snowball"):
        assert similarity(exported(plan)) > 2 * at_random, plan
    # Smaller clusters are a dial between the two.
    assert at_random < similarity(exported("cluster", cluster_size=3)) < similarity(exported("cluster"))


def test_a_sampler_survives_being_pickled(exported: Callable[..., Path]) -> None:
    """The trainer saves its arguments with every checkpoint."""
    file = exported("random")
    again = pickle.loads(pickle.dumps(PlannedBatches(file)))
    assert list(again(load(file), SIZE)) == list(PlannedBatches(file)(load(file), SIZE))


def test_several_files_are_told_apart_by_their_rows(exported: Callable[..., Path]) -> None:
    small, large = exported("random", limit=30), exported("random")
    sampler = PlannedBatches(small, large)
    for file in (small, large):
        assert list(sampler(load(file), SIZE)) == list(PlannedBatches(file)(load(file), SIZE))


def test_what_does_not_fit_is_refused(exported: Callable[..., Path], tmp_path: Path) -> None:
    file = exported("random")
    with pytest.raises(UsageError, match="without a file"):
        PlannedBatches()
    with pytest.raises(InputError, match=r"a data set of 10 rows, and .*\.parquet has 360"):
        PlannedBatches(file)(load(file).select(range(10)), SIZE)
    with pytest.raises(InputError, match=f"batches of {SIZE} rows, and the trainer's have 4"):
        PlannedBatches(file)(load(file), 4)
    with pytest.raises(InputError, match="has no column batch_id"):
        PlannedBatches(exported(None))(load(exported(None)), SIZE)
    plain = tmp_path / "plain.parquet"
    hnmine.export(file.parent, plain)
    with pytest.raises(InputError, match=r"plain\.collisions\.parquet is missing"):
        CollisionFreeBatches(plain)(load(plain), SIZE)
    with pytest.raises(InputError, match=r"gone\.ids\.parquet is missing"):
        PlannedBatches(tmp_path / "gone.parquet")([], SIZE)
