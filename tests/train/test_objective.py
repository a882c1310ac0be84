"""The loss of a batch, in which every item is looked up once, against the plain path of evaluation."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from multitudes.batches.examples import Examples
from multitudes.batches.negatives import Pool
from multitudes.nn.losses import corrected
from multitudes.nn.model import LookedUp
from multitudes.nn.user_config import UserTowerConfig
from multitudes.train.build import build_model
from multitudes.train.config import TrainConfig
from multitudes.train.objective import batch_loss, distinct
from tests.worlds import planted


@given(st.lists(st.integers(0, 30), min_size=1))
def test_distinct_is_unique(values: list[int]) -> None:
    found, place = distinct(torch.tensor(values), 31)
    expected, inverse = np.unique(values, return_inverse=True)
    assert np.array_equal(found.numpy(), expected)
    assert np.array_equal(place.numpy(), inverse)


def test_the_loss_equals_a_slow_definition() -> None:
    prepared = planted()[1]
    config = UserTowerConfig.model_validate({"width": 8, "history": 10, "crossing": {"hidden": 16}})
    torch.manual_seed(0)
    model = build_model(prepared, "joint", config).eval()  # evaluation mode: no dropout, first seed = most recent
    made = Examples(prepared, history=10, window=3, first_time_only=True, condition="match")
    batch = next(made.epoch(6, 0, 0))
    pool = Pool(np.arange(1, 40), np.log(np.linspace(0.1, 0.9, 39)).astype(np.float32))
    log_q_BW = np.full(batch.target_BW.shape, -1.0, dtype=np.float32)
    losses = batch_loss(model, batch, pool, log_q_BW, TrainConfig(association="argmax"), torch.Generator())

    item, action, valid, follow, feature = (torch.from_numpy(a) for a in batch.histories)
    looked_up = LookedUp(
        model.items.inputs(item.flatten()).view(*item.shape, -1),
        action,
        valid,
        follow,
        torch.from_numpy(batch.condition_BC),
        feature,
    )
    with torch.no_grad():
        interests = model.user_vectors(looked_up).interests
        psi = model.item_vectors(model.items.inputs(torch.arange(prepared.n_items + 1)))
    log_q = torch.from_numpy(pool.log_q_N)

    def loss(b: int, w: int, k: int) -> float:
        score = psi @ interests.vectors_BKD[b, k]
        own = set(batch.target_BW[b].tolist())
        negatives = [float(corrected(score[i], log_q[n])) for n, i in enumerate(pool.item_N.tolist()) if i not in own]
        positive = float(score[batch.target_BW[b, w]]) + 1.0
        return float(torch.tensor([positive, *negatives]).logsumexp(0)) - positive

    targets = [(b, w) for b, w in zip(*np.nonzero(batch.target_BW), strict=True)]
    single = np.mean([loss(b, w, 0) for b, w in targets if interests.mask_BK[b, 0]])
    assert abs(losses["single"].item() - single) < 1e-4
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
