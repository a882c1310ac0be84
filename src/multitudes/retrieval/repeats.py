"""Repeats: items that users return to, a source of candidates beside the interests where seen items may be returned.

The interests find new items, as they do where seen items are excluded; the repeat model ranks the user's own items. The
places of the list go to the most probable items of both. So a user who never returns gets the list of new items,
unchanged, with every blend.

Legend: B users · M own items of all users · N candidates.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.data.own_items import OwnItems, join_users
from multitudes.index.item_table import find_rows
from multitudes.release.manifest import read_settings
from multitudes.release.release import Release
from multitudes.repeats import RankedItems, RepeatModel
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.search import POPULAR, REPEAT, Candidates


class RepeatSource(NamedTuple):
    """The repeat model of a data set, with the repeat rates of its items."""

    model: RepeatModel
    rate_I: NDArray[np.float32]  # (I + 1)

    @classmethod
    def from_release(cls, release: Release) -> "RepeatSource | None":
        """Return the source of a release; None if no user of the data returned to an item."""
        if release.manifest.repeats is None or release.item_repeat_rate is None:
            return None
        model = read_settings(RepeatModel, release.manifest.repeats, f"{release.path}/manifest.json: repeats")
        return cls(model, release.item_repeat_rate)

    def add_repeats(
        self,
        found: Sequence[Candidates],
        own: Sequence[OwnItems],
        n_B: Sequence[int],
        excluded: Sequence[NDArray[np.int64]],
        catalogue: Catalogue,
    ) -> list[Candidates]:
        """Return the list of each user with own items in the places that they deserve.

        Items that are ``excluded`` are not returned in any case; ``found`` are the candidates without own items.
        """
        if not len(found):
            return []
        items = join_users(own)
        known_M = items.item_M < len(self.rate_I)  # items that were added since have the average rate
        rate_M = np.where(known_M, self.rate_I[np.where(known_M, items.item_M, 0)], 0.0)
        ranked = self.model.rank(items, rate_M.astype(np.float32))
        available_M = find_rows(catalogue.ids(), ranked.item_M)[1]
        log_place_N = self.model.log_place_probabilities(max(n_B))
        return [
            _merge(candidates, ranked, b, available_M, log_place_N, n, items_E)
            for b, (candidates, n, items_E) in enumerate(zip(found, n_B, excluded, strict=True))
        ]


def _merge(
    found: Candidates,
    ranked: RankedItems,
    b: int,
    available_M: NDArray[np.bool_],
    log_place_N: NDArray[np.float64],
    n: int,
    excluded: NDArray[np.int64],
) -> Candidates:
    """Return the ``n`` most probable of the new and the own items of user ``b``."""
    own = slice(int(ranked.offset[b]), int(ranked.offset[b + 1]))
    item_R, log_p_R = ranked.item_M[own], ranked.log_p_M[own]
    allowed_R = available_M[own] & (log_p_R > -np.inf)
    if len(excluded):
        allowed_R &= ~np.isin(item_R, excluded)
    item_R, log_p_R = item_R[allowed_R], log_p_R[allowed_R]
    best_R = np.argsort(-log_p_R, kind="stable")[:n]
    item_R, log_p_R = item_R[best_R], log_p_R[best_R]
    log_new_N = ranked.log_new_B[b] + log_place_N[: len(found.item_N)]
    order_N = np.argsort(-np.concatenate([log_p_R, log_new_N]), kind="stable")[:n]
    if (order_N >= len(item_R)).all():
        return found
    interest_N = np.concatenate([np.full(len(item_R), REPEAT), found.interest_N])[order_N]
    return replace(
        found,
        item_N=np.concatenate([item_R, found.item_N])[order_N],
        score_N=np.concatenate([log_p_R.astype(np.float32), found.score_N])[order_N],
        interest_N=interest_N,
        found_by_NK=np.pad(found.found_by_NK, ((len(item_R), 0), (0, 0)))[order_N],
        shortfalls=found.shortfalls if (interest_N == POPULAR).any() else (),
    )
