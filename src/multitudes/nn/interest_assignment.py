"""Functions that the interest modules share: their result, existing interests, assignment of events, routing, noise.

Every module of implicit interests ends in ``assign_events``, so that importance, existence and assignment mean the same
for all methods. A slot is one of the K columns; users with few events have fewer interests than slots.

Random starts are drawn in training and fixed in evaluation and serving, where fresh noise would give the same user
other vectors on each call. The fixed noise depends only on the position of an event in the history, so other users of
the batch and padding change nothing.

Legend: B users · L history, column 0 the most recent · K interests · D width ·
P positions with noise · U users with an interest.
"""

from typing import Final, NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from multitudes.nn.primitives import is_place, l2_normalize, mask_with_lowest, squash
from multitudes.seeding import stream_seed

NOISE_POSITIONS = 512  # P; older events reuse the noise from the start
ROUNDS: Final = 3  # of routing, in all methods that route, as MIND and ComiRec have
# Length of items where they are routed or attended to. Short vectors make the softmax flat, so that every interest gets
# the same events; a length of one is too short for small clusters.
_ITEM_LENGTH: Final = 4.0


class Interests(NamedTuple):
    """K interests of B users: conditions before the user tower, user vectors after it."""

    vectors_BKD: Tensor
    weight_BK: Tensor  # importance, >= 0, zero where masked; sums to one over k unless all are masked
    mask_BK: Tensor  # True = this interest exists for this user


class ImplicitInterests(NamedTuple):
    """The result of a module that finds interests in a history."""

    interests: Interests
    assignment_BL: Tensor  # int64, the interest that each history event belongs to, -1 = none


class ImplicitModule(Protocol):
    """The seam of the methods: a module that finds K interests in a history; missing ones are masked."""

    def __call__(self, item_BLD: Tensor, valid_BL: Tensor, generator: Generator | None = None) -> ImplicitInterests:
        """Return K conditions of B users, and the interest of each event.

        Args:
            item_BLD: vectors of the history items, column 0 the most recent; not normalised.
            valid_BL: True = real and usable; other events are ignored.
            generator: random draws in training. None (evaluation, serving): deterministic, independent of other users.
        """


def with_conditions_of_others(interests: Interests) -> Interests:
    """Return the interests of each user with the conditions of another user of the batch; all else stays the user's.

    The other user is the one before, among those with an interest; the first takes those of the last. If the other user
    has fewer interests, they repeat. A user who is the only one with interests keeps the own conditions.
    """
    vectors_BKD, mask_BK = interests.vectors_BKD, interests.mask_BK
    with_interest_U = mask_BK.any(dim=1).nonzero().squeeze(1)
    other_U = with_interest_U.roll(1)
    existing_first_UK = (~mask_BK[other_U]).to(torch.int64).argsort(dim=1, stable=True)
    slot_UK = torch.arange(mask_BK.shape[1], device=mask_BK.device) % mask_BK[other_U].sum(dim=1, keepdim=True)
    taken_UK1 = existing_first_UK.gather(1, slot_UK).unsqueeze(2)
    taken_UKD = vectors_BKD[other_U].gather(1, taken_UK1.expand(-1, -1, vectors_BKD.shape[2]))
    return interests._replace(vectors_BKD=vectors_BKD.index_copy(0, with_interest_U, taken_UKD))


def slots_by_events(valid_BL: Tensor, k: int) -> Tensor:
    """Return (B, K), True for the first min(K, n) slots of a user with n valid events."""
    return torch.arange(k, device=valid_BL.device) < valid_BL.sum(dim=1, keepdim=True)


def slots_by_log_events(valid_BL: Tensor, k: int) -> Tensor:
    """Return (B, K), True for the first max(1, min(K, log2 n)) slots of a user with n valid events, none for n = 0.

    K depends on the user, as in MIND (arXiv 1904.08030). Computed with powers of two, since log2(8) may round below 3.
    """
    slot_K = torch.arange(k, device=valid_BL.device)
    fewest_K = torch.where(slot_K > 0, 2.0 ** (slot_K + 1), 1.0)
    return valid_BL.sum(dim=1, keepdim=True) >= fewest_K


def scale_items(item_BLD: Tensor) -> Tensor:
    """Return items of equal length, the same for all methods; a zero vector stays zero."""
    return l2_normalize(item_BLD) * _ITEM_LENGTH


