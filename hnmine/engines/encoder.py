"""Texts to unit vectors, the same vectors whatever else is encoded before or after the block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hnmine.engines.batching import token_batches
from hnmine.engines.inference import (
    autocast,
    import_sentence_transformers,
    limit_length,
    load_model,
    model_family,
    resolve_arithmetic,
    token_lengths,
)
from hnmine.engines.models import ResolvedModel, machine_facts, model_fingerprint
from hnmine.engines.vectors import Vectors, normalise_rows
from hnmine.errors import InputError, UsageError
from hnmine.options import DenseOptions
from hnmine.schema import Side

_OWN_PROMPTS = {Side.QUERY: ("query",), Side.DOCUMENT: ("document", "passage", "corpus")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """`vectors`: float32 [texts, dimension], unit length, rows in input order; `truncated`: texts that were cut.

    `truncated` is 0 for a model whose tokenizer cannot be asked.
    """

    vectors: Vectors
    truncated: int


class Encoder(ABC):
    """A model that turns queries and documents into vectors of one space."""

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Number of dimensions of a vector."""

    @property
    @abstractmethod
    def max_length(self) -> int | None:
        """Longest input in tokens, prompt included; None if there is no limit."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Everything that decides a vector, as JSON values for the plan; no names, no paths."""

    @abstractmethod
    def encode(self, texts: Sequence[str], side: Side) -> Encoded:
        """The vectors of `texts`, a function of these texts and the plan alone.

        Raises `InputError` naming the first text whose vector is not finite.
        """


class SentenceTransformerEncoder(Encoder):
    """Any model that sentence-transformers loads, asymmetric ones and ones that pool around the prompt included.

    The model is loaded at the first use. Raises what `load_model` raises, and `UsageError` for a cross-encoder.
    """

    def __init__(self, model: ResolvedModel, options: DenseOptions) -> None:
        self._resolved = model
        self._options = options

    @cached_property
    def _arithmetic(self) -> tuple[str, Any]:
        return resolve_arithmetic(self._options)

    @cached_property
    def _model(self) -> Any:
        if model_family(self._resolved.path) == "cross-encoder":
            raise UsageError(
                f"--model {self._resolved.name}: this is a cross-encoder, which gives no vectors",
                expected="an embedding model",
                remedy="pass it to --reranker",
            )
        kind = import_sentence_transformers().SentenceTransformer
        return load_model(kind, self._resolved, self._options, *self._arithmetic)

    @cached_property
    def max_length(self) -> int | None:
        """Longest input in tokens, prompt included; None if there is no limit."""
        return limit_length(self._model, self._options.max_length)

    @cached_property
    def dimension(self) -> int:
        """Number of dimensions of a vector, after `truncate_dim`."""
        # A probe, because models may not know: a custom head, a router, a model saved truncated.
        whole = int(self._forward(["a"], Side.DOCUMENT).shape[1])
        wanted = self._options.truncate_dim
        if wanted is not None and not 1 <= wanted <= whole:
            raise UsageError(f"--truncate-dim {wanted}", expected=f"1 to {whole}, the model's dimensions")
        return wanted or whole

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

    def describe(self) -> dict[str, Any]:
        """Everything that decides a vector, as JSON values for the plan; no names, no paths."""
        device, dtype = self._arithmetic
        return {
            "fingerprint": model_fingerprint(Path(self._resolved.path), backend=self._options.backend),
            "prompts": {side.value: text for side, text in self.prompts.items()},
            "max_length": self.max_length,
            "dimension": self.dimension,
            "normalise": True,
            "batch_tokens": self._options.batch_tokens,
            "machine": machine_facts(device, dtype, backend=self._options.backend),
        }

    def encode(self, texts: Sequence[str], side: Side) -> Encoded:
        """See `Encoder.encode`; length-sorted batches of `batch_tokens`, padding counted.

        Equal texts of a block get equal bits: each distinct text is encoded once.
        """
        place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct = list(place)
        lengths, cut = self._lengths(distinct, side)
        found = np.empty((len(distinct), self.dimension), np.float32)
        for batch in token_batches(lengths, self._options.batch_tokens):
            whole = self._forward([distinct[row] for row in batch], side)
            found[batch] = whole[:, : self.dimension]
        source = np.array([place[text] for text in texts], np.int64)
        vectors = normalise_rows(found)[source]
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(bad):
            raise InputError(
                f"the model {self._resolved.name!r} gives a vector that is not finite for {side.value} {bad[0]} of the"
                f" block ({len(bad):,} of {len(texts):,}): {texts[bad[0]][:80]!r}",
                expected="finite vectors",
                remedy="--dtype fp32, if the model overflows in the reduced arithmetic; else the model is broken",
            )
        return Encoded(vectors=vectors, truncated=int(cut[source].sum()))

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

    def _forward(self, texts: list[str], side: Side) -> Vectors:
        model = self._model
        _ = self.max_length  # sets the limit before the first forward pass
        encode = model.encode_query if side is Side.QUERY else model.encode_document
        with autocast(*self._arithmetic):
            found = encode(
                texts,
                prompt=self.prompts[side],
                batch_size=len(texts),
                show_progress_bar=False,
                convert_to_tensor=True,
            )
        vectors: Vectors = found.float().cpu().numpy()
        return vectors
