"""Encoding: hnmine's encoder beside sentence-transformers' `model.encode`, on the same texts, in alternating runs.

    python scripts/bench_encoding.py [--texts 512] [--rounds 5] [--cores 1] [--model minilm] [--batch-tokens N,N]
        [--only WORD] [--json FILE] [--markdown FILE]

The texts are a sample of the built-in collection `stdlib` (functions of Python's standard library). A small one
flatters hnmine: the peer cuts all texts, sorted by length, into batches of 32, and pads more, the fewer there are. The
peer runs with its defaults (fp32, 32 texts a batch), and with what helps it: bf16 autocast, other batch sizes, and the
ONNX and OpenVINO back ends where they are installed. hnmine runs in fp32, in its default arithmetic, and on the same
back ends.

Every contender encodes all texts once in each round; a ratio is the median over rounds of the peer's seconds over the
contender's in that round. Tokenising is part of it; loading is not.

Seconds are processor seconds of the process, all threads, so that other work on the machine does not enter; wall
seconds are given too. `--cores N` binds the process to N cores before anything is loaded (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

PEER = "sentence-transformers, its defaults (fp32, batch 32)"
BATCHES = (16, 64, 128)
TARGETS = {"torch": 2.5, "best_back_end": 3.0, "same_dtype": 1.2}

Encode = Callable[[], Any]


def texts_of_stdlib(count: int, cache: Path) -> list[str]:
    """Evenly spaced documents of the built-in collection."""
    import numpy as np

    import hnmine
    from hnmine.files.collection import Collection

    outcome = hnmine.ingest("stdlib", cache / "stdlib")
    assert outcome.artefact is not None
    collection = Collection(outcome.artefact)
    rows = np.linspace(0, len(collection.documents), count, endpoint=False).astype(np.int64)
    return list(collection.document_texts(rows))


def has_back_end(name: str) -> bool:
    """Whether sentence-transformers can use a back end here."""
    try:
        if name == "onnx":
            from optimum.onnxruntime import ORTModelForFeatureExtraction  # noqa: F401
        else:
            from optimum.intel import OVModelForFeatureExtraction  # noqa: F401
    except Exception:  # optimum raises whatever its own imports raise
        return False
    return True


def contenders(model: str, texts: list[str], budgets: list[int]) -> dict[str, Encode]:
    """Name → a function that encodes all texts; each was loaded and has run once on a few texts."""
    import torch
    from sentence_transformers import SentenceTransformer

    from hnmine.engines.encoder import SentenceTransformerEncoder
    from hnmine.engines.models import resolve_dtype, resolve_model
    from hnmine.options import Backend, DenseOptions, Dtype
    from hnmine.schema import Side

    resolved = resolve_model(model, revision=None)
    best = resolve_dtype(Dtype.AUTO, "cpu")
    back_ends = [name for name in ("onnx", "openvino") if has_back_end(name)]
    peers = {name: SentenceTransformer(resolved.path, device="cpu", backend=name) for name in ("torch", *back_ends)}

    def peer(back_end: str, batch: int, *, reduced: bool = False) -> Encode:
        def encode() -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
                found = peers[back_end].encode(
                    texts, batch_size=batch, normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
                )
            return found.float().numpy()

        return encode

    def own(back_end: str, dtype: Dtype, tokens: int | None = None) -> Encode:
        more = {} if tokens is None else {"batch_tokens": tokens}
        options = DenseOptions(backend=Backend(back_end), dtype=dtype, device="cpu", **more)
        encoder = SentenceTransformerEncoder(resolve_model(model, revision=None, backend=options.backend), options)
        encoder.encode(texts[:8], Side.DOCUMENT)
        return lambda: encoder.encode(texts, Side.DOCUMENT).vectors

    found = {PEER: peer("torch", 32)}
    found |= {f"sentence-transformers, fp32, batch {size}": peer("torch", size) for size in BATCHES}
    if best is Dtype.BF16:
        found |= {
            f"sentence-transformers, bf16 autocast, batch {size}": peer("torch", size, reduced=True)
            for size in sorted((32, *BATCHES))
        }
    found |= {f"sentence-transformers, {name}, batch 32": peer(name, 32) for name in back_ends}
    found["hnmine, fp32"] = own("torch", Dtype.FP32)
    if best is not Dtype.FP32:
        found[f"hnmine, its defaults ({best})"] = own("torch", Dtype.AUTO)
        found |= {f"hnmine, {best}, {tokens} tokens a batch": own("torch", Dtype.AUTO, tokens) for tokens in budgets}
    found |= {f"hnmine, {name}": own(name, Dtype.AUTO) for name in back_ends}
    return found


def measure(runs: dict[str, Encode], rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]], dict]:
    """Processor seconds and wall seconds of each contender in each round, and its vectors."""
    processor: dict[str, list[float]] = {name: [] for name in runs}
    wall: dict[str, list[float]] = {name: [] for name in runs}
    vectors: dict[str, Any] = {}
    for number in range(rounds):
        order = list(runs) if number % 2 == 0 else list(reversed(runs))
        for name in order:
            began = time.process_time(), time.perf_counter()
            vectors[name] = runs[name]()
            processor[name].append(time.process_time() - began[0])
            wall[name].append(time.perf_counter() - began[1])
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return processor, wall, vectors


def ratio(seconds: dict[str, list[float]], slow: str, fast: str) -> float:
    """How many times as fast `fast` is: the median over rounds."""
    return statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def summarise(processor: dict[str, list[float]], wall: dict[str, list[float]], vectors: dict[str, Any]) -> dict:
    """A row a contender, and the ratios that have targets."""
    rows = {
        name: {
            "processor_seconds": round(statistics.median(processor[name]), 3),
            "wall_seconds": round(statistics.median(wall[name]), 3),
            "times_as_fast_as_the_defaults": round(ratio(processor, PEER, name), 3),
            "least_cosine_to_the_defaults": round(float((vectors[name] * vectors[PEER]).sum(axis=1).min()), 6),
        }
        for name in processor
    }
    own = [name for name in rows if name.startswith("hnmine")]
    torch = [name for name in own if "defaults" in name] or ["hnmine, fp32"]
    best = max(own, key=lambda name: ratio(processor, PEER, name))
    same = {}
    for word in ("fp32", "bf16", "onnx", "openvino"):
        theirs = [name for name in rows if name.startswith("sentence") and word in name]
        ours = [name for name in own if word in name and "tokens" not in name]
        if theirs and ours:
            strongest = min(theirs, key=lambda name: statistics.median(processor[name]))
            first = next(name for name in theirs if "batch 32" in name)
            same[word] = {
                "against": strongest,
                "ratio": round(ratio(processor, strongest, ours[0]), 3),
                "ratio_to_batch_32": round(ratio(processor, first, ours[0]), 3),
            }
    ratios = {
        "torch": {"ratio": round(ratio(processor, PEER, torch[0]), 3), "target": TARGETS["torch"]},
        "best_back_end": {
            "ratio": round(ratio(processor, PEER, best), 3),
            "target": TARGETS["best_back_end"],
            "which": best,
        },
        "same_dtype": {**same, "target": TARGETS["same_dtype"]},
    }
    return {"ratios": ratios, "contenders": rows}


def machine(cores: int) -> dict[str, Any]:
    """What a reader needs to know about where this ran."""
    versions = {}
    for name in ("torch", "sentence-transformers", "transformers", "tokenizers", "onnxruntime", "openvino"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        wanted = ("model name", "cpu family", "model\t")
        model = ", ".join(next((li.split(":")[1].strip() for li in lines if li.startswith(w)), "") for w in wanted)
    return {"processor": model, "cores": cores, "python": platform.python_version(), **versions}


def markdown(result: dict[str, Any]) -> str:
    """The table of `docs/benchmarks`."""
    lines = ["| | processor s | wall s | times as fast | least cosine |", "|---|---|---|---|---|"]
    for name, row in result["contenders"].items():
        lines.append(
            f"| {name} | {row['processor_seconds']:.2f} | {row['wall_seconds']:.2f}"
            f" | {row['times_as_fast_as_the_defaults']:.2f} | {row['least_cosine_to_the_defaults']:.5f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--batch-tokens", default="", help="further sizes of hnmine's batches, with commas")
    parser.add_argument("--only", default="", help="leave out contenders without this word (the defaults stay)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.cores])
    os.environ["OMP_NUM_THREADS"] = str(given.cores)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        texts = texts_of_stdlib(given.texts, Path(folder))
    budgets = [int(part) for part in given.batch_tokens.split(",") if part]
    runs = contenders(given.model, texts, budgets)
    if given.only:
        runs = {name: run for name, run in runs.items() if given.only in name or "defaults" in name}
    processor, wall, vectors = measure(runs, given.rounds)
    result = {
        "machine": machine(given.cores),
        "texts": len(texts),
        "rounds": given.rounds,
        "model": given.model,
        **summarise(processor, wall, vectors),
    }
    print(markdown(result))
    print(json.dumps(result["ratios"], indent=2))
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if given.markdown:
        given.markdown.write_text(markdown(result), encoding="utf-8")


if __name__ == "__main__":
    main()
