"""The candidates of a system of an evaluation at every budget, and the systems that return to the user's own items.

For all targets, ``with_repeats`` is the run as it is served where seen items may be returned: its new items and the
user's own items compete for the places (``retrieval.repeats``). ``repeats`` is its control: the same own items, and
popular new ones.

Legend: B users · K vectors · N candidates · I items.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut
from multitudes.batches.user_vectors import UserVectors
from multitudes.data.own_items import prepared_items
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.baselines import fill_lists
from multitudes.evaluation.config import main_budget
from multitudes.evaluation.outcomes import ListKey
from multitudes.linear.popularity import items_by_popularity, user_counts
from multitudes.repeats import fit_repeats, repeat_rates
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.repeats import RepeatSource
from multitudes.retrieval.search import NO_ITEMS, Candidates, SearchResult, find_candidates, popular_candidates


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


def lists_of_columns(lists: SearchResult, column_K: NDArray[np.bool_]) -> SearchResult:
    """Return the lists of some of the vectors."""
    chosen = np.flatnonzero(column_K[lists.column_Q])
    column_Q = (np.cumsum(column_K) - 1)[lists.column_Q[chosen]]
    return SearchResult(lists.user_Q[chosen], column_Q, lists.hits.select(chosen))


def search_system(
    vectors: UserVectors,
    catalogue: Catalogue,
    budgets: Sequence[int],
    excluded: Sequence[NDArray[np.int64]],
    config: RetrieveConfig,
    lists: SearchResult | None = None,
) -> dict[int, list[Candidates]]:
    """Return the candidates of each user at each budget.

    ``lists`` are what the vectors find for the main budget. A larger one has a search of its own, which is several
    times as deep only for the vectors that need it.
    """
    known = {n: lists if n <= main_budget(tuple(budgets)) else None for n in budgets}
    return {n: find_candidates(vectors, catalogue, n, excluded, config, lists=known[n]) for n in budgets}


def ranked_lists(found: Sequence[Candidates], budget: int) -> RankedLists:
    """Return candidates as arrays of shape (B, N)."""
    lists = RankedLists(*(np.zeros((len(found), budget), dtype=np.int64) for _ in range(2)))
    for b, candidates in enumerate(found):
        n = len(candidates.item_N)
        lists.item_BN[b, :n] = candidates.item_N
        lists.interest_BN[b, :n] = candidates.interest_N
    return lists


WITH_REPEATS: Final = "with_repeats"
REPEATS: Final = "repeats"


class RepeatSystems:
    """The two systems on one data set."""

    def __init__(self, prepared: PreparedData, catalogue: Catalogue) -> None:
        """Fit the repeat model on the validation split."""
        self._prepared, self._catalogue = prepared, catalogue
        self._popular = items_by_popularity(user_counts(prepared), prepared.item_count)
        model = fit_repeats(prepared)
        self.source = None if model is None else RepeatSource(model, repeat_rates(prepared))

    def lists(
        self,
        held: HeldOut,
        new: Mapping[int, list[Candidates]],
        histories: Sequence[NDArray[np.int64]],
        *,
        control: bool = True,
    ) -> dict[ListKey, NDArray[np.int64]]:
        """Return the lists (B, N) of both systems at each budget; none without a repeat model.

        ``new`` are the candidates of the run without the items of the history. ``control``: those of ``repeats`` too.
        """
        if self.source is None:
            return {}
        lists, none = {}, [NO_ITEMS] * len(held)
        own = [prepared_items(self._prepared, held.user_B, held.end_B)]
        for n, found in new.items():
            candidates = {WITH_REPEATS: found}
            if control:  # the most popular new items of each user
                rows = [item_N[item_N > 0] for item_N in fill_lists(none, self._popular, histories, n)]
                counted = [(item_N, self._catalogue.user_counts(item_N)) for item_N in rows]
                candidates[REPEATS] = [popular_candidates(*items, found[0].kinds) for items in counted]
            for name, of_system in candidates.items():
                merged = self.source.add_repeats(of_system, own, [n] * len(held), none, self._catalogue)
                lists[ListKey(name, n)] = ranked_lists(merged, n).item_BN
        return lists
