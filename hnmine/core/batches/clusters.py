"""Balanced clusters of queries: NGAME's batches, and TAS-B's.

NGAME (Dahiya et al., WSDM 2023, arXiv 2207.04452) splits the queries in two halves again and again, by 2-means on their
vectors; the clusters are shuffled and cut into batches, so that what is near a query shares its batch. In TAS-B
(Hofstätter et al., SIGIR 2021, arXiv 2104.06967) all of a batch is of one cluster.

Here a query's vector is a sketch of what it and the queries near it found. All is whole numbers that double precision
holds exactly: equal evidence gives equal clusters whatever the machine, its BLAS and its threads.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hnmine.core.batches.graph import Graph
from hnmine.core.layout import mix

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Sketches = npt.NDArray[np.int16]

DIMENSIONS = 128
ITERATIONS = 10
_LENGTH = 512
"""Of a sketch, before it is rounded."""
_FINE, _STEP = 64, 1_024
"""How finely means are rounded: of documents, and of clusters."""
_AT_ONCE = 65_536


def sketches(graph: Graph) -> Sketches:
    """A vector for each query, [queries, DIMENSIONS], of whole numbers and nearly equal lengths.

    A query is the sum of the documents that it found: their signs in a random projection (Achlioptas 2003), which are
    their hashes. A document then is the mean of the queries that found it, and a query the sum of those: two queries
    are alike if they found the same, or what queries found that are like each other. On `stdlib` that gives harder
    batches than the vectors of the model that found the documents (scripts/measure_batches.py).
    """
    owner, document = graph.owner, graph.documents
    times = np.maximum(np.bincount(document, minlength=len(graph.keys)), 1)
    found = np.empty((len(graph), DIMENSIONS), np.int32)
    for number in range(DIMENSIONS):
        if number % 64 == 0:
            words = mix(graph.keys, np.full(len(graph.keys), number // 64))
        signs = 2.0 * (words >> np.uint64(number % 64) & np.uint64(1)) - 1.0
        queries = np.bincount(owner, signs[document], len(graph))
        means = np.rint(_FINE * np.bincount(document, queries[owner], len(graph.keys)) / times)
        found[:, number] = np.bincount(owner, means[document], len(graph))
    scaled = np.empty(found.shape, np.int16)
    for low in range(0, len(found), _AT_ONCE):
        part = found[low : low + _AT_ONCE].astype(np.float64)
        lengths = np.sqrt((part * part).sum(axis=1, keepdims=True))
        scaled[low : low + _AT_ONCE] = np.rint(_LENGTH * part / np.maximum(lengths, 1))
    return scaled


def clustered(vectors: Sketches, size: int) -> Ints:
    """All queries in an order in which each `size` that follow on each other are alike; the last may be fewer.

    Neighbouring clusters are alike too: they are the leaves of a tree of 2-means whose halves are multiples of `size`.
    Queries count as shuffled: the first ones start the clusters, and go first where two are equally near.
    """
    waiting, leaves = [np.arange(len(vectors))], [np.empty(0, np.int64)]
    while waiting:
        queries = waiting.pop()
        if len(queries) <= size:
            leaves.append(queries)
            continue
        clusters = -(-len(queries) // size)
        is_left = _halves(vectors[queries], (clusters + 1) // 2 * size)
        waiting += [queries[~is_left], queries[is_left]]
    return np.concatenate(leaves)


def in_clusters(place: Ints, turn: Ints, *, cluster: int, batch: int) -> Ints:
    """Rows in the order in which they are put into batches, where `place` is that of their query in `clustered`.

    `turn` counts the rows of one query from 0: those of a turn are clustered by themselves, since two rows of a query
    do not share a batch. Clusters smaller than a batch are shuffled, and so is what is in larger ones. Rows count as
    shuffled.
    """
    order = np.lexsort((place, turn))
    starts = np.arange(0, len(order), cluster)
    if cluster == batch or not len(order):
        return order
    number = np.arange(len(order)) // cluster
    if cluster > batch:
        return order[np.lexsort((order, number))]
    first = np.minimum.reduceat(order, starts)
    return order[np.lexsort((order, first[number]))]


def _halves(vectors: Sketches, left: int) -> npt.NDArray[np.bool_]:
    """The `left` vectors of one of two clusters, by Lloyd's algorithm on the difference of the two centres."""
    far = int(_along(vectors, vectors[0].astype(np.float64)).argmin())
    direction = vectors[0].astype(np.float64) - vectors[far]
    is_left = np.zeros(len(vectors), np.bool_)
    for _ in range(ITERATIONS):
        order = np.argsort(-_along(vectors, direction), kind="stable")
        before, is_left = is_left, np.zeros(len(vectors), np.bool_)
        is_left[order[:left]] = True
        if (is_left == before).all():
            break
        centres = [vectors[side].sum(axis=0, dtype=np.int64) / side.sum() for side in (is_left, ~is_left)]
        direction = np.rint(_STEP * (centres[0] - centres[1]))
    return is_left


def _along(vectors: Sketches, direction: Floats) -> Floats:
    """The inner product of each vector with a direction, exactly."""
    parts = (vectors[low : low + _AT_ONCE].astype(np.float64) for low in range(0, len(vectors), _AT_ONCE))
    return np.concatenate([part @ direction for part in parts])
