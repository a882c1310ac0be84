"""Where the scores of all items lie for a query: their mean and standard deviation, from a sample of the items.

Legend: Q queries · S sampled items · D dimensions.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from multitudes.index.item_table import ItemTable

_SAMPLED = 2048  # enough for a guess


class ScoreDistribution:
    """Mean and covariance of the items, made when they are first asked for."""

    def __init__(self, rows: ItemTable) -> None:
        self._rows = rows

    def mean_and_deviation(self, query_QD: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the mean (Q) and the standard deviation (Q, never zero) of the scores of each query."""
        mean_D, covariance_DD = self._moments
        # A product of its own for each query, so that it has the same alone and in a batch.
        mean_Q = np.einsum("qd,d->q", query_QD, mean_D)
        variance_Q = np.vecdot(np.matmul(covariance_DD, query_QD[:, :, None])[:, :, 0], query_QD)
        return mean_Q, np.sqrt(np.maximum(variance_Q, np.finfo(np.float32).tiny))

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sample_SD = np.asarray(self._rows.vectors_nD[:: max(1, len(self._rows) // _SAMPLED)], dtype=np.float64)
        mean_D = sample_SD.mean(axis=0)
        return mean_D, (sample_SD - mean_D).T @ (sample_SD - mean_D) / len(sample_SD)
