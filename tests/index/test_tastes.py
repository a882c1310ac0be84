"""Tastes: planted directions come back as clusters; what has no direction has no taste."""

import numpy as np

from multitudes.index.tastes import NO_TASTE, cluster_items, nearest_tastes
from tests.metrics.rand_index import adjusted_rand_index

RNG = np.random.default_rng(0)


def planted(items: int = 400, tastes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    direction = RNG.integers(0, tastes, items)
    vectors = np.eye(tastes, 16)[direction] + 0.1 * RNG.normal(size=(items, 16))
    return vectors.astype(np.float32), direction


def test_planted_directions_come_back_and_noise_has_none() -> None:
    vectors, direction = planted()
    scaled = vectors * RNG.uniform(0.1, 10, (len(vectors), 1)).astype(np.float32)  # only directions count
    centres = cluster_items(scaled, 5)
    assert adjusted_rand_index(nearest_tastes(scaled, centres), direction) > 0.95
    np.testing.assert_allclose(centres, cluster_items(vectors, 5), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, rtol=1e-5)
    noise = RNG.normal(size=(400, 16)).astype(np.float32)
    other = cluster_items(RNG.permutation(noise), 5, seed=7)
    assert adjusted_rand_index(nearest_tastes(noise, cluster_items(noise, 5)), nearest_tastes(noise, other)) < 0.5


def test_an_item_without_a_vector_has_no_taste_and_few_items_have_fewer() -> None:
    vectors, _ = planted()
    with_zeros = np.concatenate([np.zeros((50, 16), dtype=np.float32), vectors])
    centres = cluster_items(with_zeros, 5)
    assert (centres == cluster_items(vectors, 5)).all()
    assert (nearest_tastes(with_zeros, centres)[:50] == NO_TASTE).all()
    assert len(cluster_items(vectors[:12], 5)) == 3
    assert cluster_items(vectors[:0], 5).shape == (0, 16)
    assert (nearest_tastes(vectors[:3], cluster_items(vectors[:3], 5)) == NO_TASTE).all()
