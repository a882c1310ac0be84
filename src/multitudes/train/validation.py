"""The validation of an epoch: full corpus, first-time targets, seen items left out (method §9).

The user's vectors are judged as they are served by default, as a mixture: an item's score is
log Σ_g s_g Σ_{k in g} w_k softmax_k(item) with exact normalisers, g being the kinds of vectors and w the importance
within a kind; explicit vectors see the items of their topic only. The normalisers leave out what the user has seen,
those of serving do not: they are one search's by-product there. **The shares s are fitted** on the same users, by
expectation maximisation of the targets' likelihood: two numbers for a data set, which say what each kind of interest is
worth there. They become the run's default division of the budget (method §8, budgets from calibrated rates).

Items come block by block and twice, first for the normalisers and then for the best: neither their vectors nor their
scores are ever held for all of them, so that judging takes no memory beside that of training.

Legend: B users · K vectors of each · G kinds (unconditioned, implicit, explicit) · i items of a block · M targets of
all users · N best items.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.held_out import HeldOut
from multitudes.batches.vectors import KINDS, Kind, UserVectors
from multitudes.nn.masking import lowest
from multitudes.seeding import generator
from multitudes.train.run import TrainedRun
from multitudes.train.scores import Piece, Scores

KEEP = 50_000_000  # scores that are kept between the two readings
ROUNDS = 200  # of expectation maximisation; it converges long before
_UNLIKELY = 1e-37  # what is less probable has underflowed


class Judgement(NamedTuple):
    """How good the model is, and what share of the probability each kind of vector earns."""

    hit_rate: float  # share of the targets among the user's n best items
    shares: dict[Kind, float]  # sum to one; zero for kinds that the method does not have


class _Targets(NamedTuple):
    """The first-time targets of all users."""

    user_M: Tensor  # which of the users
    item_M: Tensor


def sample_rows(held: HeldOut, most: int, seed: int) -> NDArray[np.int64]:
    """Return up to ``most`` rows, drawn once by the seed: the first users of a file are not like the others."""
    rows = np.arange(len(held))
    return np.sort(generator(seed, "validation users").permutation(rows)[:most])


def judge(run: TrainedRun, held: HeldOut, rows: NDArray[np.int64], n: int = 100, topics: int = 5) -> Judgement:
    """Fit the shares of the kinds on the first-time targets of ``rows``, then count hits among the ``n`` best."""
    if len(rows) == 0:
        return Judgement(0.0, dict.fromkeys(KINDS, 0.0))
    scores = Scores(run, held, rows, topics)
    pieces: Iterable[Piece] = list(scores) if scores.size <= KEEP else scores
    targets = _targets(held, rows)
    portion_BK = _portions(scores.users)
    score_MK, normaliser_BK = _read(pieces, targets, portion_BK.shape)
    log_p_MG = _by_kind(score_MK - normaliser_BK[targets.user_M], portion_BK[targets.user_M], scores.users.kinds)
    shares_G = fit_shares(log_p_MG)
    share_K = shares_G[[KINDS.index(kind) for kind in scores.users.kinds]]
    best_BN = _best(pieces, (share_K * portion_BK).log() - normaliser_BK, min(n, run.prepared.n_items + 1))
    hits = int((best_BN[targets.user_M] == targets.item_M[:, None]).sum())
    return Judgement(hits / max(len(targets.item_M), 1), dict(zip(KINDS, shares_G.tolist(), strict=True)))


def fit_shares(log_p_MG: Tensor) -> Tensor:
    """Return the shares (G,) under which the targets are likeliest; -inf marks a kind that a user does not have.

    A kind that is missing for a user leaves its share to the user's other kinds, as serving does.
    """
    exists_MG = log_p_MG > -torch.inf
    log_p_MG = log_p_MG.masked_fill(~exists_MG, lowest(log_p_MG))[exists_MG.any(dim=1)]
    exists_MG = exists_MG[exists_MG.any(dim=1)]
    shares_G = exists_MG.any(dim=0) / exists_MG.any(dim=0).sum().clamp(min=1)
    for _ in range(ROUNDS):
        available_M1 = (shares_G * exists_MG).sum(dim=1, keepdim=True).clamp(min=1e-30)
        prior_MG = (shares_G * exists_MG / available_M1).clamp(min=1e-30)
        explained_MG = (log_p_MG + prior_MG.log()).softmax(dim=1) * exists_MG
        # Divided by how often a kind could have explained a target: who lacks it says nothing against it.
        shares_G = explained_MG.sum(dim=0) / (exists_MG / available_M1).sum(dim=0).clamp(min=1e-30)
        shares_G = shares_G / shares_G.sum().clamp(min=1e-30)
    return shares_G


def new_targets(held: HeldOut, row: int) -> NDArray[np.int64]:
    """Return the first-time targets of one user."""
    mine = slice(held.target_offset[row], held.target_offset[row + 1])
    return held.target[mine][held.target_is_new[mine]]


def _targets(held: HeldOut, rows: NDArray[np.int64]) -> _Targets:
    each = [new_targets(held, row) for row in rows]
    user_M = np.repeat(np.arange(len(rows)), [len(new) for new in each])
    return _Targets(torch.from_numpy(user_M), torch.from_numpy(np.concatenate(each)))


def _portions(users: UserVectors) -> Tensor:
    """Return the importance of each vector within its kind (B, K): zero for those that a user does not have."""
    kinds = np.array(users.kinds)
    weight_BK = torch.from_numpy(users.weight_BK * users.mask_BK)
    same_KK = torch.from_numpy((kinds[:, None] == kinds[None, :]).astype(np.float32))
    return weight_BK / (weight_BK @ same_KK).clamp(min=1e-30)


def _read(pieces: Iterable[Piece], targets: _Targets, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return what the targets score with each vector of their user (M, K), and log Σ exp of all items (B, K)."""
    score_MK = torch.zeros(len(targets.item_M), shape[1])
    highest_BK, sum_BK = torch.full(shape, lowest(score_MK)), torch.zeros(shape)
    for users, items, score_BKi in pieces:
        before = highest_BK[users]
        highest = torch.maximum(before, score_BKi.amax(dim=2).cpu())
        added = (score_BKi - highest[:, :, None].to(score_BKi.device)).exp_().sum(dim=2).cpu()
        sum_BK[users] = sum_BK[users] * (before - highest).exp() + added
        highest_BK[users] = highest
        here = (targets.user_M >= users.start) & (targets.user_M < users.stop)
        here &= (targets.item_M >= items.start) & (targets.item_M < items.stop)
        row, column = targets.user_M[here] - users.start, targets.item_M[here] - items.start
        score_MK[here] = score_BKi[row, :, column].cpu()
    return score_MK, highest_BK + sum_BK.log()


