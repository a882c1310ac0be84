"""Two ranked lists become one."""

import numpy as np
from numpy.typing import NDArray


def interleave(item_N: NDArray[np.int64], other_M: NDArray[np.int64], other_share: float, n: int) -> NDArray[np.int64]:
    """Return ``n`` distinct items of two ranked lists that take turns, as rows of both lists one after the other.

    The turn of an item depends on its rank alone, so a shorter list is the beginning of a longer one.

    Args:
        item_N: the first list, whose turn it is where both are as far.
        other_M: the second list.
        other_share: share of the turns of the second list, between 0 and 1.
        n: number of items.

    Returns:
        Rows of the first list, and of the second counted on from the end of the first: ``n``, or those of all distinct
        items if they are fewer.
    """
    turn = np.concatenate(
        [(np.arange(len(item_N)) + 0.5) / (1 - other_share), (np.arange(len(other_M)) + 0.5) / other_share]
    )
    order = np.argsort(turn, kind="stable")
    _, first = np.unique(np.concatenate([item_N, other_M])[order], return_index=True)
    return order[np.sort(first)][:n]
