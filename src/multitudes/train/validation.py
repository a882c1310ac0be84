"""The validation of an epoch: full corpus, first-time targets, seen items left out (method §9).

The user's vectors are judged as they are served by default, as a mixture: an item's score is
log Σ_g s_g Σ_{k in g} w_k softmax_k(item) with exact normalisers, g being the kinds of vectors and w the importance
within a kind; explicit vectors see the items of their topic only. The normalisers leave out what the user has seen,
those of serving do not: they are one search's by-product there. **The shares s are fitted** on the same users, by
expectation maximisation of the targets' likelihood: two numbers for a data set, which say what each kind of interest is
worth there. They become the run's default division of the budget (method §8, budgets from calibrated rates).

Legend: B users · K interests · G kinds (unconditioned, implicit, explicit) · I items · T topics of an item
A topics asked for · M targets of all users.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.examples import item_topics
from multitudes.batches.held_out import HeldOut, known_histories
from multitudes.batches.vectors import KINDS, Kind, UserVectors
from multitudes.nn.masking import lowest
from multitudes.seeding import generator
from multitudes.train.run import TrainedRun

CHUNK = 8_000_000  # probabilities made at once: they stay near the processor
KEEP = 150_000_000  # probabilities by kind that are kept, so that the shares and the hits are counted from one reading
ROUNDS = 200  # of expectation maximisation; it converges long before
_UNLIKELY = 1e-37  # what is less probable has underflowed


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
    if len(rows) == 0:
        return Judgement(0.0, dict.fromkeys(KINDS, 0.0))
    readings: Iterable[_Reading] = _Readings(run, held, rows, topics)
    if len(rows) * len(set(run.kinds(topics))) * (run.prepared.n_items + 1) <= KEEP:
        readings = list(readings)
    shares_G = fit_shares(torch.cat([_at_targets(reading, held) for reading in readings]))
    hits = wanted = 0
    for reading in readings:
        score_BI = torch.einsum("g,gbi->bi", shares_G[reading.kinds], reading.p_GBI)
        best_BN = score_BI.topk(min(n, score_BI.shape[1]), dim=1).indices.numpy()
        for b, row in enumerate(reading.rows):
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


class _Reading(NamedTuple):
    """The probability of every item for some users, by kind of vector."""

    rows: NDArray[np.int64]
    kinds: list[int]  # positions in KINDS of the kinds that the method has: the G of what follows
    p_GBI: Tensor
    exists_GB: Tensor  # whether the user has a vector of the kind


class _Readings:
    """Reads the rows chunk by chunk, anew each time it is iterated."""

    def __init__(self, run: TrainedRun, held: HeldOut, rows: NDArray[np.int64], topics: int) -> None:
        self._run, self._held, self._rows, self._topics = run, held, rows, topics
        self._at_once = max(1, CHUNK // (len(run.kinds(topics)) * (run.prepared.n_items + 1)))

    def __iter__(self) -> Iterator[_Reading]:
        vectors_ID = torch.from_numpy(self._run.item_vectors())
        topic_IT = torch.from_numpy(item_topics(self._run.prepared, np.arange(len(vectors_ID))))
        for start in range(0, len(self._rows), self._at_once):
            chunk = self._rows[start : start + self._at_once]
            users = self._users(chunk)
            score_BKI = torch.from_numpy(users.vectors_BKD) @ vectors_ID.T
            self._mask_seen(score_BKI, chunk)
            _mask_other_topics(score_BKI, users, topic_IT)
            yield _by_kind(score_BKI, users, chunk)

    def _users(self, chunk: NDArray[np.int64]) -> UserVectors:
        prepared, user_B, end_B = self._run.prepared, self._held.user_B[chunk], self._held.end_B[chunk]
        histories = known_histories(prepared, user_B, end_B, self._run.config.model.history)
        return self._run.user_vectors(histories, histories.follow_BF[:, : self._topics])

    def _mask_seen(self, score_BKI: Tensor, chunk: NDArray[np.int64]) -> None:
        prepared, impossible = self._run.prepared, lowest(score_BKI)
        score_BKI[:, :, 0] = impossible
        for b, row in enumerate(chunk):
            seen = prepared.event_item[prepared.event_offset[self._held.user_B[row]] : self._held.end_B[row]]
            score_BKI[b, :, torch.from_numpy(seen.astype(np.int64))] = impossible


def _mask_other_topics(score_BKI: Tensor, users: UserVectors, topic_IT: Tensor) -> None:
    """Let an explicit vector see the items of its topic only."""
    explicit = np.flatnonzero([kind == "explicit" for kind in users.kinds])
    if len(explicit) == 0:
        return
    asked, which = np.unique(users.topic_BK[:, explicit], return_inverse=True)
    which_BE = which.reshape(len(users.topic_BK), len(explicit))
    off_topic_AI = torch.stack([(topic_IT != int(topic)).all(dim=1) for topic in asked])
    for e, k in enumerate(explicit.tolist()):
        score_BKI[:, k].masked_fill_(off_topic_AI[torch.from_numpy(which_BE[:, e])], lowest(score_BKI))


def _by_kind(score_BKI: Tensor, users: UserVectors, chunk: NDArray[np.int64]) -> _Reading:
    """Return what the vectors of each kind, by importance, make of the scores; the scores are overwritten."""
    p_BKI = score_BKI.sub_(score_BKI.amax(dim=2, keepdim=True)).exp_()
    total_BK = p_BKI.sum(dim=2)
    columns = np.array(users.kinds)
    weight_BK = torch.from_numpy(users.weight_BK * users.mask_BK)
    kinds = [g for g, kind in enumerate(KINDS) if (columns == kind).any()]
    parts, exists = [], []
    for g in kinds:
        own = torch.from_numpy(np.flatnonzero(columns == KINDS[g]))
        weight_Bk = weight_BK[:, own]
        sum_B1 = weight_Bk.sum(dim=1, keepdim=True)
        portion_Bk = weight_Bk / sum_B1.clamp(min=1e-30) / total_BK[:, own]
        parts.append(torch.bmm(portion_Bk.unsqueeze(1), p_BKI[:, own]).squeeze(1))
        exists.append(sum_B1.squeeze(1) > 0)
    return _Reading(chunk, kinds, torch.stack(parts), torch.stack(exists))


def _at_targets(reading: _Reading, held: HeldOut) -> Tensor:
    """Return the log-probability of the users' first-time targets by kind (M, all kinds); -inf where one is missing."""
    at = []
    for b, row in enumerate(reading.rows):
        target = torch.from_numpy(new_targets(held, row))
        log_p_MG = torch.full((len(target), len(KINDS)), -torch.inf)
        own_MG = reading.p_GBI[:, b, target].T.clamp(min=_UNLIKELY).log()
        log_p_MG[:, reading.kinds] = own_MG.masked_fill(~reading.exists_GB[:, b], -torch.inf)
        at.append(log_p_MG)
    return torch.cat(at)
