"""The candidates of a system of an evaluation at every budget, and lists as arrays.

Legend: B users · K vectors · N candidates · I items.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import UserVectors
from multitudes.retrieval.allocation import proposals
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.search import Candidates, SearchResult, find_candidates, search_vectors


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


def search_system(
    vectors: UserVectors,
    catalogue: Catalogue,
    budgets: Sequence[int],
    excluded: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    lists: SearchResult | None = None,
) -> dict[int, list[Candidates]]:
    """Return the candidates of each user at each budget; one search, for the largest, is enough for all.

    ``lists`` are what the vectors find, at least as deep as for the largest budget; None: they are searched.
    """
    if lists is None:
        lists = search_vectors(vectors, catalogue, proposals(vectors, max(budgets)), excluded, config)
    return {n: find_candidates(vectors, catalogue, n, excluded, config, lists=lists) for n in budgets}


def ranked_lists(found: Sequence[Candidates], budget: int) -> RankedLists:
    """Return candidates as arrays of shape (B, N)."""
    lists = RankedLists(*(np.zeros((len(found), budget), dtype=np.int64) for _ in range(2)))
    for b, candidates in enumerate(found):
        n = len(candidates.item_N)
        lists.item_BN[b, :n] = candidates.item_N
        lists.interest_BN[b, :n] = candidates.interest_N
    return lists
