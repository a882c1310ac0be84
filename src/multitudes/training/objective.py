"""The loss of one batch: look every item up once, make the user vectors, associate, sampled softmax (method §3, §4).

Legend: B examples · W targets per example · C of them with a condition · L events · K interests · N pool of
negatives · M distinct items · S moments of dense training · T their targets.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.examples import Batch
from multitudes.batches.negatives import NegativePool
from multitudes.nn import losses as association
from multitudes.nn.interests.conditional import is_topic
from multitudes.nn.losses import (
    WeightedLoss,
    accidental_hits,
    hard_negative_mass,
    pool_negative_mass,
    routing_variance,
    subtract_log_q,
    sum_weighted,
)
from multitudes.nn.two_tower import TwoTower
from multitudes.nn.user_tower import UserInputs
from multitudes.training.config import TrainConfig
from multitudes.training.distributed import SINGLE_PROCESS, Ranks


class TargetLogQ(NamedTuple):
    """Log of the probability that a step's pool holds each target (logQ)."""

    window_BW: NDArray[np.float32]
    dense_T: NDArray[np.float32]


class _EmbeddedBatch(NamedTuple):
    """A batch with its items looked up."""

    inputs: UserInputs  # follows only where they were known before the window
    follow_BF: Tensor  # follows, known or not
    target_BW: Tensor
    target_BWD: Tensor
    target_log_q_BW: Tensor
    weight_BW: Tensor
    dense_TD: Tensor
    dense_log_q_T: Tensor
    pool_N: Tensor
    pool_ND: Tensor
    log_q_N: Tensor


def batch_loss(
    model: TwoTower,
    batch: Batch,
    pool: NegativePool,
    log_q: TargetLogQ,
    config: TrainConfig,
    generator: torch.Generator,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, WeightedLoss]:
    """Return the loss of each kind of interest that the model has: "single", "implicit", "explicit"; and "routing".

    Of several ranks, each gives its rows of the batch and the whole pool, and gets the losses of its own rows.
    """
    looked = _embed_batch(model, batch, pool, log_q, ranks)
    state_BLD = model.user.states(looked.inputs)
    losses: dict[str, WeightedLoss] = {}
    if model.user.has_unconditioned:
        losses["single"] = _dense_loss(model, batch, looked, state_BLD)
    if model.user.interest_crossing is not None:
        losses |= _interest_losses(model, batch, looked, state_BLD, config, generator)
    return losses


def _dense_loss(model: TwoTower, batch: Batch, looked: _EmbeddedBatch, state_BLD: Tensor) -> WeightedLoss:
    """Return the loss of the unconditioned vector at every moment that has a target."""
    device = state_BLD.device
    row_S, column_S, follows_S, moment_T, target_T, weight_T = (torch.from_numpy(a).to(device) for a in batch.dense)
    begun_S1 = (column_S >= 0).unsqueeze(1)
    whole_SD = state_BLD[row_S, column_S.clamp(min=0)] * begun_S1
    followed_BD = model.user.mean_followed_topic(looked.follow_BF)
    follow_SD = followed_BD[row_S] * follows_S.unsqueeze(1)
    vector_SD = model.user.unconditioned_vector(whole_SD, follow_SD, looked.inputs.feature_BP[row_S])
    hit_BN = accidental_hits(row_S[moment_T], target_T, looked.pool_N, len(state_BLD))
    negative_S = pool_negative_mass(vector_SD, looked.pool_ND, looked.log_q_N, hit_BN, row_S)
    positive_T = subtract_log_q((vector_SD[moment_T] * looked.dense_TD).sum(dim=1), looked.dense_log_q_T)
    known_S = begun_S1.squeeze(1) | (follows_S & is_topic(looked.follow_BF).any(dim=1)[row_S])
    return sum_weighted(association.softmax_loss(positive_T, negative_S[moment_T]), weight_T * known_S[moment_T])


def _interest_losses(
    model: TwoTower,
    batch: Batch,
    looked: _EmbeddedBatch,
    state_BLD: Tensor,
    config: TrainConfig,
    generator: torch.Generator,
) -> dict[str, WeightedLoss]:
    """Return the losses of the interests, on the targets of the window."""
    user, losses = model.user, {}
    (vectors_BKD, importance_BK, mask_BK), _, routing_BLK = user.vectors(looked.inputs, state_BLD, generator)
    n_single, n_implicit = int(user.has_unconditioned), user.n_implicit
    vectors_BKD = torch.cat([user.stop_gradient(vectors_BKD[:, :n_single]), vectors_BKD[:, n_single:]], dim=1)
    negative_BK = _negative_mass(vectors_BKD, user.stop_gradient(looked.pool_ND), looked, config.hard_negatives)
    positive_BWK = subtract_log_q(
        user.stop_gradient(looked.target_BWD) @ vectors_BKD.transpose(1, 2), looked.target_log_q_BW.unsqueeze(2)
    )
    if n_implicit:
        # A mixture counts the unconditioned vector in, as its blend does: interests learn what that one misses.
        own = slice(0 if config.association == "mixture" else n_single, n_single + n_implicit)
        loss_BW = _associate(
            positive_BWK[:, :, own], negative_BK[:, own], mask_BK[:, own], importance_BK[:, own], config, generator
        )
        has_interest_B1 = mask_BK[:, n_single : own.stop].any(dim=1, keepdim=True)
        losses["implicit"] = sum_weighted(loss_BW, looked.weight_BW * has_interest_B1)
        if config.routing_regulariser:
            variance_B = routing_variance(routing_BLK, looked.inputs.past_BL)
            losses["routing"] = sum_weighted(variance_B, (looked.target_BW > 0).any(dim=1).to(variance_B))
    if user.conditional is not None:
        # The c-th explicit vector carries the condition of the c-th target: the association is logged, not guessed.
        own, first = slice(n_single + n_implicit, None), slice(0, batch.condition_BC.shape[1])
        positive_BC = positive_BWK[:, first, own].diagonal(dim1=1, dim2=2)
        loss_BC = association.softmax_loss(positive_BC, negative_BK[:, own])
        losses["explicit"] = sum_weighted(loss_BC, looked.weight_BW[:, first] * mask_BK[:, own])
    return losses


