"""The sum over the corpus is exact on small corpora and close on large ones."""

import numpy as np
import pytest
from scipy.special import logsumexp

from multitudes.index.exact import Exact
from multitudes.retrieve.normaliser import Normaliser, log_sum_exp


def test_on_a_small_corpus_the_sum_is_exact():
    rng = np.random.default_rng(0)
    vectors, queries = rng.standard_normal((500, 8)), rng.standard_normal((30, 8)).astype(np.float32)
    index = Exact.build(np.arange(500), vectors)
    found = Normaliser.build(index).log_sum(queries, index.search(queries, 10))
    np.testing.assert_allclose(found, logsumexp(queries @ vectors.T, axis=1), rtol=1e-5)


def test_large_scores_do_not_overflow_and_no_items_sum_to_nothing():
    one = np.array([[200.0]], dtype=np.float32)
    assert log_sum_exp(one, np.array([[1.0], [1.0]], np.float32))[0] == pytest.approx(200 + np.log(2))
    assert log_sum_exp(one, np.zeros((0, 1), np.float32))[0] == -np.inf


def test_items_left_out_do_not_count():
    vectors = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
    ids, one = np.array([4, 5, 9]), np.ones((2, 1), np.float32)
    found = log_sum_exp(one, vectors, (ids, [np.array([5, 77]), ids]))
    assert found[0] == pytest.approx(logsumexp([1, 3]))
    assert found[1] == -np.inf


def test_on_a_large_corpus_the_best_items_and_a_sample_come_close_where_the_sample_alone_does_not():
    rng = np.random.default_rng(1)
    vectors, queries = rng.standard_normal((40_000, 16)), rng.standard_normal((50, 16)).astype(np.float32)
    index = Exact.build(np.arange(40_000), vectors)
    exact = log_sum_exp(queries, index.vectors(index.ids()))
    normaliser = Normaliser.build(index)
    assert len(normaliser.ids_S) == 20_000

    def error(best: int) -> float:
        return float(np.abs(normaliser.log_sum(queries, index.search(queries, best)) - exact).max())

    assert error(best=100) < 0.05
    assert error(best=0) > 0.2
