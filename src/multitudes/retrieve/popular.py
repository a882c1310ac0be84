"""What everybody likes, without what somebody must not get.

Legend: N items that are asked for.
"""

import numpy as np
from numpy.typing import NDArray

from multitudes.retrieve.catalogue import Catalogue


def popular(catalogue: Catalogue, n: int, without: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ``n`` most popular items that are not in ``without``: all there are, where there are fewer.

    Looks no further down the list than it has to, so that a long ``without`` costs little.
    """
    ranked, ascending = catalogue.popular(), np.sort(without)
    looked_at = n + 64  # most of the time few of the most popular are left out
    while True:
        item = ranked[:looked_at]
        place = np.minimum(np.searchsorted(ascending, item), max(0, len(ascending) - 1))
        kept = item[ascending[place] != item] if len(ascending) else item
        if len(kept) >= n or looked_at >= len(ranked):
            return kept[:n]
        looked_at *= 4
