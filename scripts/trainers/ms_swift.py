"""Trains with ms-swift: its embedding and its reranker trainer, through the pipeline that `swift sft` runs.

Before training, the texts of every collated batch are compared, token by token, with those of the file in their order:
of the embedding trainer query, positive, negatives; of the reranker each document behind its query.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _proof import CannotRun, Cell, Settings, check, main

EXPORTS = ("ms-swift", "ms-swift-reranker")
BATCH = 16
LENGTH = 64
KINDS = {
    "ms-swift": ("modern_bert_gte", "dummy", "embedding", "infonce"),
    "ms-swift-reranker": ("modern_bert_gte_reranker", "bert", "reranker", "listwise_reranker"),
}
"""Kind of model, template, task and loss: those of ms-swift that an encoder such as BERT has."""


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Train with `swift sft`, checks in the place of its `train`."""
    try:
        import swift
        from swift.pipelines.train.sft import SwiftSft
    except ImportError as error:
        raise CannotRun(f"ms-swift is not installed ({error})") from None
    rows = [json.loads(line) for line in place.read_text(encoding="utf-8").split("\n") if line]
    found: dict[str, Any] = {}

    class Proof(SwiftSft):
        def train(self, trainer: Any) -> Any:
            found["rows"] = checked(trainer, self.template, rows, export)
            found["before"] = loss(trainer)
            done = super().train(trainer)
            found["after"] = loss(trainer)
            return done

    kind, template, task, name = KINDS[export]
    Proof(
        f"--model {args.model} --model_type {kind} --template {template} --task_type {task} --loss_type {name}"
        f" --num_labels 1 --tuner_type full --torch_dtype float32 --attn_impl eager --use_hf true"
        f" --dataset {place} --dataset_shuffle false --split_dataset_ratio 0 --strict true --load_from_cache_file false"
        f" --max_length {LENGTH} --truncation_strategy right --per_device_train_batch_size {BATCH}"
        f" --max_steps {args.steps} --learning_rate 1e-3 --warmup_ratio 0 --gradient_checkpointing false"
        f" --gradient_accumulation_steps 1 --save_strategy no --report_to none"
        f" --output_dir {args.work / export} --dataset_num_proc 1 --add_version false --use_cpu true".split()
    ).run()
    yield Cell(
        trainer=f"swift sft --task_type {task}, {name}",
        version=f"ms-swift {swift.__version__}",
        loss_before=found["before"],
        loss_after=found["after"],
        rows_out=found["rows"],
    )


def batches(trainer: Any) -> Iterator[Any]:
    """Each row of the file once, collated as for training."""
    data = trainer.train_dataset
    for start in range(0, len(data), BATCH):
        yield trainer.data_collator([data[i] for i in range(start, min(start + BATCH, len(data)))])


def checked(trainer: Any, template: Any, rows: list[dict[str, Any]], export: str) -> int:
    """How many rows the collator delivers; raises if a text of one is not where it should be."""
    tokenizer = template.tokenizer
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}

    def tokens(text: str) -> list[int]:
        return [i for i in tokenizer(text, add_special_tokens=False)["input_ids"] if i not in special]

    def same(told: list[int], wanted: list[int]) -> bool:
        """Whether it is the text, or as much of it as there is room for beside the special tokens."""
        return told == wanted[: len(told)] and len(told) >= min(len(wanted), LENGTH - 4)

    delivered = 0
    for batch in batches(trainer):
        own = rows[delivered : delivered + len(rows)]
        texts = [[i for i in ids if i not in special] for ids in batch["input_ids"].tolist()]
        labels = batch["labels"].int().tolist()
        taken = 0
        while taken < len(texts):
            row = own.pop(0)
            query, negatives = row["messages"][-1]["content"], [m[0]["content"] for m in row["negative_messages"]]
            positives = [m[0]["content"] for m in row["positive_messages"]]
            if export == "ms-swift":
                wanted = [tokens(query), tokens(positives[0]), *map(tokens, negatives)]
                told = texts[taken : taken + len(wanted)]
                check(
                    len(told) == len(wanted) and all(map(same, told, wanted)),
                    f"row {delivered}: {tokenizer.batch_decode(told)}",
                )
                taken += len(wanted)
            else:  # a positive drawn, then negatives in an order drawn
                size = 1 + min(7, len(negatives))
                first, *rest = texts[taken : taken + size]
                for told, kind, of in ((first, "positive", positives), *((one, "negative", negatives) for one in rest)):
                    found = any(same(told, tokens(query) + tokens(document)) for document in of)
                    check(found, f"a {kind} of row {delivered}: {tokenizer.decode(told)}")
                check(labels[taken : taken + size] == [1] + [0] * (size - 1), f"the labels of row {delivered}")
                taken += size
            delivered += 1
    return delivered


def loss(trainer: Any) -> float:
    """The trainer's mean loss over the rows of the file."""
    import torch

    trainer.model.eval()
    with torch.no_grad():
        losses = [
            float(trainer.compute_loss(trainer.model, trainer._prepare_inputs(batch))) for batch in batches(trainer)
        ]
    trainer.model.train()
    return sum(losses) / len(losses)


if __name__ == "__main__":
    main(prove)
