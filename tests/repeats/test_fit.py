"""The model finds a planted gap, and without repeats it says so."""

import numpy as np
import pytest

from multitudes.batches.held_out import held_out_users
from multitudes.data.own_items import group_events, prepared_items
from multitudes.repeats import fit_repeats, item_features, log_softmax, repeat_rates
from tests.evaluation.worlds import prepared
from tests.repeats.worlds import planted_gap, without_repeats


def fit(data):
    model = fit_repeats(data, "test")
    assert model is not None
    return model


def rank_own_items(data, model):
    held = held_out_users(data, "test")
    own = prepared_items(data, held.user_B, held.end_B)
    return own, model.rank(own, repeat_rates(data)[own.item_M])


def best_items(own, score_M):
    return [own.item_M[a:b][np.argmax(score_M[a:b])] for a, b in zip(own.offset, own.offset[1:], strict=False)]


def test_the_item_that_is_due_comes_first_and_neither_recency_nor_frequency_finds_it(tmp_path):
    data, due = planted_gap(tmp_path)
    model = fit(data)
    own, ranked = rank_own_items(data, model)
    assert np.mean(best_items(own, ranked.log_p_M) == due) > 0.95
    assert np.mean(best_items(own, own.newest_M) == due) < 0.05
    assert np.mean(best_items(own, own.count_M) == due) < 0.5
    share_B = 1 - np.exp(ranked.log_new_B)
    assert (share_B > 0.9).all(), "every target is a repeat"


def test_probabilities_sum_to_one_with_a_new_item_and_of_places_to_the_hit_rate(tmp_path):
    data, _ = planted_gap(tmp_path, users=20)
    model = fit(data)
    _, ranked = rank_own_items(data, model)
    total_B = np.add.reduceat(np.exp(ranked.log_p_M), ranked.offset[:-1]) + np.exp(ranked.log_new_B)
    np.testing.assert_allclose(total_B, 1)
    log_p_N = model.log_place_probabilities(model.depth)
    assert np.exp(log_p_N).sum() == pytest.approx(model.hit_rate)
    assert (np.diff(log_p_N) <= 0).all()


def test_the_share_is_that_of_the_data_and_without_repeats_there_is_no_model(tmp_path):
    data = without_repeats(tmp_path, users=100, repeated=3)
    _, ranked = rank_own_items(data, fit(data))
    assert np.mean(1 - np.exp(ranked.log_new_B)) == pytest.approx(0.03, abs=0.005)
    assert fit_repeats(without_repeats(tmp_path), "test") is None


def test_probabilities_sum_to_the_share_and_a_user_without_items_has_none(tmp_path):
    data, _ = planted_gap(tmp_path, users=20)
    model = fit(data)
    own = group_events(np.array([0, 0]), np.array([1, 2]), 2)
    ranked = model.rank(own, np.zeros(2, dtype=np.float32))
    new_B = np.exp(ranked.log_new_B)
    assert np.exp(ranked.log_p_M).sum() == pytest.approx(1 - new_B[0])
    assert new_B[1] == 1


def test_a_known_choice_is_fitted_as_it_was_drawn(tmp_path):
    """Targets are drawn by the model itself, with weights that the fit has to find."""
    rng = np.random.default_rng(0)
    past = [rng.integers(1, 9, 24).tolist() for _ in range(3000)]
    user_E = np.repeat(np.arange(len(past)), 24)
    own = group_events(user_E, np.concatenate(past), len(past))
    weights = np.array([1.2, -0.4, -0.8, -0.9, 0.0])
    log_p_M = log_softmax(item_features(own, np.zeros(len(own.item_M), dtype=np.float32)) @ weights, own.offset)
    chosen = [
        [int(rng.choice(own.item_M[a:b], p=np.exp(log_p_M[a:b])))]
        for a, b in zip(own.offset, own.offset[1:], strict=False)
    ]
    data = prepared(tmp_path, past, chosen, topics=[[1]] * 8)
    fitted = np.array(fit(data).item_weights)
    np.testing.assert_allclose(fitted[[0, 2, 3]], weights[[0, 2, 3]], atol=0.25)


def test_rates_say_which_items_users_return_to(tmp_path):
    past = [[1, 1, 2, 3]] * 40 + [[2, 3, 2]]
    rate_I = repeat_rates(prepared(tmp_path, past, [[1]] * 41, topics=[[1]] * 4))
    assert rate_I[1] > 0.5
    assert rate_I[2] < 0
    assert rate_I[0] == 0
    assert rate_I[4] == pytest.approx(0, abs=1e-6), "an item without users has the average rate"
