"""The sum over a corpus of which not every score is computed."""

import numpy as np

from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import ANY_TOPIC
from multitudes.retrieval.catalogue import Normaliser


def test_the_best_items_and_a_sample_come_close_where_the_sample_alone_does_not():
    rng = np.random.default_rng(1)
    vectors, queries = rng.standard_normal((40_000, 16)), rng.standard_normal((50, 16)).astype(np.float32)
    index = LiveIndex(ExactIndex.build(np.arange(40_000), vectors))
    exact = index.search(queries, 1, log_sums=True).log_sum_Q
    assert exact is not None
    normaliser = Normaliser.build(index, ANY_TOPIC, 3_000)
    assert len(normaliser.ids_S) == 3_000

    def error(best: int) -> float:
        return float(np.abs(normaliser.log_sum(queries, index.search(queries, best)) - exact).max())

    assert error(best=100) < 0.1
    assert error(best=0) > 0.2


def test_a_sample_of_everything_is_exact_however_many_were_found():
    rng = np.random.default_rng(2)
    index = LiveIndex(ExactIndex.build(np.arange(500), rng.standard_normal((500, 8))))
    queries = rng.standard_normal((30, 8)).astype(np.float32)
    exact = index.search(queries, 1, log_sums=True).log_sum_Q
    assert exact is not None
    for best in (0, 10, 500):
        found = Normaliser.build(index, ANY_TOPIC, 3_000).log_sum(queries, index.search(queries, best))
        np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_the_sample_is_the_same_every_time():
    index = LiveIndex(ExactIndex.build(np.arange(99), np.random.default_rng(3).standard_normal((99, 2))))
    one, other = Normaliser.build(index, ANY_TOPIC, 10), Normaliser.build(index, ANY_TOPIC, 10)
    assert one.ids_S.tolist() == other.ids_S.tolist()
    assert Normaliser.build(index, ANY_TOPIC, 10, seed=1).ids_S.tolist() != one.ids_S.tolist()


def test_what_could_not_be_found_counts_as_what_was():
    rng = np.random.default_rng(4)
    vectors, queries = rng.standard_normal((20_000, 16)), rng.standard_normal((20, 16)).astype(np.float32)
    index = LiveIndex(ExactIndex.build(np.arange(20_000), vectors))
    best = index.search(queries, 300, log_sums=True)
    exact, normaliser = best.log_sum_Q, Normaliser.build(index, ANY_TOPIC, 3_000)
    assert exact is not None
    excluded = [np.sort(best.ids(q)[:200]) for q in range(20)]  # the best of all
    found = index.search(queries, 100, excluded=excluded)
    assert np.abs(normaliser.log_sum(queries, found, excluded) - exact).max() < 0.05
    assert np.abs(normaliser.log_sum(queries, found) - exact).max() > 0.2, "the control: of those, the sample has some"
    some = Normaliser.build(index, ANY_TOPIC, 20_000)
    np.testing.assert_allclose(some.log_sum(queries, found, excluded), exact, rtol=1e-5)
