"""Item-to-item co-visitation: items that the same users engaged with around the same time. Counts only, no training.

Two training events of one user count if they are at most WINDOW events apart, and more if they are closer:

    nearness_ij = (Σ 1 / distance) / count_i

is how often j was near, per occurrence of i. An item's score is the sum of its nearness to the user's newest items,
older ones with smaller weight. With the cosine, which divides by sqrt(count_i · count_j) instead, the rarest pairs come
first; on the validation splits of MovieLens and Foursquare it finds less.

Legend: I items · M training events, by user and time · P pairs · B users · R newest items of a user.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from multitudes.data.prepared import TRAIN, PreparedData
from multitudes.linear.item_knn import top_neighbours

WINDOW = 10  # events to either side
MAX_NEIGHBOURS = 200  # nearest neighbours kept for each item
MAX_HISTORY = 50  # newest items of a history that contribute
RECENCY_DECAY = 0.95  # weight of an item relative to the next newer one
_PAIRS_PER_CHUNK = 5_000_000  # bounds the memory of counting: about 300 MB

Items = NDArray[np.int64]


def co_visitation_matrix(prepared: PreparedData, pairs_per_chunk: int = _PAIRS_PER_CHUNK) -> csr_array:
    """Return the nearness of each item's neighbours, a sparse matrix by rows, shape (I + 1, I + 1)."""
    counts = (prepared.event_split == TRAIN) & (prepared.event_weight > 0) & (prepared.event_item > 0)
    position_M = np.flatnonzero(counts)
    item_M = prepared.event_item[position_M]
    user_M = prepared.users_of(position_M).astype(np.int32)
    count_I = np.bincount(item_M, minlength=prepared.n_items + 1)
    by_item_M = np.argsort(item_M, kind="stable")
    first_I = np.concatenate([[0], np.cumsum(count_I)])
    chunks = []
    for low, high in _item_chunks(count_I, pairs_per_chunk):
        events = np.sort(by_item_M[first_I[low] : first_I[high]])
        chunk = _count_co_visits(item_M, user_M, events, low, (high - low, prepared.n_items + 1))
        chunk.data /= np.repeat(count_I[low:high], np.diff(chunk.indptr))
        chunks.append(top_neighbours(chunk, MAX_NEIGHBOURS))
    return csr_array(vstack(chunks, format="csr"))


def co_visitation_candidates(matrix: csr_array, histories: Sequence[Items], length: int) -> list[Items]:
    """Return for each user the items near the newest ones of the history, best first; ties by item number.

    ``histories`` are distinct items, newest first; ``length`` items should remain after they are excluded.
    """
    newest = [items[:MAX_HISTORY] for items in histories]
    offset = np.concatenate([[0], np.cumsum([len(items) for items in newest])])
    weights = np.concatenate([np.empty(0), *(RECENCY_DECAY ** np.arange(len(items)) for items in newest)])
    columns = np.concatenate([np.empty(0, dtype=np.int64), *newest])
    score = csr_array((weights, columns, offset), shape=(len(histories), matrix.shape[0])) @ matrix
    candidates = []
    for history, (start, stop) in zip(histories, pairwise(score.indptr), strict=True):
        item, value = score.indices[start:stop], score.data[start:stop]
        depth = length + len(history)
        if depth < len(item):
            is_top = value >= np.partition(value, -depth)[-depth]
            item, value = item[is_top], value[is_top]
        candidates.append(item[np.lexsort((item, -value))].astype(np.int64))
    return candidates


def _item_chunks(count_I: NDArray[np.int64], pairs_per_chunk: int) -> Iterator[tuple[int, int]]:
    """Yield half-open ranges of items with about ``pairs_per_chunk`` pairs each; an item is never divided."""
    chunk_I = np.cumsum(count_I) * 2 * WINDOW // pairs_per_chunk
    edges = [0, *(np.flatnonzero(np.diff(chunk_I)) + 1).tolist(), len(count_I)]
    yield from pairwise(edges)


def _count_co_visits(
    item_M: NDArray[np.int32], user_M: NDArray[np.int32], event_P: Items, low: int, shape: tuple[int, int]
) -> csr_array:
    """Return how often each item is near those of one chunk: the items from ``low`` on, with events ``event_P``."""
    row, column, weight = [], [], []
    for distance in range(1, WINDOW + 1):
        for step in (-distance, distance):
            in_range = slice(*np.searchsorted(event_P, [-step, len(item_M) - step]))
            first_P, second_P = event_P[in_range], event_P[in_range] + step
            pair_P = (user_M[first_P] == user_M[second_P]) & (item_M[first_P] != item_M[second_P])
            row.append(item_M[first_P[pair_P]] - np.int32(low))
            column.append(item_M[second_P[pair_P]])
            weight.append(np.full(len(row[-1]), 1 / distance, dtype=np.float32))
    return csr_array((np.concatenate(weight), (np.concatenate(row), np.concatenate(column))), shape=shape)
