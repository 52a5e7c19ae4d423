"""Clusters of vectors."""

from __future__ import annotations

import numpy as np

from hnmine.core.kmeans import centroids, nearest, order_of_centres


def test_three_heaps_are_found_and_named_by_their_means() -> None:
    heaps = np.array([[0.0, 0.0], [0.0, 1.0], [10.0, 0.0], [10.0, 1.0], [0.0, 10.0], [1.0, 10.0]], np.float32)
    centres = centroids(heaps, 3)
    assert sorted(centres.tolist()) == [[0.0, 0.5], [0.5, 10.0], [10.0, 0.5]]
    owner = nearest(heaps, centres)
    assert owner[0] == owner[1] != owner[2] == owner[3] != owner[4] == owner[5]


def test_nearness_is_a_distance_and_not_a_product() -> None:
    centres = np.array([[1.0, 0.0], [5.0, 0.0]], np.float32)
    assert nearest(np.array([[1.5, 0.0], [4.0, 0.0]], np.float32), centres).tolist() == [0, 1]


def test_centres_are_put_in_order_for_each_query() -> None:
    centres = np.array([[0.0], [4.0], [10.0]], np.float32)
    assert order_of_centres(np.array([[1.0], [8.0]], np.float32), centres).tolist() == [[0, 1, 2], [2, 1, 0]]


def test_fewer_vectors_than_clusters_and_equal_vectors_are_fine() -> None:
    same = np.ones((5, 3), np.float32)
    assert centroids(same, 9).tolist() == same.tolist()
    assert set(nearest(same, centroids(same, 9)).tolist()) == {0}
    assert centroids(np.empty((0, 3), np.float32), 4).shape == (0, 3)


def test_equal_vectors_give_equal_centres() -> None:
    vectors = np.random.default_rng(0).normal(size=(500, 8)).astype(np.float32)
    assert np.array_equal(centroids(vectors, 20), centroids(vectors.copy(), 20))
    # Each centre is the mean of what is nearest to it, or nearly so after ten rounds: closer than any start.
    found = centroids(vectors, 20)
    spread = ((vectors - found[nearest(vectors, found)]) ** 2).sum()
    start = vectors[np.linspace(0, 500, 20, endpoint=False).astype(int)]
    assert spread < 0.8 * ((vectors - start[nearest(vectors, start)]) ** 2).sum()
