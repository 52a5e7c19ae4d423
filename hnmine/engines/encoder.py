"""Texts to unit vectors, the same vectors whatever else is encoded before or after the block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from hnmine.engines.text_model import TextModel
from hnmine.engines.vectors import Vectors, normalise_rows
from hnmine.errors import HnmineError, InputError, UsageError
from hnmine.options import Backend, DenseOptions, Dtype
from hnmine.schema import Side


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


class SentenceTransformerEncoder(TextModel, Encoder):
    """Any model that sentence-transformers loads, asymmetric ones and ones that pool around the prompt included.

    See `TextModel`.
    """

    class_name = "SentenceTransformer"
    flashes = True
    refused: ClassVar[dict[str, tuple[str, str]]] = {
        "cross-encoder": ("a cross-encoder, which gives no vectors", "pass it to --reranker"),
        "sparse-encoder": ("a sparse encoder, whose vectors have a dimension a word", "hnmine index sparse"),
        "late": ("a late-interaction model, which gives a vector a token", "hnmine index late"),
    }
    _options: DenseOptions

    @cached_property
    def dimension(self) -> int:
        """Number of dimensions of a vector, after `truncate_dim`."""
        # A probe, because models may not know: a custom head, a router, a model saved truncated.
        whole = int(self._forward(["a"], Side.DOCUMENT).shape[1])
        wanted = self._options.truncate_dim
        if wanted is not None and not 1 <= wanted <= whole:
            raise UsageError(f"--truncate-dim {wanted}", expected=f"1 to {whole}, the model's dimensions")
        return wanted or whole

    def describe(self) -> dict[str, Any]:
        """Everything that decides a vector, as JSON values for the plan; no names, no paths."""
        return {**self.facts(), "dimension": self.dimension, "normalise": True}

    def encode(self, texts: Sequence[str], side: Side) -> Encoded:
        """See `Encoder.encode`; length-sorted batches of `batch_tokens`, padding counted.

        Equal texts of a block get equal bits: each distinct text is encoded once.
        """
        place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        found = np.empty((len(place), self.dimension), np.float32)
        cut = np.zeros(len(place), np.bool_)
        for batch in self.batches(list(place), side):
            found[batch.rows] = batch.output.float().cpu().numpy()[:, : self.dimension]
            cut[batch.rows] = batch.cut
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

    def agreement(self, texts: Sequence[str]) -> float | None:
        """The least cosine of a document's vector to the one that fp32 gives in PyTorch; 1 if that is how this runs.

        Loads the model once more; None if it does not run so here, for want of memory or of weights. A text without
        direction (a vector of zeros, in both) agrees.
        """
        if self.is_exact or not texts:
            return 1.0
        exact = type(self)(self._resolved, replace(self._options, dtype=Dtype.FP32, backend=Backend.TORCH))
        found = self.encode(texts, Side.DOCUMENT).vectors
        try:
            expected = exact.encode(texts, Side.DOCUMENT).vectors
        except HnmineError:
            return None
        cosines = (found * expected).sum(axis=1)
        cosines[~found.any(axis=1) & ~expected.any(axis=1)] = 1.0
        return float(cosines.min())

    def _forward(self, texts: list[str], side: Side) -> Vectors:
        vectors: Vectors = self.forward(texts, side).float().cpu().numpy()
        return vectors
