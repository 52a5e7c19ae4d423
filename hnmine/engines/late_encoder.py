"""Texts to a vector for every token, the same whatever else is encoded before or after the block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hnmine.engines.inference import import_sentence_transformers, limit_length
from hnmine.engines.text_model import TextModel
from hnmine.engines.vectors import normalise_rows
from hnmine.errors import InputError
from hnmine.schema import Side

_OTHER = "not a late-interaction model: sentence-transformers would give it a projection of random numbers"


@dataclass(frozen=True, slots=True, kw_only=True)
class LateEncoded:
    """Text i owns the next `lengths[i]` rows of `vectors`: float16 [tokens, dimension], in input order.

    `truncated`: texts that were cut.
    """

    lengths: npt.NDArray[np.int32]
    vectors: npt.NDArray[np.float16]
    truncated: int


class LateTextEncoder(TextModel):
    """Any model that sentence-transformers' `MultiVectorEncoder` loads: ColBERT as Stanford, PyLate or it saved them.

    ColBERT: Khattab and Zaharia, SIGIR 2020, arXiv 2004.12832. Markers ([Q], [D]), the filling of queries with [MASK]
    and the skipping of punctuation in documents are the model's own; the scores are PyLate's (tested). See `TextModel`.
    """

    class_name = "MultiVectorEncoder"
    extra = "late"
    reads_tokens = False
    output: ClassVar[dict[str, Any]] = {}  # a list: a tensor [tokens, dimension] for each text
    refused: ClassVar[dict[str, tuple[str, str]]] = {
        "cross-encoder": ("a cross-encoder, which gives no vectors", "pass it to --reranker"),
        "encoder": (_OTHER, "hnmine index dense, if it is an embedding model"),
        "sparse-encoder": (_OTHER, "hnmine index sparse"),
        "masked-lm": (_OTHER, "hnmine index sparse, if it is a SPLADE model"),
        "unknown": (_OTHER, "choose a ColBERT model"),
    }

    @cached_property
    def dimension(self) -> int:
        """Number of dimensions of a token's vector."""
        return int(self.forward(["a"], Side.DOCUMENT)[0].shape[1])

    @cached_property
    def max_length(self) -> int | None:
        """Longest document in tokens, marker included; None if there is no limit."""
        wanted = self._options.max_length
        limit = limit_length(self._model, wanted)
        first = self._model[0]
        if wanted is not None and getattr(first, "document_length", None) is not None:
            first.document_length = wanted
        return _least(getattr(first, "document_length", None), limit)

    def limits(self, side: Side) -> tuple[int, int | None]:
        """(fewest, most) tokens that the model reads; queries are filled up to a length with [MASK]."""
        documents = self.max_length  # also sets the limit
        if side is Side.DOCUMENT:
            return 0, documents
        first = self._model[0]
        most = _least(getattr(first, "query_length", None), limit_length(self._model, None))
        expansion = getattr(first, "query_expansion", None)
        if expansion is None:
            return 0, most
        fewest = int(expansion["length"])
        if expansion["strategy"] == "fixed":
            return fewest, fewest
        return fewest, None if most is None else max(fewest, most)

    @cached_property
    def _normalises(self) -> bool:
        """Whether the model gives unit vectors. In bf16 their lengths are off by 0.002, so it is done again."""
        kind = import_sentence_transformers().base.modules.Normalize
        return any(isinstance(module, kind) for module in self._model)

    def describe(self) -> dict[str, Any]:
        """Everything that decides a vector, as JSON values for the plan; no names, no paths."""
        return {**self.facts(), "dimension": self.dimension}

    def encode(self, texts: Sequence[str], side: Side) -> LateEncoded:
        """The token vectors of `texts`, a function of these texts and the plan alone; equal texts are encoded once.

        Raises `InputError` naming the first text that has a value which is not finite in fp16.
        """
        place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct = list(place)
        found = [np.empty((0, 0), np.float16)] * len(distinct)
        cut = np.zeros(len(distinct), np.bool_)
        for batch in self.batches(distinct, side):
            cut[batch.rows] = batch.cut
            for row, vectors in zip(batch.rows.tolist(), batch.output, strict=True):
                exact = vectors.float().cpu().numpy()
                with np.errstate(over="ignore"):
                    found[row] = (normalise_rows(exact) if self._normalises else exact).astype(np.float16)
        bad = next((row for row, vectors in enumerate(found) if not np.isfinite(vectors).all()), None)
        if bad is not None:
            raise InputError(
                f"the model {self._resolved.name!r} gives a vector that is not finite in fp16 for the {side.value}"
                f" {distinct[bad][:80]!r}",
                expected="finite values up to 65,504",
                remedy="--dtype fp32, if the model overflows in the reduced arithmetic; else the model is broken",
            )
        source = np.array([place[text] for text in texts], np.int64)
        return LateEncoded(
            lengths=np.array([len(found[row]) for row in source], np.int32),
            vectors=np.concatenate([np.empty((0, self.dimension), np.float16), *(found[row] for row in source)]),
            truncated=int(cut[source].sum()),
        )


def _least(*limits: int | None) -> int | None:
    return min((int(limit) for limit in limits if limit is not None), default=None)
