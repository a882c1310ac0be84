"""The pool of negatives: what its logQ claims is what happens."""

import numpy as np

from multitudes.batches.negatives import StreamingFrequency, draw_pool

ITEMS = 50


def test_log_q_is_the_log_of_how_often_an_item_is_in_the_pool() -> None:
    random = np.random.default_rng(0)
    popularity = np.arange(1, ITEMS + 1) ** -1.0
    popularity /= popularity.sum()
    frequency = StreamingFrequency.uniform(ITEMS, per_step=20, rate=0.02)
    steps, seen, claimed = 3000, np.zeros(ITEMS + 1), np.zeros(ITEMS + 1)
    for step in range(1, steps + 1):
        positives = random.choice(np.arange(1, ITEMS + 1), size=40, p=popularity)
        pool = draw_pool(positives, ITEMS, 20, 5, frequency, step, random)
        if step > steps // 2:
            seen[pool.item_N] += 1
            claimed[pool.item_N] = np.exp(pool.log_q_N)
    share = seen / (steps - steps // 2)
    assert np.abs(share[1:] - claimed[1:]).max() < 0.12
    assert np.abs(share[1:] - claimed[1:]).mean() < 0.04
    assert share[1] > 5 * share[-1], "the control: popularity does differ"


def test_the_pool_holds_each_item_once_and_without_in_batch_negatives_q_is_uniform() -> None:
    frequency = StreamingFrequency.uniform(ITEMS, 10)
    pool = draw_pool(np.repeat([3, 4], 30), ITEMS, 40, 30, frequency, 1, np.random.default_rng(0))
    assert len(np.unique(pool.item_N)) == len(pool.item_N)
    assert pool.item_N.min() >= 1
    assert {3, 4} <= set(pool.item_N.tolist())
    frequency = StreamingFrequency.uniform(ITEMS, 0)
    pool = draw_pool(np.array([1, 1, 2]), ITEMS, 0, 10, frequency, 1, np.random.default_rng(0))
    np.testing.assert_allclose(np.exp(pool.log_q_N), 1 - (1 - 1 / ITEMS) ** 10, rtol=1e-5)


def test_the_estimate_follows_a_change_of_rate() -> None:
    frequency = StreamingFrequency.uniform(3, per_step=1, rate=0.1)
    for step in range(1, 201):
        frequency.update(step, np.array([1]) if step % 2 else np.array([1, 2]))
    often, half, never = frequency.probability(np.array([1, 2, 3]))
    assert abs(often - 1.0) < 0.01
    assert abs(half - 0.5) < 0.05
    assert never < 0.5
