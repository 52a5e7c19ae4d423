"""Train a small cross-encoder on lists that hnmine mined, and say what it adds for queries it has not seen.

    python scripts/train_reranker.py OUT --data beir/medquad beir/scifact

Each collection is a BEIR directory with the splits `train` and `test`; where its documents have titles, a sample of the
titles become further queries, each for its own document without the title (none that a test query is about).
hnmine indexes a keyed sample of the documents with BM25 and with the backbone itself, and every list is a positive,
rows drawn evenly from the first 50 of both, and a random document: what a reranker of such candidates will see.

The backbone is MiniLM with a new head of one logit; its token embeddings stay as they are, so that words that never
occur in training keep their meaning. The loss is listwise: the softmax of the logits against a target that is for
`1 - taught` the positive and for `taught` the softmax of BM25's plus the dense score, both standardised within the
query's candidates (distillation; it also takes the edge off negatives that are unlabelled positives). A difference of
two logits is log odds, which is what a margin in logits compares.

Held-out queries then say what it is worth: the candidates' order by each score, and by reciprocal-rank fusion of BM25
and the dense index, without and with the reranker's rank. On the same candidates the logits are calibrated (Platt
1999): a scale and a shift, put into the head, with which the sigmoid is the probability that a candidate is the known
positive, at the odds of training: one positive to `--negatives` others, as the cross-encoder of RocketQA learned from
one to four. That is what `--band` and `--relabel` compare; the order does not change.

OUT is the model (OUT.work the mining), about a quarter of an hour on one core; nothing is downloaded. The same command
on the same machine gives the same weights.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import hnmine

POOL = 50
"""Ranks of each retriever that negatives are drawn from."""
RERANKED = 20
RRF_K = 20
DENSE = "dense"
MICRO_BATCH = 16
"""Pairs that are padded to one length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A query, its documents with the positive first, and the probabilities that the logits' softmax should have."""

    query: str
    documents: list[str]
    target: list[float]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="BEIR directories with train and test")
    parser.add_argument("--model", default="minilm", help="backbone: name or path")
    parser.add_argument("--limit", type=int, default=1500, help="training queries of each collection, and titles")
    parser.add_argument("--documents", type=int, default=5000, help="about so many documents of each are indexed")
    parser.add_argument("--test-queries", type=int, default=100, help="held-out queries of each collection")
    parser.add_argument("--negatives", type=int, default=5, help="negatives beside each positive")
    parser.add_argument("--lists", type=int, default=8, help="lists (one positive each) in a batch")
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--max-length", type=int, default=128, help="tokens of a pair")
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--taught", type=float, default=0.3, help="share of the target that the retrievers give")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def titles(data: Path, folder: Path) -> Path | None:
    """A BEIR directory whose queries are the titles of DATA's documents; None if they have none."""
    lines = (data / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    tested = {line.split("\t")[1] for line in lines}
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    with (data / "corpus.jsonl").open(encoding="utf-8") as file:
        for line in file:
            document = json.loads(line)
            corpus.append(json.dumps({"_id": document["_id"], "text": document["text"]}))
            if document.get("title") and document["_id"] not in tested:
                queries.append(json.dumps({"_id": document["_id"], "text": document["title"]}))
                qrels.append(f"{document['_id']}\t{document['_id']}\t1")
    if not queries:
        return None
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels/train.tsv", qrels)):
        (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def mine(
    data: Path, folder: Path, split: str, documents: int, top_k: int, limit: int, args: argparse.Namespace
) -> Path:
    """Collection, indexes and candidates of a keyed sample of `documents` documents, in the folder."""
    how = hnmine.Execution(overwrite=True)
    with (data / "corpus.jsonl").open(encoding="utf-8") as file:
        size = sum(1 for _ in file)
    given = hnmine.InputOptions(split=split, sample=min(1.0, documents / size))
    hnmine.ingest(data, folder / "collection", options=given, how=how)
    hnmine.index_bm25(folder / "collection", folder / "bm25", how=how)
    encoder = hnmine.DenseOptions(model=args.model, max_length=args.max_length)
    hnmine.index_dense(folder / "collection", folder / DENSE, options=encoder, how=how)
    options = hnmine.MineOptions(top_k=top_k, random=1, limit=limit, seed=args.seed)
    indexes = [folder / "bm25", folder / DENSE]
    hnmine.mine(folder / "collection", folder / "candidates", indexes=indexes, options=options, how=how)
    return folder


def lists(folder: Path, args: argparse.Namespace) -> Iterator[Ranked]:
    """A list for each (query, positive) of the mined folder whose query got all its negatives."""
    from hnmine.files.collection import Collection, rows_of

    rules = hnmine.FilterOptions(
        num_negatives=args.negatives, no_margin=True, pick="random", quota="random=1", short="drop", seed=args.seed
    )
    hnmine.filter(folder / "candidates", folder / "decisions", options=rules, how=hnmine.Execution(overwrite=True))
    rows = pq.read_table(hnmine.Artefact.open(folder / "decisions").files())
    collection = Collection.open(folder / "collection")
    queries = dict(
        zip(collection.query_ids.to_pylist(), collection.query_texts(np.arange(len(collection.query_ids))), strict=True)
    )
    texts = collection.document_texts(rows_of(collection.doc_ids, rows["doc_id"]))
    ids, verdict = rows["query_id"].to_pylist(), rows["verdict"].to_pylist()
    scores = [rows[f"score_{name}"].to_numpy(zero_copy_only=False).astype(float) for name in ("bm25", DENSE)]
    groups: dict[str, list[int]] = {}
    for row, query in enumerate(ids):
        groups.setdefault(query, []).append(row)
    for query, own in groups.items():
        teacher = np.sum([(s[own] - s[own].mean()) / max(float(s[own].std()), 1e-9) for s in scores], axis=0)
        taught = dict(zip(own, teacher.tolist(), strict=True))
        negatives = [row for row in own if verdict[row] == "negative"]
        for positive in (row for row in own if verdict[row] == "positive"):
            chosen = [positive, *negatives]
            weights = np.exp([taught[row] for row in chosen])
            target = args.taught * weights / weights.sum()
            target[0] += 1 - args.taught
            if negatives:
                yield Ranked(query=queries[query], documents=[texts[r] for r in chosen], target=target.tolist())


def train(data: Sequence[Ranked], args: argparse.Namespace) -> float:
    """Train on the lists in a drawn order and save the model to OUT; returns the mean loss of the last tenth."""
    import sentence_transformers as st
    import torch
    import transformers

    from hnmine.engines.inference import autocast, resolve_arithmetic
    from hnmine.engines.models import resolve_model

    device, dtype = resolve_arithmetic(hnmine.ScoreOptions())
    transformers.set_seed(args.seed)  # the head's weights
    path = resolve_model(args.model, revision=None).path
    model = st.CrossEncoder(path, num_labels=1, max_length=args.max_length, device=device)
    network, tokenizer = model.model, model.tokenizer
    network.eval()  # no dropout: a list is seen about once
    for parameter in network.base_model.embeddings.parameters():
        parameter.requires_grad_(False)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate, weight_decay=0.01)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, args.steps // 10, args.steps)

    def logits(pairs: list[tuple[str, str]]) -> Any:
        with autocast(device, dtype):
            inputs = tokenizer(pairs, padding=True, truncation=True, max_length=args.max_length, return_tensors="pt")
            return network(**inputs.to(device)).logits[:, 0].float()

    losses: list[float] = []
    for step, batch in enumerate(_batches(data, args)):
        pairs = [(item.query, document) for item in batch for document in item.documents]
        order = sorted(range(len(pairs)), key=lambda row: len(pairs[row][0]) + len(pairs[row][1]))
        cuts = [order[start : start + MICRO_BATCH] for start in range(0, len(order), MICRO_BATCH)]
        found = torch.cat([logits([pairs[row] for row in cut]) for cut in cuts])
        scores = found[torch.tensor(np.argsort(order), device=device)]
        at, loss = 0, torch.zeros((), device=device)
        for item in batch:
            own = scores[at : (at := at + len(item.documents))]
            loss = loss - (torch.tensor(item.target, device=device) * torch.log_softmax(own, 0)).sum() / len(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if (step + 1) % max(1, args.steps // 20) == 0:
            print(
                f"step {step + 1}: loss {np.mean(losses[-max(1, args.steps // 20) :]):.4f}", file=sys.stderr, flush=True
            )
    model.save_pretrained(str(args.out))
    return float(np.mean(losses[-max(1, args.steps // 10) :]))


def _batches(data: Sequence[Ranked], args: argparse.Namespace) -> Iterator[list[Ranked]]:
    """`steps` batches of lists, each pass over the data in a new drawn order."""
    generator = np.random.default_rng(args.seed)
    queue: list[int] = []
    for _ in range(args.steps):
        while len(queue) < args.lists:
            queue += generator.permutation(len(data)).tolist()
        yield [data[row] for row in queue[: args.lists]]
        del queue[: args.lists]


def test(data: Path, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The first candidates of held-out queries, with the reranker's scores."""
    mine(data, folder, "test", args.documents // 2, RERANKED, args.test_queries, args)
    scoring = hnmine.ScoreOptions(reranker=str(args.out), name="reranker", max_length=args.max_length)
    how = hnmine.Execution(overwrite=True)
    hnmine.score(folder / "collection", folder / "candidates", folder / "scored", options=scoring, how=how)
    return pq.read_table(hnmine.Artefact.open(folder / "scored").files()).to_pylist()


def quality(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """nDCG@10 and reciprocal rank at 10 of scored candidates by each score and by fused ranks, without and with it.

    Positives that neither retriever brought count as missed by every order.
    """
    import ir_measures
    from ir_measures import RR, nDCG

    qrels = [ir_measures.Qrel(row["query_id"], row["doc_id"], row["relevance"]) for row in rows if row["is_positive"]]
    found: dict[str, Any] = {"queries": len({qrel.query_id for qrel in qrels})}
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["rank_bm25"] is not None or row[f"rank_{DENSE}"] is not None:
            groups.setdefault(row["query_id"], []).append(row)
    orders = {"bm25": ["bm25"], "dense": [DENSE], "reranker": ["reranker"], "bm25 + dense": ["bm25", DENSE]}
    orders["bm25 + dense + reranker"] = ["bm25", DENSE, "reranker"]
    for name, voices in orders.items():
        run = []
        for query, own in groups.items():
            scores = np.array([[row[f"score_{voice}"] for voice in voices] for row in own])
            places = np.argsort(np.argsort(-scores, axis=0, kind="stable"), axis=0) + 1
            fused = (1 / (RRF_K + places)).sum(axis=1)
            run += [ir_measures.ScoredDoc(query, row["doc_id"], s) for row, s in zip(own, fused, strict=True)]
        measured = ir_measures.calc_aggregate([nDCG @ 10, RR @ 10], qrels, run)
        found[name] = {str(measure): round(value, 4) for measure, value in measured.items()}
    return found


def calibration(logits: Any, relevant: Any, negatives: int) -> tuple[float, float]:
    """The (scale, shift) of the logits that makes the labels likeliest, by Newton's method.

    Rows that are not relevant are weighted so that there are `negatives` of them to each relevant one. Raises
    `ValueError` if higher logits are no better.
    """
    terms, labels = np.stack([logits, np.ones(len(logits))], axis=1), np.asarray(relevant, np.float64)
    weight = np.where(labels > 0, 1.0, negatives * labels.sum() / (1.0 - labels).sum())
    found = np.array([1.0, 0.0])
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-terms @ found))
        curvature = (terms * (weight * p * (1 - p))[:, None]).T @ terms + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, terms.T @ (weight * (labels - p)))
        found = found + step
        if np.abs(step).max() < 1e-10:
            break
    if not found[0] > 0:
        raise ValueError(
            f"the reranker puts positives no higher than others (scale {found[0]:.3f}): it learned nothing"
        )
    return float(found[0]), float(found[1])


def calibrate(model: Path, rows: Sequence[dict[str, Any]], negatives: int) -> dict[str, Any]:
    """Fit scale and shift to scored candidates, put them into the head of the model in its folder, and say both.

    A model that learned nothing is left as it is.
    """
    import sentence_transformers as st
    import torch

    found = [row for row in rows if row["rank_bm25"] is not None or row[f"rank_{DENSE}"] is not None]
    logits = np.array([row["score_reranker"] for row in found], np.float64)
    try:
        scale, shift = calibration(logits, [row["is_positive"] for row in found], negatives)
    except ValueError as error:
        return {"candidates": len(found), "left_out": str(error)}
    trained = st.CrossEncoder(str(model), device="cpu")
    head = trained.model.classifier
    with torch.no_grad():
        head.weight.mul_(scale)
        head.bias.mul_(scale).add_(shift)
    trained.save_pretrained(str(model))
    return {"candidates": len(found), "scale": round(scale, 4), "shift": round(shift, 4)}


def main() -> None:
    args = arguments()
    work, started = args.out.with_name(args.out.name + ".work"), time.monotonic()
    sources = [(data, work / "train" / data.name) for data in args.data]
    for data in args.data:
        entitled = titles(data, work / "titles" / data.name)
        sources += [(entitled, work / "train" / f"{data.name}-titles")] if entitled else []
    found: dict[str, list[Ranked]] = {}
    for data, folder in sources:
        found[folder.name] = list(lists(mine(data, folder, "train", args.documents, POOL, args.limit, args), args))
    mined = time.monotonic()
    loss = train([item for own in found.values() for item in own], args)
    trained = time.monotonic()
    seconds = {"mining": round(mined - started, 1), "training": round(trained - mined, 1)}
    tested = {data.name: test(data, work / "test" / data.name, args) for data in args.data}
    report: dict[str, Any] = {
        "model": str(args.out),
        "lists": {name: len(own) for name, own in found.items()},
        "loss": round(loss, 4),
        "seconds": seconds,
        "held_out": {name: quality(rows) for name, rows in tested.items()},
        "calibration": calibrate(args.out, [row for rows in tested.values() for row in rows], args.negatives),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
