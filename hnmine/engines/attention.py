"""FlashAttention-2, for bi-encoders: attention without padding, on GPUs that have it, where it is installed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

from hnmine.engines.models import import_torch
from hnmine.options import Backend, Dtype

FLASH = "flash_attention_2"
"""transformers' name of it."""


def _capability(device: str) -> tuple[int, int]:
    major, minor = import_torch().cuda.get_device_capability(device)
    return int(major), int(minor)


def _is_installed() -> bool:
    return importlib.util.find_spec("flash_attn") is not None


def takes_flash(
    device: str,
    dtype: Dtype,
    backend: Backend,
    *,
    capability: Callable[[str], tuple[int, int]] = _capability,
    is_installed: Callable[[], bool] = _is_installed,
) -> bool:
    """Whether a model may run with FlashAttention-2 here: PyTorch in bf16 or fp16 on a GPU of capability 8.0 or later.

    Whether its architecture can is known when it is loaded.
    """
    return (
        device.partition(":")[0] == "cuda"
        and backend is Backend.TORCH
        and dtype in (Dtype.BF16, Dtype.FP16)
        and is_installed()
        and capability(device) >= (8, 0)
    )


def attention_facts(model: Any) -> dict[str, str]:
    """What a loaded model's attention adds to the plan, if it is not PyTorch's own: its sums have another order."""
    configs = (getattr(part, "config", None) for part in model.modules())
    found = {str(getattr(config, "_attn_implementation", None)) for config in configs}
    if FLASH not in found:
        return {}
    facts = {"attention": FLASH}
    if _is_installed():
        facts["flash-attn"] = importlib.metadata.version("flash-attn")
    return facts
