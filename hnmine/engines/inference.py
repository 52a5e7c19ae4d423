"""What encoders and rerankers share: loading through sentence-transformers, autocast, counting tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from hnmine.engines.attention import FLASH
from hnmine.engines.models import (
    ResolvedModel,
    import_torch,
    machine_facts,
    missing_extra,
    resolve_device,
    resolve_dtype,
)
from hnmine.engines.packed import pack_linear, packs_linear
from hnmine.errors import HnmineError, MissingDependencyError, PlanDoesNotFit, UsageError
from hnmine.options import Backend, Dtype, ModelOptions

T = TypeVar("T")

_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"})
"""Architectures that number positions from the padding token's id on, and so have fewer than they say."""

_UNLIMITED = 1_000_000
"""Tokenizers write "no limit" as an absurdly large number; nothing reads a million tokens."""


def import_sentence_transformers() -> Any:
    """The module `sentence_transformers`, or `MissingDependencyError` with the command that installs it."""
    try:
        import sentence_transformers
    except ImportError as error:
        raise missing_extra("sentence-transformers", error) from None
    return sentence_transformers


def resolve_arithmetic(options: ModelOptions) -> tuple[str, Dtype]:
    """The (device, dtype) a model will run in.

    An exported ONNX or OpenVINO model brings its own arithmetic, so for these `auto` is fp32 and anything else is a
    `UsageError`.
    """
    device = resolve_device(options.device)
    if options.backend is Backend.TORCH:
        return device, resolve_dtype(options.dtype, device)
    if options.dtype not in (Dtype.AUTO, Dtype.FP32):
        raise UsageError(
            f"--dtype {options.dtype} with --backend {options.backend}: the exported model's arithmetic is fixed",
            expected="--dtype auto or fp32",
        )
    return device, Dtype.FP32


def arithmetic_facts(options: ModelOptions) -> dict[str, Any]:
    """What moves floating point in a model that `load_model` loads, as JSON values for the plan."""
    device, dtype = resolve_arithmetic(options)
    packed = packs_linear(device, dtype, options.backend)
    return machine_facts(device, dtype, backend=options.backend, packed=packed)


def resolve_batch_tokens(options: ModelOptions) -> int:
    """Tokens a batch: as asked, else what was measured to be fast.

    Few cores like batches whose activations stay in their caches; many threads need enough to share. MiniLM in bf16 on
    one Zen 5 core: 1,024 tokens 1.00, 2,048 1.03, 4,096 1.17, 8,192 1.44 seconds.
    """
    if options.batch_tokens is not None:
        return options.batch_tokens
    if resolve_device(options.device).partition(":")[0] != "cpu":
        return 4_096
    return min(4_096, max(2_048, 1_024 * int(import_torch().get_num_threads())))


def load_model(
    kind: Callable[..., T],
    model: ResolvedModel,
    options: ModelOptions,
    device: str,
    dtype: Dtype,
    *,
    flash: bool = False,
) -> T:
    """A sentence-transformers model of class `kind`, on `device`, ready for inference in `dtype`.

    On a CPU the weights are fp32 whatever the checkpoint holds, and bf16 comes from `autocast`: bf16 *weights* move a
    cosine a hundred times further. On a GPU the weights are in `dtype`. Linear layers are packed where that pays. With
    `flash`, attention is FlashAttention-2 if the architecture has it.
    """
    arguments: dict[str, Any] = {
        "device": device,
        "backend": options.backend.value,
        "trust_remote_code": options.trust_remote_code,
        # The name is resolved already, so nothing reaches for the network; but a model's remote code and an adapter's
        # base model live in repositories of their own.
        "local_files_only": not (options.trust_remote_code or (Path(model.path) / "adapter_config.json").is_file()),
    }
    if options.backend is Backend.TORCH:
        arguments["model_kwargs"] = {"torch_dtype": _weights_dtype(device, dtype)}
    try:
        with _quiet_progress():
            loaded = _loaded(kind, model.path, arguments, flash=flash)
    except HnmineError:
        raise
    except Exception as error:
        raise _load_error(error, model, options) from error
    loaded.eval()  # type: ignore[attr-defined]
    if packs_linear(device, dtype, options.backend):
        pack_linear(loaded, dtype)
    return loaded


