"""Trains with Tevatron: retrievers (texts in the file, or ids and a corpus), distillation, and rerankers.

Data sets, collators, models and trainers are put together as the package's drivers do.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from _drawn import GROUP, Group, Row, batches, cut, items_of, json_lines, loss_of, match, pairs
from _proof import CannotRun, Cell, Settings, main

EXPORTS = ("tevatron", "tevatron --scores", "tevatron-v2")

BATCH = 16
LENGTHS = {"query_max_len": 24, "passage_max_len": 40}
RERANKED_LENGTH = 64
TRAININGS = {"tevatron": ["retriever", "reranker"], "tevatron --scores": ["distillation"], "tevatron-v2": ["retriever"]}


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Train every kind of model that reads the file."""
    try:
        import tevatron.retriever.dataset  # noqa: F401
        import torch
    except ImportError as error:
        raise CannotRun(f"Tevatron is not installed ({error})") from None
    torch.set_num_threads(1)
    rows = rows_of(place)
    for kind in TRAININGS[export]:
        train = train_reranker if kind == "reranker" else train_retriever
        before, after, counts = train(place, rows, args, is_distilled=kind == "distillation")
        yield Cell(trainer=kind, version=f"Tevatron {commit()}", loss_before=before, loss_after=after, **counts)


def commit() -> str:
    """The commit that is installed, or checked out, since the version does not change with it."""
    try:
        told = json.loads(distribution("tevatron").read_text("direct_url.json") or "{}")
        return str(told["vcs_info"]["commit_id"])[:10]
    except (PackageNotFoundError, KeyError):
        import tevatron

        folder = Path(next(iter(tevatron.__path__)))
        told = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        return str(told.stdout)[:10] or "of an unknown commit"


def rows_of(place: Path) -> list[Row]:
    """What the file says, read as JSON alone. A document is its title and its text."""
    file, corpus = (place / "train.jsonl", place / "corpus.jsonl") if place.is_dir() else (place, None)
    read = json_lines(file)
    if corpus is None:
        return [
            Row(
                query=row["query"],
                positives=[((own["title"], own["text"]), own.get("score")) for own in row["positive_passages"]],
                negatives=[((own["title"], own["text"]), own.get("score")) for own in row["negative_passages"]],
            )
            for row in read
        ]
    documents = json_lines(corpus)
    known = {own["docid"]: ("", own["text"]) for own in documents}
    return [
        Row(
            query=row["query_text"],
            positives=[(known[doc_id], None) for doc_id in row["positive_document_ids"]],
            negatives=[(known[doc_id], None) for doc_id in row["negative_document_ids"]],
        )
        for row in read
    ]


def arguments(kind: type, args: Settings, **more: Any) -> Any:
    """The trainer's arguments of this kind."""
    return kind(
        output_dir=str(args.work / "out"),
        max_steps=args.steps,
        per_device_train_batch_size=BATCH,
        learning_rate=2e-3,
        remove_unused_columns=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=1,
        use_cpu=True,
        **more,
    )


def data_of(kind: type, place: Path, args: Settings, **more: Any) -> Any:
    """The arguments that say what is read, and how."""
    file, corpus = (place / "train.jsonl", place / "corpus.jsonl") if place.is_dir() else (place, None)
    by_id = {"corpus_name": "json", "corpus_path": str(corpus)} if corpus else {}
    return kind(
        dataset_name="json",
        dataset_path=str(file),
        dataset_cache_dir=str(args.work / "cache"),
        train_group_size=GROUP,
        **by_id,
        **more,
    )


