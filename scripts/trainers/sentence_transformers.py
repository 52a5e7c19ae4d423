"""Trains with sentence-transformers: bi-encoders, cross-encoders, sparse encoders and late interaction.

Every row that reaches a loss is compared with the row of the file: the texts (token ids for token ids), their places,
the labels. Directories of ids are joined by `resolve_ids`, in columns and in lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from _proof import CannotRun, Cell, Settings, check, main

EXPORTS = (
    "triplet",
    "triplet --scores",
    "n-tuple",
    "n-tuple --scores",
    "labeled-pair",
    "labeled-pair --scores",
    "labeled-list",
    "labeled-list --scores",
    "ids",
    "ids --scores",
)

BATCH = 16
LEARNING_RATE = 2e-3
LABELS = ("label", "labels", "score", "scores")
MODELS = {
    "SentenceTransformer": "sentence_transformer",
    "CrossEncoder": "cross_encoder",
    "SparseEncoder": "sparse_encoder",
    "MultiVectorEncoder": "multi_vector_encoder",
}
"""What is trained, and the package of its losses."""

TRAININGS: dict[str, list[tuple[str, str]]] = {
    "triplet": [
        ("SentenceTransformer", "MultipleNegativesRankingLoss"),
        ("CrossEncoder", "MultipleNegativesRankingLoss"),
        ("SparseEncoder", "SparseMultipleNegativesRankingLoss"),
        ("MultiVectorEncoder", "MultiVectorMultipleNegativesRankingLoss"),
    ],
    "triplet --scores": [
        ("SentenceTransformer", "MarginMSELoss"),
        ("SentenceTransformer", "DistillKLDivLoss"),
        ("CrossEncoder", "MarginMSELoss"),
        ("SparseEncoder", "SparseMarginMSELoss"),
        ("SparseEncoder", "SparseDistillKLDivLoss"),
    ],
    "n-tuple": [
        ("SentenceTransformer", "MultipleNegativesRankingLoss"),
        ("CrossEncoder", "MultipleNegativesRankingLoss"),
        ("SparseEncoder", "SparseMultipleNegativesRankingLoss"),
        ("MultiVectorEncoder", "MultiVectorMultipleNegativesRankingLoss"),
    ],
    "n-tuple --scores": [
        ("SentenceTransformer", "MarginMSELoss"),
        ("SentenceTransformer", "DistillKLDivLoss"),
        ("CrossEncoder", "MarginMSELoss"),
        ("SparseEncoder", "SparseMarginMSELoss"),
        ("SparseEncoder", "SparseDistillKLDivLoss"),
        ("MultiVectorEncoder", "MultiVectorMarginMSELoss"),
        ("MultiVectorEncoder", "MultiVectorDistillKLDivLoss"),
    ],
    "labeled-pair": [("SentenceTransformer", "ContrastiveLoss"), ("CrossEncoder", "BinaryCrossEntropyLoss")],
    "labeled-pair --scores": [("SentenceTransformer", "CoSENTLoss"), ("CrossEncoder", "MSELoss")],
    "labeled-list": [("CrossEncoder", "LambdaLoss"), ("CrossEncoder", "ListNetLoss")],
    "labeled-list --scores": [("CrossEncoder", "ListNetLoss")],
    "ids": [("SentenceTransformer", "MultipleNegativesRankingLoss"), ("CrossEncoder", "LambdaLoss")],
    "ids --scores": [("SentenceTransformer", "DistillKLDivLoss"), ("CrossEncoder", "ListNetLoss")],
}


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Train every kind of model that has a loss for such rows."""
    try:
        import sentence_transformers as st
    except ImportError as error:
        raise CannotRun(f"sentence-transformers is not installed ({error})") from None
    for kind, loss in TRAININGS[export]:
        if not hasattr(st, kind):
            continue  # late interaction is of version 6
        data = load(place, args, listwise=kind == "CrossEncoder")
        before, after, rows = train(kind, loss, data, rows_of(place, kind == "CrossEncoder"), args)
        yield Cell(
            trainer=f"{kind}Trainer, {loss}",
            version=f"sentence-transformers {st.__version__}",
            loss_before=before,
            loss_after=after,
            rows_out=rows,
        )


def load(place: Path, args: Settings, *, listwise: bool) -> Any:
    """The data set as the trainer's documentation says to load it; ids become texts as they are read."""
    from datasets import load_dataset

    cache = str(args.work / "cache")
    if place.is_file():
        return load_dataset("parquet", data_files=str(place), split="train", cache_dir=cache)
    from sentence_transformers.util import resolve_ids

    train, queries, documents = (
        load_dataset(str(place), name, split="train", cache_dir=cache) for name in ("train", "queries", "documents")
    )
    lookups = {"query_id": queries, "document_ids": documents}
    train.set_transform(resolve_ids(lookups, output_format="lists" if listwise else "columns"))
    return train