def _loaded(kind: Callable[..., T], path: str, arguments: dict[str, Any], *, flash: bool) -> T:
    """The model; with `flash` and if it loads so, with FlashAttention-2."""
    if flash:
        own = {**arguments.get("model_kwargs", {}), "attn_implementation": FLASH}
        with suppress(ImportError, ValueError):  # an architecture without it; what else is wrong tells itself below
            return kind(path, **{**arguments, "model_kwargs": own})
    return kind(path, **arguments)


def _load_error(error: Exception, model: ResolvedModel, options: ModelOptions) -> HnmineError:
    reason = f"the model {model.name!r} cannot be loaded: {type(error).__name__}: {error}"
    if options.backend is not Backend.TORCH and "pip install" in str(error):  # a bare Exception, not an ImportError
        return MissingDependencyError(
            f"--backend {options.backend}: its packages are not installed",
            remedy=f"pip install 'sentence-transformers[{options.backend}]'",
        )
    if isinstance(error, ImportError):
        return MissingDependencyError(reason, remedy="pip install the package that it names")
    if "trust_remote_code" in str(error):
        return UsageError(
            f"the model {model.name!r} brings its own Python code",
            remedy="read that code, then pass --trust-remote-code",
        )
    return MissingDependencyError(reason, expected=f"a model that sentence-transformers can load in {model.path}")


def _weights_dtype(device: str, dtype: Dtype) -> Any:
    torch = import_torch()
    if device.partition(":")[0] == "cpu":
        return torch.float32
    return {Dtype.FP32: torch.float32, Dtype.BF16: torch.bfloat16, Dtype.FP16: torch.float16}[dtype]


@contextmanager
def _quiet_progress() -> Iterator[None]:
    # transformers draws a bar over the weights; progress on standard error is the command line's to show.
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging
    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()


def autocast(device: str, dtype: Dtype) -> AbstractContextManager[Any]:
    """The context a forward pass runs in: bf16 autocast on a CPU asked for bf16, else nothing."""
    if dtype is Dtype.BF16 and device.partition(":")[0] == "cpu":
        torch = import_torch()
        context: AbstractContextManager[Any] = torch.autocast("cpu", dtype=torch.bfloat16)
        return context
    return nullcontext()


