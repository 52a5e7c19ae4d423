"""How models are loaded and run: encoders and rerankers alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hnmine.options.records import Options, option


class Dtype(StrEnum):
    """Arithmetic of a model; `auto` takes bf16 or fp16 where the hardware has it."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


class Backend(StrEnum):
    """What runs a sentence-transformers model."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions(Options):
    """How a model is loaded and run; shared by encoders and rerankers."""

    revision: str | None = option(None, "Revision of the model on the Hub.")
    dtype: Dtype = option(Dtype.AUTO, "Arithmetic [auto: bf16 or fp16 where the hardware has it, else fp32].")
    backend: Backend = option(Backend.TORCH, "What runs the model.")
    device: str | None = option(None, "Device, such as cpu or cuda:0 [default: the GPU if there is one].")
    max_length: int | None = option(None, "Longest input in tokens [default: the model's own].")
    batch_tokens: int | None = option(
        None, "Tokens a batch, padding counted [default: 4096; on a CPU of at most 3 cores 1024 a core, at least 2048]."
    )
    trust_remote_code: bool = option(False, "Run Python code that the model's repository brings.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextModelOptions(ModelOptions):
    """What models that read queries and documents apart from each other have in common."""

    model: str = option("sentence-transformers/all-MiniLM-L6-v2", "Model name or path.")
    query_prompt: str | None = option(None, "Prompt before each query: a text, or one of the model's own prompt names.")
    document_prompt: str | None = option(
        None, "Prompt before each document: a text, or one of the model's prompt names."
    )
