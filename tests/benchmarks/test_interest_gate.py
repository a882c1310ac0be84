"""The gate over interests: hits as a slow count finds them, and a gate that learns what is planted in a feature."""

import numpy as np
import pytest
import torch
from benchmarks.interest_gate import Scored, fit, gate, measure

from benchmarks import interest_gate
from multitudes.batches.held_out import held_out_users
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.trained_run import TrainedRun, build_model
from multitudes.training.validation import ItemScores, first_time_targets
from tests.worlds import planted


@pytest.fixture(scope="module")
def run() -> TrainedRun:
    prepared = planted()[1]
    model = UserTowerConfig.model_validate({"width": 8, "history": 10, "crossing": {"hidden": 16}})
    torch.manual_seed(0)
    config = RunConfig(method="joint", seed=0, model=model, train=TrainConfig())
    return TrainedRun(prepared.path, prepared, config, build_model(prepared, "joint", model))


def test_the_hits_of_a_vector_are_those_of_its_inner_products(run: TrainedRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(interest_gate, "BUDGET", 10)
    figures, held = measure(run), held_out_users(run.prepared, "validation")
    scores, expected = ItemScores(run, held, np.arange(len(held)), 5), np.zeros(len(held))
    for row in range(len(held)):
        score = run.item_vectors() @ scores.users.vectors_BKD[row, 0]
        seen = run.prepared.event_item[run.prepared.event_offset[held.user_B[row]] : held.end_B[row]]
        score[[0, *seen]] = -np.inf
        expected[row] = len(set(np.argsort(-score)[:10].tolist()) & set(first_time_targets(held, row).tolist()))
    np.testing.assert_array_equal(figures["whole history"], expected)
    assert (figures["gate"] <= figures["targets"]).all()
    assert figures["targets"].sum() == sum(len(first_time_targets(held, row)) for row in range(len(held)))


def test_the_gate_learns_which_feature_tells_the_next_interest_and_not_a_shuffled_one():
    rng = np.random.default_rng(0)
    users, interests = 400, 4
    feature_BKF = torch.from_numpy(np.stack([np.zeros((users, interests)), rng.standard_normal((users, interests))], 2))
    mask_BK, user_M = torch.ones(users, interests, dtype=torch.bool), torch.arange(users).repeat(5)
    true_BK = (3 * feature_BKF[:, :, 1]).softmax(dim=1)
    next_M = torch.multinomial(true_BK[user_M], 1, generator=torch.Generator().manual_seed(0))[:, 0]
    log_p_MK = torch.full((len(user_M), interests), -9.0)
    log_p_MK[torch.arange(len(user_M)), next_M] = -1.0
    scored = Scored([], torch.zeros(users, interests), user_M, torch.zeros_like(user_M), log_p_MK)
    every = torch.ones(len(user_M), dtype=torch.bool)
    learned = fit(scored, feature_BKF, mask_BK, every)
    assert learned[1] > 2
    assert (gate(feature_BKF, mask_BK, learned).argmax(1) == true_BK.argmax(1)).float().mean() > 0.95
    shuffled = feature_BKF[torch.from_numpy(rng.permutation(users))]
    assert abs(fit(scored, shuffled, mask_BK, every)[1]) < 0.3
