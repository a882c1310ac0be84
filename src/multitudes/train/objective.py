"""The loss of one batch: look every item up once, make the user vectors, associate, sampled softmax (method §3, §4).

Legend: B examples · W targets per example · C of them with a condition · L history · K interests · N pool of
negatives · M distinct items.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.examples import Batch
from multitudes.batches.negatives import Pool
from multitudes.nn import association
from multitudes.nn.losses import accidental_hits, corrected, negative_mass, weighted_mean
from multitudes.nn.model import TwoTower
from multitudes.nn.user import UserInputs
from multitudes.train.config import TrainConfig


def batch_loss(
    model: TwoTower,
    batch: Batch,
    pool: Pool,
    target_log_q_BW: NDArray[np.float32],
    config: TrainConfig,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return the loss of each kind of interest that the model has: "single", "implicit", "explicit"."""
    device = model.items.id_embedding.weight.device
    target_BW, weight_BW, condition_BC, pool_N, log_q_N, target_log_q = (
        torch.from_numpy(array).to(device)
        for array in (batch.target_BW, batch.weight_BW, batch.condition_BC, pool.item_N, pool.log_q_N, target_log_q_BW)
    )
    inputs, target_BWD, pool_ND = _look_up(model, batch, target_BW, pool_N, condition_BC)
    vectors_BKD, importance_BK, mask_BK = model.user(inputs, generator).interests
    hit_BN = accidental_hits(target_BW, pool_N)

    def scores(own_BKD: Tensor, targets: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
        positive_BWK = corrected(targets @ own_BKD.transpose(1, 2), target_log_q.unsqueeze(2))
        return positive_BWK, negative_mass(own_BKD @ negatives.T, log_q_N, hit_BN)

    losses: dict[str, Tensor] = {}
    n_single = int(model.user.keeps_single)
    n_implicit = model.user.config.interests if model.user.implicit is not None else 0
    if n_single:
        positive_BWK, negative_BK = scores(vectors_BKD[:, :1], target_BWD, pool_ND)
        loss_BW = association.softmax_loss(positive_BWK[:, :, 0], negative_BK)
        losses["single"] = weighted_mean(loss_BW, weight_BW * mask_BK[:, :1])
    hold = model.user.hold
    vectors_BKD = torch.cat([hold(vectors_BKD[:, :n_single]), vectors_BKD[:, n_single:]], dim=1)
    positive_BWK, negative_BK = scores(vectors_BKD, hold(target_BWD), hold(pool_ND))
    if n_implicit:
        # A mixture counts the unconditioned vector in, as its blend does: interests learn what that one misses.
        own = slice(0 if config.association == "mixture" else n_single, n_single + n_implicit)
        loss_BW = _associate(
            positive_BWK[:, :, own], negative_BK[:, own], mask_BK[:, own], importance_BK[:, own], config, generator
        )
        has_interest_B1 = mask_BK[:, n_single : own.stop].any(dim=1, keepdim=True)
        losses["implicit"] = weighted_mean(loss_BW, weight_BW * has_interest_B1)
    if model.user.conditional is not None:
        # The c-th explicit vector carries the condition of the c-th target: the association is logged, not guessed.
        own, first = slice(n_single + n_implicit, None), slice(0, condition_BC.shape[1])
        positive_BC = positive_BWK[:, first, own].diagonal(dim1=1, dim2=2)
        loss_BC = association.softmax_loss(positive_BC, negative_BK[:, own])
        losses["explicit"] = weighted_mean(loss_BC, weight_BW[:, first] * mask_BK[:, own])
    return losses


def total(losses: dict[str, Tensor], config: TrainConfig) -> Tensor:
    """Return the weighted sum of the losses."""
    weight = {"single": config.single_weight, "implicit": config.implicit_weight, "explicit": config.explicit_weight}
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
        return association.hard_argmax(positive_BWK, negative_BK, mask_BK)
    if config.association == "gumbel":
        return association.gumbel(positive_BWK, negative_BK, mask_BK, config.gumbel_temperature, generator)
    return association.mixture(positive_BWK, negative_BK, mask_BK, weight_BK)


def _look_up(
    model: TwoTower, batch: Batch, target_BW: Tensor, pool_N: Tensor, condition_BC: Tensor
) -> tuple[UserInputs, Tensor, Tensor]:
    """Compute each distinct item, and each distinct (item, action) of a history, once: there are far more places."""
    device = target_BW.device
    item_BL, action_BL, valid_BL, follow_BF, feature_BP = (torch.from_numpy(a).to(device) for a in batch.histories)
    places = torch.cat([item_BL.flatten(), target_BW.flatten(), pool_N])
    item_M, row = distinct(places, model.items.id_embedding.num_embeddings)
    input_MD = model.items.inputs(item_M)
    vector_MD = model.item_vectors(input_MD)
    history, targets, pool = torch.split(row, [item_BL.numel(), target_BW.numel(), pool_N.numel()])

    n_actions = model.user.action.num_embeddings
    pair, place = distinct(history * n_actions + action_BL.flatten(), len(item_M) * n_actions)
    encoded = model.user.encode(input_MD.index_select(0, pair // n_actions), pair % n_actions)
    encoded_BLD = encoded.index_select(0, place).view(*item_BL.shape, -1)
    inputs = UserInputs(encoded_BLD, valid_BL, follow_BF, condition_BC, feature_BP)
    return inputs, vector_MD.index_select(0, targets).view(*target_BW.shape, -1), vector_MD.index_select(0, pool)


def distinct(values: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the distinct values, ascending, and the place of each value among them; all lie in [0, size).

    Linear in ``size`` and in the number of values, where ``torch.unique`` sorts.
    """
    present = torch.zeros(size, dtype=torch.bool, device=values.device)
    present[values] = True
    found = present.nonzero().squeeze(1)
    place = torch.empty(size, dtype=torch.int64, device=values.device)
    place[found] = torch.arange(len(found), device=values.device)
    return found, place[values]
