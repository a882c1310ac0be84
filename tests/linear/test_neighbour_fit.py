"""The settings of neighbours: which are tried, in which order, and which are kept."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from multitudes.linear.neighbour_fit import RECENCIES, choose_neighbours, fit_neighbours, nearest_neighbours
from multitudes.linear.neighbours import NeighbourFit, Neighbours

DENSE = (np.random.default_rng(0).random((200, 13)) < np.linspace(0, 0.5, 13)).astype(np.float32)  # column 0 is empty
MATRIX = csr_array(DENSE)


@pytest.mark.parametrize("wanted", [{}, {"root": 80.0, "user_exponent": 0.3, "recency": 0.75}, {"ridge": 1000.0}])
def test_the_penalty_is_chosen_first_then_the_weight_of_users_and_the_recency_without_a_fit(
    wanted: dict[str, Any],
) -> None:
    best = NeighbourFit(**wanted)
    (rows,) = fit_neighbours(MATRIX, nearest_neighbours(MATRIX), [best])
    judged: list[Neighbours] = []

    def judge(found: Neighbours, recency: float) -> float:
        judged.append(found)
        return -float(np.abs(found.weight_E - rows.weight_E).sum()) - abs(recency - best.recency)

    told: list[tuple[int, int]] = []
    found, chosen, trials = choose_neighbours(MATRIX, judge, lambda done, total, _="": told.append((done, total)))
    assert chosen == best
    np.testing.assert_array_equal(found.weight_E, rows.weight_E)
    assert [(one["ridge"], one["root"]) for one in trials[:3]] == [(300, 0), (300, 80), (1000, 0)]
    assert [one["user_exponent"] for one in trials] == [0, 0, 0, 0.3] + [best.user_exponent] * 3
    assert [one["recency"] for one in trials] == [RECENCIES[0]] * 4 + [*RECENCIES[1:]]
    assert all(one is found for one in judged[4:])
    assert told == [(done, 7) for done in range(1, 8)]
    assert all(one["hit_rate"] <= 0 for one in trials)
