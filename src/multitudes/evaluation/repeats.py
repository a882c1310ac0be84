"""Systems that return to the user's own items, for all targets: the run with repeats, and repeats alone.

``with_repeats`` is the run as it is served where seen items may be returned: its new items and the user's own items
compete for the places (``retrieval.repeats``). ``repeats`` is its control: the same own items, and popular new ones.

Legend: B users · N candidates.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut
from multitudes.batches.user_vectors import InterestKind
from multitudes.data.own_items import OwnItems, prepared_items
from multitudes.data.prepared import PreparedData
from multitudes.evaluation.baselines import fill_lists
from multitudes.evaluation.outcomes import ListKey
from multitudes.evaluation.system_search import ranked_lists
from multitudes.linear.popularity import items_by_popularity, user_counts
from multitudes.repeats import fit_repeats, repeat_rates
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.repeats import RepeatSource
from multitudes.retrieval.search import Candidates, popular_candidates

WITH_REPEATS: Final = "with_repeats"
REPEATS: Final = "repeats"
_NO_ITEMS = np.zeros(0, dtype=np.int64)


class RepeatSystems:
    """The two systems on one data set."""

    def __init__(self, prepared: PreparedData, catalogue: Catalogue, config: RetrieveConfig) -> None:
        """Fit the repeat model on the validation split, unless ``repeat_share`` is 0."""
        self._prepared, self._catalogue = prepared, catalogue
        self._popular = items_by_popularity(user_counts(prepared), prepared.item_count)
        model = None if config.repeat_share == 0 else fit_repeats(prepared)
        self.source = None if model is None else RepeatSource(model, repeat_rates(prepared), config.repeat_share)

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
        lists, own = {}, prepared_items(self._prepared, held.user_B, held.end_B)
        for n, found in new.items():
            lists[ListKey(WITH_REPEATS, n)] = self._add_repeats(found, own, n)
            if control:
                by_popularity = self._popular_candidates(histories, n, found[0].kinds)
                lists[ListKey(REPEATS, n)] = self._add_repeats(by_popularity, own, n)
        return lists

    def _add_repeats(self, found: list[Candidates], own: OwnItems, n: int) -> NDArray[np.int64]:
        assert self.source is not None
        users = len(found)
        merged = self.source.add_repeats(found, [own], [n] * users, [_NO_ITEMS] * users, self._catalogue)
        return ranked_lists(merged, n).item_BN

    def _popular_candidates(
        self, histories: Sequence[NDArray[np.int64]], n: int, kinds: tuple[InterestKind, ...]
    ) -> list[Candidates]:
        """Return the most popular new items of each user."""
        item_BN = fill_lists([_NO_ITEMS] * len(histories), self._popular, histories, n)
        rows = [item_N[item_N > 0] for item_N in item_BN]
        return [popular_candidates(item_N, self._catalogue.user_counts(item_N), kinds) for item_N in rows]
