"""The re-rankers as systems of an evaluation, each with the λ that the validation split chooses.

They re-rank as many items of the one vector of the whole history as a calibrated list has proposals. λ is the largest
of a grid with which first-time targets of the validation split are found about as often as without re-ranking. Where
that split itself is evaluated, λ is chosen by one half of the users for the other.

Legend: B users · I items · D width · M items to choose from · N places · T tastes.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, held_out_users, seen_items, select_users
from multitudes.batches.user_vectors import UserVectors
from multitudes.data.own_items import prepared_items
from multitudes.data.prepared import Split
from multitudes.evaluation.model_baselines import best_items
from multitudes.evaluation.outcomes import UNCONDITIONED, ListKey
from multitudes.evaluation.rerankers import cosines, dpp, mmr, relevance, steck
from multitudes.evaluation.targets import subsample, targets_of_kind
from multitudes.linear.popularity import items_by_popularity, user_counts
from multitudes.metrics import ranking
from multitudes.metrics.coverage import class_shares
from multitudes.retrieval.allocation import proposals_to_divide
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.scorer import Scorer, user_vectors

RERANKERS: Final = ("steck", "mmr", "dpp")
WEIGHTS: Final = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95)  # λ
_LEAST_HITS: Final = 0.99  # of the hit rate without re-ranking
_USERS: Final = 500  # most users who choose λ
_CELLS_PER_CHUNK: Final = 2**24  # of the cosines of users who are re-ranked together


class RerankedSystems:
    """The re-rankers of one run."""

    def __init__(
        self, run: Scorer, items: Catalogue, retrieve: RetrieveConfig, n: int, split: Split, seed: int = 0
    ) -> None:
        """Choose λ at ``n`` places; ``split`` is the one that is evaluated."""
        self._run, self._items, self._item_ID = run, items, run.item_vectors()
        self._taste_I = items.item_taste.astype(np.int64)
        self._popular = items_by_popularity(user_counts(run.prepared), run.prepared.item_count)
        held = targets_of_kind(held_out_users(run.prepared, "validation"), "new")
        hits = self._hits_by_weight(subsample(held, _USERS, seed), retrieve, n)
        halves = (1, 0) if split == "validation" else (None, None)  # whose hits choose λ for even and odd users
        self._weights = {name: [_choose_weight(*hits[name], half) for half in halves] for name in hits}

    @property
    def weights(self) -> Mapping[str, Sequence[float]]:
        """The λ of each re-ranker, for users with even and with odd numbers."""
        return self._weights

    def lists(
        self,
        score_BI: NDArray[np.float32],
        held: HeldOut,
        excluded: Sequence[NDArray[np.int64]],
        budgets: Sequence[int],
    ) -> dict[ListKey, NDArray[np.int64]]:
        """Return the lists of each re-ranker at each budget (B, N).

        Args:
            score_BI: scores by the one vector; overwritten.
            held: the users.
            excluded: items that each user may not get.
            budgets: N.
        """
        longest_BM = best_items(score_BI, self._popular, excluded, proposals_to_divide(max(budgets)))
        lists = {ListKey(name, n): np.zeros((len(held), n), dtype=np.int64) for name in self._weights for n in budgets}
        for half in (0, 1):
            row_X = np.flatnonzero(held.user_B % 2 == half)
            weights = {name: [by_half[half]] for name, by_half in self._weights.items()}
            for n in budgets if len(row_X) else ():
                found = self._rerank(longest_BM[row_X, : proposals_to_divide(n)], select_users(held, row_X), weights, n)
                for name, (list_XN,) in found.items():
                    lists[ListKey(name, n)][row_X] = list_XN
        return lists

    def _hits_by_weight(
        self, held: HeldOut, retrieve: RetrieveConfig, n: int
    ) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Return, of each re-ranker, the numbers of the users and their hits with each λ (λ, B)."""
        hits: dict[str, list[NDArray[np.float64]]] = {name: [] for name in RERANKERS}
        step = max(1, _CELLS_PER_CHUNK // (self._run.prepared.n_items + 1))
        for start in range(0, len(held), step):
            users = select_users(held, np.arange(start, min(start + step, len(held))))
            score_BI = one_vector_scores(user_vectors(self._run, users, retrieve, self._items), self._item_ID)
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
        for start in range(0, len(held), step):
            users = select_users(held, np.arange(start, min(start + step, len(held))))
            item_XM = item_BM[start : start + step]
            gain_XM, cosine_XMM = relevance(item_XM), cosines(self._item_ID[item_XM])
            taste_XM, history_XT = self._taste_I[item_XM], self._tastes(users)
            for name, of_it in weights.items():
                for number, weight in enumerate(of_it):
                    if name == "steck":
                        column_XN = steck(gain_XM, taste_XM, history_XT, n, weight)
                    else:
                        column_XN = {"mmr": mmr, "dpp": dpp}[name](gain_XM, cosine_XMM, n, weight)
                    found[name][number].append(_items(item_XM, column_XN))
        return {name: [np.concatenate(chunks) for chunks in of_it] for name, of_it in found.items()}

    def _tastes(self, held: HeldOut) -> NDArray[np.float64]:
        """Return the share of each taste in the history of each user (B, T)."""
        own = prepared_items(self._run.prepared, held.user_B, held.end_B)
        shape = (len(held), max(int(self._taste_I.max()) + 1, 1))
        return class_shares(own.rows, self._taste_I[own.item_M], shape)


def one_vector_scores(vectors: UserVectors, item_ID: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the score of each item by the vector of the whole history, or by the only vector (B, I); None: none.

    It is minus infinity for an item or a user without a vector.
    """
    if len(vectors.kinds) > 1 and UNCONDITIONED not in vectors.kinds:
        return None
    column = vectors.kinds.index(UNCONDITIONED) if len(vectors.kinds) > 1 else 0
    score_BI = vectors.vectors_BKD[:, column] @ item_ID.T
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
