"""Trains with DPR: its data set, its tensorizer, its batches and its loss, from a checkout of its repository.

DPR is not on a package index: DPR_CHECKOUT names a clone of https://github.com/facebookresearch/DPR. Of its modules
`dpr.data.biencoder_data`, `dpr.models.biencoder` and `dpr.models.hf_models` run as they are; packages that these import
for what is not touched here (spaCy for tables, wget for downloads) are stood in for by empty modules. The loop around
them is ours.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

from _proof import CannotRun, Cell, Settings, check, main

EXPORTS = ("dpr", "dpr --scores")
BATCH = 16
HARD_NEGATIVES = 4
UNTOUCHED = ("spacy", "wget")


def prove(export: str, place: Path, args: Settings) -> Iterator[Cell]:
    """Load, make batches as `train_dense_encoder.py` does, train."""
    checkout = os.environ.get("DPR_CHECKOUT")
    if not checkout:
        raise CannotRun("DPR is on no package index: DPR_CHECKOUT=FOLDER names a clone of facebookresearch/DPR")
    import transformers  # looks for packages, and must not find what stands in for them

    check(transformers.__version__.startswith("4"), f"transformers {transformers.__version__}: DPR needs 4")
    sys.path.insert(0, checkout)
    for name in UNTOUCHED:
        sys.modules.setdefault(name, stand_in(name))
    try:
        from dpr.data.biencoder_data import JsonQADataset
        from dpr.models.biencoder import BiEncoder, BiEncoderNllLoss
        from dpr.models.hf_models import BertTensorizer, HFBertEncoder
    except ImportError as error:
        raise CannotRun(f"DPR does not import here ({error})") from None
    import torch
    from transformers import BertTokenizerFast

    rows = json.loads(place.read_text(encoding="utf-8"))
    data = JsonQADataset(str(place))
    data.load_data()
    check(len(data) == len(rows), "rows of the data set")
    for number, row in enumerate(rows):
        sample = data[number]
        check(sample.query == row["question"].replace("’", "'"), f"the question of row {number}")
        for told, key in (("positive_passages", "positive_ctxs"), ("hard_negative_passages", "hard_negative_ctxs")):
            passages = [(one["text"], one["title"]) for one in row[key]]
            check([(one.text, one.title) for one in getattr(sample, told)] == passages, f"{key} of row {number}")
        check(sample.negative_passages == [], f"negative_ctxs of row {number}")
    tensorizer = BertTensorizer(BertTokenizerFast.from_pretrained(str(args.model)), 64)
    torch.manual_seed(0)
    random.seed(0)
    encoder = HFBertEncoder.from_pretrained(str(args.model))
    model = BiEncoder(encoder, encoder)
    batches = []
    for start in range(0, len(data), BATCH):
        samples = [data[number] for number in range(start, min(start + BATCH, len(data)))]
        batch = model.create_biencoder_input(
            samples, tensorizer, True, num_hard_negatives=HARD_NEGATIVES, num_other_negatives=0, shuffle=False
        )
        passages = [
            one for s in samples for one in (s.positive_passages[0], *s.hard_negative_passages[:HARD_NEGATIVES])
        ]
        wanted = [tensorizer.text_to_tensor(one.text, title=one.title or None).tolist() for one in passages]
        check(batch.context_ids.tolist() == wanted, "passages of a batch")
        check([wanted[i] for i in batch.is_positive] == [tensorizer.text_to_tensor(
            s.positive_passages[0].text, title=s.positive_passages[0].title or None).tolist() for s in samples],
            "positives of a batch")  # fmt: skip
        batches.append(batch)

    def loss(batch: Any) -> Any:
        masks = [tensorizer.get_attn_mask(ids) for ids in (batch.question_ids, batch.context_ids)]
        asked, told = model(
            batch.question_ids, batch.question_segments, masks[0], batch.context_ids, batch.ctx_segments, masks[1]
        )
        return BiEncoderNllLoss().calc(asked, told, batch.is_positive, batch.hard_negatives)[0]

    def mean() -> float:
        model.eval()
        with torch.no_grad():
            return sum(float(loss(batch)) for batch in batches) / len(batches)

    before = mean()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for step in range(args.steps):
        model.train()
        optimiser.zero_grad()
        loss(batches[step % len(batches)]).backward()
        optimiser.step()
    yield Cell(
        trainer="JsonQADataset, BiEncoder.create_biencoder_input, BiEncoderNllLoss; loop ours",
        version="DPR 1.0.0 (checkout)",
        loss_before=before,
        loss_after=mean(),
        rows_out=len(data),
        note=f"empty modules for {', '.join(UNTOUCHED)}",
    )


def stand_in(name: str) -> ModuleType:
    """An empty module of that name."""
    module = MagicMock(name=name)
    module.__spec__ = None
    return module


if __name__ == "__main__":
    main(prove)
