"""The loss of a batch, in which every item is looked up once, against the plain path of evaluation."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from multitudes.batches.examples import Batch, Examples
from multitudes.batches.negatives import NegativePool
from multitudes.nn.two_tower import HistoryInputs, TwoTower
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training.config import TrainConfig
from multitudes.training.objective import TargetLogQ, batch_loss, total_loss, unique_values
from multitudes.training.trained_run import build_model
from tests.batches.targets import batches
from tests.worlds import planted


@given(st.lists(st.integers(0, 30), min_size=1))
def test_unique_values_equal_those_of_torch(values: list[int]) -> None:
    found, place = unique_values(torch.tensor(values), 31)
    expected, inverse = np.unique(values, return_inverse=True)
    assert np.array_equal(found.numpy(), expected)
    assert np.array_equal(place.numpy(), inverse)


def model_and_batch() -> tuple[TwoTower, Batch]:
    prepared = planted()[1]
    torch.manual_seed(0)
    config = UserTowerConfig.model_validate({"width": 8, "history": 10, "crossing": {"hidden": 16}})
    model = build_model(prepared, "joint", config).eval()  # evaluation mode: no dropout, first seed = most recent
    made = Examples(prepared, history=10, window=3, condition="match")
    return model, next(batches(made, 6, 0, 0))


def mean_losses(
    model: TwoTower, batch: Batch, pool: NegativePool, log_q: float, **settings: object
) -> dict[str, torch.Tensor]:
    """Return the losses of a batch under settings of training; the targets have the same log q."""
    targets = TargetLogQ(*(np.full(a.shape, log_q, dtype=np.float32) for a in (batch.target_BW, batch.dense.target_T)))
    sums = batch_loss(model, batch, pool, targets, TrainConfig.model_validate(settings), torch.Generator())
    return {kind: loss.mean() for kind, loss in sums.items()}


def test_the_total_weighs_the_loss_of_followed_topics() -> None:
    losses = {"single": torch.tensor(1.0), "implicit": torch.tensor(2.0), "explicit": torch.tensor(4.0)}
    assert total_loss(losses, TrainConfig(explicit_weight=0.5)).item() == 5.0


def test_the_loss_equals_a_slow_definition() -> None:
    model, batch = model_and_batch()
    pool = NegativePool(np.arange(1, 40), np.log(np.linspace(0.1, 0.9, 39)).astype(np.float32))
    losses = mean_losses(model, batch, pool, -1.0, association="argmax")

    def users(follows_B: np.ndarray, valid_BL: np.ndarray) -> HistoryInputs:
        item, action, _, follow, feature = (torch.from_numpy(a) for a in batch.histories)
        inputs = model.items.inputs(item.flatten()).view(*item.shape, -1)
        follow = follow * torch.from_numpy(follows_B)[:, None]
        return HistoryInputs(
            inputs, action, torch.from_numpy(valid_BL), follow, torch.from_numpy(batch.condition_BC), feature
        )

    with torch.no_grad():
        interests = model.user_vectors(users(batch.follows_known_B, batch.past_BL)).interests
        psi = model.item_vectors(model.items.inputs(torch.arange(planted()[1].n_items + 1)), model.items.content_NE)
    pool_log_q = torch.from_numpy(pool.log_q_N)

    def softmax_loss(vector_D: torch.Tensor, target: int, own: set[int]) -> float:
        score = psi @ vector_D
        pooled = enumerate(pool.item_N.tolist())
        negatives = [float(score[i] - pool_log_q[n]) for n, i in pooled if i not in own]
        positive = float(score[target]) + 1.0
        return float(torch.tensor([positive, *negatives]).logsumexp(0)) - positive

    def loss(b: int, w: int, k: int) -> float:
        own = set(batch.target_BW[b].tolist())
        return softmax_loss(interests.vectors_BKD[b, k], int(batch.target_BW[b, w]), own)

    dense, place_L = batch.dense, np.arange(batch.past_BL.shape[1])
    single = []
    for t, target in enumerate(dense.target_T.tolist()):
        b, column = dense.row_S[dense.moment_T[t]], dense.column_S[dense.moment_T[t]]
        known = batch.histories.valid_BL & (place_L >= column) & (column >= 0)
        follows = np.full(len(known), dense.follows_known_S[dense.moment_T[t]])
        with torch.no_grad():
            then = model.user_vectors(users(follows, known)).interests
        own = {int(dense.target_T[o]) for o in np.flatnonzero(dense.row_S[dense.moment_T] == b)}
        if then.mask_BK[b, 0]:
            single.append(softmax_loss(then.vectors_BKD[b, 0], target, own))
    assert len(np.unique(dense.column_S)) > 1, "targets are predicted from different moments"
    assert abs(losses["single"].item() - np.mean(single)) < 1e-4
    targets = [(b, w) for b, w in zip(*np.nonzero(batch.target_BW), strict=True)]
    nearest = []
    for b, w in targets:
        existing = [k for k in range(1, 5) if interests.mask_BK[b, k]]
        if existing:
            score = psi[batch.target_BW[b, w]] @ interests.vectors_BKD[b].T
            nearest.append(loss(b, w, max(existing, key=lambda k: float(score[k]))))
    assert abs(losses["implicit"].item() - np.mean(nearest)) < 1e-4
    explained = [loss(b, c, 5 + c) for b, c in zip(*np.nonzero(batch.condition_BC), strict=True)]
    assert len(explained) > 0
    assert abs(losses["explicit"].item() - np.mean(explained)) < 1e-4
