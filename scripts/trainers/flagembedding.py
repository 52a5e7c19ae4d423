"""Trains with FlagEmbedding: embedders (both ways of making batches, both losses of distillation) and rerankers.

The runners of the package load file, model, collator and trainer, as its command line does.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from _drawn import GROUP, Group, Row, batches, cut, items_of, json_lines, loss_of, match, pairs
from _proof import CannotRun, Cell, Settings, main

INSTRUCTION = "find:"
EXPORTS = ("flagembedding", "flagembedding --scores", f"flagembedding --instruction {INSTRUCTION}")

BATCH = 16
QUERY_LENGTH, PASSAGE_LENGTH = 24, 40
DISTILL = {"knowledge_distillation": True}
TRAININGS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    EXPORTS[0]: [
        ("embedder", {}),
        ("embedder", {"same_dataset_within_batch": True, "query_instruction_for_retrieval": ""}),
        ("reranker", {}),
    ],
    EXPORTS[1]: [
        ("embedder", {**DISTILL, "kd_loss_type": "kl_div"}),
        ("embedder", {**DISTILL, "kd_loss_type": "m3_kd_loss"}),
        ("reranker", DISTILL),
    ],
    EXPORTS[2]: [
        ("embedder", {"query_instruction_for_retrieval": "that of the row comes before"}),
        ("reranker", {"query_instruction_for_rerank": "that of the row comes before"}),
    ],
}


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Train every kind of model."""
    try:
        found = version("FlagEmbedding")
        import torch
    except (PackageNotFoundError, ImportError) as error:
        raise CannotRun(f"FlagEmbedding is not installed ({error})") from None
    torch.set_num_threads(1)
    rows = rows_of(place)
    for kind, settings in TRAININGS[export]:
        train = train_embedder if kind == "embedder" else train_reranker
        before, after, counts = train(place, rows, settings, args)
        shown = ", ".join(f"{name} {value}" for name, value in settings.items() if "instruction" not in name)
        yield Cell(
            trainer=f"{kind}{', ' if shown else ''}{shown}",
            version=f"FlagEmbedding {found}",
            loss_before=before,
            loss_after=after,
            **counts,
        )


def rows_of(place: Path) -> list[Row]:
    """What the file says, read as JSON alone."""

    def side(row: dict[str, Any], name: str) -> list[tuple[str, float | None]]:
        return list(zip(row[name], row.get(f"{name}_scores") or [None] * len(row[name]), strict=True))

    read = json_lines(place)
    return [
        Row(query=row.get("prompt", "") + row["query"], positives=side(row, "pos"), negatives=side(row, "neg"))
        for row in read
    ]


def arguments(kind: type, args: Settings, **more: Any) -> Any:
    """The trainer's arguments of this kind."""
    return kind(
        output_dir=str(args.work / "out"),
        max_steps=args.steps,
        per_device_train_batch_size=BATCH,
        learning_rate=2e-3,
        dataloader_drop_last=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=1,
        use_cpu=True,
        **more,
    )


def data_of(kind: type, place: Path, args: Settings, settings: dict[str, Any]) -> Any:
    """The arguments that say what is read, and how."""
    return kind(
        train_data=[str(place)],
        cache_path=str(args.work / "cache"),
        train_group_size=GROUP,
        query_max_len=QUERY_LENGTH,
        passage_max_len=PASSAGE_LENGTH,
        **settings,
    )


