"""Train a small cross-encoder on negatives that hnmine mined, and say how well it ranks queries it has not seen.

    python scripts/train_reranker.py OUT --data beir/medquad beir/scifact

Each collection is a BEIR directory with the splits `train` and `test`. One negative of a list is a
random document, the others are drawn from BM25's first 30 (`hnmine run --no-dense`): no encoder decides what the
reranker learns. The backbone is MiniLM with a new head of one
logit, the loss is the softmax cross-entropy of the positive among its list: a difference of two logits is the log odds
of the one against the other, which is what a margin in logits compares. The zero is arbitrary: a band of
probabilities (`--band`) needs another loss. BM25's first 20 of held-out queries are then reordered, through
`hnmine score`.

OUT is the model (OUT.work the mining), about five to ten minutes on two cores; nothing is downloaded. The same
command on the same machine gives the same weights.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import hnmine

POOL, RERANKED = 30, 20
SHARPNESS = 20.0
"""ListNet compares softmaxes of labels and of logits: labels of 0 and 20 make the target the positive alone."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="BEIR directories with train and test")
    parser.add_argument("--model", default="minilm", help="backbone: name or path")
    parser.add_argument("--limit", type=int, default=800, help="training queries of each collection")
    parser.add_argument("--test-queries", type=int, default=50, help="held-out queries of each collection")
    parser.add_argument("--negatives", type=int, default=3, help="negatives beside each positive")
    parser.add_argument("--lists", type=int, default=4, help="lists (one positive each) in a batch")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--max-length", type=int, default=64, help="tokens of a pair")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def mine(data: Path, folder: Path, args: argparse.Namespace) -> Path:
    """The training file: one row per (query, positive), with a list of documents and their labels."""
    options = hnmine.RunOptions(
        input=hnmine.InputOptions(split="train"),
        dense=None,
        mine=hnmine.MineOptions(top_k=POOL, random=1, limit=args.limit, seed=args.seed),
        filter=hnmine.FilterOptions(
            num_negatives=args.negatives, pick="random", quota="random=1", short="drop", seed=args.seed
        ),
        export=hnmine.ExportOptions(format="labeled-list"),
    )
    hnmine.run(data, folder, options=options, how=hnmine.Execution(overwrite=True))
    return folder / "triplets.parquet"


def train(files: list[Path], args: argparse.Namespace) -> float:
    """Train on all the files and save the model to OUT; returns the mean loss of the last steps."""
    import datasets
    import sentence_transformers as st
    import transformers
    from sentence_transformers.cross_encoder.losses import ListNetLoss

    from hnmine.engines.inference import resolve_arithmetic
    from hnmine.engines.models import resolve_model

    device, dtype = resolve_arithmetic(hnmine.ScoreOptions())
    transformers.set_seed(args.seed)  # the head's weights
    path = resolve_model(args.model, revision=None).path
    model = st.CrossEncoder(path, num_labels=1, max_length=args.max_length, device=device)
    rows = pa.concat_tables([pq.read_table(file, columns=["query", "documents", "labels"]) for file in files])
    data = datasets.Dataset.from_list(
        [{**row, "labels": [SHARPNESS * label for label in row["labels"]]} for row in rows.to_pylist()]
    )
    how = st.CrossEncoderTrainingArguments(
        output_dir=str(_work(args.out) / "trainer"),
        max_steps=args.steps,
        per_device_train_batch_size=args.lists,
        learning_rate=args.learning_rate,
        warmup_steps=args.steps // 10,
        bf16=dtype == "bf16",
        fp16=dtype == "fp16",
        use_cpu=device == "cpu",
        seed=args.seed,
        logging_steps=max(1, args.steps // 10),
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = st.CrossEncoderTrainer(model=model, args=how, train_dataset=data, loss=ListNetLoss(model))
    with contextlib.redirect_stdout(sys.stderr):
        trainer.train()
    model.save_pretrained(str(args.out))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return float(losses[-1])


def test(data: Path, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """nDCG@10 and reciprocal rank at 10 of BM25's first documents for held-out queries, before and after reordering."""
    how = hnmine.Execution(overwrite=True)
    given = hnmine.InputOptions(split="test")
    hnmine.ingest(data, folder / "collection", options=given, how=how)
    hnmine.index_bm25(folder / "collection", folder / "bm25", how=how)
    limits = hnmine.MineOptions(top_k=RERANKED, limit=args.test_queries, seed=args.seed)
    hnmine.mine(folder / "collection", folder / "candidates", indexes=[folder / "bm25"], options=limits, how=how)
    scoring = hnmine.ScoreOptions(reranker=str(args.out), name="reranker", max_length=args.max_length)
    hnmine.score(folder / "collection", folder / "candidates", folder / "scored", options=scoring, how=how)
    return quality(pq.read_table(hnmine.Artefact.open(folder / "scored").files()).to_pylist())


def quality(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The metrics of scored candidates; positives that BM25 did not bring count as missed by both orders."""
    import ir_measures
    from ir_measures import RR, nDCG

    qrels = [ir_measures.Qrel(row["query_id"], row["doc_id"], row["relevance"]) for row in rows if row["is_positive"]]
    found: dict[str, Any] = {"queries": len({qrel.query_id for qrel in qrels})}
    for name, column in (("bm25", "score_bm25"), ("reranked", "score_reranker")):
        brought = [row for row in rows if row["rank_bm25"] is not None]
        run = [ir_measures.ScoredDoc(row["query_id"], row["doc_id"], row[column]) for row in brought]
        measured = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10], qrels, run)
        found[name] = {str(measure): round(value, 4) for measure, value in measured.items()}
    return found


def _work(out: Path) -> Path:
    return out.with_name(out.name + ".work")


def main() -> None:
    args = arguments()
    work, started = _work(args.out), time.monotonic()
    files = [mine(data, work / "train" / data.name, args) for data in args.data]
    mined = time.monotonic()
    loss = train(files, args)
    trained = time.monotonic()
    seconds = {"mining": round(mined - started, 1), "training": round(trained - mined, 1)}
    found: dict[str, Any] = {"model": str(args.out), "loss": round(loss, 4), "seconds": seconds, "held_out": {}}
    for data in args.data:
        found["held_out"][data.name] = test(data, work / "test" / data.name, args)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
