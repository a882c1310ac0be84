"""The adjusted Rand index: do two groupings of the same elements agree? 1: the same groups, 0: agreement by chance."""

import numpy as np
from numpy.typing import NDArray


def adjusted_rand_index(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Return the index from its definition (Hubert and Arabie 1985): pairs joined in both, against chance."""
    pairs = np.triu_indices(len(first), 1)
    one, other = (np.equal.outer(labels, labels)[pairs] for labels in (first, second))
    chance, ceiling = one.sum() * other.sum() / max(len(one), 1), (one.sum() + other.sum()) / 2
    return 1.0 if ceiling == chance else float(((one & other).sum() - chance) / (ceiling - chance))
