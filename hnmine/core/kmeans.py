"""k-means without chance: equal vectors give equal clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

ITERATIONS = 10


def centroids(vectors: Vectors, count: int) -> npt.NDArray[np.float32]:
    """The centres of `count` clusters (fewer if there are fewer vectors), float32 [count, dimension].

    Lloyd's algorithm (1982), ten rounds, from vectors evenly spaced over the rows; a cluster that loses all its
    vectors keeps its centre.
    """
    count = min(count, len(vectors))
    starts = np.linspace(0, len(vectors), count, endpoint=False).astype(np.int64)
    centres = np.array(vectors[starts], np.float64)
    for _ in range(ITERATIONS if count else 0):
        owner = nearest(vectors, centres)
        order = np.argsort(owner, kind="stable")
        present, first, sizes = np.unique(owner[order], return_index=True, return_counts=True)
        sums = np.add.reduceat(vectors[order].astype(np.float64), first, axis=0)
        centres[present] = sums / sizes[:, None]
    return centres.astype(np.float32)


def nearest(vectors: Vectors, centres: Vectors) -> Ints:
    """The nearest centre of each vector (Euclidean), the first of equally near ones."""
    return np.asarray(_closeness(vectors, centres).argmax(axis=1), np.int64)


def order_of_centres(vectors: Vectors, centres: Vectors) -> Ints:
    """0-based place of each centre by nearness to each vector, [vectors, centres]."""
    order = np.argsort(-_closeness(vectors, centres), axis=1, kind="stable")
    places = np.empty_like(order)
    np.put_along_axis(places, order, np.arange(len(centres))[None, :], axis=1)
    return places.astype(np.int64)


def _closeness(vectors: Vectors, centres: Vectors) -> Vectors:
    """Half the squared length of the vector less half the squared distance to the centre."""
    return np.asarray(vectors @ centres.T - 0.5 * np.einsum("ij,ij->i", centres, centres)[None, :])