@contextmanager
def fitting_memory(texts: int, width: int) -> Iterator[None]:
    """Turn running out of memory on a batch of `texts` texts of `width` tokens into `PlanDoesNotFit`.

    Half as many tokens are proposed; `UsageError` if the batch is a single text.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        what = f"out of memory on a batch of {texts:,} texts of {width:,} tokens"
        if texts == 1:
            remedy = "--max-length, a reduced --dtype, or --device cpu"
            raise UsageError(f"out of memory on a single text of {width:,} tokens", remedy=remedy) from None
        smaller = texts * width // 2
        raise PlanDoesNotFit(what, changes={"batch_tokens": smaller}, remedy=f"--batch-tokens {smaller}") from None


def _is_out_of_memory(error: Exception) -> bool:
    # torch.OutOfMemoryError comes from accelerators; the CPU's allocator raises a plain RuntimeError.
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        sign in text for sign in ("out of memory", "can't allocate memory", "not enough memory", "failed to allocate")
    )


def limit_length(model: Any, wanted: int | None) -> int | None:
    """Set the model's longest input to `wanted` tokens (None leaves it) and return the limit in force, None = no limit.

    Raises `UsageError` if the model has no positions for that many tokens.
    """
    if wanted is not None:
        config: Any = getattr(getattr(model, "transformers_model", None), "config", None)
        positions = getattr(config, "max_position_embeddings", None)
        if positions and getattr(config, "model_type", None) in _OFFSET_POSITIONS:
            positions -= (config.pad_token_id or 0) + 1
        if wanted < 1 or (positions and wanted > positions):
            most = f"1 to {positions}" if positions else "at least 1"
            raise UsageError(f"--max-length {wanted}: the model cannot read inputs of that length", expected=most)
        model.max_seq_length = wanted
    limit = model.max_seq_length
    return int(limit) if limit is not None and limit < _UNLIMITED else None


def token_lengths(tokenizer: Any, texts: Sequence[str], *, special: bool) -> tuple[npt.NDArray[np.int64], bool]:
    """(tokens of each text before truncation, whether they were counted).

    `special` adds the tokens a tokenizer puts around a text. Without a transformers tokenizer the lengths are a guess
    from the characters: good enough to sort by, not to count truncated texts with.
    """
    if not texts:
        return np.zeros(0, np.int64), True
    # A static embedding's tokenizer is one of tokenizers, which has the same methods but cannot be called.
    if not (callable(tokenizer) and hasattr(tokenizer, "num_special_tokens_to_add")):
        return np.array([len(text) // 4 + 1 for text in texts], np.int64), False
    encoded = tokenizer(
        list(texts),
        add_special_tokens=special,
        padding=False,
        truncation=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return np.array([len(ids) for ids in encoded["input_ids"]], np.int64), True


Family = Literal["encoder", "sparse-encoder", "late", "masked-lm", "cross-encoder", "unknown"]


def model_family(path: str) -> Family:
    """What a model's directory says it is, read from its settings; nothing is loaded.

    sentence-transformers loads either kind as the other, with a pooling nobody trained or a head of random numbers.
    """
    folder = Path(path)
    own = _setting(folder / "config_sentence_transformers.json", "model_type")
    if own == "CrossEncoder":
        return "cross-encoder"
    if own == "SparseEncoder":
        return "sparse-encoder"
    if _is_late(folder):
        return "late"
    if (folder / "modules.json").is_file():
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        is_sparse = any(".sparse_encoder." in str(module.get("type")) for module in modules)
        return "sparse-encoder" if is_sparse else "encoder"
    classes = _setting(folder / "config.json", "architectures") or []
    if any(str(name).endswith("ForSequenceClassification") for name in classes):
        return "cross-encoder"
    if any(str(name).endswith("ForMaskedLM") for name in classes):
        return "masked-lm"  # a SPLADE model as its authors saved it, or the start of an encoder
    # A language model is loaded by sentence-transformers as a yes/no reranker, or as an encoder: both are meant.
    return "unknown" if any(str(name).endswith("ForCausalLM") for name in classes) else "encoder"


def _is_late(folder: Path) -> bool:
    """A model of sentence-transformers' `MultiVectorEncoder`, of PyLate (any version), or of Stanford's ColBERT."""
    settings = folder / "config_sentence_transformers.json"
    if _setting(settings, "model_type") in ("MultiVectorEncoder", "ColBERT"):
        return True
    # PyLate on sentence-transformers before 5 wrote no model type.
    if _setting(settings, "query_prefix") is not None:
        return True
    return "HF_ColBERT" in (_setting(folder / "config.json", "architectures") or [])


def _setting(file: Path, key: str) -> Any:
    return json.loads(file.read_text(encoding="utf-8")).get(key) if file.is_file() else None


def layer_weights(model: Any) -> int:
    """How many weights the layers of a model have, embeddings left out: those that every token is multiplied with."""
    torch = import_torch()
    looked_up = {id(w) for m in model.modules() if isinstance(m, torch.nn.Embedding) for w in m.parameters()}
    return sum(w.numel() for w in model.parameters() if id(w) not in looked_up)