def train_retriever(
    place: Path, rows: list[Row], args: Settings, *, is_distilled: bool
) -> tuple[float, float, dict[str, Any]]:
    """The loss before and after, and what to count."""
    import torch
    import transformers
    from tevatron.retriever.arguments import DataArguments, ModelArguments, TevatronTrainingArguments
    from tevatron.retriever.collator import DistilTrainCollator, TrainCollator
    from tevatron.retriever.dataset import DistilTrainDataset, TrainDataset
    from tevatron.retriever.modeling import DenseModel
    from tevatron.retriever.trainer import DistilTevatronTrainer, TevatronTrainer

    transformers.set_seed(1)
    reading = data_of(DataArguments, place, args, **LENGTHS)
    how = arguments(TevatronTrainingArguments, args, **({"distil_temperature": 1.0} if is_distilled else {}))
    learning = ModelArguments(model_name_or_path=str(args.model), pooling="mean", normalize=True, temperature=0.02)
    model = DenseModel.build(learning, how, torch_dtype=torch.float32, attn_implementation="eager")
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    if is_distilled:
        data: Any = DistilTrainDataset(reading)
        collator: Any = DistilTrainCollator(tokenizer=tokenizer, data_args=reading, torch_dtype=torch.float32)
        trainer: Any = DistilTevatronTrainer(model=model, args=how, train_dataset=data, data_collator=collator)
    else:
        data, collator = TrainDataset(reading), TrainCollator(reading, tokenizer)
        trainer = TevatronTrainer(model=model, args=how, train_dataset=data, data_collator=collator)
    data.set_trainer(trainer)

    def groups() -> Iterator[Group]:
        for queries, documents, *scores in batches(trainer, BATCH):
            of_queries, of_documents = (
                items_of(one["input_ids"], one["attention_mask"]) for one in (queries, documents)
            )
            found = scores[0].tolist() if scores else [None] * len(of_queries)
            yield from zip(pairs(of_queries, of_documents), found, strict=True)

    def item(query: str, document: tuple[str, str]) -> Any:
        texts = zip((query, " ".join(document)), LENGTHS.values(), strict=True)
        return tuple(tuple(tokenizer(text, truncation=True, max_length=length)["input_ids"]) for text, length in texts)

    trainer.state.epoch = 0  # which documents are drawn depends on it
    delivered = match(groups(), rows, item)
    before = loss_of(trainer, BATCH)
    trainer.train()
    trainer.save_model()
    trainer.state.epoch = 0
    return before, loss_of(trainer, BATCH), {"rows_out": delivered}


def train_reranker(
    place: Path, rows: list[Row], args: Settings, *, is_distilled: bool
) -> tuple[float, float, dict[str, Any]]:
    """The loss before and after, and what to count."""
    import transformers
    from tevatron.reranker.arguments import DataArguments, ModelArguments
    from tevatron.reranker.collator import RerankerTrainCollator
    from tevatron.reranker.dataset import RerankerTrainDataset
    from tevatron.reranker.modeling import RerankerModel
    from tevatron.reranker.trainer import RerankerTrainer

    transformers.set_seed(1)
    reading = data_of(DataArguments, place, args, rerank_max_len=RERANKED_LENGTH)
    how = arguments(transformers.TrainingArguments, args, dataloader_drop_last=True)
    model = RerankerModel.build(ModelArguments(model_name_or_path=str(args.model)), how)
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.model)
    data, collator = RerankerTrainDataset(reading), RerankerTrainCollator(reading, tokenizer)
    trainer = RerankerTrainer(
        model=model, args=how, train_dataset=data, data_collator=collator, processing_class=tokenizer
    )
    data.trainer = trainer

    def groups() -> Iterator[Group]:
        for batch in batches(trainer, BATCH):
            for items in cut(items_of(batch["input_ids"], batch["attention_mask"]), GROUP):
                yield items, None

    def item(query: str, document: tuple[str, str]) -> Any:
        title, text = document
        whole = f"{query} {title.replace('-', ' ')} {text}"
        return tuple(tokenizer(whole, truncation=True, max_length=RERANKED_LENGTH)["input_ids"])

    trainer.state.epoch = 0
    delivered = match(groups(), rows, item)
    # The model cuts its logits into as many groups as a full batch has: it cannot take the last one.
    before = loss_of(trainer, BATCH, whole=True)
    trainer.train()
    trainer.save_model()
    trainer.state.epoch = 0
    note = "loss over full batches: rerankers take no others (dataloader_drop_last)" if len(rows) % BATCH else ""
    return before, loss_of(trainer, BATCH, whole=True), {"rows_out": delivered, "note": note}


if __name__ == "__main__":
    main(prove)
