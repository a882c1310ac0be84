"""References that re-rank the list of one vector, so that it covers more interests, as systems of an evaluation.

Each chooses N of as many items of the one vector of the whole history as a calibrated list has proposals, one after the
other. λ weighs what an item brings beside its relevance:

* ``steck``: calibration (Steck 2018) to the tastes of the history;
* ``mmr``: maximal marginal relevance (Carbonell and Goldstein 1998), by the cosine of the item vectors;
* ``dpp``: greedy MAP inference of a determinantal point process (Chen et al. 2018) with the kernel (1 + cosine) / 2.

λ is the largest of a grid with which first-time targets of the validation split are found about as often as without
re-ranking. Where that split itself is evaluated, λ is chosen by one half of the users for the other.

The functions return columns of the M items in the order of the new list, (B, N). Where fewer than N columns hold an
item, the last places repeat columns.

Legend: B users · I items · D width · M items to choose from, best first · N places · T tastes.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, chunk_users, held_out_users, seen_items, select_users
from multitudes.batches.user_vectors import UserVectors
from multitudes.data.own_items import prepared_items
from multitudes.data.prepared import Split
from multitudes.evaluation.model_baselines import best_items
from multitudes.evaluation.outcomes import UNCONDITIONED, ListKey
from multitudes.evaluation.targets import subsample, targets_of_kind
from multitudes.linear.neighbours import NeighbourSource
from multitudes.linear.popularity import items_by_popularity, user_counts
from multitudes.metrics import ranking
from multitudes.metrics.coverage import class_shares, divergence_terms
from multitudes.retrieval.allocation import proposals_to_divide
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import Scorer, user_vectors

RERANKERS: Final = ("steck", "mmr", "dpp")
WEIGHTS: Final = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95)  # λ
_LEAST_HITS: Final = 0.99  # of the hit rate without re-ranking
_USERS: Final = 500  # most users who choose λ
_LEAST_VOLUME: Final = 1e-4  # more items than dimensions add none: rounding errors, which would grow from row to row
_CELLS_PER_CHUNK: Final = 2**24  # of the cosines of users who are re-ranked together

Columns = NDArray[np.int64]


class RerankedSystems:
    """The re-rankers of one run."""

    def __init__(self, run: Scorer, items: Catalogue, retrieve: RetrieveConfig, n: int, split: Split) -> None:
        """Choose λ at ``n`` places; ``split`` is the one that is evaluated."""
        self._run, self._items, self._item_ID = run, items, run.item_vectors()
        self._taste_I = items.item_taste.astype(np.int64)
        self._popular = items_by_popularity(user_counts(run.prepared), run.prepared.item_count)
        held = targets_of_kind(held_out_users(run.prepared, "validation"), "new")
        hits = self._hits_by_weight(subsample(held, _USERS, 0), retrieve, n)
        halves = (1, 0) if split == "validation" else (None, None)  # whose hits choose λ for even and odd users
        # The λ of each re-ranker, for users with even and with odd numbers.
        self.weights = {name: [_choose_weight(*hits[name], half) for half in halves] for name in hits}

    def lists(
        self,
        score_BI: NDArray[np.float32],
        held: HeldOut,
        excluded: Sequence[NDArray[np.int64]],
        budgets: Sequence[int],
    ) -> dict[ListKey, NDArray[np.int64]]:
        """Return the lists of each re-ranker at each budget (B, N), from the scores by the one vector.

        Each chooses of as many items as for the longest list. The scores are overwritten; ``excluded`` are the items
        that each user may not get.
        """
        longest = max(budgets)  # a shorter list is its beginning
        item_BM = best_items(score_BI, self._popular, excluded, proposals_to_divide(longest))
        list_of = {name: np.zeros((len(held), longest), dtype=np.int64) for name in self.weights}
        for half in (0, 1):
            row_X = np.flatnonzero(held.user_B % 2 == half)
            weights = {name: [by_half[half]] for name, by_half in self.weights.items()}
            found = self._rerank(item_BM[row_X], select_users(held, row_X), weights, longest) if len(row_X) else {}
            for name, (list_XN,) in found.items():
                list_of[name][row_X] = list_XN
        return {ListKey(name, n): list_BN[:, :n] for name, list_BN in list_of.items() for n in budgets}

    def _hits_by_weight(
        self, held: HeldOut, retrieve: RetrieveConfig, n: int
    ) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Return, of each re-ranker, the numbers of the users and their hits with each λ (λ, B)."""
        hits: dict[str, list[NDArray[np.float64]]] = {name: [] for name in RERANKERS}
        step = max(1, _CELLS_PER_CHUNK // (self._run.prepared.n_items + 1))
        for users in chunk_users(held, step):
            score_BI = one_vector_scores(
                user_vectors(self._run, users, retrieve, self._items), self._item_ID, self._run.neighbours
            )
            if score_BI is None:
                return {}
            seen = seen_items(self._run.prepared, users)
            item_BM = best_items(score_BI, self._popular, seen, proposals_to_divide(n))
            for name, lists in self._rerank(item_BM, users, dict.fromkeys(RERANKERS, WEIGHTS), n).items():
                ranks = [ranking.ranks_in_list(list_BN, users.target_offset, users.target) for list_BN in lists]
                hits[name].append(np.array([ranking.hits(rank_T, users.target_offset, n) for rank_T in ranks]))
        return {name: (held.user_B, np.concatenate(found, axis=1)) for name, found in hits.items() if found}

    def _rerank(
        self, item_BM: NDArray[np.int64], held: HeldOut, weights: Mapping[str, Sequence[float]], n: int
    ) -> dict[str, list[NDArray[np.int64]]]:
        """Return the lists (B, N) of each re-ranker with each of its λ."""
        step = max(1, _CELLS_PER_CHUNK // item_BM.shape[1] ** 2)
        found: dict[str, list[list[NDArray[np.int64]]]] = {name: [[] for _ in of_it] for name, of_it in weights.items()}
        for chunk, users in enumerate(chunk_users(held, step)):
            item_XM = item_BM[chunk * step :][: len(users)]
            gain_XM, cosine_XMM = relevance(item_XM), cosines(self._item_ID[item_XM])
            own = prepared_items(self._run.prepared, users.user_B, users.end_B)
            shape = (len(users), max(int(self._taste_I.max()) + 1, 1))
            taste_XM, history_XT = self._taste_I[item_XM], class_shares(own.rows, self._taste_I[own.item_M], shape)
            for name, of_it in weights.items():
                for number, weight in enumerate(of_it):
                    if not weight:  # by relevance alone
                        column_XN = np.tile(np.arange(n), (len(item_XM), 1))
                    elif name == "steck":
                        column_XN = steck(gain_XM, taste_XM, history_XT, n, weight)
                    else:
                        column_XN = DIVERSIFIERS[name](gain_XM, cosine_XMM, n, weight)
                    found[name][number].append(_items(item_XM, column_XN))
        return {name: [np.concatenate(chunks) for chunks in of_it] for name, of_it in found.items()}


def one_vector_scores(
    vectors: UserVectors, item_ID: NDArray[np.float32], neighbours: NeighbourSource | None
) -> NDArray[np.float32] | None:
    """Return the score of each item by the vector of the whole history, or by the only vector (B, I); None: none.

    It contains what own events add, and is minus infinity for an item or a user without a vector.
    """
    if len(vectors.kinds) > 1 and UNCONDITIONED not in vectors.kinds:
        return None
    column = vectors.kinds.index(UNCONDITIONED) if len(vectors.kinds) > 1 else 0
    score_BI = vectors.vectors_BKD[:, column] @ item_ID.T
    if neighbours is not None and vectors.own is not None:
        score_BI += neighbours.scores(vectors.own)
    score_BI[~vectors.mask_BK[:, column]] = -np.inf
    score_BI[:, ~item_ID.any(axis=1)] = -np.inf
    return score_BI


def _choose_weight(user_B: NDArray[np.int64], hits_WB: NDArray[np.float64], half: int | None) -> float:
    """Return the largest λ that keeps the hits of the users: of all, or of those with even (0) or odd numbers (1)."""
    hits_W = hits_WB[:, np.ones(len(user_B), dtype=np.bool_) if half is None else user_B % 2 == half].sum(axis=1)
    return WEIGHTS[int(np.flatnonzero(hits_W >= _LEAST_HITS * hits_W[0]).max())]


def _items(item_BM: NDArray[np.int64], column_BN: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the items of chosen columns (B, N); zeros after the last item."""
    count_B1 = (item_BM > 0).sum(axis=1)[:, None]
    return np.where(np.arange(column_BN.shape[1]) < count_B1, np.take_along_axis(item_BM, column_BN, axis=1), 0)


def relevance(item_BM: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return 1 for the first item, and evenly less for each later one, (B, M); minus infinity without an item, 0."""
    by_rank_M = 1 - np.arange(item_BM.shape[1], dtype=np.float32) / item_BM.shape[1]
    return np.where(item_BM > 0, by_rank_M, -np.inf).astype(np.float32)


def steck(
    relevance_BM: NDArray[np.float32],
    taste_BM: NDArray[np.int64],
    history_BT: NDArray[np.float64],
    n: int,
    weight: float,
) -> Columns:
    """Choose greedily by (1 − λ) Σ relevance − λ KL(p ‖ .99 q + .01 p).

    Items of one taste change q alike, so of each taste only the best item that is left competes.

    Args:
        relevance_BM: falls from item to item.
        taste_BM: taste of each item; −1: none.
        history_BT: share of each taste in the history, p; q is that in the list.
        n: N.
        weight: λ, below 1.
    """
    n_users, n_tastes = history_BT.shape
    rows, chosen_BN = np.arange(n_users), np.zeros((n_users, n), dtype=np.int64)
    group_BM = np.where(taste_BM < 0, n_tastes, taste_BM)  # the last of T + 1 groups has no taste
    column_BM = np.argsort(group_BM, axis=1, kind="stable")
    size_BG = np.array([np.bincount(group_M, minlength=n_tastes + 1) for group_M in group_BM])
    end_BG = size_BG.cumsum(axis=1)
    taken_BG = np.zeros_like(size_BG)
    for place in range(n):
        before_BT, after_BT = (
            divergence_terms((taken_BG[:, :-1] + extra) / (place + 1), history_BT) for extra in (0, 1)
        )
        change_BG = np.pad(after_BT - before_BT, ((0, 0), (0, 1)))  # of the divergence; of other terms it is the same
        next_BG = np.minimum(end_BG - size_BG + taken_BG, taste_BM.shape[1] - 1)
        best_BG = np.take_along_axis(column_BM, next_BG, axis=1)
        value_BG = (1 - weight) * relevance_BM[rows[:, None], best_BG] - weight * change_BG
        group_B = np.where(taken_BG < size_BG, value_BG, -np.inf).argmax(axis=1)
        chosen_BN[:, place] = best_BG[rows, group_B]
        taken_BG[rows, group_B] += 1
    return chosen_BN


def mmr(relevance_BM: NDArray[np.float32], cosine_BMM: NDArray[np.float32], n: int, weight: float) -> Columns:
    """Choose greedily by (1 − λ) relevance − λ · the largest cosine with an item that is chosen; λ below 1."""
    rows, chosen_BN = np.arange(len(relevance_BM)), np.zeros((len(relevance_BM), n), dtype=np.int64)
    value_BM, nearest_BM = (1 - weight) * relevance_BM, np.full_like(relevance_BM, -1.0)
    for place in range(n):
        column_B = (value_BM - weight * nearest_BM).argmax(axis=1)
        chosen_BN[:, place] = column_B
        value_BM[rows, column_B] = -np.inf
        np.maximum(nearest_BM, cosine_BMM[rows, column_B], out=nearest_BM)
    return chosen_BN


def dpp(relevance_BM: NDArray[np.float32], cosine_BMM: NDArray[np.float32], n: int, weight: float) -> Columns:
    """Choose greedily by (1 − λ) Σ relevance + λ log det of the kernel of the chosen items; λ below 1.

    A Cholesky factor, with a row more for each chosen item, has the volume that an item adds to the chosen ones.
    """
    (n_users, n_items), rows = relevance_BM.shape, np.arange(len(relevance_BM))
    chosen_BN, value_BM = np.zeros((n_users, n), dtype=np.int64), (1 - weight) * relevance_BM
    factor_BNM = np.zeros((n_users, n, n_items), dtype=np.float32)
    volume_BM = np.ones((n_users, n_items), dtype=np.float32)
    for place in range(n):
        column_B = (value_BM + weight * np.log(volume_BM)).argmax(axis=1)
        chosen_BN[:, place] = column_B
        value_BM[rows, column_B] = -np.inf
        own_B1N = factor_BNM[rows, :place, column_B][:, None]
        rest_BM = (1 + cosine_BMM[rows, column_B]) / 2 - np.matmul(own_B1N, factor_BNM[:, :place])[:, 0]
        added_B1 = volume_BM[rows, column_B][:, None]
        factor_BNM[:, place] = np.where(added_B1 > _LEAST_VOLUME, rest_BM / np.sqrt(added_B1), 0)
        volume_BM = np.maximum(volume_BM - factor_BNM[:, place] ** 2, _LEAST_VOLUME)
    return chosen_BN


def cosines(vectors_BMD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosines between the items of each list (B, M, M)."""
    unit_BMD = vectors_BMD / np.maximum(np.linalg.norm(vectors_BMD, axis=2, keepdims=True), 1e-12)
    return np.asarray(np.matmul(unit_BMD, unit_BMD.transpose(0, 2, 1)))


DIVERSIFIERS: Final = {"mmr": mmr, "dpp": dpp}  # the re-rankers that know the items alone
