"""The loss of one batch: embed each item once, compute user vectors, associate targets with interests, sampled softmax.

Legend: B examples · W targets per example · C of them with a condition · L events · K interests · N pool of
negatives · M distinct items · S moments of dense training · T their targets · F followed topics · D width.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from multitudes.batches.examples import Batch
from multitudes.batches.negatives import NegativePool
from multitudes.nn.losses import (
    WeightedLoss,
    accidental_hits,
    gumbel_loss,
    hard_argmax_loss,
    mixture_loss,
    pool_negative_logsumexp,
    softmax_loss,
    sum_weighted,
)
from multitudes.nn.two_tower import TwoTower
from multitudes.nn.user_tower import UserInputs, is_topic
from multitudes.training.config import TrainConfig
from multitudes.training.distributed import SINGLE_PROCESS, Ranks

_GUMBEL_TEMPERATURE: Final = 0.5  # of the draw of an interest; colder draws are the argmax


class TargetLogQ(NamedTuple):
    """Log probability that the pool of a step holds each target: the q of the logQ correction."""

    window_BW: NDArray[np.float32]
    dense_T: NDArray[np.float32]


class _EmbeddedBatch(NamedTuple):
    """A batch with its items embedded."""

    inputs: UserInputs  # with followed topics only where they were known before the window
    follow_BF: Tensor  # followed topics, known before the window or not
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
    generator: Generator,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, WeightedLoss]:
    """Return the losses that the model has: "single" (the unconditioned vector), "implicit", "explicit".

    Each rank passes its rows of the batch and the whole pool, and gets the losses of its rows.
    """
    embedded = _embed_batch(model, batch, pool, log_q, ranks)
    state_BLD = model.user.states(embedded.inputs)
    losses: dict[str, WeightedLoss] = {}
    if model.user.has_unconditioned:
        losses["single"] = _dense_loss(model, batch, embedded, state_BLD)
    if model.user.interest_crossing is not None:
        losses |= _interest_losses(model, batch, embedded, state_BLD, config, generator)
    return losses


def _dense_loss(model: TwoTower, batch: Batch, embedded: _EmbeddedBatch, state_BLD: Tensor) -> WeightedLoss:
    """Return the loss of the unconditioned vector at every moment that has a target."""
    device = state_BLD.device
    row_S, column_S, follows_S, moment_T, target_T, weight_T = (torch.from_numpy(a).to(device) for a in batch.dense)
    has_history_S1 = (column_S >= 0).unsqueeze(1)
    # index_select, and not state_BLD[…]: threads add up the gradient of the latter in any order.
    event_S = row_S * state_BLD.shape[1] + column_S.clamp(min=0)
    history_SD = state_BLD.flatten(0, 1).index_select(0, event_S) * has_history_S1
    followed_BD = model.user.mean_followed_topic(embedded.follow_BF)
    follow_SD = followed_BD.index_select(0, row_S) * follows_S.unsqueeze(1)
    vector_SD = model.user.unconditioned_vector(history_SD, follow_SD, embedded.inputs.feature_BP[row_S])
    hit_BN = accidental_hits(row_S[moment_T], target_T, embedded.pool_N, len(state_BLD))
    negative_S = pool_negative_logsumexp(vector_SD, embedded.pool_ND, embedded.log_q_N, hit_BN, row_S)
    vector_TD = vector_SD.index_select(0, moment_T)
    positive_T = (vector_TD * embedded.dense_TD).sum(dim=1) - embedded.dense_log_q_T
    known_S = has_history_S1.squeeze(1) | (follows_S & is_topic(embedded.follow_BF).any(dim=1)[row_S])
    loss_T = softmax_loss(positive_T, negative_S.index_select(0, moment_T))
    return sum_weighted(loss_T, weight_T * known_S[moment_T])


def _interest_losses(
    model: TwoTower,
    batch: Batch,
    embedded: _EmbeddedBatch,
    state_BLD: Tensor,
    config: TrainConfig,
    generator: Generator,
) -> dict[str, WeightedLoss]:
    """Return the losses of the interests, on the targets of the window."""
    user, losses = model.user, {}
    (vectors_BKD, importance_BK, mask_BK), _ = user.vectors(embedded.inputs, state_BLD, generator)
    n_unconditioned, n_implicit = int(user.has_unconditioned), user.n_implicit
    users, window = embedded.target_BW.shape
    row_B = torch.arange(users, device=vectors_BKD.device)
    # True where an item of the pool is a target of the window.
    hit_BN = accidental_hits(row_B.repeat_interleave(window), embedded.target_BW.flatten(), embedded.pool_N, users)

    def negative_logsumexp_of(columns: slice) -> Tensor:
        """Return the log-sum-exp of the negatives for some interests (B, k)."""
        vectors_BkD = vectors_BKD[:, columns]
        row_S = row_B.repeat_interleave(vectors_BkD.shape[1])
        vector_SD = vectors_BkD.flatten(0, 1)
        return pool_negative_logsumexp(vector_SD, embedded.pool_ND, embedded.log_q_N, hit_BN, row_S).view(users, -1)

    positive_BWK = embedded.target_BWD @ vectors_BKD.transpose(1, 2) - embedded.target_log_q_BW.unsqueeze(2)
    if n_implicit:
        # A mixture includes the unconditioned vector, as its blend does: interests learn what that vector misses.
        columns = slice(0 if config.association == "mixture" else n_unconditioned, n_unconditioned + n_implicit)
        own_BK, own_BWK = mask_BK[:, columns], positive_BWK[:, :, columns]
        negative_BK = negative_logsumexp_of(columns)
        if config.association == "argmax":
            loss_BW = hard_argmax_loss(own_BWK, negative_BK, own_BK)
        elif config.association == "gumbel":
            loss_BW = gumbel_loss(own_BWK, negative_BK, own_BK, _GUMBEL_TEMPERATURE, generator)
        else:
            loss_BW = mixture_loss(own_BWK, negative_BK, own_BK, importance_BK[:, columns])
        has_interest_B1 = mask_BK[:, n_unconditioned : columns.stop].any(dim=1, keepdim=True)
        losses["implicit"] = sum_weighted(loss_BW, embedded.weight_BW * has_interest_B1)
    if user.conditional is not None:
        # The c-th explicit vector has the condition of the c-th target: the association is logged, not inferred.
        columns, targets = slice(n_unconditioned + n_implicit, None), slice(0, batch.condition_BC.shape[1])
        positive_BC = positive_BWK[:, targets, columns].diagonal(dim1=1, dim2=2)
        loss_BC = softmax_loss(positive_BC, negative_logsumexp_of(columns))
        losses["explicit"] = sum_weighted(loss_BC, embedded.weight_BW[:, targets] * mask_BK[:, columns])
    return losses


def total_loss(losses: dict[str, Tensor], config: TrainConfig) -> Tensor:
    """Return the weighted sum of the losses."""
    weighted = [config.explicit_weight * loss if kind == "explicit" else loss for kind, loss in losses.items()]
    return torch.stack(weighted).sum()


def _embed_batch(model: TwoTower, batch: Batch, pool: NegativePool, log_q: TargetLogQ, ranks: Ranks) -> _EmbeddedBatch:
    """Embed each distinct item, and each distinct (item, action) of a history, once; most occur many times.

    Ranks divide the pool and exchange the vectors that they computed.
    """
    device = model.items.id_embedding.weight.device

    def on_device(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    item_BL, action_BL, valid_BL, follow_BF, feature_BP = map(on_device, batch.histories)
    target_BW, dense_T, pool_N = map(on_device, (batch.target_BW, batch.dense.target_T, pool.item_N))
    uses = [item_BL.flatten(), target_BW.flatten(), dense_T, pool_N[ranks.own_rows(len(pool_N))]]
    item_M, row = unique_values(torch.cat(uses), model.items.id_embedding.num_embeddings)
    input_MD = model.items.inputs(item_M)
    vector_MD = model.item_vectors(input_MD, model.items.content_NE[item_M])
    history, targets, dense, negatives = torch.split(row, [used.numel() for used in uses])

    n_actions = model.user.action.num_embeddings
    pair, pair_row = unique_values(history * n_actions + action_BL.flatten(), len(item_M) * n_actions)
    encoded = model.user.encode(input_MD.index_select(0, pair // n_actions), pair % n_actions)
    encoded_BLD = encoded.index_select(0, pair_row).view(*item_BL.shape, -1)
    follows_known_B1 = on_device(batch.follows_known_B).unsqueeze(1)
    return _EmbeddedBatch(
        inputs=UserInputs(
            item_BLD=encoded_BLD,
            valid_BL=valid_BL,
            past_BL=on_device(batch.past_BL),
            follow_BF=follow_BF * follows_known_B1,
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
    """Return the distinct values, ascending, and the index of each value among them; all are in [0, size).

    The cost is linear in ``size`` and the number of values; ``torch.unique`` sorts.
    """
    is_present = torch.zeros(size, dtype=torch.bool, device=values.device)
    is_present[values] = True
    found = is_present.nonzero().squeeze(1)
    index = torch.empty(size, dtype=torch.int64, device=values.device)
    index[found] = torch.arange(len(found), device=values.device)
    return found, index[values]
