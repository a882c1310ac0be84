"""Shares of the kinds of vectors, by which an epoch is validated: they explain its targets best.

Those of the list are chosen when training is finished (``training.selection``).

Legend: G kinds (unconditioned, implicit, explicit) · M targets of all users.
"""

from typing import Final

import torch
from torch import Tensor

from multitudes.nn.primitives import lowest_value

EM_ROUNDS: Final = 200  # of expectation maximisation, which converges long before


def fit_shares(log_p_MG: Tensor) -> Tensor:
    """Return the maximum likelihood shares of the kinds (G,); -inf marks a kind that a user does not have.

    The share of a missing kind goes to the other kinds of the user.
    """
    exists_MG = log_p_MG > -torch.inf
    log_p_MG = log_p_MG.masked_fill(~exists_MG, lowest_value(log_p_MG))[exists_MG.any(dim=1)]
    exists_MG = exists_MG[exists_MG.any(dim=1)]
    shares_G = exists_MG.any(dim=0) / exists_MG.any(dim=0).sum().clamp(min=1)
    for _ in range(EM_ROUNDS):
        available_M1 = (shares_G * exists_MG).sum(dim=1, keepdim=True).clamp(min=1e-30)
        prior_MG = (shares_G * exists_MG / available_M1).clamp(min=1e-30)
        explained_MG = (log_p_MG + prior_MG.log()).softmax(dim=1) * exists_MG
        # Divided by how often a kind could have explained a target: users without the kind are no evidence against it.
        before_G = shares_G
        shares_G = explained_MG.sum(dim=0) / (exists_MG / available_M1).sum(dim=0).clamp(min=1e-30)
        shares_G = shares_G / shares_G.sum().clamp(min=1e-30)
        if torch.equal(shares_G, before_G):
            break  # at once where users have vectors of one kind
    return shares_G
