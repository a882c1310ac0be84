"""Do two groupings of the same things agree: for worlds whose truth is known."""

import numpy as np
from numpy.typing import NDArray


def adjusted_rand(first: NDArray[np.integer], second: NDArray[np.integer]) -> float:
    """Return the adjusted Rand index (Hubert and Arabie 1985): 1 = the same grouping, 0 = as chance would have it.

    Names of the groups do not matter. Two groupings that cannot differ (all in one group, or each alone, in both)
    agree: 1.
    """
    if len(first) != len(second):
        raise ValueError(f"groupings of {len(first)} and {len(second)} things; expected the same things")
    _, row = np.unique(first, return_inverse=True)
    _, column = np.unique(second, return_inverse=True)
    n_columns = int(column.max(initial=0)) + 1
    table = np.bincount(row * n_columns + column)
    both = _pairs(table)
    of_first, of_second, of_all = _pairs(np.bincount(row)), _pairs(np.bincount(column)), _pairs(np.array([len(first)]))
    expected = of_first * of_second / of_all if of_all else 0.0
    ceiling = (of_first + of_second) / 2
    return (both - expected) / (ceiling - expected) if ceiling != expected else 1.0


def _pairs(sizes: NDArray[np.integer]) -> float:
    return float((sizes.astype(np.float64) * (sizes - 1) / 2).sum())
