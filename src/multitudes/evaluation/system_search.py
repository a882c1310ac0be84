"""The candidates of a system of an evaluation: where possible, one search for every kind of targets and every budget.

That search is exact and excludes nothing, and its lists are longer by the items that may be excluded. What is left of
such a list without the excluded items is what a search that excludes them finds.

Legend: B users · K vectors · N candidates · I items.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.search import (
    NO_ITEMS,
    Candidates,
    SearchResult,
    are_nested,
    find_candidates,
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
    """The candidates of a system for B users: without any of their own items or with them, at every budget.

    One search is enough where the list of fewer candidates is the top of the longer one. The other blends, which divide
    the places or join the lists of vectors, are searched for each exclusion and budget.
    """

    def __init__(
        self,
        vectors: UserVectors,
        catalogue: Catalogue,
        budgets: Sequence[int],
        own_items: Sequence[NDArray[np.int64]],
        config: RetrieveConfig,
    ) -> None:
        """Search for all users, if one search is enough.

        Args:
            vectors: the vectors of the users.
            catalogue: the items that can be retrieved, in an exact index.
            budgets: numbers of candidates.
            own_items: of each user, the distinct items that may be excluded.
            config: how the list is divided and blended.
        """
        self._vectors, self._catalogue, self._config, self._budgets = vectors, catalogue, config, budgets
        self._found_B: list[Candidates] | None = None
        if are_nested(vectors, catalogue):
            self._found_B = _long_lists(vectors, catalogue, max(budgets), own_items, config)

    @property
    def needs_lists(self) -> bool:
        """Whether the vectors are searched for each exclusion; blends of the same vectors can share what is found."""
        return self._found_B is None

    def by_budget(
        self, row_B: NDArray[np.int64], excluded: Exclusion, lists: SearchResult | None = None
    ) -> dict[int, list[Candidates]]:
        """Return the candidates of some of the users at each budget.

        Args:
            row_B: the users, ascending.
            excluded: for these users, some of their own items.
            lists: of the vectors of these users, without the excluded items and at least as long as the largest budget;
                None: they are searched where they are needed.
        """
        if self._found_B is not None:
            found = [self._found_B[b] for b in row_B.tolist()]
            left = [one.select(~of_I[one.item_N]) for one, of_I in zip(found, excluded.is_excluded_BI, strict=True)]
            return {n: [candidates.top(n) for candidates in left] for n in self._budgets}
        vectors = self._vectors.select(row_B)
        return {
            n: find_candidates(vectors, self._catalogue, n, excluded.items, self._config, lists=lists)
            for n in self._budgets
        }


def _long_lists(
    vectors: UserVectors,
    catalogue: Catalogue,
    n: int,
    own_items: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
) -> list[Candidates]:
    """Return at least ``n`` candidates of each user beside their own items."""
    # Users with about as many items are asked together, so that a long history makes only its own list long.
    extra_B = np.array([1 << (len(items) - 1).bit_length() if len(items) else 0 for items in own_items], dtype=np.int64)
    found: dict[int, Candidates] = {}
    for extra in np.unique(extra_B).tolist():
        row_X = np.flatnonzero(extra_B == extra)
        nothing = [NO_ITEMS] * len(row_X)
        lists = find_candidates(vectors.select(row_X), catalogue, n + extra, nothing, config)
        found |= zip(row_X.tolist(), lists, strict=True)
    return [found[b] for b in range(len(own_items))]


def ranked_lists(found: Sequence[Candidates], budget: int) -> RankedLists:
    """Return candidates as arrays of shape (B, N)."""
    lists = RankedLists(*(np.zeros((len(found), budget), dtype=np.int64) for _ in range(2)))
    for b, candidates in enumerate(found):
        n = len(candidates.item_N)
        lists.item_BN[b, :n] = candidates.item_N
        lists.interest_BN[b, :n] = candidates.interest_N
    return lists
