"""A small collection, and a whole chain over it made in one go."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import WORDS
from tests.e2e.harness import BLOCK, STAGES, Chain, Cli, Done, invoke, write_beir


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def cli(cache: Path) -> Cli:
    return Cli(cache)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Callable[..., Done]:
    """The command line in this process."""
    for name in [name for name in os.environ if name.startswith("HNMINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HNMINE_CACHE", str(cache))
    monkeypatch.setenv("HNMINE_TEST_BLOCK_SIZE", BLOCK)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return invoke


@pytest.fixture(scope="session")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 documents and 80 queries of words the tiny models know; a few documents are repeated under another id."""
    draw = random.Random(7)
    words = WORDS.replace(":", "").split()
    texts = [" ".join(draw.choices(words, k=draw.randint(5, 14))) for _ in range(290)]
    texts += texts[:10]
    documents = {f"d{number}": text for number, text in enumerate(texts)}
    queries, qrels = {}, []
    for number in range(80):
        positive = draw.randrange(290)
        kept = [word for word in texts[positive].split() if draw.random() < 0.6] or texts[positive].split()
        queries[f"q{number}"] = " ".join(kept)
        qrels.append((f"q{number}", f"d{positive}", 1))
        if number % 7 == 0:
            qrels.append((f"q{number}", f"d{(positive + 1) % 290}", 2))
        if number % 5 == 0:
            qrels.append((f"q{number}", f"d{(positive + 2) % 290}", 0))
    return write_beir(tmp_path_factory.mktemp("data") / "small", documents, queries, qrels)


@pytest.fixture(scope="session")
def chain(
    beir: Path, cache: Path, tiny_encoder: Path, tiny_cross_encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Chain:
    made = Chain(beir, tmp_path_factory.mktemp("chain"), tiny_encoder, tiny_cross_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HNMINE_TEST_BLOCK_SIZE", BLOCK)
        for stage in STAGES:
            done = invoke(*made.command(stage, made.root))
            assert done.code == 0, done.stderr
    return made
