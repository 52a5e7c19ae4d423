"""Loads with NeMo AutoModel's retrieval data set and collators, and trains a bi-encoder on what they deliver.

`make_retrieval_dataset` resolves the ids in the corpus folder; every row it gives is compared with the files, and what
`BiEncoderCollator` tokenises with the texts. NeMo's recipe itself needs GPUs and its own model classes, so the
optimisation is ours: the cross entropy of the recipe over each question's own documents, mean-pooled BERT, AdamW.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _proof import CannotRun, Cell, Settings, check, main

EXPORTS = ("nemo", "nemo --scores")
BATCH = 16
PASSAGES = 5


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Load, collate, train."""
    try:
        from nemo_automodel.components.datasets.llm.retrieval_collator import BiEncoderCollator
        from nemo_automodel.components.datasets.llm.retrieval_dataset import make_retrieval_dataset
    except ImportError as error:
        raise CannotRun(f"NeMo AutoModel is not installed ({error})") from None
    import pyarrow.parquet as pq
    import torch
    from transformers import AutoModel, AutoTokenizer

    corpus = {row["id"]: row["text"] for row in pq.read_table(place / "corpus/train.parquet").to_pylist()}
    rows = json.loads((place / "train.json").read_text(encoding="utf-8"))["data"]
    data = make_retrieval_dataset(data_dir_list=str(place / "train.json"), n_passages=PASSAGES)
    check(len(data) == len(rows), "rows of the data set")
    examples = [data[number] for number in range(len(data))]
    for number, (row, example) in enumerate(zip(rows, examples, strict=True)):
        negatives = [one["id"] for one in row["neg_doc"]]
        ids = [row["pos_doc"][0]["id"], *(negatives[i % len(negatives)] for i in range(PASSAGES - 1))]
        check(example["question"] == row["question"], f"the question of row {number}")
        check(
            example["doc_id"] == ids and example["doc_text"] == [corpus[one] for one in ids],
            f"the documents of row {number}",
        )
    tokenizer = AutoTokenizer.from_pretrained(str(args.model))
    collate = BiEncoderCollator(tokenizer, q_max_len=64, p_max_len=64)
    batches = [collate(examples[start : start + BATCH]) for start in range(0, len(examples), BATCH)]
    for start, batch in zip(range(0, len(examples), BATCH), batches, strict=True):
        own = examples[start : start + BATCH]
        told = [text for example in own for text in example["doc_text"]]
        check(
            read(tokenizer, batch["q_input_ids"]) == plain(tokenizer, [e["question"] for e in own]),
            "queries of a batch",
        )
        check(read(tokenizer, batch["d_input_ids"]) == plain(tokenizer, told), "documents of a batch")
    torch.manual_seed(0)
    model = AutoModel.from_pretrained(str(args.model))
    before = sum(float(loss(model, batch).detach()) for batch in batches) / len(batches)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(args.steps):
        optimiser.zero_grad()
        loss(model, batches[step % len(batches)]).backward()
        optimiser.step()
    yield Cell(
        trainer="make_retrieval_dataset, BiEncoderCollator; optimisation ours",
        version=f"nemo-automodel {version('nemo-automodel')}",
        loss_before=before,
        loss_after=sum(float(loss(model, batch).detach()) for batch in batches) / len(batches),
        rows_out=len(examples),
        note="NeMo's data set and collator; its recipe needs GPUs",
    )


def read(tokenizer: Any, ids: Any) -> list[str]:
    return tokenizer.batch_decode(ids, skip_special_tokens=True)  # type: ignore[no-any-return]


def plain(tokenizer: Any, texts: list[str]) -> list[str]:
    return read(tokenizer, tokenizer(texts, truncation=True, max_length=64)["input_ids"])


def loss(model: Any, batch: Any) -> Any:
    """Cross entropy of each question's positive among its own documents."""
    import torch

    def encode(side: str) -> Any:
        mask = batch[f"{side}_attention_mask"]
        states = model(input_ids=batch[f"{side}_input_ids"], attention_mask=mask).last_hidden_state
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(pooled, dim=-1)

    questions, documents = encode("q"), encode("d")
    scores = torch.einsum("qd,qnd->qn", questions, documents.view(len(questions), -1, documents.shape[-1])) / 0.05
    return torch.nn.functional.cross_entropy(scores, batch["labels"])


if __name__ == "__main__":
    main(prove)