def train_embedder(
    place: Path, rows: list[Row], settings: dict[str, Any], args: Settings
) -> tuple[float, float, dict[str, Any]]:
    """The loss before and after, and what to count."""
    from FlagEmbedding.finetune.embedder.encoder_only.base import (
        EncoderOnlyEmbedderDataArguments,
        EncoderOnlyEmbedderModelArguments,
        EncoderOnlyEmbedderRunner,
        EncoderOnlyEmbedderTrainingArguments,
    )

    loss = {name: settings[name] for name in ("kd_loss_type",) if name in settings}
    read = {name: value for name, value in settings.items() if name not in loss}
    how = arguments(EncoderOnlyEmbedderTrainingArguments, args, sentence_pooling_method="mean", **loss)
    runner = EncoderOnlyEmbedderRunner(
        EncoderOnlyEmbedderModelArguments(model_name_or_path=str(args.model)),
        data_of(EncoderOnlyEmbedderDataArguments, place, args, read),
        how,
    )
    tokenizer, data = runner.tokenizer, runner.trainer.train_dataset
    is_batched = "same_dataset_within_batch" in settings
    own = getattr(data, "batch_datas", None)
    size = 1 if is_batched else BATCH

    def rewind() -> None:
        if is_batched:  # the data set makes the batches, anew each epoch
            data.batch_datas, data.step = own, 0

    def groups() -> Iterator[Group]:
        for batch in batches(runner.trainer, size):
            queries, documents = (items_of(**_ids(batch[name])) for name in ("queries", "passages"))
            scores = batch["teacher_scores"]
            found = cut(scores, GROUP) if scores is not None else [None] * len(queries)
            yield from zip(pairs(queries, documents), found, strict=True)

    def item(query: str, document: str) -> Any:
        texts = ((query, QUERY_LENGTH), (document, PASSAGE_LENGTH))
        return tuple(tuple(tokenizer(text, truncation=True, max_length=length)["input_ids"]) for text, length in texts)

    delivered = match(groups(), rows, item)
    rewind()
    before = loss_of(runner.trainer, size)
    rewind()
    runner.run()
    rewind()
    after = loss_of(runner.trainer, size)
    whole = len(rows) // BATCH * BATCH
    if not is_batched or whole == len(rows):
        return before, after, {"rows_out": delivered}
    note = f"of {len(rows)} rows the last {len(rows) - whole} are less than a batch, which this way of it leaves out"
    return before, after, {"rows_in": whole, "rows_out": delivered, "note": note}


def train_reranker(
    place: Path, rows: list[Row], settings: dict[str, Any], args: Settings
) -> tuple[float, float, dict[str, Any]]:
    """The loss before and after, and what to count."""
    from FlagEmbedding.abc.finetune.reranker import (
        AbsRerankerDataArguments,
        AbsRerankerModelArguments,
        AbsRerankerTrainingArguments,
    )
    from FlagEmbedding.finetune.reranker.encoder_only.base import EncoderOnlyRerankerRunner

    runner = EncoderOnlyRerankerRunner(
        AbsRerankerModelArguments(model_name_or_path=str(args.model)),
        data_of(AbsRerankerDataArguments, place, args, settings),
        arguments(AbsRerankerTrainingArguments, args),
    )
    tokenizer = runner.tokenizer

    def groups() -> Iterator[Group]:
        for batch in batches(runner.trainer, BATCH):
            items, scores = items_of(**_ids(batch["pair"])), batch["teacher_scores"]
            found = cut(scores, GROUP) if scores is not None else [None] * (len(items) // GROUP)
            yield from zip(cut(items, GROUP), found, strict=True)

    def item(query: str, document: str) -> Any:
        longest = QUERY_LENGTH + PASSAGE_LENGTH
        asked = tokenizer.encode(query, add_special_tokens=False)[: QUERY_LENGTH + PASSAGE_LENGTH // 4]
        text = tokenizer.encode(document, add_special_tokens=False)[: PASSAGE_LENGTH + QUERY_LENGTH // 2]
        start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
        return (start, *asked, end, *text[: longest - 3 - len(asked)], end)

    delivered = match(groups(), rows, item)
    # The model cuts its logits into as many groups as a full batch has: it cannot take the last one.
    before = loss_of(runner.trainer, BATCH, whole=True)
    runner.run()
    note = "loss over full batches: rerankers take no others (dataloader_drop_last)" if len(rows) % BATCH else ""
    return before, loss_of(runner.trainer, BATCH, whole=True), {"rows_out": delivered, "note": note}


def _ids(inputs: Any) -> dict[str, Any]:
    return {"ids": inputs["input_ids"], "mask": inputs["attention_mask"]}


if __name__ == "__main__":
    main(prove)
