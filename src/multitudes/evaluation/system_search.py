"""The candidates of a system of an evaluation: one search for every kind of targets and every budget.

The search is exact and excludes nothing, and its lists are longer by the items that may be excluded. What is left of
such a list without the excluded items is what a search that excludes them finds.

Legend: B users · K vectors · Q queries · N candidates · I items.
"""

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.index.hits import remove_hits
from multitudes.index.protocol import NO_ID
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.search import (
    NO_ITEMS,
    Candidates,
    SearchResult,
    are_nested,
    find_candidates,
    search_vectors,
)


class RankedLists(NamedTuple):
    """The lists of B users from one system: items, and the column of the vector behind each; zeros at the end."""

    item_BN: NDArray[np.int64]
    interest_BN: NDArray[np.int64]


class Exclusion(NamedTuple):
    """The items that are not returned to B users: as lists of items, and as a table."""

    items: Sequence[NDArray[np.int64]]
    is_excluded_BI: NDArray[np.bool_]

    @classmethod
    def of_items(cls, items: Sequence[NDArray[np.int64]], width: int) -> "Exclusion":
        """Return the exclusion of lists of item numbers below ``width``."""
        is_excluded_BI = np.zeros((len(items), width), dtype=np.bool_)
        for is_excluded_I, excluded in zip(is_excluded_BI, items, strict=True):
            is_excluded_I[excluded] = True
        return cls(items, is_excluded_BI)


class SystemSearch:
    """The candidates of a system for B users: without any of their own items or with them, at every budget."""

    def __init__(
        self,
        vectors: UserVectors,
        catalogue: Catalogue,
        budgets: Sequence[int],
        own_items: Sequence[NDArray[np.int64]],
        config: RetrieveConfig,
    ) -> None:
        """Search for all users.

        Args:
            vectors: the vectors of the users.
            catalogue: the items that can be retrieved, in an exact index.
            budgets: numbers of candidates.
            own_items: of each user, the distinct items that may be excluded.
            config: how the list is divided and blended.
        """
        self._vectors, self._catalogue, self._config, self._budgets = vectors, catalogue, config, budgets
        own_B = np.array([len(items) for items in own_items], dtype=np.int64)
        self._found_B: list[Candidates] = []
        self._lists: SearchResult | None = None
        if are_nested(vectors.kinds, catalogue, config):
            self._found_B = _long_lists(vectors, catalogue, max(budgets), own_B, config)
        else:
            nothing = [NO_ITEMS] * len(own_B)
            self._lists = search_vectors(vectors, catalogue, max(budgets) + own_B, nothing, config)

    def blended_by(self, config: RetrieveConfig, budgets: Sequence[int]) -> "SystemSearch":
        """Return another blend that divides or joins the lists of the vectors, at the same budgets or smaller ones."""
        other = copy(self)
        other._config, other._budgets = config, budgets
        return other

    def by_budget(self, row_B: NDArray[np.int64], excluded: Exclusion) -> dict[int, list[Candidates]]:
        """Return the candidates of some of the users at each budget.

        Args:
            row_B: the users, ascending.
            excluded: for these users, some of their own items.
        """
        if self._lists is None:
            found = [self._found_B[b] for b in row_B.tolist()]
            left = [one.without(of_I) for one, of_I in zip(found, excluded.is_excluded_BI, strict=True)]
            return {n: [candidates.top(n) for candidates in left] for n in self._budgets}
        vectors, lists = self._vectors.select(row_B), _without(self._lists.of_users(row_B), excluded)
        return {
            n: find_candidates(vectors, self._catalogue, n, excluded.items, self._config, found_by=False, lists=lists)
            for n in self._budgets
        }


def _long_lists(
    vectors: UserVectors, catalogue: Catalogue, n: int, own_B: NDArray[np.int64], config: RetrieveConfig
) -> list[Candidates]:
    """Return at least ``n`` candidates of each user beside ``own_B`` items."""
    # Users with about as many items are asked together, so that a long history makes only its own list long.
    extra_B = np.where(own_B > 0, 2 ** np.ceil(np.log2(np.maximum(own_B, 1))).astype(np.int64), 0)
    found: dict[int, Candidates] = {}
    for extra in np.unique(extra_B).tolist():
        row_X = np.flatnonzero(extra_B == extra)
        nothing = [NO_ITEMS] * len(row_X)
        lists = find_candidates(vectors.select(row_X), catalogue, n + extra, nothing, config, found_by=False)
        found |= zip(row_X.tolist(), lists, strict=True)
    return [found[b] for b in range(len(own_B))]


def _without(lists: SearchResult, excluded: Exclusion) -> SearchResult:
    """Return the lists of each query without the items that are excluded for its user."""
    id_QN = lists.hits.id_QN
    removed_QN = excluded.is_excluded_BI[lists.user_Q[:, None], np.where(id_QN == NO_ID, 0, id_QN)]
    return lists._replace(hits=remove_hits(lists.hits, removed_QN & (id_QN != NO_ID)))


def ranked_lists(found: Sequence[Candidates], budget: int) -> RankedLists:
    """Return candidates as arrays of shape (B, N)."""
    lists = RankedLists(*(np.zeros((len(found), budget), dtype=np.int64) for _ in range(2)))
    for b, candidates in enumerate(found):
        n = len(candidates.item_N)
        lists.item_BN[b, :n] = candidates.item_N
        lists.interest_BN[b, :n] = candidates.interest_N
    return lists
