"""The settings of neighbours: which are tried, in which order, and which are kept; what a model of low rank adds."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from multitudes.linear.history import HistoryModel, LinearFactors, LinearFit
from multitudes.linear.neighbour_fit import (
    LOW_RANK_WEIGHTS,
    NEIGHBOURS,
    RECENCIES,
    choose_neighbours,
    fit_rows,
    strongest_entries,
)
from multitudes.linear.neighbours import NeighbourFit, Neighbours

DENSE = (np.random.default_rng(0).random((200, 13)) < np.linspace(0, 0.5, 13)).astype(np.float32)  # column 0 is empty
MATRIX = csr_array(DENSE)
ELSA = LinearFit(model="elsa", regularisation=0.0, normalisation=0.1)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"root": 80.0, "user_exponent": 0.3, "recency": 0.75},
        {"ridge": 1000.0},
        {"low_rank": ELSA, "low_rank_weight": 0.5, "recency": 0.0},
    ],
)
def test_the_penalty_is_chosen_first_then_users_and_low_rank_and_the_recency_without_a_fit(
    wanted: dict[str, Any],
) -> None:
    best = NeighbourFit(**wanted)
    dense = fit_rows(MATRIX, best).matrix().toarray()
    judged: list[Neighbours] = []

    def judge(found: HistoryModel, recency: float) -> float:
        if isinstance(found, LinearFactors):
            input_IR, output_IR = found
            return -float(np.abs(output_IR - input_IR * DENSE.sum(axis=0)[:, None] ** 0.1).sum()) - recency
        assert isinstance(found, Neighbours)
        judged.append(found)
        return -float(np.abs(found.matrix().toarray() - dense).sum()) - abs(recency - best.recency)

    told: list[tuple[int, int]] = []
    found = choose_neighbours(MATRIX, judge, lambda done, total, _="": told.append((done, total)))
    assert found.settings == best
    np.testing.assert_array_equal(found.rows.matrix().toarray(), dense)
    trials, mixed = found.trials, len(LOW_RANK_WEIGHTS)
    assert [(one["ridge"], one["root"]) for one in trials[:3]] == [(300, 0), (300, 80), (1000, 0)]
    assert [one["user_exponent"] for one in trials] == [0, 0, 0, 0.3] + [best.user_exponent] * (mixed + 3)
    assert [one["low_rank_weight"] for one in trials[3:]] == [0, *LOW_RANK_WEIGHTS] + [best.low_rank_weight] * 3
    assert [one["recency"] for one in trials] == [RECENCIES[0]] * (4 + mixed) + [*RECENCIES[1:]]
    assert all(one is found.rows for one in judged[4 + mixed :])
    assert sorted(told) == told
    assert told[-1] == (7 + mixed, 7 + mixed)
    assert found.hit_rate == max(one["hit_rate"] for one in trials) <= 0


def test_the_strongest_entries_are_the_largest_weights_between_two_items() -> None:
    draw = np.random.default_rng(0)
    input_IR, output_IR = draw.standard_normal((2, 901, 5)).astype(np.float32)
    input_IR[0] = output_IR[0] = 0
    output_IR[7] = 0  # an item without a vector is in no row
    found = strongest_entries(LinearFactors(input_IR, output_IR)).toarray()
    weight_II = input_IR @ output_IR.T
    np.fill_diagonal(weight_II, 0)
    least_I1 = np.sort(weight_II, axis=1)[:, -NEIGHBOURS, None]
    np.testing.assert_allclose(found, np.where((weight_II >= least_I1) & (weight_II > 0), weight_II, 0), rtol=1e-4)
    assert (np.count_nonzero(found[1:], axis=1) == NEIGHBOURS).all()


def interactions(draw: np.random.Generator, users: int, taste_items: int) -> csr_array:
    """Return three items of one of ten tastes for each user."""
    item = np.stack([draw.choice(taste_items, 3, replace=False) for _ in range(users)])
    item += 1 + taste_items * draw.integers(10, size=(users, 1))
    offset = np.arange(0, item.size + 1, 3)
    return csr_array((np.ones(item.size, dtype=np.float32), item.ravel(), offset), shape=(users, 10 * taste_items + 1))


@pytest.mark.parametrize(("users", "helps"), [(1500, True), (200, False)])
def test_low_rank_joins_items_that_never_occur_together(users: int, helps: bool) -> None:
    """Half of the pairs of a taste never occur; with too few users nothing can be learned of them: the control."""
    draw = np.random.default_rng(0)
    matrix, taste_I = interactions(draw, users, 60), (np.arange(601) - 1) // 60
    ridge = fit_rows(matrix, NeighbourFit(ridge=10.0))
    both = fit_rows(matrix, NeighbourFit(ridge=10.0, low_rank=ELSA, low_rank_weight=1.0))

    def of_taste(rows: Neighbours) -> float:
        """Return the share of the pairs of a taste that are among the 59 strongest of the item."""
        score_II = rows.matrix().toarray()[1:, 1:] + 1e-9 * draw.random((600, 600))
        top_IN = np.argsort(-score_II, axis=1)[:, :59]
        return float((taste_I[1:][top_IN] == taste_I[1:, None]).mean())

    gain = of_taste(both) - of_taste(ridge)
    assert gain > 0.2 if helps else gain < 0.2
