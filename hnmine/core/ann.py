"""Which search a dense index gets when nobody says: by the operations that an exact one would take, and by memory."""

from __future__ import annotations

from hnmine.options import Ann

EXACT_OPERATIONS = 1e15
"""Multiplications and additions that are not worth avoiding: an hour or so of two cores, a minute of a GPU."""

GPU_FACTOR = 100
"""How many times as many a GPU may do."""

_GRAPH_BUILD, _GRAPH_SEARCH = 1_000, 2_500
"""Documents that HNSW compares with one that joins, and with a query, ..."""
_GRAPH_PENALTY = 8
"""... each at the cost of so many in a matrix product (scripts/bench_search.py)."""
_SHARE = 1 / 32
"""Of the documents that IVF compares with a query."""


def choose(documents: int, queries: int, dimension: int, *, memory: int, has_gpu: bool = False) -> Ann:
    """Flat until an exact search would take hours; then IVF, or HNSW for many more queries than documents; IVF-PQ where
    the fp16 vectors would take more than half of `memory` (bytes).
    """
    pair = 2 * dimension
    if documents * queries * pair <= EXACT_OPERATIONS * (GPU_FACTOR if has_gpu else 1):
        return Ann.FLAT
    if documents * pair > memory / 2:
        return Ann.IVF_PQ
    lists = 4 * documents**0.5
    by_lists = documents * lists + queries * (lists + documents * _SHARE)
    by_graph = _GRAPH_PENALTY * (documents * _GRAPH_BUILD + queries * _GRAPH_SEARCH)
    return Ann.HNSW if by_graph < by_lists else Ann.IVF