def participation_mask(valid_BL: Tensor, exists_BK: Tensor) -> Tensor:
    """Return (B, L, K), True where both the event is valid and the interest exists."""
    return valid_BL.unsqueeze(2) & exists_BK.unsqueeze(1)


def assign_events(vectors_BKD: Tensor, share_BLK: Tensor) -> ImplicitInterests:
    """Assign each event to the interest in which it has the largest share.

    Return the conditions ``vectors_BKD`` with importance and mask, and the interest of each event. ``share_BLK`` is the
    division of each event among the interests; zero at invalid events and missing interests. The importance of an
    interest is the sum of the shares of its events; gradients flow through it. An interest without events is masked: it
    has nothing to read that another interest does not read.
    """
    best_BL1 = share_BLK.argmax(dim=2, keepdim=True)
    raw_BK = torch.where(is_place(best_BL1, share_BLK.shape[2]), share_BLK, 0.0).sum(dim=1)
    weight_BK = raw_BK / raw_BK.sum(dim=1, keepdim=True).clamp(min=1e-12)
    assignment_BL = torch.where((share_BLK > 0).any(dim=2), best_BL1.squeeze(2), -1)
    return ImplicitInterests(Interests(vectors_BKD, weight_BK, raw_BK > 0), assignment_BL)


def attend_to_events(logit_BLK: Tensor, value_BLD: Tensor, valid_BL: Tensor) -> ImplicitInterests:
    """Let each interest attend to the valid events: softmax over **events**, one distribution per interest.

    The share of an event in an interest is that interest's attention to it, divided by the attention of all interests.
    """
    valid_BL1 = valid_BL.unsqueeze(2)
    # In logs, so that an event with little attention from all interests still belongs to the one with most.
    log_attention_BLK = mask_with_lowest(logit_BLK, valid_BL1).log_softmax(dim=1)
    attention_BLK = log_attention_BLK.exp() * valid_BL1
    share_BLK = log_attention_BLK.softmax(dim=2) * valid_BL1
    return assign_events(attention_BLK.transpose(1, 2) @ value_BLD, share_BLK)


def route_by_agreement(vote_BLKD: Tensor, logit_BLK: Tensor, participates_BLK: Tensor) -> tuple[Tensor, Tensor]:
    """Divide each event among the interests by agreement (Sabour et al. 2017), as MIND and ComiRec-DR do.

    Each round adds the agreement of vote and interest to the logits. Gradients flow only through the last round, and
    there through the votes, not through the shares.

    Returns:
        The interests (B, K, D), shorter than one, and the shares of the last round (B, L, K): a softmax over
        **interests**, so that an event's shares sum to one.
    """
    logit_BLK, fixed_vote_BLKD = logit_BLK.detach(), vote_BLKD.detach()
    for _ in range(ROUNDS - 1):
        interest_BKD = _capsules(fixed_vote_BLKD, soft_assignment(logit_BLK, participates_BLK))
        logit_BLK = logit_BLK + torch.einsum("bkd,blkd->blk", interest_BKD, fixed_vote_BLKD)
    share_BLK = soft_assignment(logit_BLK, participates_BLK)
    return _capsules(vote_BLKD, share_BLK), share_BLK


def soft_assignment(logit_BLK: Tensor, participates_BLK: Tensor) -> Tensor:
    """Return the softmax over interests (B, L, K), zero for invalid items and missing interests."""
    return mask_with_lowest(logit_BLK, participates_BLK).softmax(dim=2) * participates_BLK


def _capsules(vote_BLKD: Tensor, share_BLK: Tensor) -> Tensor:
    return squash(torch.einsum("blk,blkd->bkd", share_BLK, vote_BLKD))


def fixed_noise(k: int) -> Tensor:
    """Return the fixed noise (P, K), standard normal and the same for every model."""
    draws = Generator().manual_seed(stream_seed(0, "interests", "start"))
    return torch.randn(NOISE_POSITIONS, k, generator=draws)


def start_noise(valid_BL: Tensor, fixed_PK: Tensor, generator: Generator | None) -> Tensor:
    """Return standard normal numbers (B, L, K): drawn by ``generator``, or fixed by position if it is None."""
    batch, length = valid_BL.shape
    if generator is not None:
        return torch.randn(batch, length, fixed_PK.shape[1], generator=generator).to(valid_BL.device)
    position_L = torch.arange(length, device=valid_BL.device) % len(fixed_PK)
    return fixed_PK[position_L].expand(batch, -1, -1)
