"""Texts to sparse vectors over a vocabulary, the same whatever else is encoded before or after the block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from hnmine.core.sparse import SparseRows
from hnmine.engines.text_model import TextModel
from hnmine.errors import InputError
from hnmine.schema import Side


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseEncoded:
    """`vectors`: a row a text, in input order; `truncated`: texts that were cut."""

    vectors: SparseRows
    truncated: int


class SparseTextEncoder(TextModel):
    """Any model that sentence-transformers' `SparseEncoder` loads: SPLADE, inference-free queries, and their kin.

    SPLADE: Formal et al. 2021, arXiv 2107.05720. See `TextModel`.
    """

    class_name = "SparseEncoder"
    refused: ClassVar[dict[str, tuple[str, str]]] = {
        "cross-encoder": ("a cross-encoder, which gives no vectors", "pass it to --reranker"),
        "encoder": ("not a sparse encoder", "hnmine index dense, if it is an embedding model"),
        "late": ("a late-interaction model, not a sparse encoder", "hnmine index late"),
    }

    @cached_property
    def dimension(self) -> int:
        """Number of terms of the vocabulary."""
        return int(self.forward(["a"], Side.DOCUMENT).shape[1])

    def describe(self) -> dict[str, Any]:
        """Everything that decides a vector, as JSON values for the plan; no names, no paths."""
        return {**self.facts(), "dimension": self.dimension}

    def encode(self, texts: Sequence[str], side: Side) -> SparseEncoded:
        """The vectors of `texts`, a function of these texts and the plan alone; each distinct text is encoded once.

        Raises `InputError` naming the first text that has a weight that is not finite.
        """
        place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct = list(place)
        rows, terms, weights = [np.empty(0, np.int64)], [np.empty(0, np.int32)], [np.empty(0, np.float32)]
        cut = np.zeros(len(distinct), np.bool_)
        for batch in self.batches(distinct, side):
            found = batch.output
            cut[batch.rows] = batch.cut
            entries = found.to_sparse().coalesce() if not found.is_sparse else found.coalesce()
            own, columns = entries.indices().cpu().numpy()
            rows.append(batch.rows[own])
            terms.append(columns.astype(np.int32))
            weights.append(entries.values().float().cpu().numpy())
        vectors = SparseRows.gather(
            np.concatenate(rows), np.concatenate(terms), np.concatenate(weights), size=len(distinct)
        )
        bad = np.flatnonzero(~np.isfinite(vectors.weights))
        if len(bad):
            first = distinct[int(np.searchsorted(vectors.offsets, bad[0], side="right")) - 1]
            raise InputError(
                f"the model {self._resolved.name!r} gives a weight that is not finite for the {side.value}"
                f" {first[:80]!r}",
                expected="finite weights",
                remedy="--dtype fp32, if the model overflows in the reduced arithmetic; else the model is broken",
            )
        source = np.array([place[text] for text in texts], np.int64)
        return SparseEncoded(vectors=vectors.take(source), truncated=int(cut[source].sum()))
