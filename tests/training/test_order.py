"""The sampler of docs/formats.md hands sentence-transformers' trainer the rows as they stand, from easy to hard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import sentence_transformers as st
from sentence_transformers.sentence_transformer import losses

from tests.docs.markdown_blocks import blocks


def test_rows_reach_the_trainer_in_the_order_of_the_file(
    exported: Callable[..., Path], student: Any, tmp_path: Path
) -> None:
    (script,) = [block for block in blocks("docs/formats.md", "python") if "def in_order" in block]
    names: dict[str, Any] = {}
    exec(compile(script, "docs/formats.md", "exec"), names)
    rows = datasets.Dataset.from_parquet(str(exported("triplet", "--order", "easy-to-hard")), cache_dir=str(tmp_path))
    arguments = st.SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=16,
        batch_sampler=names["in_order"],
        use_cpu=True,
        report_to=[],
    )
    trainer = st.SentenceTransformerTrainer(
        model=student, args=arguments, train_dataset=rows, loss=losses.MultipleNegativesRankingLoss(student)
    )
    tokens = [row.tolist() for batch in trainer.get_train_dataloader() for row in batch["anchor_input_ids"]]
    words = student.tokenizer
    found = [words.decode(row, skip_special_tokens=True).split() for row in tokens]
    assert found == [
        words.decode(words(text)["input_ids"], skip_special_tokens=True).split() for text in rows["anchor"]
    ]
