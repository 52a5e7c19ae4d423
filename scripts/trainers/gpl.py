"""Trains with GPL: its data set, its loader and its MarginMSE loss on a directory that `gpl.train` would train from.

The directory is read by BEIR's `GenericDataLoader`, as GPL does. Every triple that the data set delivers is compared
with the files by id, and its label with the margin; from `hard-negatives.jsonl` every query's draw is checked to be
one of its positives and one of its negatives. Then sentence-transformers' `fit` runs with GPL's loss, as in
`gpl.train`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _proof import CannotRun, Cell, Settings, check, main

EXPORTS = ("gpl",)
BATCH = 16


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Load as `gpl.train` does where everything is there already, and train."""
    try:
        from beir.datasets.data_loader import GenericDataLoader
        from gpl.toolkit.dataset import GenerativePseudoLabelingDataset, HardNegativeDataset, concat_title_and_body
        from gpl.toolkit.loss import MarginDistillationLoss
    except ImportError as error:
        raise CannotRun(f"GPL is not installed ({error})") from None
    import torch
    from sentence_transformers import SentenceTransformer, models

    corpus, queries, qrels = GenericDataLoader(str(place), prefix="qgen").load(split="train")
    data = GenerativePseudoLabelingDataset(str(place / "gpl-training-data.tsv"), queries, corpus)
    rows = [line.split("\t") for line in (place / "gpl-training-data.tsv").read_text(encoding="utf-8").splitlines()]
    check(len(data) == len(rows), "rows of the data set")
    for number, (query_id, positive, negative, margin) in enumerate(rows):
        example = data[number]
        texts = [queries[query_id], *(concat_title_and_body(one, corpus, " ") for one in (positive, negative))]
        check(example.texts == texts and all(texts), f"the texts of row {number}")
        check(example.label == float(margin), f"the margin of row {number}")
        check(qrels[query_id].get(positive, 0) > 0, f"the positive of row {number} in the qrels")
        check(qrels[query_id].get(negative, 0) <= 0, f"the negative of row {number} in the qrels")
    pools = HardNegativeDataset(str(place / "hard-negatives.jsonl"), queries, corpus)
    told = [
        json.loads(line) for line in (place / "hard-negatives.jsonl").read_text(encoding="utf-8").split("\n") if line
    ]
    check(len(pools) == len(told) == len(queries), "queries of the hard negatives")
    for number, own in enumerate(told):
        query_id, positive, negative = pools[number].guid
        check(query_id == own["qid"] and positive in own["pos"], f"hard negatives {number}")
        check(any(negative in listed for listed in own["neg"].values()), f"the negative of hard negatives {number}")
    torch.manual_seed(0)
    words = models.Transformer(str(args.model), max_seq_length=64)
    model = SentenceTransformer(modules=[words, models.Pooling(words.get_word_embedding_dimension())], device="cpu")
    loss = MarginDistillationLoss(model=model, similarity_fct="dot")
    loader = torch.utils.data.DataLoader(data, shuffle=False, batch_size=BATCH)
    before = mean_loss(model, loss, loader)
    model.fit(
        [(loader, loss)], epochs=1, steps_per_epoch=args.steps, warmup_steps=0, optimizer_params={"lr": 1e-3},
        show_progress_bar=False, output_path=None,
    )  # fmt: skip
    yield Cell(
        trainer="GPL's data set and MarginDistillationLoss, SentenceTransformer.fit",
        version=f"gpl {version('gpl')}",
        loss_before=before,
        loss_after=mean_loss(model, loss, loader),
        rows_out=len(data),
        note=f"{len(pools)} lines of hard negatives read too",
    )


def mean_loss(model: Any, loss: Any, loader: Any) -> float:
    """GPL's loss over all rows, collated as `fit` collates them."""
    import torch

    loader.collate_fn = model.smart_batching_collate
    model.eval()
    with torch.no_grad():
        losses = [float(loss(features, labels)) for features, labels in loader]
    model.train()
    return sum(losses) / len(losses)


if __name__ == "__main__":
    main(prove)
