"""Which search a dense index gets when nobody says: by the operations that an exact one would take, and by memory."""

from __future__ import annotations

import math

from hnmine.options import Ann

EXACT_OPERATIONS = 1e15
"""Multiplications and additions that are not worth avoiding: hours of one core, a minute or less of a GPU."""

GPU_FACTOR = 100
"""How many times as many a GPU may do."""

_LINK_BYTES = 272
"""Of HNSW, a document."""

# What follows counts comparisons of two vectors as they cost in one large matrix product (scripts/bench_search.py).
_LISTS_BUILD = 8_000
"""To train the centres of IVF, a document."""
_LISTS_SEARCH = 20
"""IVF, a query, times √documents: the centres, and the documents of some lists."""
_LISTS_READ = 64
"""Comparisons that take as long as IVF takes to bring a document into memory, for a block of queries at once."""
_LISTS_BLOCK = 4_096
_GRAPH_BUILD = 12_000
"""For a document to join HNSW, by the one thread that builds it."""
_GRAPH_SEARCH = 2_800
"""HNSW, a query, times log₂(documents)."""


def choose(documents: int, queries: int, dimension: int, *, memory: int, cores: int = 1, has_gpu: bool = False) -> Ann:
    """Flat until an exact search would take hours; then IVF or HNSW, whichever is estimated to take less time.

    HNSW only if it fits into half of `memory` (bytes); IVF-PQ where not even the vectors, as fp16, do.
    """
    if 2 * documents * queries * dimension <= EXACT_OPERATIONS * (GPU_FACTOR if has_gpu else 1):
        return Ann.FLAT
    if 2 * documents * dimension > memory / 2:
        return Ann.IVF_PQ
    if (2 * dimension + _LINK_BYTES) * documents > memory / 2:
        return Ann.IVF
    root = math.sqrt(documents)
    by_lists = documents * (4 * root + _LISTS_BUILD)
    by_lists += queries * (_LISTS_SEARCH * root + documents * _LISTS_READ / _LISTS_BLOCK)
    by_graph = documents * _GRAPH_BUILD * cores + queries * _GRAPH_SEARCH * math.log2(documents)
    return Ann.HNSW if by_graph < by_lists else Ann.IVF


def search_operations(kind: Ann, documents: int, queries: int, dimension: int) -> float:
    """About how many operations searching takes, in those of one large matrix product."""
    compared = {
        Ann.IVF: _LISTS_SEARCH * math.sqrt(documents) + documents * _LISTS_READ / _LISTS_BLOCK,
        Ann.IVF_PQ: _LISTS_SEARCH * math.sqrt(documents) + documents * _LISTS_READ / _LISTS_BLOCK,
        Ann.HNSW: _GRAPH_SEARCH * math.log2(max(documents, 2)),
    }
    return 2.0 * queries * dimension * min(compared.get(kind, documents), documents)
