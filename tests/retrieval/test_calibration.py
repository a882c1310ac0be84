"""Calibration: every taste of a history has its part of the list, and no more is changed than that takes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from multitudes.index.tastes import NO_TASTE
from multitudes.retrieval.allocation import taste_shares, with_tastes
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.search import calibrated_order, find_candidates
from tests.retrieval.worlds import catalogue, user_vectors

# Item 1 … 40 of a loud taste, which every list begins with; then 10 of a quiet one.
LOUD_AND_QUIET = np.array([[0] * 40 + [1] * 10], dtype=np.int16)


def tastes(order: np.ndarray, n: int) -> list[int]:
    counts: list[int] = np.bincount(LOUD_AND_QUIET[0, order[0, :n]], minlength=2).tolist()
    return counts


def test_a_quiet_taste_gets_its_part_and_the_rest_keeps_its_order():
    for n in (5, 10, 20):  # it is .4 of the history, of which one half is divided among tastes
        assert 0.2 * n <= tastes(calibrated_order(LOUD_AND_QUIET, np.array([[0.3, 0.2]])), n)[1] <= 0.4 * n
    order = calibrated_order(LOUD_AND_QUIET, np.array([[0.3, 0.2]]))[0]
    loud, quiet = order[order < 40], order[order >= 40]
    assert (np.diff(loud) > 0).all()
    assert (np.diff(quiet) > 0).all()
    # The control: without weights the list stays as it is, and so it does where it is as the history.
    assert calibrated_order(LOUD_AND_QUIET, np.zeros((1, 2))).tolist() == [list(range(50))]
    mixed = np.array([[0, 1] * 10], dtype=np.int16)
    assert calibrated_order(mixed, np.array([[0.25, 0.25]])).tolist() == [list(range(20))]


def test_an_item_comes_in_the_middle_of_the_places_that_its_part_gives_it():
    order = calibrated_order(LOUD_AND_QUIET, np.array([[0.0, 0.2]]))[0]
    assert np.flatnonzero(order >= 40).tolist()[:5] == [2, 7, 12, 17, 22], "the third of every five places"


@st.composite
def lists_of_tastes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    users, width, count = draw(st.integers(1, 4)), draw(st.integers(1, 60)), draw(st.integers(1, 5))
    weight = rng.dirichlet(np.ones(count), users) * draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    return rng.integers(NO_TASTE, count, (users, width)).astype(np.int16), weight


@given(world=lists_of_tastes())
@settings(deadline=None)
def test_each_taste_has_its_part_and_the_best_stay(world):
    taste_BM, weight_BT = world
    order_BM = calibrated_order(taste_BM, weight_BT)
    for taste_M, weight_T, order_M in zip(taste_BM, weight_BT, order_BM, strict=True):
        assert sorted(order_M.tolist()) == list(range(len(taste_M))), "nothing is lost"
        for n in range(1, len(taste_M) + 1):
            chosen = order_M[:n].tolist()
            for taste, weight in enumerate(weight_T.tolist()):
                available = int((taste_M == taste).sum())
                assert (taste_M[chosen] == taste).sum() >= min(available, int(weight * n - 0.5))
            kept = int((1 - weight_T.sum()) * n - 0.5)
            assert set(range(kept)) <= set(chosen)


def test_shares_count_the_items_of_each_taste():
    taste = np.array([NO_TASTE, 0, 0, 1, NO_TASTE], dtype=np.int16)
    positives = [np.array([1, 2, 3, 4]), np.array([3]), np.array([4]), np.array([], dtype=np.int64), np.array([3, 99])]
    assert taste_shares(positives, taste, 2).tolist() == [[2 / 3, 1 / 3], [0, 1], [0, 0], [0, 0], [0, 1]]


def test_two_users_of_different_tastes_get_different_parts_alone_and_together():
    axis = np.linspace(1.0, 0.5, 20)
    plain = catalogue(np.concatenate([np.outer(axis, [1, 0]), np.outer(axis, [0, 1])]))
    items = Catalogue(plain.index, plain.item_count, np.array([NO_TASTE] + [0] * 20 + [1] * 20, dtype=np.int16))
    # One vector, drawn to the first axis: its best ten are of the first taste alone.
    vectors = user_vectors(("unconditioned",), [[[5, 1]], [[5, 1]]])
    positives = [np.array([1, 2, 21, 22]), np.array([1, 2, 3, 4])]
    calibrated = with_tastes(vectors, positives, items, 1.0)
    both = find_candidates(calibrated, items, 10, positives, RetrieveConfig())
    assert [(one.item_N > 20).sum() for one in both] == [5, 0]
    for b, found in enumerate(both):
        alone = find_candidates(calibrated.select(slice(b, b + 1)), items, 10, positives[b : b + 1], RetrieveConfig())
        assert alone[0].item_N.tolist() == found.item_N.tolist()
    # The control: without calibration, or with none asked for, nobody gets the second taste.
    for uncalibrated in (vectors, with_tastes(vectors, positives, items, 0.0)):
        found_B = find_candidates(uncalibrated, items, 10, positives, RetrieveConfig())
        assert all((one.item_N <= 20).all() for one in found_B)
