"""A step corrects its targets by how often they are among the negatives, and cuts long gradients."""

import numpy as np
import pytest
import torch

from multitudes.batches.examples import Examples
from multitudes.batches.negatives import log_inclusion_probability
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training import step
from multitudes.training.checkpoint import TrainingState
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.objective import batch_loss
from tests.worlds import planted

CONFIG = RunConfig(
    method="single",
    model=UserTowerConfig.model_validate({"width": 8, "history": 10, "crossing": {"hidden": 16}}),
    train=TrainConfig(batch_size=16, window=3, in_batch=40, uniform=21),
)


def after_gradients() -> TrainingState:
    prepared = planted()[1]
    state = step.initial_state(prepared, CONFIG)
    state.position.step = 1
    made = Examples(prepared, history=10, window=3, condition="match")
    step.compute_gradients(state, made, next(iter(made.windows.epoch_batches(16, seed=0, epoch=0))), CONFIG)
    return state


def test_targets_are_corrected_by_how_often_they_are_among_the_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def record_call(model, batch, pool, target_log_q, *rest):
        calls.append((batch, target_log_q))
        return batch_loss(model, batch, pool, target_log_q, *rest)

    monkeypatch.setattr(step, "batch_loss", record_call)
    state = after_gradients()
    ((batch, log_q),) = calls
    for item, found in ((batch.target_BW, log_q.window_BW), (batch.dense.target_T, log_q.dense_T)):
        expected = log_inclusion_probability(item.ravel(), planted()[1].n_items, 21, state.frequency, use_batch=True)
        assert np.array_equal(found.ravel(), expected)
        assert (expected < 0).all(), "a correction, and not nothing"


def test_each_step_draws_its_own_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, seeds = planted()[1], []
    state, made = (step.initial_state(prepared, CONFIG), Examples(prepared, history=10, window=3, condition="match"))
    windows = next(iter(made.windows.epoch_batches(16, seed=0, epoch=0)))

    def record_call(*given):
        seeds.append(torch.initial_seed())
        return batch_loss(*given)

    monkeypatch.setattr(step, "batch_loss", record_call)
    for number in (1, 2, 1):
        state.position.step = number
        step.compute_gradients(state, made, windows, CONFIG)
    assert seeds[0] == seeds[2] != seeds[1], "of the seed and the step, and of nothing else"


def test_large_gradients_are_clipped() -> None:
    state = after_gradients()
    for weight in step.dense_weights(state.model):
        if weight.grad is not None:
            weight.grad *= 1e6
    step.optimizer_step(state)
    norms = [weight.grad.norm() for weight in step.dense_weights(state.model) if weight.grad is not None]
    assert torch.stack(norms).norm() == pytest.approx(step.MAX_GRADIENT_NORM, rel=1e-4)
