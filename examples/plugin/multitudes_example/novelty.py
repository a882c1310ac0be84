"""A metric of a list. B users · N places · I items."""

import numpy as np
from numpy.typing import NDArray

from multitudes import EvaluatedLists, Metric


def self_information(lists: EvaluatedLists) -> NDArray[np.float64]:
    """Return the mean of −log2(share of the training events) over the items of each list; NaN for an empty one."""
    count_I = lists.items.prepared.item_count
    bits_I = np.log2(count_I.sum() / count_I.clip(min=1))
    is_item_BN = lists.item_BN > 0
    total_B, count_B = (bits_I[lists.item_BN] * is_item_BN).sum(axis=1), is_item_BN.sum(axis=1)
    return np.where(count_B > 0, total_B / count_B.clip(min=1), np.nan)


novelty = Metric("novelty", "mean self-information of the items, in bits", self_information, digits=2)
