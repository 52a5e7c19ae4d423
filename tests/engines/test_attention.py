"""FlashAttention-2: only where it can run, never where it cannot load, and in the plan when it is in force."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hnmine.engines.attention import FLASH, attention_facts, takes_flash
from hnmine.engines.encoder import SentenceTransformerEncoder
from hnmine.engines.inference import import_sentence_transformers, load_model
from hnmine.engines.models import resolve_model
from hnmine.options import Backend, DenseOptions, Dtype


@pytest.mark.parametrize(
    ("device", "dtype", "backend", "capability", "installed", "expected"),
    [
        ("cuda:1", Dtype.BF16, Backend.TORCH, (8, 0), True, True),
        ("cuda", Dtype.FP16, Backend.TORCH, (9, 0), True, True),
        ("cuda", Dtype.FP32, Backend.TORCH, (9, 0), True, False),
        ("cuda", Dtype.FP16, Backend.TORCH, (7, 5), True, False),
        ("cuda", Dtype.BF16, Backend.TORCH, (9, 0), False, False),
        ("cuda", Dtype.FP32, Backend.ONNX, (9, 0), True, False),
        ("cpu", Dtype.BF16, Backend.TORCH, (9, 0), True, False),
    ],
)
def test_it_is_taken_where_it_runs(
    device: str, dtype: Dtype, backend: Backend, capability: tuple[int, int], installed: bool, expected: bool
) -> None:
    found = takes_flash(device, dtype, backend, capability=lambda _: capability, is_installed=lambda: installed)
    assert found is expected


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="what happens where it is not installed")
def test_a_model_that_does_not_load_with_it_loads_without(tiny_encoder: Path) -> None:
    resolved = resolve_model(str(tiny_encoder), revision=None)
    options = DenseOptions(device="cpu", dtype=Dtype.FP32)
    kind = import_sentence_transformers().SentenceTransformer
    plain, asked = (load_model(kind, resolved, options, "cpu", Dtype.FP32, flash=flash) for flash in (False, True))
    assert attention_facts(asked) == {}
    np.testing.assert_array_equal(asked.encode(["a man is eating"]), plain.encode(["a man is eating"]))


def test_the_plan_names_it_when_it_is_in_force(tiny_encoder: Path) -> None:
    encoder = SentenceTransformerEncoder(
        resolve_model(str(tiny_encoder), revision=None), DenseOptions(device="cpu", dtype=Dtype.FP32)
    )
    before = encoder.describe()
    assert "attention" not in before["machine"]
    encoder._model[0].auto_model.config._attn_implementation = FLASH
    assert encoder.describe()["machine"]["attention"] == FLASH
