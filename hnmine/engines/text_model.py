"""What the models that read one text at a time share: loading, prompts, lengths, and the same batches every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hnmine.engines.batching import Positions, token_batches
from hnmine.engines.inference import (
    autocast,
    import_sentence_transformers,
    limit_length,
    load_model,
    model_family,
    resolve_arithmetic,
    token_lengths,
)
from hnmine.engines.models import ResolvedModel, machine_facts, missing_extra, model_fingerprint
from hnmine.errors import UsageError
from hnmine.options import TextModelOptions
from hnmine.schema import Side

_OWN_PROMPTS = {Side.QUERY: ("query",), Side.DOCUMENT: ("document", "passage", "corpus")}


class TextModel:
    """A sentence-transformers model that turns one text into one output; it is loaded at the first use.

    Subclasses name its class, and the families of models (`model_family`) that are something else, with where these
    belong. Raises what `load_model` raises, and `UsageError` for such a model.
    """

    class_name: ClassVar[str]
    refused: ClassVar[dict[str, tuple[str, str]]]
    """Family of a model that is of no use here → (what it is, what to do)."""

    def __init__(self, model: ResolvedModel, options: TextModelOptions) -> None:
        self._resolved = model
        self._options = options

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
            raise missing_extra("a newer sentence-transformers", ImportError(reason))
        kind = getattr(module, self.class_name)
        return load_model(kind, self._resolved, self._options, *self._arithmetic)

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
        device, dtype = self._arithmetic
        return {
            "fingerprint": model_fingerprint(Path(self._resolved.path), backend=self._options.backend),
            "prompts": {side.value: text for side, text in self.prompts.items()},
            "max_length": self.max_length,
            "batch_tokens": self._options.batch_tokens,
            "machine": machine_facts(device, dtype, backend=self._options.backend),
        }

    def batches(
        self, texts: Sequence[str], side: Side
    ) -> tuple[Iterator[tuple[Positions, Any]], npt.NDArray[np.bool_]]:
        """(positions, the model's outputs for them) of each batch, and which texts were cut.

        Batches are length-sorted, of at most `batch_tokens`, padding counted: a function of these texts alone.
        """
        lengths, cut = self._lengths(texts, side)
        batches = token_batches(lengths, self._options.batch_tokens)
        return ((batch, self.forward([texts[row] for row in batch], side)) for batch in batches), cut

    def _lengths(self, texts: Sequence[str], side: Side) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """(tokens of each text as the model reads it, whether it was cut)."""
        limit = self.max_length
        prompt = self.prompts[side]
        lengths, counted = token_lengths(self._tokenizer(side), [prompt + text for text in texts], special=True)
        if limit is None:
            return lengths, np.zeros(len(texts), np.bool_)
        return np.minimum(lengths, limit), (lengths > limit) & counted

    def _tokenizer(self, side: Side) -> Any:
        first = self._model[0]
        routes = getattr(first, "sub_modules", {})  # a router reads queries and documents with different models
        if side.value in routes:
            first = routes[side.value][0]
        return getattr(first, "tokenizer", None)

    def forward(self, texts: list[str], side: Side) -> Any:
        """The model's own output for one batch: a tensor with a row a text."""
        model = self._model
        _ = self.max_length  # sets the limit before the first forward pass
        encode = model.encode_query if side is Side.QUERY else model.encode_document
        with autocast(*self._arithmetic):
            return encode(
                texts,
                prompt=self.prompts[side],
                batch_size=len(texts),
                show_progress_bar=False,
                convert_to_tensor=True,
            )
