"""Routing by agreement (Sabour et al. 2017), as MIND, ComiRec-DR and the clustering without SAR use it.

Legend: B users · L history · K interests · D width.
"""

import torch
from torch import Tensor

from multitudes.nn.masking import masked_low
from multitudes.nn.norms import squash


def route(vote_BLKD: Tensor, logit_BLK: Tensor, taking_part_BLK: Tensor, rounds: int) -> tuple[Tensor, Tensor]:
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
        interest_BKD = _gathered(held_BLKD, _shares(logit_BLK, taking_part_BLK))
        logit_BLK = logit_BLK + torch.einsum("bkd,blkd->blk", interest_BKD, held_BLKD)
    share_BLK = _shares(logit_BLK, taking_part_BLK)
    return _gathered(vote_BLKD, share_BLK), share_BLK


def _shares(logit_BLK: Tensor, taking_part_BLK: Tensor) -> Tensor:
    return masked_low(logit_BLK, taking_part_BLK).softmax(dim=2) * taking_part_BLK


def _gathered(vote_BLKD: Tensor, share_BLK: Tensor) -> Tensor:
    return squash(torch.einsum("blk,blkd->bkd", share_BLK, vote_BLKD))
