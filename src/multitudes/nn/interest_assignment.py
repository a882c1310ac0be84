"""The result that every interest module and the user tower share.

Slots: how many of the K interests a user has, and which of them each event belongs to.

Every module ends here, so that importance, existence and assignment mean the same whatever the method.

Legend: B users · L history, column 0 the most recent · K interests · D width.

Routing by agreement (Sabour et al. 2017), as MIND, ComiRec-DR and the clustering without SAR use it.

Legend: B users · L history · K interests · D width.

Random starts: drawn in training, fixed in evaluation and serving.

Fresh noise in serving would give the same user other vectors on each call. The fixed noise depends on an event's place
in the history and on nothing else, so batch mates and padding change nothing.

Legend: B users · L history · K interests · P places with noise of their own.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from multitudes.nn.primitives import mask_with_lowest, squash
from multitudes.seeding import stream_seed


class Interests(NamedTuple):
    """K interests of B users: conditions before the user tower, user vectors after it."""

    vectors_BKD: Tensor
    weight_BK: Tensor  # importance, >= 0, zero where masked; sums to one over k unless all are masked
    mask_BK: Tensor  # True = this interest exists for this user


class ImplicitInterests(NamedTuple):
    """What a module that finds interests in a history returns."""

    interests: Interests
    assignment_BL: Tensor  # int64, the interest that each history event belongs to, -1 = none
    routing_BLK: Tensor  # how much each event counts in each interest, zero where it takes no part


def slots_by_events(valid_BL: Tensor, k: int) -> Tensor:
    """Return (B, K), True for the first min(K, n) slots of a user with n valid events."""
    return torch.arange(k, device=valid_BL.device) < valid_BL.sum(dim=1, keepdim=True)


def slots_by_log_events(valid_BL: Tensor, k: int) -> Tensor:
    """Return (B, K), True for the first max(1, min(K, log2 n)) slots of a user with n valid events, none for n = 0.

    K by user, as MIND has it (arXiv 1904.08030). Counted in powers of two, since a logarithm of 8 may fall short of 3.
    """
    slot_K = torch.arange(k, device=valid_BL.device)
    fewest_K = torch.where(slot_K > 0, 2.0 ** (slot_K + 1), 1.0)
    return valid_BL.sum(dim=1, keepdim=True) >= fewest_K


def participation_mask(valid_BL: Tensor, exists_BK: Tensor) -> Tensor:
    """Return (B, L, K), True where a valid event meets an interest that exists."""
    return valid_BL.unsqueeze(2) & exists_BK.unsqueeze(1)


def assign_events(vectors_BKD: Tensor, share_BLK: Tensor, routing_BLK: Tensor | None = None) -> ImplicitInterests:
    """Give each event to the interest in which it has the largest share.

    The importance of an interest is the sum of its own events' shares, through which gradient flows. An interest
    without events of its own is masked: it has nothing to read that another interest does not read.

    Args:
        vectors_BKD: the conditions.
        share_BLK: how an event is divided among the interests; zero at invalid events and absent interests.
        routing_BLK: how much each event counts in each interest, where that is not the share.
    """
    best_BL1 = share_BLK.argmax(dim=2, keepdim=True)
    largest_BL1 = share_BLK.gather(2, best_BL1)
    raw_BK = torch.zeros_like(share_BLK).scatter(2, best_BL1, largest_BL1).sum(dim=1)
    weight_BK = raw_BK / raw_BK.sum(dim=1, keepdim=True).clamp(min=1e-12)
    assignment_BL = torch.where(largest_BL1 > 0, best_BL1, -1).squeeze(2)
    routing_BLK = share_BLK if routing_BLK is None else routing_BLK
    return ImplicitInterests(Interests(vectors_BKD, weight_BK, raw_BK > 0), assignment_BL, routing_BLK)


def attend_to_events(logit_BLK: Tensor, value_BLD: Tensor, valid_BL: Tensor) -> ImplicitInterests:
    """Let each interest attend to the valid events: softmax over **events**, one distribution per interest.

    An event's share in an interest is that interest's attention to it over the attention of all interests to it.
    """
    valid_BL1 = valid_BL.unsqueeze(2)
    # In logs: an event that no interest attends to much belongs to the one that attends to it most all the same.
    log_attention_BLK = mask_with_lowest(logit_BLK, valid_BL1).log_softmax(dim=1)
    attention_BLK = log_attention_BLK.exp() * valid_BL1
    share_BLK = log_attention_BLK.softmax(dim=2) * valid_BL1
    return assign_events(attention_BLK.transpose(1, 2) @ value_BLD, share_BLK, attention_BLK)


def route_by_agreement(
    vote_BLKD: Tensor, logit_BLK: Tensor, taking_part_BLK: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """Divide each event among the interests by how much it agrees with them.

    Each round adds the agreement of vote and interest to the logits. Gradient flows through the last round alone, and
    there through the votes, not through the shares.

    Args:
        vote_BLKD: what each event says of each interest.
        logit_BLK: where routing starts.
        taking_part_BLK: True where a valid event meets an interest that exists.
        rounds: how often events are divided.

    Returns:
        The interests (B, K, D), shorter than one, and the shares of the last round (B, L, K): a softmax over
        **interests**, so that an event's shares sum to one.
    """
    logit_BLK, held_BLKD = logit_BLK.detach(), vote_BLKD.detach()
    for _ in range(rounds - 1):
        interest_BKD = _capsules(held_BLKD, _shares(logit_BLK, taking_part_BLK))
        logit_BLK = logit_BLK + torch.einsum("bkd,blkd->blk", interest_BKD, held_BLKD)
    share_BLK = _shares(logit_BLK, taking_part_BLK)
    return _capsules(vote_BLKD, share_BLK), share_BLK


def _shares(logit_BLK: Tensor, taking_part_BLK: Tensor) -> Tensor:
    return mask_with_lowest(logit_BLK, taking_part_BLK).softmax(dim=2) * taking_part_BLK


def _capsules(vote_BLKD: Tensor, share_BLK: Tensor) -> Tensor:
    return squash(torch.einsum("blk,blkd->bkd", share_BLK, vote_BLKD))


NOISE_POSITIONS = 512  # older events repeat the noise of earlier places


def fixed_noise(k: int) -> Tensor:
    """Return the fixed noise (P, K), standard normal and the same for every model."""
    draws = torch.Generator().manual_seed(stream_seed(0, "interests", "start"))
    return torch.randn(NOISE_POSITIONS, k, generator=draws)


def start_noise(valid_BL: Tensor, fixed_PK: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return standard normal numbers (B, L, K): drawn by ``generator``, or those of the places where it is None."""
    batch, length = valid_BL.shape
    if generator is not None:
        return torch.randn(batch, length, fixed_PK.shape[1], generator=generator).to(valid_BL.device)
    place_L = torch.arange(length, device=valid_BL.device) % len(fixed_PK)
    return fixed_PK[place_L].expand(batch, -1, -1)
