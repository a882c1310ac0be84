"""Slots: how many of the K interests a user has, and which of them each event belongs to.

Every module ends here, so that importance, existence and assignment mean the same whatever the method.

Legend: B users · L history, column 0 the most recent · K interests · D width.
"""

import torch
from torch import Tensor

from multitudes.nn.interests.interests import Implicit, Interests
from multitudes.nn.masking import masked_low


def as_many_as_events(valid_BL: Tensor, k: int) -> Tensor:
    """Return (B, K), True for the first min(K, n) slots of a user with n valid events."""
    return torch.arange(k, device=valid_BL.device) < valid_BL.sum(dim=1, keepdim=True)


def by_history(valid_BL: Tensor, k: int) -> Tensor:
    """Return (B, K), True for the first max(1, min(K, log2 n)) slots of a user with n valid events, none for n = 0.

    K by user, as MIND has it (arXiv 1904.08030). Counted in powers of two, since a logarithm of 8 may fall short of 3.
    """
    slot_K = torch.arange(k, device=valid_BL.device)
    fewest_K = torch.where(slot_K > 0, 2.0 ** (slot_K + 1), 1.0)
    return valid_BL.sum(dim=1, keepdim=True) >= fewest_K


def taking_part(valid_BL: Tensor, exists_BK: Tensor) -> Tensor:
    """Return (B, L, K), True where a valid event meets an interest that exists."""
    return valid_BL.unsqueeze(2) & exists_BK.unsqueeze(1)


def filled(vectors_BKD: Tensor, share_BLK: Tensor, routing_BLK: Tensor | None = None) -> Implicit:
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
    return Implicit(Interests(vectors_BKD, weight_BK, raw_BK > 0), assignment_BL, routing_BLK)


def attended(logit_BLK: Tensor, value_BLD: Tensor, valid_BL: Tensor) -> Implicit:
    """Let each interest attend to the valid events: softmax over **events**, one distribution per interest.

    An event's share in an interest is that interest's attention to it over the attention of all interests to it.
    """
    valid_BL1 = valid_BL.unsqueeze(2)
    # In logs: an event that no interest attends to much belongs to the one that attends to it most all the same.
    log_attention_BLK = masked_low(logit_BLK, valid_BL1).log_softmax(dim=1)
    attention_BLK = log_attention_BLK.exp() * valid_BL1
    share_BLK = log_attention_BLK.softmax(dim=2) * valid_BL1
    return filled(attention_BLK.transpose(1, 2) @ value_BLD, share_BLK, attention_BLK)