def rows_of(place: Path, listwise: bool) -> list[tuple[list[Any], Any]]:
    """(inputs in order, label) of every row, read from the files by Arrow alone."""
    import pyarrow.parquet as pq

    if place.is_file():
        rows = pq.read_table(place).to_pylist()
    else:
        train, queries, documents = (
            pq.read_table(place / f"{name}.parquet").to_pylist() for name in ("train", "queries", "documents")
        )
        asked = {row["query_id"]: row["text"] for row in queries}
        known = {row["document_id"]: row["text"] for row in documents}
        rows = []
        for row in train:
            texts = [known[one] for one in row["document_ids"]]
            numbered = {f"document_{number}": text for number, text in enumerate(texts)}
            label = {name: value for name, value in row.items() if name in LABELS}
            rows.append({"query": asked[row["query_id"]], **({"documents": texts} if listwise else numbered), **label})
    return [
        (
            [value for name, value in row.items() if name not in LABELS],
            next((row[name] for name in LABELS if name in row), None),
        )
        for row in rows
    ]


def train(
    kind: str, loss_name: str, data: Any, wanted: Sequence[tuple[list[Any], Any]], args: Settings
) -> tuple[float, float, int]:
    """The trainer's loss over all rows before and after, and the rows that reached it in one pass, in order."""
    import importlib

    import sentence_transformers as st
    import torch
    import transformers

    transformers.set_seed(0)
    torch.set_num_threads(1)
    model = build(kind, args.model)
    losses = importlib.import_module(f"sentence_transformers.{MODELS[kind]}.losses")
    loss = getattr(losses, loss_name)(model)
    if kind == "SparseEncoder":
        loss = losses.SpladeLoss(model, loss=loss, document_regularizer_weight=1e-4, query_regularizer_weight=1e-4)
    seen: list[tuple[list[Any], Any]] = []
    listen(loss, seen, reader(kind, model))
    how = getattr(st, f"{kind}TrainingArguments")(
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
    trainer = getattr(st, f"{kind}Trainer")(model=model, args=how, train_dataset=data, eval_dataset=data, loss=loss)
    before = trainer.evaluate()["eval_loss"]
    compare(seen, wanted, reader(kind, model))
    rows = len(seen)
    trainer.train()
    return before, trainer.evaluate()["eval_loss"], rows


def build(kind: str, path: Path) -> Any:
    """A model of this kind from the BERT at `path`; what the kind adds to it is random."""
    import sentence_transformers as st

    if kind == "CrossEncoder":
        return st.CrossEncoder(str(path), num_labels=1, device="cpu")
    if kind == "SparseEncoder":
        modules = st.sparse_encoder.modules
        parts = [modules.MLMTransformer(str(path)), modules.SpladePooling()]
        return st.SparseEncoder(modules=parts, device="cpu")
    return getattr(st, kind)(str(path), device="cpu")


def reader(kind: str, model: Any) -> Callable[[Any], Any]:
    """What makes comparable a column that a loss is given, and a column of texts: token ids, or the texts as they are.

    Padding is left out. A query of late interaction is filled up with mask tokens; these are left out too.
    """
    if kind == "CrossEncoder":
        return list
    special = set(model.tokenizer.all_special_ids)
    added = {model.tokenizer.convert_tokens_to_ids(token) for token in model.tokenizer.get_added_vocab()}

    def read(column: Any) -> list[tuple[int, ...]]:
        ids = column["input_ids"].tolist() if hasattr(column, "keys") else None
        if ids is None:
            ids = model.tokenizer(list(column), truncation=True, max_length=64)["input_ids"]
        return [tuple(one for one in row if one not in special | added) for row in ids]

    return read


def listen(loss: Any, seen: list[tuple[list[Any], Any]], read: Callable[[Any], Any]) -> None:
    """Keep the rows that the trainer gives the loss; the loss works as before."""
    forward = loss.forward

    def heard(inputs: Any, labels: Any = None, **more: Any) -> Any:
        inputs = list(inputs)
        columns = [read(column) for column in inputs]
        own = [None] * len(columns[0]) if labels is None else [label.tolist() for label in labels]
        seen.extend((list(row), label) for *row, label in zip(*columns, own, strict=True))
        return forward(inputs, labels, **more)

    loss.forward = heard


def compare(seen: Sequence[tuple[list[Any], Any]], wanted: Sequence[tuple[list[Any], Any]], read: Any) -> None:
    """Every row once, batches being drawn: each text in its place, with the label."""
    check(len(seen) == len(wanted), f"{len(wanted)} rows in the file, {len(seen)} reached the loss")
    found = sorted((inputs, as_list(label)) for inputs, label in seen)
    told = sorted(([read([text])[0] for text in texts], as_list(label)) for texts, label in wanted)
    for one, other in zip(found, told, strict=True):
        check(one[0] == other[0], f"reached the loss: {one[0]}; in the file: {other[0]}"[:500])
        check(one[1] == other[1], f"label {one[1]} in place of {other[1]}")


def as_list(label: Any) -> list[float]:
    """A label, one number or several, rounded as fp32 does not matter."""
    if label is None:
        return []
    return [float(f"{value:.5g}") for value in (label if isinstance(label, list) else [label])]


if __name__ == "__main__":
    main(prove)
