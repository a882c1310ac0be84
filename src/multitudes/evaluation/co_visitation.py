"""Item-to-item co-visits: what the same people engaged with around the same time. Nothing is learned but counts.

Two training events of one user count when at most WINDOW others of that user lie between them, the nearer the more:

    nearness_ij = Σ 1 / distance  /  count_i

is how often j was near, when it was i. An item is a candidate by the sum of its nearness to the user's newest items,
each older one counting less. Divided by sqrt(count_i · count_j) instead, as a cosine, the rarest pairs would come
first: on the validation parts of MovieLens and Foursquare that finds less.

Legend: I items · M training events, by user and time · P pairs · B users · R newest items of a user.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from multitudes.data.prepared import TRAIN, PreparedData

WINDOW = 10  # events to either side
MAX_NEIGHBOURS = 200  # kept for each item, the nearest
MAX_HISTORY = 50  # items of a history that have a say
RECENCY_DECAY = 0.95  # weight of an item against the one after it
_PAIRS_PER_BLOCK = 5_000_000  # bounds the memory of counting: about 300 MB

Items = NDArray[np.int64]


def co_visitation_matrix(prepared: PreparedData, pairs_per_block: int = _PAIRS_PER_BLOCK) -> csr_array:
    """Return the nearness of each item's neighbours (I + 1, I + 1), a sparse matrix by rows."""
    wanted = (prepared.event_split == TRAIN) & (prepared.event_weight > 0) & (prepared.event_item > 0)
    position_M = np.flatnonzero(wanted)
    item_M = prepared.event_item[position_M]
    user_M = prepared.users_of(position_M).astype(np.int32)
    count_I = np.bincount(item_M, minlength=prepared.n_items + 1)
    by_item_M = np.argsort(item_M, kind="stable")
    first_I = np.concatenate([[0], np.cumsum(count_I)])
    parts = []
    for low, high in _blocks(count_I, pairs_per_block):
        events = np.sort(by_item_M[first_I[low] : first_I[high]])
        counted = _count_co_visits(item_M, user_M, events, low, (high - low, prepared.n_items + 1))
        counted.data /= np.repeat(count_I[low:high], np.diff(counted.indptr))
        parts.append(_top_neighbours(counted, MAX_NEIGHBOURS))
    return csr_array(vstack(parts, format="csr"))


def co_visitation_candidates(matrix: csr_array, past: Sequence[Items], length: int) -> list[Items]:
    """Return for each user the items near the newest of the past, best first; ties go to the smaller number.

    Args:
        matrix: see ``co_visitation_matrix``.
        past: distinct items of each user's history, newest first.
        length: as many are returned as leave this number when all of the past is taken out, if there are.
    """
    recent = [items[:MAX_HISTORY] for items in past]
    offset = np.concatenate([[0], np.cumsum([len(items) for items in recent])])
    weights = np.concatenate([np.empty(0), *(RECENCY_DECAY ** np.arange(len(items)) for items in recent)])
    chosen = np.concatenate([np.empty(0, dtype=np.int64), *recent])
    score = csr_array((weights, chosen, offset), shape=(len(past), matrix.shape[0])) @ matrix
    found = []
    for mine, (start, stop) in zip(past, pairwise(score.indptr), strict=True):
        item, value = score.indices[start:stop], score.data[start:stop]
        depth = length + len(mine)
        if depth < len(item):
            good = value >= np.partition(value, -depth)[-depth]
            item, value = item[good], value[good]
        found.append(item[np.lexsort((item, -value))].astype(np.int64))
    return found


def _blocks(count_I: NDArray[np.int64], pairs_per_block: int) -> Iterator[tuple[int, int]]:
    """Yield half-open ranges of items that have about so many pairs together; an item is never parted."""
    block_I = np.cumsum(count_I) * 2 * WINDOW // pairs_per_block
    edges = [0, *(np.flatnonzero(np.diff(block_I)) + 1).tolist(), len(count_I)]
    yield from pairwise(edges)


def _count_co_visits(
    item_M: NDArray[np.int32], user_M: NDArray[np.int32], event_P: Items, low: int, shape: tuple[int, int]
) -> csr_array:
    """Return how often each item is near those of one block: from item ``low`` on, whose events are ``event_P``."""
    row, column, weight = [], [], []
    for distance in range(1, WINDOW + 1):
        for step in (-distance, distance):
            inside = slice(*np.searchsorted(event_P, [-step, len(item_M) - step]))
            one_P, two_P = event_P[inside], event_P[inside] + step
            pair_P = (user_M[one_P] == user_M[two_P]) & (item_M[one_P] != item_M[two_P])
            row.append(item_M[one_P[pair_P]] - np.int32(low))
            column.append(item_M[two_P[pair_P]])
            weight.append(np.full(len(row[-1]), 1 / distance, dtype=np.float32))
    return csr_array((np.concatenate(weight), (np.concatenate(row), np.concatenate(column))), shape=shape)


def _top_neighbours(counted: csr_array, most: int) -> csr_array:
    """Return the ``most`` largest entries of each row; ties go to the smaller number."""
    counted.sort_indices()
    kept = np.ones(counted.nnz, dtype=np.bool_)
    for row in np.flatnonzero(np.diff(counted.indptr) > most):
        start, stop = counted.indptr[row], counted.indptr[row + 1]
        kept[start + np.argsort(-counted.data[start:stop], kind="stable")[most:]] = False
    offset = np.concatenate([[0], np.cumsum(kept)])[counted.indptr]
    return csr_array((counted.data[kept], counted.indices[kept], offset), shape=counted.shape)