def _by_kind(log_p_MK: Tensor, portion_MK: Tensor, kinds: tuple[Kind, ...]) -> Tensor:
    """Return the log-probability of the targets by kind (M, all kinds); -inf where the user has no vector of it."""
    log_p_MG = torch.full((len(log_p_MK), len(KINDS)), -torch.inf)
    for g, kind in enumerate(KINDS):
        own = [k for k, of in enumerate(kinds) if of == kind]
        if own:
            known_M = (log_p_MK[:, own] + portion_MK[:, own].log()).logsumexp(dim=1).clamp(min=np.log(_UNLIKELY))
            log_p_MG[:, g] = known_M.masked_fill(portion_MK[:, own].sum(dim=1) == 0, -torch.inf)
    return log_p_MG


def _best(pieces: Iterable[Piece], log_factor_BK: Tensor, n: int) -> Tensor:
    """Return the items (B, N) of which the vectors, each times its factor, make most together."""
    best_BN = torch.zeros(len(log_factor_BK), n, dtype=torch.int64)
    score_BN = torch.full(best_BN.shape, -1.0)
    for users, items, score_BKi in pieces:
        factor = log_factor_BK[users, :, None].to(score_BKi.device)
        top = (score_BKi + factor).exp_().sum(dim=1).topk(min(n, items.stop - items.start), dim=1)
        score = torch.cat([score_BN[users], top.values.cpu()], dim=1)
        item = torch.cat([best_BN[users], top.indices.cpu() + items.start], dim=1)
        score_BN[users], chosen = score.topk(n, dim=1)
        best_BN[users] = item.gather(1, chosen)
    return best_BN
