"""The exact answer, by another way through the items than any index searches, and the share of it that was found.

Legend: Q queries · n items · D dimensions · M results.
"""

from collections.abc import Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def best(query_QD: NDArray[np.float32], item_nD: NDArray[np.float32], depth: int) -> NDArray[np.int32]:
    """Return the rows (Q, M) of the items with the largest inner products, best first."""
    depth = min(depth, len(item_nD))
    return np.asarray(faiss.knn(query_QD, item_nD, depth, faiss.METRIC_INNER_PRODUCT)[1], dtype=np.int32)


def remove_ids(best_QM: NDArray[np.integer], gone: Sequence[NDArray[np.integer]], depth: int) -> list[Ids]:
    """Return the first ``depth`` of each row that are not in the query's own ``gone``."""
    return [row[~np.isin(row, out)][:depth].astype(np.int64) for row, out in zip(best_QM, gone, strict=True)]


def share_found(found: Sequence[Ids], wanted: Sequence[NDArray[np.integer]]) -> NDArray[np.float64]:
    """Return for each query the share of ``wanted`` that is in ``found``; one where nothing is wanted."""
    return np.array([np.isin(want, got).mean() if len(want) else 1.0 for got, want in zip(found, wanted, strict=True)])