def _negative_mass(vectors_BKD: Tensor, pool_ND: Tensor, looked: _EmbeddedBatch, beta: float) -> Tensor:
    """Return the log of the negatives' mass for each interest (B, K)."""
    batch, k, width = vectors_BKD.shape
    row_B = torch.arange(batch, device=vectors_BKD.device)
    row_T = row_B.repeat_interleave(looked.target_BW.shape[1])
    hit_BN = accidental_hits(row_T, looked.target_BW.flatten(), looked.pool_N, batch)
    if beta:
        return hard_negative_mass(vectors_BKD @ pool_ND.T, looked.log_q_N, hit_BN.unsqueeze(1), beta)
    vector_SD, row_S = vectors_BKD.reshape(-1, width), row_B.repeat_interleave(k)
    return pool_negative_mass(vector_SD, pool_ND, looked.log_q_N, hit_BN, row_S).view(batch, k)


def total_loss(losses: dict[str, Tensor], config: TrainConfig) -> Tensor:
    """Return the weighted sum of the losses."""
    weight = {
        "single": config.unconditioned_weight,
        "implicit": config.implicit_weight,
        "explicit": config.explicit_weight,
        "routing": config.routing_regulariser,
    }
    return torch.stack([weight[kind] * loss for kind, loss in losses.items()]).sum()


def _associate(
    positive_BWK: Tensor,
    negative_BK: Tensor,
    mask_BK: Tensor,
    weight_BK: Tensor,
    config: TrainConfig,
    generator: torch.Generator,
) -> Tensor:
    if config.association == "argmax":
        return association.hard_argmax_loss(positive_BWK, negative_BK, mask_BK)
    if config.association == "gumbel":
        return association.gumbel_loss(positive_BWK, negative_BK, mask_BK, config.gumbel_temperature, generator)
    return association.mixture_loss(positive_BWK, negative_BK, mask_BK, weight_BK)


def _embed_batch(model: TwoTower, batch: Batch, pool: NegativePool, log_q: TargetLogQ, ranks: Ranks) -> _EmbeddedBatch:
    """Compute each distinct item, and each distinct (item, action) of a history, once: there are far more places.

    Ranks divide the pool among them, and each gets the vectors that the others computed.
    """
    device = model.items.id_embedding.weight.device

    def on_device(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    item_BL, action_BL, valid_BL, follow_BF, feature_BP = map(on_device, batch.histories)
    target_BW, dense_T, pool_N = map(on_device, (batch.target_BW, batch.dense.target_T, pool.item_N))
    parts = [item_BL.flatten(), target_BW.flatten(), dense_T, pool_N[ranks.own_rows(len(pool_N))]]
    item_M, row = unique_values(torch.cat(parts), model.items.id_embedding.num_embeddings)
    input_MD = model.items.inputs(item_M)
    vector_MD = model.item_vectors(input_MD)
    history, targets, dense, negatives = torch.split(row, [part.numel() for part in parts])

    n_actions = model.user.action.num_embeddings
    pair, place = unique_values(history * n_actions + action_BL.flatten(), len(item_M) * n_actions)
    encoded = model.user.encode(input_MD.index_select(0, pair // n_actions), pair % n_actions)
    encoded_BLD = encoded.index_select(0, place).view(*item_BL.shape, -1)
    known_B1 = on_device(batch.follows_known_B).unsqueeze(1)
    return _EmbeddedBatch(
        inputs=UserInputs(
            item_BLD=encoded_BLD,
            event_BL=action_BL > 0,
            valid_BL=valid_BL,
            past_BL=on_device(batch.past_BL),
            follow_BF=follow_BF * known_B1,
            topic_BC=on_device(batch.condition_BC),
            feature_BP=feature_BP,
        ),
        follow_BF=follow_BF,
        target_BW=target_BW,
        target_BWD=vector_MD.index_select(0, targets).view(*target_BW.shape, -1),
        target_log_q_BW=on_device(log_q.window_BW),
        weight_BW=on_device(batch.weight_BW),
        dense_TD=vector_MD.index_select(0, dense),
        dense_log_q_T=on_device(log_q.dense_T),
        pool_N=pool_N,
        pool_ND=ranks.all_gather(vector_MD.index_select(0, negatives), len(pool_N)),
        log_q_N=on_device(pool.log_q_N),
    )


def unique_values(values: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the distinct values, ascending, and the place of each value among them; all lie in [0, size).

    Linear in ``size`` and in the number of values, where ``torch.unique`` sorts.
    """
    present = torch.zeros(size, dtype=torch.bool, device=values.device)
    present[values] = True
    found = present.nonzero().squeeze(1)
    place = torch.empty(size, dtype=torch.int64, device=values.device)
    place[found] = torch.arange(len(found), device=values.device)
    return found, place[values]
