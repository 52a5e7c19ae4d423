"""What work will take, from how long a little of it took."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

GPU_OPERATIONS = 4e12
"""Operations a second of a GPU that is not here: what a V100 does with a small cross-encoder, 1,800 pairs a second of
MiniLM-L6 (sentence-transformers' table of models) at some 100 tokens a pair. Newer ones do several times as many."""

BM25_GROWTH = 1 / 3
"""A query's BM25 search grows as the documents to this power, from 10⁴ to 10⁷ of them (docs/benchmarks/bm25.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a step takes: `rows` of a `unit`, on one process of this machine; bytes on disk, operations of its models
    and searches. `on_gpu`: measured on one; `runs_model`: a GPU would do it.
    """

    rows: int
    unit: str
    seconds: float
    bytes: int = 0
    operations: float = 0.0
    on_gpu: bool = False
    runs_model: bool = False

    @property
    def gpu_hours(self) -> float | None:
        """Hours of the GPU that it was measured on, else of one that does `GPU_OPERATIONS`; None without a model."""
        if not self.runs_model:
            return None
        return (self.seconds if self.on_gpu else self.operations / GPU_OPERATIONS) / 3600

    def times(self, share: float) -> Estimate:
        """That share of it."""
        return replace(
            self,
            rows=round(self.rows * share),
            seconds=self.seconds * share,
            bytes=round(self.bytes * share),
            operations=self.operations * share,
        )

    def price(self, per_hour: float) -> float:
        """What it costs at so much for an hour of this machine."""
        return self.seconds / 3600 * per_hour

    def to_json(self, per_hour: float | None = None) -> dict[str, Any]:
        """Its values, rounded to what an estimate is worth."""
        found: dict[str, Any] = {"rows": self.rows, "unit": self.unit, "bytes": _rounded(self.bytes)}
        found |= {"seconds": _rounded(self.seconds), "operations": _rounded(self.operations)}
        if self.gpu_hours is not None:
            found["gpu_hours"] = _rounded(self.gpu_hours)
        if per_hour is not None:
            found["price"] = _rounded(self.price(per_hour))
        return found


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Seconds as `start` + `each` · rows."""

    start: float
    each: float

    @classmethod
    def through(cls, few: tuple[int, float], many: tuple[int, float]) -> Line:
        """The line through two measurements (rows, seconds); a row costs at least a third of its share of `many`."""
        each = max((many[1] - few[1]) / max(many[0] - few[0], 1), many[1] / max(many[0], 1) / 3)
        return cls(start=max(0.0, many[1] - each * many[0]), each=each)

    def __call__(self, rows: float) -> float:
        """Seconds for so many rows; nothing for none."""
        return self.start + self.each * rows if rows else 0.0


def bm25_seconds(measured: float, documents_then: int, documents: int) -> float:
    """Seconds of a query's BM25 search, from those measured among fewer documents."""
    return measured * float((max(documents, 1) / max(documents_then, 1)) ** BM25_GROWTH)


def layer_operations(weights: int, tokens: float) -> float:
    """Operations of a transformer that reads so many tokens, given the weights of its layers, embeddings left out.

    Kaplan et al. 2020, arXiv 2001.08361, §2.1: two for each weight and token; attention over short texts adds little.
    """
    return 2.0 * weights * tokens
