"""Tiny models, built from nothing: two layers of BERT over a vocabulary of a few words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick tests first: what breaks often is told early."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


WORDS = "a man is eating food piece of bread the girl carries baby horse rides query passage : one two three four"


def build_encoder(folder: Path, *, seed: int = 0, prompts: dict[str, str] | None = None) -> Path:
    """Save a tiny sentence-transformers model with mean pooling and random weights; returns its directory."""
    from sentence_transformers import SentenceTransformer

    try:
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    except ImportError:  # before sentence-transformers 6
        from sentence_transformers.models import Pooling, Transformer

    backbone = folder.parent / f"{folder.name}-backbone"
    _save_bert(backbone, "BertModel", seed=seed)
    transformer = Transformer(str(backbone))
    model = SentenceTransformer(modules=[transformer, Pooling(32)], prompts=prompts, device="cpu")
    model.save(str(folder), create_model_card=False)
    return folder


def build_sparse_encoder(folder: Path, *, seed: int = 0, prompts: dict[str, str] | None = None) -> Path:
    """Save a tiny SPLADE model with random weights; returns its directory."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import MLMTransformer, SpladePooling

    backbone = build_masked_lm(folder.parent / f"{folder.name}-backbone", seed=seed)
    modules = [MLMTransformer(str(backbone)), SpladePooling()]
    model = SparseEncoder(modules=modules, prompts=prompts, device="cpu")
    model.save(str(folder), create_model_card=False)
    return folder


def build_masked_lm(folder: Path, *, seed: int = 0) -> Path:
    """Save a tiny masked language model with random weights; returns its directory."""
    _save_bert(folder, "BertForMaskedLM", seed=seed)
    return folder


def build_cross_encoder(folder: Path, *, seed: int = 0, labels: int = 1) -> Path:
    """Save a tiny cross-encoder with random weights; returns its directory."""
    _save_bert(folder, "BertForSequenceClassification", seed=seed, labels=labels)
    return folder


def _save_bert(folder: Path, kind: str, *, seed: int, labels: int = 1) -> None:
    import torch
    import transformers

    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    transformers.BertTokenizerFast(
        vocab={word: row for row, word in enumerate(vocabulary)}, model_max_length=64
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=labels,
        initializer_range=0.5,  # the default's outputs are nearly equal for all texts
    )
    getattr(transformers, kind)(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers")
    return build_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture(scope="session")
def tiny_prompted_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers")
    prompts = {"query": "query : ", "passage": "passage : "}
    return build_encoder(tmp_path_factory.mktemp("prompted") / "tiny", prompts=prompts)


@pytest.fixture(scope="session")
def tiny_sparse_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers", minversion="5")
    return build_sparse_encoder(tmp_path_factory.mktemp("sparse") / "splade")


@pytest.fixture(scope="session")
def tiny_cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers")
    return build_cross_encoder(tmp_path_factory.mktemp("reranker") / "tiny")


@pytest.fixture
def make_encoder(tmp_path: Path) -> Callable[..., Path]:
    pytest.importorskip("sentence_transformers")
    return lambda name, **how: build_encoder(tmp_path / name, **how)


@pytest.fixture
def make_cross_encoder(tmp_path: Path) -> Callable[..., Path]:
    pytest.importorskip("sentence_transformers")
    return lambda name, **how: build_cross_encoder(tmp_path / name, **how)
