"""Trains with PyLate: late interaction, contrastive and by distillation.

What the collator tokenises is compared with the file: the very texts, column by column, and whether it takes them for
queries or for documents; and the scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _proof import CannotRun, Cell, Settings, check, main

EXPORTS = ("pylate", "pylate-kd")
BATCH = 16
LEARNING_RATE = 1e-3


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Train on one file or directory, as PyLate's documentation does."""
    try:
        import pylate
        import sentence_transformers as st
        import torch
        import transformers
        from pylate import losses, models, utils
    except ImportError as error:
        raise CannotRun(f"PyLate is not installed ({error})") from None
    transformers.set_seed(0)
    torch.set_num_threads(1)
    is_distilled = export.startswith("pylate-kd")
    data = load(place, args, utils)
    model = models.ColBERT(str(args.model), device="cpu", query_length=32, document_length=64)
    kind = losses.Distillation if is_distilled else losses.Contrastive
    collator = Listening(utils.ColBERTCollator(model.tokenize))
    how = st.SentenceTransformerTrainingArguments(
        output_dir=str(args.work / "out"),
        max_steps=args.steps,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=1,
        use_cpu=True,
    )
    trainer = st.SentenceTransformerTrainer(
        model=model, args=how, train_dataset=data, eval_dataset=data, loss=kind(model=model), data_collator=collator
    )
    before = trainer.evaluate()["eval_loss"]
    compare(sorted(collator.rows), sorted(distilled(place) if is_distilled else tuples(place)))
    rows = len(collator.rows)
    trainer.train()
    yield Cell(
        trainer=f"SentenceTransformerTrainer, {kind.__name__}",
        version=f"PyLate {pylate.__version__} (sentence-transformers {st.__version__})",
        loss_before=before,
        loss_after=trainer.evaluate()["eval_loss"],
        rows_out=rows,
    )


def load(place: Path, args: Settings, utils: Any) -> Any:
    """The data set; of ids, the three sets of the directory by name, joined as they are read."""
    from datasets import load_dataset

    cache = str(args.work / "cache")
    if place.is_file():
        return load_dataset("parquet", data_files=str(place), split="train", cache_dir=cache)
    train, queries, documents = (
        load_dataset(str(place), name, split="train", cache_dir=cache) for name in ("train", "queries", "documents")
    )
    train.set_transform(utils.KDProcessing(queries=queries, documents=documents).transform)
    return train


Row = tuple[tuple[tuple[bool, tuple[str, ...]], ...], tuple[float, ...]]
"""(is it a query, texts) of each column, and the scores."""


class Listening:
    """PyLate's collator, which keeps the rows of what it tokenises."""

    def __init__(self, collator: Any) -> None:
        self._collator, self._tokenize = collator, collator.tokenize_fn
        self.valid_label_columns = collator.valid_label_columns
        self.rows: list[Row] = []
        self._columns: list[tuple[bool, list[str]]] = []
        collator.tokenize_fn = self._heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collator, name)

    def _heard(self, texts: list[str], *, is_query: bool, **more: Any) -> Any:
        self._columns.append((is_query, list(texts)))
        return self._tokenize(texts, is_query=is_query, **more)

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        self._columns = []
        batch = self._collator(features)
        size = len(features)
        labels = [()] * size if "label" not in batch else [tuple(map(_rounded, row)) for row in batch["label"].tolist()]
        for number in range(size):
            cut = []
            for is_query, texts in self._columns:
                ways = len(texts) // size  # the lists of a column of lists, one after the other
                cut.append((is_query, tuple(texts[number * ways : (number + 1) * ways])))
            self.rows.append((tuple(cut), labels[number]))
        return batch


def tuples(place: Path) -> Iterator[Row]:
    """The rows of a file of texts: one query, and every other column a document."""
    import pyarrow.parquet as pq

    for row in pq.read_table(place).to_pylist():
        query, *documents = row.values()
        yield ((True, (query,)), *((False, (one,)) for one in documents)), ()


def distilled(place: Path) -> Iterator[Row]:
    """The rows of a directory of ids, joined by hand."""
    import pyarrow.parquet as pq

    train, queries, documents = (
        pq.read_table(place / f"{name}.parquet").to_pylist() for name in ("train", "queries", "documents")
    )
    asked = {row["query_id"]: row["text"] for row in queries}
    known = {row["document_id"]: row["text"] for row in documents}
    for row in train:
        texts = tuple(known[one] for one in row["document_ids"])
        yield ((True, (asked[row["query_id"]],)), (False, texts)), tuple(map(_rounded, row["scores"]))


def compare(seen: list[Row], wanted: list[Row]) -> None:
    """Every row once: the texts in their columns, queries as queries, the scores."""
    check(len(seen) == len(wanted), f"{len(wanted)} rows in the file, {len(seen)} were collated")
    for one, other in zip(seen, wanted, strict=True):
        check(one == other, f"collated: {one}; in the file: {other}"[:500])


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


if __name__ == "__main__":
    main(prove)
