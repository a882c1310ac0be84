"""The hit rate that decides early stopping: full corpus, seen items left out, validation split only (method §9).

An item's score is the mixture of the user's vectors, log sum_k pi_k softmax_k(item), with exact normalisers; for one
vector that is the order of its inner products.

Legend: B users · K interests · I items.
"""

import numpy as np
import torch
from torch import Tensor

from multitudes.batches.held_out import HeldOut
from multitudes.batches.histories import follows, gather
from multitudes.batches.vectors import Kind, UserVectors
from multitudes.nn.masking import lowest
from multitudes.seeding import generator
from multitudes.train.run import TrainedRun

PRIOR: dict[Kind, float] = {"unconditioned": 0.5, "implicit": 0.25, "explicit": 0.25}
CHUNK = 40_000_000  # scores held in memory at once


def sample_rows(held: HeldOut, most: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return up to ``most`` rows, drawn once by the seed: the first users of a file are not like the others."""
    rows = np.arange(len(held))
    return np.sort(generator(seed, "validation users").permutation(rows)[:most])


def hit_rate(
    run: TrainedRun, held: HeldOut, rows: np.ndarray[tuple[int], np.dtype[np.int64]], n: int = 100, topics: int = 5
) -> float:
    """Return the share of the first-time targets of ``rows`` that are among the user's ``n`` best items."""
    vectors_ID = torch.from_numpy(run.item_vectors())
    per_chunk = max(1, CHUNK // (len(run.kinds(topics)) * len(vectors_ID)))
    hits = wanted = 0
    for first in range(0, len(rows), per_chunk):
        chunk = rows[first : first + per_chunk]
        user_B, end_B = held.user_B[chunk], held.end_B[chunk]
        histories = gather(run.prepared, user_B, end_B, run.config.model.history)
        users = run.user_vectors(histories, follows(run.prepared, user_B)[:, :topics])
        score_BI = mixture_scores(users, vectors_ID)
        for b in range(len(chunk)):
            seen = run.prepared.event_item[run.prepared.event_offset[user_B[b]] : end_B[b]]
            score_BI[b, torch.from_numpy(seen.astype(np.int64))] = lowest(score_BI)
        best_BN = score_BI.topk(min(n, score_BI.shape[1]), dim=1).indices.numpy()
        for b, row in enumerate(chunk):
            mine = slice(held.target_offset[row], held.target_offset[row + 1])
            new = held.target[mine][held.target_is_new[mine]]
            hits += int(np.isin(new, best_BN[b]).sum())
            wanted += len(new)
    return hits / max(wanted, 1)


def mixture_scores(users: UserVectors, vectors_ID: Tensor) -> Tensor:
    """Return log sum_k pi_k softmax_k(item) for every user and item (B, I); the unknown item 0 is lowest."""
    score_BKI = torch.from_numpy(users.vectors_BKD) @ vectors_ID.T
    score_BKI[:, :, 0] = lowest(score_BKI)
    share_BKI = score_BKI.log_softmax(dim=2)
    prior_K = torch.tensor([PRIOR[kind] for kind in users.kinds])
    prior_BK = prior_K * torch.from_numpy(users.weight_BK * users.mask_BK)
    return (share_BKI + prior_BK.clamp(min=1e-30).log().unsqueeze(2)).logsumexp(dim=1)
