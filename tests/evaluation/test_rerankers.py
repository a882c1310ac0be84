"""The re-rankers, beside greedy searches that compute the objective of every list anew."""

import numpy as np
import pytest

from multitudes.evaluation.reranked import cosines, dpp, mmr, relevance, steck

M, N, TASTES, USERS = 12, 6, 3, 4


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    vectors_BMD = rng.normal(size=(USERS, M, 4)).astype(np.float32)
    history_BT = rng.dirichlet(np.ones(TASTES), size=USERS)
    taste_BM = rng.integers(-1, TASTES, size=(USERS, M))
    item_BM = np.tile(np.arange(1, M + 1), (USERS, 1))
    return item_BM, vectors_BMD, taste_BM, history_BT


def greedy(objective, n):
    chosen: list[int] = []
    for _ in range(n):
        chosen.append(max((c for c in range(M) if c not in chosen), key=lambda c: objective([*chosen, c])))
    return chosen


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.8])
def test_calibration_is_greedy_in_the_sum_of_relevance_and_divergence(world, weight):
    item_BM, _, taste_BM, history_BT = world
    found_BN = steck(relevance(item_BM), taste_BM, history_BT, N, weight)
    for b in range(USERS):

        def objective(columns, b=b):
            q = np.array([(taste_BM[b, columns] == t).mean() for t in range(TASTES)])
            p = history_BT[b]
            kl = (p * np.log(p / (0.99 * q + 0.01 * p))).sum()
            return (1 - weight) * sum(1 - c / M for c in columns) - weight * kl

        assert found_BN[b].tolist() == greedy(objective, N)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.8])
def test_mmr_takes_the_nearest_chosen_item_off_the_relevance(world, weight):
    item_BM, vectors_BMD, _, _ = world
    cosine_BMM = cosines(vectors_BMD)
    found_BN = mmr(relevance(item_BM), cosine_BMM, N, weight)
    for b in range(USERS):

        def objective(columns, b=b):
            *before, new = columns
            nearest = max((cosine_BMM[b, new, c] for c in before), default=0)
            return (1 - weight) * (1 - new / M) - weight * nearest

        assert found_BN[b].tolist() == greedy(objective, N)


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.8])
def test_dpp_is_greedy_in_the_determinant(world, weight):
    item_BM, _, _, _ = world
    cosine_BMM = cosines(np.random.default_rng(1).normal(size=(USERS, M, 16)).astype(np.float32))
    found_BN = dpp(relevance(item_BM), cosine_BMM, N, weight)
    for b in range(USERS):

        def objective(columns, b=b):
            kernel = (1 + cosine_BMM[b][np.ix_(columns, columns)].astype(np.float64)) / 2
            return (1 - weight) * sum(1 - c / M for c in columns) + weight * np.linalg.slogdet(kernel)[1]

        assert found_BN[b].tolist() == greedy(objective, N)


def test_places_without_an_item_are_chosen_last(world):
    item_BM, vectors_BMD, taste_BM, history_BT = world
    item_BM[0, 4:] = 0
    taste_BM[0, 4:] = -1
    gain_BM, cosine_BMM = relevance(item_BM), cosines(vectors_BMD)
    for found_BN in (
        steck(gain_BM, taste_BM, history_BT, N, 0.9),
        mmr(gain_BM, cosine_BMM, N, 0.9),
        dpp(gain_BM, cosine_BMM, N, 0.9),
    ):
        assert sorted(found_BN[0, :4].tolist()) == [0, 1, 2, 3]
        assert all(len(set(row)) == N for row in found_BN[1:].tolist())


def test_more_items_than_dimensions_still_fill_the_list(world):
    item_BM, vectors_BMD, _, _ = world  # of four dimensions: the kernel has rank five
    found_BN = dpp(relevance(item_BM), cosines(vectors_BMD), 10, 0.5)
    assert all(len(set(row)) == 10 for row in found_BN.tolist())
