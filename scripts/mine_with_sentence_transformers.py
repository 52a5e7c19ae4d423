"""`mine_hard_negatives` of sentence-transformers as its documentation shows it, with FAISS, for bench_end_to_end.py.

python scripts/mine_with_sentence_transformers.py DATA MODEL OUT.parquet [--batch-size 32] [--bf16]

DATA holds `pairs.jsonl` (query, pos) and `corpus.jsonl` (text). bf16 is autocast, as hnmine's default arithmetic is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("model")
    parser.add_argument("out", type=Path)
    parser.add_argument("--num-negatives", type=int, default=5)
    parser.add_argument("--relative-margin", type=float, default=0.05)
    parser.add_argument("--range-max", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--bf16", action="store_true")
    given = parser.parse_args()

    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    pairs = [json.loads(line) for line in (given.data / "pairs.jsonl").open(encoding="utf-8")]
    corpus = [json.loads(line)["text"] for line in (given.data / "corpus.jsonl").open(encoding="utf-8")]
    dataset = Dataset.from_dict(
        {
            "anchor": [pair["query"] for pair in pairs for _ in pair["pos"]],
            "positive": [text for pair in pairs for text in pair["pos"]],
        }
    )
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=given.bf16):
        found = mine_hard_negatives(
            dataset,
            SentenceTransformer(given.model, device="cpu"),
            corpus=corpus,
            range_max=given.range_max,
            relative_margin=given.relative_margin,
            num_negatives=given.num_negatives,
            batch_size=given.batch_size,
            use_faiss=True,
            verbose=False,
        )
    found.to_parquet(str(given.out))


if __name__ == "__main__":
    main()
