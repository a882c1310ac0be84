"""Shares of the kinds of vectors in the list of a user, chosen on validation.

Expectation maximisation of the targets' likelihood fits them (``fit_shares``). A likelihood is decided by rare targets,
a list by its first places, so variants with more for the unconditioned vector or less for the explicit ones are
compared by hit rate (``choose_shares``). **The simplest that is level is taken**: the unconditioned vector alone,
unless a mixture finds more by a standard error of the difference (the one-standard-error rule, Breiman et al. 1984).

Legend: G kinds (unconditioned, implicit, explicit) · M targets of all users · B users · C candidates.
"""

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.user_vectors import INTEREST_KINDS
from multitudes.nn.primitives import lowest_value

if TYPE_CHECKING:
    from multitudes.training.validation import ScoredTargets

EM_ROUNDS = 200  # of expectation maximisation, which converges long before
UNCONDITIONED_PARTS: Final = (0.0, 0.5, 0.8)  # of the fitted shares, moved to the unconditioned vector
EXPLICIT_PARTS: Final = (1.0, 0.25, 0.0)  # of the fitted explicit share that are kept
_UNCONDITIONED: Final = INTEREST_KINDS.index("unconditioned")
_EXPLICIT: Final = INTEREST_KINDS.index("explicit")


class ChosenShares(NamedTuple):
    """Shares of the kinds, and what the run finds with them on validation."""

    shares_G: Tensor
    hit_rate: float
    gain: float | None  # of the best mixture over the unconditioned vector alone, in hit rate; None: nothing to compare
    gain_error: float | None  # its standard error over users

    def record(self) -> dict[str, Any]:
        """Return what a run's record says of the choice."""
        shares = dict(zip(INTEREST_KINDS, self.shares_G.tolist(), strict=True))
        gain = None if self.gain is None else {"hit_rate": self.gain, "standard_error": self.gain_error}
        return {"validation_hit_rate": self.hit_rate, "shares": shares, "mixture_gain": gain}


def choose_shares(scored: "ScoredTargets", n: int) -> ChosenShares | None:
    """Return the shares of the simplest list that finds as much as the best one.

    Args:
        scored: the targets of validation users.
        n: places of the list that the hit rate looks at.

    Returns:
        The choice. The fitted shares if there is no unconditioned vector; None if no user has both a vector and a
        target.
    """
    fitted_G = fit_shares(scored.log_p_MG)
    if not fitted_G.sum():
        return None
    if "unconditioned" not in scored.kinds:
        return ChosenShares(fitted_G, scored.hit_rate(fitted_G, n), None, None)
    candidates = candidate_shares(fitted_G)
    hits_CB = np.stack([scored.hits_of_users(item_BN) for item_BN in scored.best_items_of_each(candidates, n)])
    chosen, gain, error = choose_simplest(hits_CB, scored.targets_B)
    rate = float(hits_CB[chosen].sum() / scored.targets_B.sum())
    return ChosenShares(candidates[chosen], rate, gain, error)


class Simplest(NamedTuple):
    """The candidate that is taken, and what the best of the others finds more than the first."""

    candidate: int
    gain: float | None  # in hit rate; None: there is only one candidate, or one user, who says nothing of others
    gain_error: float | None  # its standard error over users


def choose_simplest(hits_CB: NDArray[np.int64], targets_B: NDArray[np.int64], errors: float = 1.0) -> Simplest:
    """Return the best candidate if it finds more than the first one by some standard errors, else the first one.

    Args:
        hits_CB: hits of each candidate and user; the first candidate is the simplest.
        targets_B: targets of each user, of which some user has one.
        errors: standard errors that the best one has to find more.
    """
    users = int((targets_B > 0).sum())
    if len(hits_CB) == 1 or users == 1:
        return Simplest(0, None, None)
    best = 1 + int(np.argmax(hits_CB[1:].sum(axis=1)))
    difference_B = hits_CB[best] - hits_CB[0]
    gain = difference_B.sum() / targets_B.sum()
    residual_B = difference_B - gain * targets_B  # a hit rate is a ratio of sums over users
    error = np.sqrt((residual_B**2).sum() * users / (users - 1)) / targets_B.sum()
    return Simplest(best if gain > errors * error else 0, float(gain), float(error))


def candidate_shares(fitted_G: Tensor) -> list[Tensor]:
    """Return the unconditioned vector alone, the fitted shares, and variants between them with less for explicit ones.

    An explicit vector has only the items of its topic, so the likelihood overrates it: it is sure of few items.
    """
    alone_G = torch.zeros_like(fitted_G)
    alone_G[_UNCONDITIONED] = 1.0
    candidates = [alone_G]
    for kept in EXPLICIT_PARTS:
        lowered_G = fitted_G.clone()
        lowered_G[_EXPLICIT] *= kept
        if not lowered_G.sum():
            continue
        lowered_G /= lowered_G.sum()
        for part in UNCONDITIONED_PARTS:
            shares_G = torch.lerp(lowered_G, alone_G, part)
            if not any(torch.equal(shares_G, other) for other in candidates):
                candidates.append(shares_G)
    return candidates


def fit_shares(log_p_MG: Tensor) -> Tensor:
    """Return the maximum likelihood shares of the kinds (G,); -inf marks a kind that a user does not have.

    The share of a missing kind goes to the other kinds of the user, as in serving.
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


def mean_log_likelihood(log_p_MG: Tensor, shares_G: Tensor) -> float:
    """Return the mean log probability of the targets under the mixture of the kinds.

    Args:
        log_p_MG: log probability of each target by kind; -inf marks a kind that its user does not have.
        shares_G: shares of the kinds; that of a missing kind goes to the others.
    """
    exists_MG = log_p_MG > -torch.inf
    available_M = (exists_MG * shares_G).sum(dim=1)
    known_M = available_M > 0
    if not known_M.any():
        return -float("inf")
    log_share_MG = (shares_G / available_M.clamp(min=1e-30).unsqueeze(1)).clamp(min=1e-30).log()
    return float((log_p_MG + log_share_MG)[known_M].logsumexp(dim=1).mean())
