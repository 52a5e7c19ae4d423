"""Encoding, reranking and exact search on one device, beside sentence-transformers on the same device.

    python scripts/bench_gpu.py [--device cuda] [--data stdlib] [--model NAME] [--reranker NAME] [--texts 16384]
        [--pairs 8192] [--queries 4096] [--vectors 1000000] [--rounds 5] [--json FILE] [--markdown FILE]

`passages/s`: texts to unit vectors. `pairs/s`: scores of a cross-encoder. `queries/s`: the first 100 of random unit
vectors by inner product (hnmine: from fp16 in main memory, as from an index, a chunk at a time; sentence-transformers'
`semantic_search`: from fp32 that is on the device). hnmine runs with its defaults; sentence-transformers with its own
(fp32) and in the dtype that hnmine chose, batches of 32 and of 128, and of encoding with the same attention.

Contenders alternate; rates are medians over rounds of wall seconds, after a round that warms up; loading is no part of
it. Without --reranker no pairs are scored. It runs on a CPU too (`--device cpu`), where its figures say nothing of
GPUs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

K = 100
BATCHES = (32, 128)
PACKAGES = ("hnmine", "torch", "transformers", "sentence-transformers", "flash-attn", "faiss-cpu", "faiss-gpu", "numpy")

Contenders = dict[str, Callable[[], Any]]


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", default="stdlib", help="as for hnmine ingest")
    parser.add_argument("--model", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--reranker", help="name or path of a cross-encoder")
    parser.add_argument("--texts", type=int, default=16_384)
    parser.add_argument("--pairs", type=int, default=8_192)
    parser.add_argument("--queries", type=int, default=4_096)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser.parse_args()


def read_texts(data: str, texts: int, pairs: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Evenly spaced documents, repeated if there are fewer, each with its number so that all differ; and pairs."""
    import hnmine
    from hnmine.files.collection import Collection

    with tempfile.TemporaryDirectory(prefix="hnmine-bench-") as folder:
        outcome = hnmine.ingest(data, Path(folder) / "collection")
        assert outcome.artefact is not None
        collection = Collection(outcome.artefact)
        count = max(texts, pairs)
        rows = np.linspace(0, len(collection.documents), count, endpoint=False).astype(np.int64)
        documents = [f"{text} {n}" for n, text in enumerate(collection.document_texts(rows))]
        asked = collection.query_texts(np.arange(pairs) * len(collection.queries) // pairs)
    return documents[:texts], list(zip(asked, documents, strict=False))


def encoders(given: argparse.Namespace, texts: list[str]) -> tuple[Contenders, dict[str, Any]]:
    """hnmine's encoder, sentence-transformers' `encode`, and how hnmine's runs."""
    from sentence_transformers import SentenceTransformer

    from hnmine.engines.encoder import SentenceTransformerEncoder
    from hnmine.engines.models import resolve_model
    from hnmine.options import DenseOptions
    from hnmine.schema import Side

    resolved = resolve_model(given.model, revision=None)
    own = SentenceTransformerEncoder(resolved, DenseOptions(model=given.model, device=given.device))
    facts = own.describe()["machine"]
    found: Contenders = {"hnmine": lambda: own.encode(texts, Side.DOCUMENT)}
    loading = {"its defaults": {}, **_same(facts)}
    for name, more in loading.items():
        model = SentenceTransformer(resolved.path, device=given.device, model_kwargs=more)
        for size in BATCHES:
            found[f"sentence-transformers, {name}, batch {size}"] = lambda model=model, size=size: model.encode(
                texts, batch_size=size, normalize_embeddings=True, show_progress_bar=False
            )
    return found, facts


def rerankers(given: argparse.Namespace, pairs: list[tuple[str, str]]) -> tuple[Contenders, dict[str, Any]]:
    """hnmine's reranker, sentence-transformers' `predict`, and how hnmine's runs."""
    from sentence_transformers import CrossEncoder

    from hnmine.engines.models import resolve_model
    from hnmine.engines.reranker import CrossEncoderReranker
    from hnmine.options import ScoreOptions

    resolved = resolve_model(given.reranker, revision=None, organization="cross-encoder")
    own = CrossEncoderReranker(resolved, ScoreOptions(reranker=given.reranker, device=given.device))
    facts = own.describe()["machine"]
    found: Contenders = {"hnmine": lambda: own.score(pairs)}
    for name, more in {"its defaults": {}, **_same(facts)}.items():
        model = CrossEncoder(resolved.path, device=given.device, model_kwargs=more)
        for size in BATCHES:
            found[f"sentence-transformers, {name}, batch {size}"] = lambda model=model, size=size: model.predict(
                pairs, batch_size=size, show_progress_bar=False
            )
    return found, facts


def _same(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """How a peer is loaded that runs as hnmine does; nothing on a CPU, where weights stay in fp32."""
    import torch

    if facts["device"] == "cpu" or facts["dtype"] == "fp32":
        return {}
    kwargs: dict[str, Any] = {"torch_dtype": {"bf16": torch.bfloat16, "fp16": torch.float16}[facts["dtype"]]}
    if "attention" in facts:
        kwargs["attn_implementation"] = facts["attention"]
    return {", ".join([facts["dtype"], *([facts["attention"]] if "attention" in facts else [])]): kwargs}


def searches(given: argparse.Namespace) -> Contenders:
    """hnmine's exact search, and sentence-transformers' `semantic_search`, over random unit vectors."""
    import torch
    from sentence_transformers.util import semantic_search

    from hnmine.engines.dense import SEARCH_CHUNK
    from hnmine.engines.nearest import by_faiss, by_torch

    draw = np.random.default_rng(0)

    def unit(count: int) -> Any:
        vectors = draw.standard_normal((count, given.dimension), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    queries, stored = unit(given.queries), unit(given.vectors).astype(np.float16)
    is_gpu = given.device.partition(":")[0] != "cpu"

    def chunks() -> Iterator[tuple[Any, Any]]:
        for start in range(0, len(stored), SEARCH_CHUNK):
            part = stored[start : start + SEARCH_CHUNK]
            yield np.arange(start, start + len(part)), part if is_gpu else part.astype(np.float32)

    there, asked = (torch.from_numpy(v.astype(np.float32)).to(given.device) for v in (stored, queries))
    return {
        "hnmine": lambda: by_torch(queries, chunks(), K, given.device) if is_gpu else by_faiss(queries, chunks(), K),
        "sentence-transformers, semantic_search": lambda: semantic_search(asked, there, top_k=K),
    }


def rates(runs: Contenders, count: int, rounds: int) -> dict[str, float]:
    """How many a second, by name: medians over alternating rounds, after one that warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()  # all end with arrays in main memory, so that the device has finished
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {name: count / statistics.median(took) for name, took in seconds.items()}


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """All rates, and what they were measured on."""
    texts, pairs = read_texts(given.data, given.texts, given.pairs)
    report: dict[str, Any] = {"machine": machine(given.device)}
    runs, facts = encoders(given, texts)
    report["passages/s"] = {"as": facts, "rates": rates(runs, len(texts), given.rounds)}
    if given.reranker:
        runs, facts = rerankers(given, pairs)
        report["pairs/s"] = {"as": facts, "rates": rates(runs, len(pairs), given.rounds)}
    report["queries/s"] = {"as": {}, "rates": rates(searches(given), given.queries, given.rounds)}
    report["given"] = {name: str(value) if isinstance(value, Path) else value for name, value in vars(given).items()}
    return report


def machine(device: str) -> dict[str, Any]:
    """What was measured on."""
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    name = torch.cuda.get_device_name(device) if device.partition(":")[0] == "cuda" else platform.processor()
    facts = {"platform": platform.platform(), "python": platform.python_version(), "device": name or device}
    return {**facts, "cuda": torch.version.cuda, "versions": versions}


def tables(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    lines = []
    for unit in ("passages/s", "pairs/s", "queries/s"):
        if unit not in report:
            continue
        own = report[unit]["rates"]
        lines += [f"| {unit} | rate | hnmine is ... times as fast |", "|---|---|---|"]
        lines += [f"| {name} | {rate:,.0f} | {own['hnmine'] / rate:.2f} |" for name, rate in own.items()]
        lines += [""]
    return "\n".join(lines)


def main() -> None:
    """Measure what the command line asks for."""
    given = arguments()
    report = measure(given)
    text = json.dumps(report, indent=2)
    print(text)
    if given.json is not None:
        given.json.write_text(text + "\n", encoding="utf-8")
    if given.markdown is not None:
        given.markdown.write_text(tables(report), encoding="utf-8")
    print(tables(report), file=sys.stderr)


if __name__ == "__main__":
    main()
