"""The validation of an epoch: full corpus, first-time targets, seen items left out (method §9).

The user's vectors are judged as they are served by default, as a mixture: an item's score is
log Σ_g s_g Σ_{k in g} w_k softmax_k(item) with exact normalisers, g being the kinds of vectors and w the importance
within a kind; explicit vectors see the items of their topic only. The normalisers leave out what the user has seen,
those of serving do not: they are one search's by-product there. **The shares s are fitted** on the same users, by
expectation maximisation of the targets' likelihood: two numbers for a data set, which say what each kind of interest is
worth there. They become the run's default division of the budget (method §8, budgets from calibrated rates).

Legend: B users · K interests · G kinds (unconditioned, implicit, explicit) · I items · M targets of all users.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.examples import item_topics
from multitudes.batches.held_out import HeldOut
from multitudes.batches.histories import follows, gather
from multitudes.batches.vectors import KINDS, Kind, UserVectors
from multitudes.nn.masking import lowest
from multitudes.seeding import generator
from multitudes.train.run import TrainedRun

CHUNK = 30_000_000  # scores held in memory at once
ROUNDS = 200  # of expectation maximisation; it converges long before


class Judgement(NamedTuple):
    """How good the model is, and what share of the probability each kind of vector earns."""

    hit_rate: float  # share of the targets among the user's n best items
    shares: dict[Kind, float]  # sum to one; zero for kinds that the method does not have


def sample_rows(held: HeldOut, most: int, seed: int) -> NDArray[np.int64]:
    """Return up to ``most`` rows, drawn once by the seed: the first users of a file are not like the others."""
    rows = np.arange(len(held))
    return np.sort(generator(seed, "validation users").permutation(rows)[:most])


def judge(run: TrainedRun, held: HeldOut, rows: NDArray[np.int64], n: int = 100, topics: int = 5) -> Judgement:
    """Fit the shares of the kinds on the first-time targets of ``rows``, then count hits among the ``n`` best."""
    chunks = _chunks(run, rows, topics)
    if not chunks:
        return Judgement(0.0, dict.fromkeys(KINDS, 0.0))
    at_targets = [_at_targets(log_p_BGI, held, chunk) for log_p_BGI, chunk in _scores(run, held, chunks, topics)]
    shares_G = fit_shares(torch.cat(at_targets))
    hits = wanted = 0
    for log_p_BGI, chunk in _scores(run, held, chunks, topics):
        score_BI = (log_p_BGI + shares_G.clamp(min=1e-30).log().view(1, -1, 1)).logsumexp(dim=1)
        best_BN = score_BI.topk(min(n, score_BI.shape[1]), dim=1).indices.numpy()
        for b, row in enumerate(chunk):
            new = new_targets(held, row)
            hits += int(np.isin(new, best_BN[b]).sum())
            wanted += len(new)
    return Judgement(hits / max(wanted, 1), dict(zip(KINDS, shares_G.tolist(), strict=True)))


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


def _chunks(run: TrainedRun, rows: NDArray[np.int64], topics: int) -> list[NDArray[np.int64]]:
    at_once = max(1, CHUNK // (len(run.kinds(topics)) * (run.prepared.n_items + 1)))
    return [rows[i : i + at_once] for i in range(0, len(rows), at_once)]


def _scores(
    run: TrainedRun, held: HeldOut, chunks: list[NDArray[np.int64]], topics: int
) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Yield for some users at a time the log-probability of every item by kind (B, G, I), and their rows."""
    vectors_ID = torch.from_numpy(run.item_vectors())
    topic_IG = torch.from_numpy(item_topics(run.prepared, np.arange(run.prepared.n_items + 1)))
    for chunk in chunks:
        user_B, end_B = held.user_B[chunk], held.end_B[chunk]
        histories = gather(run.prepared, user_B, end_B, run.config.model.history)
        users = run.user_vectors(histories, follows(run.prepared, user_B)[:, :topics])
        score_BKI = torch.from_numpy(users.vectors_BKD) @ vectors_ID.T
        score_BKI[:, :, 0] = lowest(score_BKI)
        for b in range(len(chunk)):
            seen = run.prepared.event_item[run.prepared.event_offset[user_B[b]] : end_B[b]]
            score_BKI[b, :, torch.from_numpy(seen.astype(np.int64))] = lowest(score_BKI)
        for k in np.flatnonzero([kind == "explicit" for kind in users.kinds]).tolist():
            on_topic_BI = (topic_IG == torch.from_numpy(users.topic_BK[:, k]).view(-1, 1, 1)).any(dim=2)
            score_BKI[:, k].masked_fill_(~on_topic_BI, lowest(score_BKI))
        yield by_kind(score_BKI.log_softmax(dim=2), users), chunk


def by_kind(log_p_BKI: Tensor, users: UserVectors) -> Tensor:
    """Return the log-probability of every item under each kind (B, G, I): its vectors by importance; -inf if none."""
    columns = np.array(users.kinds)
    weight_BK = torch.from_numpy(users.weight_BK * users.mask_BK)
    parts = []
    for kind in KINDS:
        own = torch.from_numpy(np.flatnonzero(columns == kind))
        weight = weight_BK[:, own]
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-30)
        mixed_BI = (log_p_BKI[:, own] + weight.clamp(min=1e-30).log().unsqueeze(2)).logsumexp(dim=1)
        parts.append(mixed_BI.masked_fill((weight.sum(dim=1) == 0).unsqueeze(1), -torch.inf))
    return torch.stack(parts, dim=1)


def _at_targets(log_p_BGI: Tensor, held: HeldOut, chunk: NDArray[np.int64]) -> Tensor:
    """Return the log-probability of the users' first-time targets by kind (M, G)."""
    at = [log_p_BGI[b][:, torch.from_numpy(new_targets(held, row))].T for b, row in enumerate(chunk)]
    return torch.cat(at)
