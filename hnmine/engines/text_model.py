"""What the models that read one text at a time share: loading, prompts, lengths, and the same batches every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from hnmine.core.estimate import layer_operations
from hnmine.engines.attention import attention_facts, takes_flash
from hnmine.engines.batching import Positions, token_batches
from hnmine.engines.inference import (
    arithmetic_facts,
    autocast,
    fitting_memory,
    import_sentence_transformers,
    layer_weights,
    limit_length,
    load_model,
    model_family,
    resolve_arithmetic,
    resolve_batch_tokens,
    token_lengths,
)
from hnmine.engines.models import ResolvedModel, import_torch, missing_extra, model_fingerprint
from hnmine.engines.reading import TokenReader, ahead, token_reader
from hnmine.errors import UsageError
from hnmine.options import Backend, Dtype, TextModelOptions
from hnmine.schema import Side

_OWN_PROMPTS = {Side.QUERY: ("query",), Side.DOCUMENT: ("document", "passage", "corpus")}

WINDOW = 2_048
"""Texts that are tokenised, and sorted by their tokens, together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """`output` of the model for the texts number `rows`; `cut`: which of these were longer than the model reads."""

    rows: Positions
    output: Any
    cut: npt.NDArray[np.bool_]


class TextModel:
    """A sentence-transformers model that turns one text into one output; it is loaded at the first use.

    Subclasses name its class, and the families of models (`model_family`) that are something else, with where these
    belong. Raises what `load_model` raises, and `UsageError` for such a model.
    """

    class_name: ClassVar[str]
    refused: ClassVar[dict[str, tuple[str, str]]]
    """Family of a model that is of no use here → (what it is, what to do)."""
    extra: ClassVar[str] = "dense"
    """The extra that brings its class."""
    output: ClassVar[dict[str, Any]] = {"convert_to_tensor": True}
    """Arguments of the model's `encode_query` and `encode_document` that decide what comes back."""

    reads_tokens: ClassVar[bool] = True
    """Whether an output is the model's `sentence_embedding` and nothing more is done to it."""

    flashes: ClassVar[bool] = False
    """Whether it runs with FlashAttention-2 where that is to be had; never with code of the model's own."""

    def __init__(self, model: ResolvedModel, options: TextModelOptions) -> None:
        self._resolved = model
        self._options = options

    def with_options(self, options: TextModelOptions) -> Self:
        """This model under other options; it is not loaded again if only the size of batches is another one."""
        other = type(self)(self._resolved, options)
        if replace(options, batch_tokens=self._options.batch_tokens) == self._options:
            other.__dict__.update({**self.__dict__, "_options": options})
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._resolved, self._options)  # another process loads the model itself

    @property
    def _batch_tokens(self) -> int:
        return resolve_batch_tokens(self._options)

    @property
    def is_exact(self) -> bool:
        """Whether it runs in fp32 and in PyTorch."""
        return self._options.backend is Backend.TORCH and self._arithmetic[1] is Dtype.FP32

    @property
    def device(self) -> str:
        """Where it runs: `cpu`, `cuda:0`."""
        return str(self._arithmetic[0])

    @property
    def arithmetic(self) -> str:
        """What it runs in, as a person says it: `bf16`, `openvino`."""
        backend = self._options.backend
        return str(self._arithmetic[1] if backend is Backend.TORCH else backend)

    @cached_property
    def _arithmetic(self) -> tuple[str, Any]:
        return resolve_arithmetic(self._options)

    @cached_property
    def _model(self) -> Any:
        family = model_family(self._resolved.path)
        if family in self.refused:
            what, remedy = self.refused[family]
            raise UsageError(f"--model {self._resolved.name}: this is {what}", remedy=remedy)
        module = import_sentence_transformers()
        if not hasattr(module, self.class_name):
            reason = f"the installed version {module.__version__} has no {self.class_name}"
            raise missing_extra("a newer sentence-transformers", ImportError(reason), extra=self.extra)
        kind = getattr(module, self.class_name)
        flash = (
            self.flashes
            and not self._options.trust_remote_code
            and takes_flash(*self._arithmetic, self._options.backend)
        )
        return load_model(kind, self._resolved, self._options, *self._arithmetic, flash=flash)

    @cached_property
    def max_length(self) -> int | None:
        """Longest input in tokens, prompt included; None if there is no limit."""
        return limit_length(self._model, self._options.max_length)

    @cached_property
    def prompts(self) -> dict[Side, str]:
        """The literal text put before each input of a side; empty if there is none.

        An option that is one of the model's prompt names means that prompt, any other text means itself. Without an
        option: the first of the model's own prompts for that side that is not empty.
        """
        own: dict[str, str] = {name: text or "" for name, text in self._model.prompts.items()}
        asked = {Side.QUERY: self._options.query_prompt, Side.DOCUMENT: self._options.document_prompt}
        return {
            side: own.get(text, text)
            if text is not None
            else next((own[name] for name in _OWN_PROMPTS[side] if own.get(name)), "")
            for side, text in asked.items()
        }

    def facts(self) -> dict[str, Any]:
        """What decides an output in every model of this kind, as JSON values for the plan; no names, no paths."""
        return {
            "fingerprint": model_fingerprint(Path(self._resolved.path), backend=self._options.backend),
            "prompts": {side.value: text for side, text in self.prompts.items()},
            "max_length": self.max_length,
            "batch_tokens": self._batch_tokens,
            "window": WINDOW,
            "machine": {**arithmetic_facts(self._options), **attention_facts(self._model)},
        }

    def batches(self, texts: Sequence[str], side: Side) -> Iterator[Batch]:
        """The model's outputs for all texts, batch by batch.

        Texts are taken in windows by descending number of characters; the batches of a window are sorted by length and
        of at most `batch_tokens`, padding counted: a function of these texts alone. While one window is computed, the
        next is tokenised, if hnmine does that itself.
        """
        order = np.argsort([-len(text) for text in texts], kind="stable")
        windows = [order[start : start + WINDOW] for start in range(0, len(order), WINDOW)]
        reader = self._readers[side]
        if reader is None:
            for window in windows:
                chosen = [texts[row] for row in window]
                lengths, cut = self._lengths(chosen, side)
                for rows in token_batches(lengths, self._batch_tokens):
                    with fitting_memory(len(rows), int(lengths[rows[0]])):
                        output = self.forward([chosen[row] for row in rows], side)
                    yield Batch(rows=window[rows], output=output, cut=cut[rows])
            return
        for window, tokens in ahead(lambda rows: reader.read([texts[row] for row in rows]), windows):
            for rows in token_batches(tokens.lengths, self._batch_tokens):
                with fitting_memory(len(rows), int(tokens.lengths[rows[0]])):
                    output = self._run(reader.inputs(tokens, rows), side)
                yield Batch(rows=window[rows], output=output, cut=tokens.cut[rows])

    @cached_property
    def _readers(self) -> dict[Side, TokenReader | None]:
        """What reads the texts of a side; None where the model has to prepare them itself."""
        return {side: self._reader(side) if self.reads_tokens else None for side in Side}

    def _reader(self, side: Side) -> TokenReader | None:
        model, prompt = self._model, self.prompts[side]
        if not hasattr(model, "preprocess") or getattr(model, "max_active_dims", None) is not None:
            return None

        def preprocess(texts: list[str]) -> dict[str, Any]:
            return dict(model.preprocess(texts, prompt=prompt, task=side.value))

        return token_reader(self._first_module(side), preprocess, prompt=prompt, limit=self.max_length)

    def _run(self, inputs: dict[str, Any], side: Side) -> Any:
        """What `forward` gives, for inputs that are prepared."""
        torch, model = import_torch(), self._model
        with torch.inference_mode(), autocast(*self._arithmetic):
            there = {n: v.to(model.device) if isinstance(v, torch.Tensor) else v for n, v in inputs.items()}
            output = model(there, task=side.value)["sentence_embedding"]
        truncated = getattr(model, "truncate_dim", None)
        return output if truncated is None else output[..., :truncated]

    def _lengths(self, texts: Sequence[str], side: Side) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """(tokens of each text as the model reads it, whether it was cut)."""
        fewest, limit = self.limits(side)
        prompt = self.prompts[side]
        lengths, counted = token_lengths(self._tokenizer(side), [prompt + text for text in texts], special=True)
        if limit is None:
            return np.maximum(lengths, fewest), np.zeros(len(texts), np.bool_)
        return np.clip(lengths, fewest, limit), (lengths > limit) & counted

    def operations(self, texts: Sequence[str], side: Side) -> float:
        """About how many operations the model does for these texts."""
        return layer_operations(layer_weights(self._model), float(self._lengths(texts, side)[0].sum()))

    def limits(self, side: Side) -> tuple[int, int | None]:
        """(fewest, most) tokens that an input of a side has as the model reads it; None if there is no limit."""
        return 0, self.max_length

    def _first_module(self, side: Side) -> Any:
        first = self._model[0]
        routes = getattr(first, "sub_modules", {})  # a router reads queries and documents with different models
        return routes[side.value][0] if side.value in routes else first

    def _tokenizer(self, side: Side) -> Any:
        return getattr(self._first_module(side), "tokenizer", None)

    def forward(self, texts: list[str], side: Side) -> Any:
        """The model's own output for one batch: a tensor with a row a text, or whatever `output` asks for."""
        model = self._model
        _ = self.max_length  # sets the limit before the first forward pass
        encode = model.encode_query if side is Side.QUERY else model.encode_document
        with autocast(*self._arithmetic):
            return encode(
                texts,
                prompt=self.prompts[side],
                batch_size=len(texts),
                show_progress_bar=False,
                **self.output,
            )
