"""A small collection in which learning is possible, mined by the real command line."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentence_transformers")
pytest.importorskip("datasets")

ROOT = Path(__file__).parents[2]
WORDS = ["man", "eating", "food", "piece", "bread", "girl", "carries", "baby", "horse", "rides", "one", "two", "three"]
NEGATIVES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """A run directory, and what its raw data say: texts by id, positives by query id."""

    path: Path
    queries: dict[str, str]
    documents: dict[str, str]
    positives: dict[str, set[str]]


def hnmine(*arguments: object) -> dict[str, object]:
    """Run the command line of the tree under test; the summary it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "hnmine", *map(str, arguments), "--json", "-q"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary: dict[str, object] = json.loads(done.stdout)
    return summary


def write_collection(folder: Path) -> Mined:
    """48 queries over 90 documents of three words each; a query has the words of its positives, in another order."""
    draw = random.Random(4)
    triples: dict[tuple[str, ...], None] = {}
    while len(triples) < 90:
        triples[tuple(sorted(draw.sample(WORDS, 3)))] = None
    documents, queries, positives, corpus, lines = {}, {}, {}, [], ["query-id\tcorpus-id\tscore"]
    for number, words in enumerate(triples):
        title, text = ("passage one" if number % 2 else ""), " ".join(words)
        corpus.append({"_id": f"doc {number}", "title": title, "text": text})
        documents[f"doc {number}"] = f"{title} {text}".strip()
        if number < 48:
            queries[f"q{number}"] = " ".join(reversed(words)) + " the"
            positives[f"q{number}"] = {f"doc {number}"} | ({f"doc {number + 1}"} if number % 5 == 0 else set())
            lines += [f"q{number}\t{doc_id}\t1" for doc_id in sorted(positives[f"q{number}"])]
    data = folder / "data"
    (data / "qrels").mkdir(parents=True)
    asked = [{"_id": query_id, "text": text} for query_id, text in queries.items()]
    for name, records in (("corpus", corpus), ("queries", asked)):
        text = "".join(json.dumps(record) + "\n" for record in records)
        (data / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (data / "qrels" / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Mined(path=folder / "run", queries=queries, documents=documents, positives=positives)


@pytest.fixture(scope="session")
def mined(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Mined:
    folder = tmp_path_factory.mktemp("training")
    made = write_collection(folder)
    rules = ["--top-k", 30, "--num-negatives", NEGATIVES, "--no-margin"]
    hnmine("run", folder / "data", "-o", made.path, "--no-bm25", "--model", tiny_encoder, "--dtype", "fp32", *rules)
    return made


@pytest.fixture(scope="session")
def exported(mined: Mined, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export by the command line, each request once: `exported("triplet")`, `exported("n-tuple", "--scores")`."""
    folder = tmp_path_factory.mktemp("exported")
    made: dict[Sequence[object], Path] = {}

    def export(form: str, *options: object, shards: bool = False) -> Path:
        key = (form, *options, shards)
        if key not in made:
            path = folder / (f"{len(made)}" if shards else f"{len(made)}.parquet")
            rows = ["--rows-per-file", 20] if shards else []
            hnmine("export", mined.path, "-o", path, "--format", form, *options, *rows)
            made[key] = path
        return made[key]

    return export


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models on busy cores are ten times faster in one thread."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def teachable(model: Any) -> Any:
    """The model with calmer weights and no dropout: random weights as large as the fixture's hardly learn."""
    import torch

    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(0.3)
    return model


@pytest.fixture
def student(make_encoder: Callable[..., Path]) -> Any:
    import sentence_transformers

    return teachable(sentence_transformers.SentenceTransformer(str(make_encoder("student", seed=5)), device="cpu"))


@pytest.fixture
def pair_student(make_cross_encoder: Callable[..., Path]) -> Any:
    import sentence_transformers

    return teachable(sentence_transformers.CrossEncoder(str(make_cross_encoder("pairs", seed=5)), device="cpu"))
