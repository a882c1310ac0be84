"""The paper's offline figure: an item's score is the best over the user's vectors, and all items are ranked by it.

It is not at equal budget (every vector scores the whole corpus), so it stands beside the equal-budget figures.

Legend: B users · K vectors · D dimensions · I items · T targets.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut
from multitudes.batches.vectors import UserVectors
from multitudes.metrics import ranking


def max_score_ranks(
    vectors: UserVectors, item_ID: NDArray[np.float32], held: HeldOut, seen: Sequence[NDArray[np.int64]]
) -> NDArray[np.float64]:
    """Return the middle rank of each target, shape (T,); infinite for all targets of a user without vectors.

    Args:
        vectors: K vectors of each user.
        item_ID: vectors of all items; row 0, the unknown item, and rows of zeros are not ranked.
        held: the users and their targets.
        seen: items that are kept out of each user's ranking.
    """
    score_BI = np.full((len(held), len(item_ID)), -np.inf, dtype=np.float32)
    for k in range(len(vectors.kinds)):
        exists_B = vectors.mask_BK[:, k]
        score_XI = vectors.vectors_BKD[exists_B, k] @ item_ID.T
        score_BI[exists_B] = np.maximum(score_BI[exists_B], score_XI)
    score_BI[:, 0] = -np.inf
    score_BI[:, ~item_ID.any(axis=1)] = -np.inf  # items without a vector
    for score_I, items in zip(score_BI, seen, strict=True):
        score_I[items] = -np.inf
    return ranking.scored_ranks(score_BI, held.target_offset, held.target)
