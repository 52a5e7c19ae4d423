"""Tiny models, built from nothing: two layers of BERT over a vocabulary of a few words."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("hnmine", deadline=None)  # machines are slow and shared
hypothesis.settings.load_profile("hnmine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Quick tests first: what breaks often is told early. Of tests side by side, files with slow ones: none is late."""
    side_by_side = hasattr(config, "workerinput")
    items.sort(key=lambda item: (item.get_closest_marker("slow") is not None) != side_by_side)


WORDS = "a man is eating food piece of bread the girl carries baby horse rides query passage : one two three four"


@pytest.fixture(scope="module", autouse=True)
def environment_as_before() -> Iterator[None]:
    """What a module's tests, and the scripts that they import, do to the environment ends with them."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    """What a test does to torch's threads, which are part of plans, ends with it."""
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    yield
    if torch and torch.get_num_threads() != before:
        torch.set_num_threads(before)


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


def build_late_encoder(folder: Path, *, settings: dict[str, Any] | None = None) -> Path:
    """Save a tiny ColBERT model as PyLate 1.6 does, its weights the same everywhere; returns its directory."""
    import numpy as np
    import torch
    import transformers
    from safetensors.torch import save_file

    _save_bert(folder, "BertModel", seed=0)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["[Q] ", "[D] "])
    tokenizer.save_pretrained(folder)
    model = transformers.BertModel.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    draw = np.random.default_rng(0)
    for name, weights in sorted(model.named_parameters()):
        values = draw.standard_normal(weights.shape) / 2 + ("LayerNorm.weight" in name)
        weights.data = torch.from_numpy(values).float()
    model.save_pretrained(folder)
    projection = folder / "1_Dense"
    projection.mkdir()
    linear = torch.from_numpy(draw.standard_normal((10, 32))).float()  # not a multiple of four
    save_file({"linear.weight": linear}, projection / "model.safetensors")
    shape = {"in_features": 32, "out_features": 10, "bias": False, "use_residual": False}
    files = {
        "1_Dense/config.json": {**shape, "activation_function": "torch.nn.modules.linear.Identity"},
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"},
        ],
        "sentence_bert_config.json": {"max_seq_length": 64, "do_lower_case": False},
        "config_sentence_transformers.json": {
            "model_type": "ColBERT",
            "prompts": {"query": "", "document": ""},
            "default_prompt_name": None,
            "similarity_fn_name": "MaxSim",
            "query_prefix": "[Q] ",
            "document_prefix": "[D] ",
            "query_length": 12,
            "document_length": 20,
            "attend_to_expansion_tokens": False,
            "skiplist_words": [":"],
            "do_query_expansion": True,
            **(settings or {}),
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def build_stanford_colbert(folder: Path) -> Path:
    """Save the tiny ColBERT model as Stanford's code does, the projection beside the encoder; returns its directory."""
    from safetensors.torch import load_file, save_file

    source = build_late_encoder(folder.parent / f"{folder.name}-pylate")
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    weights = {f"bert.{name}": values for name, values in load_file(source / "model.safetensors").items()}
    linear = load_file(source / "1_Dense" / "model.safetensors")
    save_file({**weights, **linear}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["HF_ColBERT"]}), encoding="utf-8")
    markers = {"query_token_id": "query", "doc_token_id": "passage"}
    lengths = {"query_maxlen": 12, "doc_maxlen": 20, "mask_punctuation": True, "attend_to_mask_tokens": False}
    (folder / "artifact.metadata").write_text(json.dumps({**markers, **lengths}), encoding="utf-8")
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
def tiny_late_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentence_transformers", minversion="6")
    return build_late_encoder(tmp_path_factory.mktemp("late") / "colbert")


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
