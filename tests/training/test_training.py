"""Exported files train: real steps of both trainers, on the texts that are meant, and the loss goes down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import sentence_transformers as st
from sentence_transformers.cross_encoder import losses as pair_losses
from sentence_transformers.sentence_transformer import losses

Export = Callable[..., Path]
STEPS, BATCH = 30, 16


def load(path: Path) -> Any:
    """The training rows, as the documentation of `datasets` says: a file by name, a directory by itself."""
    cache = str(path.parent / "datasets-cache")
    if path.is_dir():
        return datasets.load_dataset(str(path), split="train", cache_dir=cache)
    return datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=cache)


def train(trainer: type, arguments: type, model: Any, data: Any, loss: Any, folder: Path) -> list[float]:
    """The loss of each step."""
    how = arguments(
        output_dir=str(folder / "out"),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=5e-3,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=1,
        use_cpu=True,
    )
    running = trainer(model=model, args=how, train_dataset=data, loss=loss)
    running.train()
    assert not list((folder / "out").glob("checkpoint-*"))
    return [entry["loss"] for entry in running.state.log_history if "loss" in entry]


def record(loss: Any, batches: list[tuple[Any, Any]]) -> Any:
    """Keep what the trainer gives the loss; the loss works as before."""
    forward = loss.forward

    def listen(inputs: Any, labels: Any = None, **more: Any) -> Any:
        inputs = list(inputs)
        batches.append((inputs, labels))
        return forward(inputs, labels, **more)

    loss.forward = listen
    return loss


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def assert_learned(found: list[float]) -> None:
    assert len(found) == STEPS
    assert mean(found[-5:]) < 0.8 * mean(found[:5])


EMBEDDING = [
    pytest.param("triplet", (), losses.MultipleNegativesRankingLoss, False, id="mnrl-triplet"),
    pytest.param("n-tuple", (), losses.MultipleNegativesRankingLoss, False, id="mnrl-n-tuple"),
    pytest.param("triplet", (), losses.MultipleNegativesRankingLoss, True, id="mnrl-triplet-shards"),
    pytest.param("triplet", ("--scores",), losses.MarginMSELoss, False, id="marginmse-triplet"),
    pytest.param("n-tuple", ("--scores",), losses.MarginMSELoss, False, id="marginmse-n-tuple"),
    pytest.param("n-tuple", ("--scores",), losses.DistillKLDivLoss, False, id="distillkldiv-n-tuple"),
]


@pytest.mark.parametrize(("form", "options", "kind", "shards"), EMBEDDING)
def test_embedding_model(
    exported: Export, student: Any, tmp_path: Path, form: str, options: Any, kind: Any, shards: bool
) -> None:
    data = load(exported(form, *options, shards=shards))
    negatives = ["negative"] if form == "triplet" else ["negative_1", "negative_2", "negative_3"]
    assert data.column_names == ["anchor", "positive", *negatives, *(["scores"] if options else [])]
    batches: list[tuple[Any, Any]] = []
    arguments = {"similarity_fct": st.util.pairwise_cos_sim} if kind is not losses.MultipleNegativesRankingLoss else {}
    loss = record(kind(student, **arguments), batches)
    found = train(st.SentenceTransformerTrainer, st.SentenceTransformerTrainingArguments, student, data, loss, tmp_path)
    assert_learned(found)
    rows = {tuple(row[name] for name in data.column_names[: 2 + len(negatives)]): row.get("scores") for row in data}
    for inputs, labels in batches:
        texts = [student.tokenizer.batch_decode(column["input_ids"], skip_special_tokens=True) for column in inputs]
        assert len(texts) == 2 + len(negatives)
        for number, row in enumerate(zip(*texts, strict=True)):
            assert row in rows
            if options:
                assert labels[number].tolist() == pytest.approx(rows[row])
            else:
                assert labels is None


@pytest.mark.parametrize(("form", "column"), [("triplet", "weight"), ("n-tuple", "weights")])
def test_weights_are_dropped_or_reach_a_loss_as_labels(
    exported: Export, student: Any, tmp_path: Path, form: str, column: str
) -> None:
    """What docs/formats.md says to do with them."""
    data = load(exported(form, "--weight"))
    without = load(exported(form))
    assert data.remove_columns(column).to_list() == without.to_list()
    data = data.rename_column(column, "label")
    batches: list[tuple[Any, Any]] = []
    loss = record(losses.MultipleNegativesRankingLoss(student), batches)
    how = st.SentenceTransformerTrainingArguments
    assert_learned(train(st.SentenceTransformerTrainer, how, student, data, loss, tmp_path))
    rows = {tuple(row[name] for name in without.column_names): row["label"] for row in data}
    for inputs, labels in batches:
        texts = [student.tokenizer.batch_decode(part["input_ids"], skip_special_tokens=True) for part in inputs]
        for number, row in enumerate(zip(*texts, strict=True)):
            assert labels[number].tolist() == pytest.approx(rows[row])


RERANKING = [
    pytest.param("labeled-pair", pair_losses.BinaryCrossEntropyLoss, False, id="bce-labeled-pair"),
    pytest.param("labeled-list", pair_losses.LambdaLoss, False, id="lambdaloss-labeled-list"),
    pytest.param("labeled-list", pair_losses.LambdaLoss, True, id="lambdaloss-labeled-list-shards"),
]


@pytest.mark.parametrize(("form", "kind", "shards"), RERANKING)
def test_cross_encoder(exported: Export, pair_student: Any, tmp_path: Path, form: str, kind: Any, shards: bool) -> None:
    data = load(exported(form, shards=shards))
    texts, label = ("document", "label") if form == "labeled-pair" else ("documents", "labels")
    assert data.column_names == ["query", texts, label]
    batches: list[tuple[Any, Any]] = []
    loss = record(kind(pair_student), batches)
    found = train(st.CrossEncoderTrainer, st.CrossEncoderTrainingArguments, pair_student, data, loss, tmp_path)
    assert_learned(found)
    rows = {(row["query"], str(row[texts])): row[label] for row in data}
    for inputs, labels in batches:
        assert len(inputs) == 2
        for query, documents, own in zip(*inputs, labels, strict=True):
            assert rows[query, str(documents)] == (own.tolist() if hasattr(own, "tolist") else own)


def test_lists_of_different_lengths_train(mined: Any, pair_student: Any, tmp_path: Path) -> None:
    """Margins leave some queries fewer negatives; LambdaLoss reads them as they are."""
    import hnmine

    margin = hnmine.FilterOptions(num_negatives=6, relative_margin=0.1)
    hnmine.filter(mined.path, tmp_path / "decisions", options=margin)
    lists = hnmine.ExportOptions(format="labeled-list")
    hnmine.export(tmp_path / "decisions", tmp_path / "lists.parquet", options=lists)
    data = load(tmp_path / "lists.parquet")
    assert len({len(row["labels"]) for row in data}) > 1
    loss = pair_losses.LambdaLoss(pair_student)
    assert_learned(train(st.CrossEncoderTrainer, st.CrossEncoderTrainingArguments, pair_student, data, loss, tmp_path))
