"""Neighbours: the fit against the closed form of EASE, what they find in planted worlds, and odd input."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from multitudes.errors import ArtefactError
from multitudes.linear import neighbour_fit
from multitudes.linear.ease import EaseSpectrum
from multitudes.linear.history import recency_weights
from multitudes.linear.interactions import history_matrix
from multitudes.linear.neighbour_fit import fit_rows
from multitudes.linear.neighbours import NeighbourFit, Neighbours, history_terms
from tests.linear.test_ease import closed_form

SETTINGS = NeighbourFit(ridge=5.0)


def interactions(rows, items):
    dense = np.zeros((len(rows), items + 1), dtype=np.float32)
    for user, row in enumerate(rows):
        dense[user, row] = 1
    return csr_array(dense)


def random_interactions(users=80, items=30, seed=0):
    draw = np.random.default_rng(seed)
    return interactions([1 + draw.choice(items, draw.integers(2, 9), replace=False) for _ in range(users)], items)


def fit(matrix, settings=SETTINGS):
    return fit_rows(matrix, settings)


@pytest.mark.parametrize("most_dense_items", [0, 11_000])
def test_with_every_item_as_a_neighbour_the_rows_are_those_of_ease(most_dense_items, monkeypatch):
    """Items that share no user with another are no neighbours of it, so in this world every pair shares one."""
    monkeypatch.setattr(neighbour_fit, "_MAX_DENSE_ITEMS", most_dense_items)
    matrix = interactions([np.arange(1, 13), *(1 + np.random.default_rng(0).choice(12, (60, 4)))], 12)
    rows = fit(matrix).matrix().toarray()
    np.testing.assert_allclose(rows, closed_form(matrix, 5.0), atol=1e-5)
    assert not rows.diagonal().any(), "an item does not predict itself"


def test_penalty_by_popularity_and_weight_of_users_are_those_of_the_formula():
    matrix = interactions([np.arange(1, 9), *(1 + np.random.default_rng(0).choice(8, (40, 3)))], 8)
    settings = NeighbourFit(ridge=2.0, root=3.0, user_exponent=0.5)
    x_UI = matrix.toarray()[:, 1:].astype(np.float64)
    n_U = x_UI.sum(axis=1)
    d_U = n_U**-0.5 * x_UI.sum() / (n_U**-0.5 @ n_U)
    gram = x_UI.T @ (d_U[:, None] * x_UI)
    others = np.arange(1, 8)  # the neighbours of the first item: all others
    penalty = 2.0 + 3.0 * np.sqrt(x_UI.sum(axis=0))[others]
    expected = np.linalg.solve(gram[np.ix_(others, others)] + np.diag(penalty), gram[others, 0])
    np.testing.assert_allclose(fit(matrix, settings).matrix().toarray()[1 + others, 1], expected, atol=1e-5)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    matrix, found = random_interactions(items=700, users=900), []
    monkeypatch.setattr(neighbour_fit, "_MAX_DENSE_ITEMS", 0)
    for threads in (1, 4):
        monkeypatch.setattr(neighbour_fit, "chosen_threads", lambda threads=threads: threads)
        found.append(fit(matrix))
    for one, other in zip(*found, strict=True):
        assert (one == other).all()


def test_an_interrupted_fit_begins_no_other_chunk(monkeypatch):
    monkeypatch.setattr(neighbour_fit, "_ITEMS_PER_CHUNK", 1)
    monkeypatch.setattr(neighbour_fit, "chosen_threads", lambda: 1)
    matrix, told = random_interactions(), []

    def interrupt(done, total, note=""):
        told.append((done, total, note))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_rows(matrix, SETTINGS, interrupt)
    assert len(told) == 1


def test_two_tastes_that_share_no_user_never_cross():
    draw = np.random.default_rng(0)
    rows = fit(interactions([1 + 10 * (user % 2) + draw.choice(10, 4, replace=False) for user in range(60)], 20))
    matrix = rows.matrix().toarray()
    assert not matrix[1:11, 11:].any()
    assert not matrix[11:, 1:11].any()
    assert matrix[1:11, 1:11].any()


def test_neighbours_find_what_no_vector_of_few_dimensions_can():
    """The rank trap: 200 tastes of three items each; a linear model of rank 16 cannot tell them apart."""
    tastes, rank, pairs = 200, 16, np.array([[0, 1], [0, 2], [1, 2]])
    matrix = interactions(
        [1 + 3 * (user % tastes) + pairs[user // tastes % 3] for user in range(9 * tastes)], 3 * tastes
    )
    first_I = np.arange(1, 3 * tastes, 3)
    history = csr_array((np.ones(tastes), (np.arange(tastes), first_I)), shape=(tastes, 3 * tastes + 1))
    factors = EaseSpectrum(matrix, rank).factors(5.0)
    low_rank = (history @ factors.input_IR) @ factors.output_IR.T
    found = []
    for score_BI in (fit(matrix).scores(history), np.array(low_rank)):
        score_BI[np.arange(tastes), first_I] = -np.inf  # seen
        best = np.sort(np.argsort(-score_BI, axis=1)[:, :2], axis=1)
        found.append((best == first_I[:, None] + [1, 2]).mean())
    assert found[0] == 1.0
    assert found[1] < 0.4


@pytest.mark.parametrize(
    "rows",
    [
        [[1, 2], [1, 3], [1], [1, 2, 3, 4]],  # an item with one user, and one that everybody has
        [list(range(1, 2001)), [1, 2], [2, 3]],  # a user of everything
        [[1, 2], [1, 2], [3, 4], [3, 4]],  # equal items
        [[1], [2], [3]],  # nobody has two
    ],
)
def test_odd_input_gives_finite_rows(rows):
    items = max(map(max, rows))
    found = fit(interactions([np.array(row) for row in rows], items))
    assert np.isfinite(found.weight_E).all()
    assert found.problem(items) == ""


def test_a_row_keeps_its_strongest_entries(monkeypatch):
    matrix = random_interactions()
    whole = fit(matrix).matrix().toarray()
    monkeypatch.setattr(neighbour_fit, "MAX_ROW", 3)
    kept = fit(matrix).matrix().toarray()
    assert (np.count_nonzero(kept, axis=1) <= 3).all()
    for row, all_of_row in zip(kept, whole, strict=True):
        assert np.abs(row[row != 0]).min(initial=np.inf) >= np.sort(np.abs(all_of_row))[-4]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("spread", [1, 400])  # sums over all items, and over sorted entries
def test_the_terms_of_a_history_are_the_rows_of_its_items_and_sum_to_the_scores(seed, spread):
    rows = fit(random_interactions(seed=seed))
    if spread > 1:  # the same rows with item numbers far apart
        offset = np.zeros(30 * spread + 2, dtype=np.int64)
        offset[spread * np.arange(31) + 1] = np.diff(rows.offset_I)
        rows = Neighbours(np.cumsum(offset), rows.item_E * spread, rows.weight_E)
    items = spread * np.array([3, 11, 5, 29])
    terms = history_terms(rows, items, recency_weights(4, 0.5))
    item_U, sum_U = terms.sums()
    expected = rows.scores(history_matrix([items], rows.n_items, 0.5))[0]
    assert (np.diff(item_U) > 0).all()
    np.testing.assert_allclose(sum_U, expected[item_U], atol=1e-6)
    assert not np.delete(expected, item_U).any()
    assert set(terms.place_E.tolist()) <= {0, 1, 2, 3}


def test_the_newest_item_weighs_most_and_an_item_after_the_fit_nothing():
    rows = fit(random_interactions())
    weights = recency_weights(3, 0.5)
    np.testing.assert_allclose(weights, np.array([3, 2, 1]) ** -0.5, rtol=1e-6)
    newer = history_terms(rows, np.array([3, 400]), np.ones(2, dtype=np.float32))
    assert set(newer.place_E.tolist()) == {0}


def test_saved_rows_are_opened_as_they_were_and_damage_is_one_line(tmp_path):
    rows = fit(random_interactions())
    rows.save(tmp_path)
    for one, other in zip(rows, Neighbours.open(tmp_path, 30), strict=True):
        assert (one == other).all()
    with pytest.raises(ArtefactError, match="holds rows of 30 items; expected 31; train again"):
        Neighbours.open(tmp_path, 31)
    np.save(tmp_path / "neighbour_weight.npy", rows.weight_E[:-1])
    with pytest.raises(ArtefactError, match="do not fit"):
        Neighbours.open(tmp_path, 30)
    (tmp_path / "neighbour_item.npy").unlink()
    with pytest.raises(ArtefactError, match="missing; train again"):
        Neighbours.open(tmp_path, 30)


def test_a_large_corpus_has_fewer_neighbours_of_each_item():
    assert [neighbour_fit.neighbours_of_each(items) for items in (10, 200_000, 500_000, 10**7)] == [200, 200, 100, 50]
