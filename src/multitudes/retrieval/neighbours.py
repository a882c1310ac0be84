"""A user's own events propose items beside the vectors, and both scores are summed.

    score of item j with vector k = v_k · x_j + w Σ_{i in k} w_i B_ij

i runs over the user's own items: those of the interest k, or all for the vector of the whole history and for followed
topics. B, w and w_i are those of ``linear.neighbours``. Both sides propose their best, and what either proposed is
scored by both, so the sum is exact for all of these. It is a sum over own events: what an interest, or a single event,
adds to a candidate is known and no guess. A new item has no terms and is found by its vector; a vector of zeros finds
nothing, and the events propose alone.

Legend: B users · K vectors · Q lists of all users · n own items of one user · U distinct items of their rows · N
candidates · E entries of the rows.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import OwnEvents, UserVectors
from multitudes.index.hits import empty_hits
from multitudes.index.item_table import find_rows
from multitudes.index.protocol import ANY_TOPIC, Hits, Index
from multitudes.index.scan import paired_inner_products
from multitudes.linear.history import recency_weights
from multitudes.linear.neighbours import (
    MAX_HISTORY,
    NeighbourFit,
    Neighbours,
    NeighbourSource,
    Terms,
)
from multitudes.release.manifest import read_settings
from multitudes.release.release import Release

_LEAST_SHARE: Final = 0.1  # of what all own items add to a score, that a reason adds
Sums = tuple[NDArray[np.int64], NDArray[np.float32]]  # items, ascending, and the score of each (U)


def release_neighbours(release: Release) -> NeighbourSource | None:
    """Return the neighbours of a release; None: its vectors propose alone.

    Raises:
        ArtefactError: the manifest describes them wrongly.
    """
    offset_I, item_E, weight_E = release.neighbour_offset, release.neighbour_item, release.neighbour_weight
    if offset_I is None or item_E is None or weight_E is None:
        return None
    where = f"{release.path}/manifest.json: neighbours"
    weights = read_settings(NeighbourFit, release.manifest.neighbours or {}, where)
    return NeighbourSource(Neighbours(offset_I, item_E, weight_E), weights)


def own_events(
    source: NeighbourSource,
    positives: Sequence[NDArray[np.int64]],
    item_BL: NDArray[np.int64],
    assignment_BL: NDArray[np.int64],
) -> list[OwnEvents]:
    """Return the own events of users: their newest positives, what each weighs, and the interest that each is of.

    An event that the vectors did not read is of the interest whose events speak most for it, as a candidate is; without
    one it is of none (−1).
    """
    found, recency, columns = [], source.weights.recency, int(assignment_BL.max(initial=-1)) + 1
    for items, item_L, interest_L in zip(positives, item_BL, assignment_BL, strict=True):
        item_n = items[-MAX_HISTORY:]
        weight_n, column_n = recency_weights(len(item_n), recency), read_interests(item_n, item_L, interest_L)
        is_read_n, other = column_n >= 0, np.flatnonzero(~np.isin(item_n, item_L))
        if columns and len(other) and is_read_n.any():
            read = OwnEvents(item_n[is_read_n], weight_n[is_read_n], column_n[is_read_n])
            term_NK = interest_terms(source.terms(read), read, item_n[other], columns)[:, :columns]
            column_n[other] = np.where(term_NK.any(axis=1), term_NK.argmax(axis=1), -1)
        found.append(OwnEvents(item_n, weight_n, column_n))
    return found


def read_interests(
    item_n: NDArray[np.int64], item_L: NDArray[np.int64], interest_L: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the interest of each of some items of a user, by the history that the vectors read; −1: of none."""
    newest, first = np.unique(item_L, return_index=True)
    if not len(newest):
        return np.full(len(item_n), -1)
    row_n, is_read_n = find_rows(newest, item_n)
    return np.where(is_read_n, interest_L[first[row_n]], -1)


class RetrievableItems(Protocol):
    """The items that can be retrieved: a ``Catalogue``."""

    index: Index

    def ids(self) -> NDArray[np.int64]:
        """Return the items of the index, ascending."""


def add_neighbours(
    source: NeighbourSource,
    items: RetrievableItems,
    vectors: UserVectors,
    queries: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    limit_Q: NDArray[np.int64],
    excluded: Sequence[NDArray[np.int64]],
    hits: Hits,
) -> tuple[Hits, list[Terms]]:
    """Return the best ``limit_Q`` items of each list by the sum of both scores, and the terms of each user.

    ``queries`` are the user, the vector and the topic of each list; ``hits`` what the vectors found. Ties go to the
    smaller item.
    """
    assert vectors.own is not None
    joined = empty_hits(len(limit_Q), int(limit_Q.max(initial=0)))
    sums, terms = dict[tuple[int, int], Sums](), list(map(source.terms, vectors.own))
    for q, (b, k, topic) in enumerate(zip(*(column.tolist() for column in queries), strict=True)):
        part = k if vectors.kinds[k] == "implicit" else -1  # -1: of all events
        if (b, part) not in sums:
            sums[b, part] = _allowed(_sums_of(terms[b], vectors.own[b], part), items.ids(), excluded[b])
        of_list = sums[b, part] if topic == ANY_TOPIC else _among(sums[b, part], items.index.items_of(topic))
        item_N, score_N = _join(vectors.vectors_BKD[b, k], items.index, hits, q, of_list, int(limit_Q[q]))
        joined.id_QN[q, : len(item_N)], joined.score_QN[q, : len(item_N)] = item_N, score_N
        joined.count_Q[q] = len(item_N)
    return joined, terms


def _sums_of(terms: Terms, own: OwnEvents, column: int) -> Sums:
    """Return the sums of the terms of the events of one interest; −1: of all."""
    if column < 0:
        return terms.sums()
    is_own_E = own.column_n[terms.place_E] == column
    return Terms(*(array[is_own_E] for array in terms)).sums()


def _allowed(sums: Sums, ids: NDArray[np.int64], excluded: NDArray[np.int64]) -> Sums:
    """Return the sums of the items that the index holds and that are not excluded."""
    item_U, sum_U = sums
    is_allowed_U = find_rows(ids, item_U)[1]
    is_allowed_U &= ~find_rows(np.sort(excluded), item_U)[1]
    return item_U[is_allowed_U], sum_U[is_allowed_U]


def _among(sums: Sums, ids: NDArray[np.int64]) -> Sums:
    """Return the sums of the items of a topic."""
    is_among_U = find_rows(ids, sums[0])[1]
    return sums[0][is_among_U], sums[1][is_among_U]


def _join(query_D: NDArray[np.float32], index: Index, hits: Hits, q: int, sums: Sums, limit: int) -> Sums:
    """Return the best items of one list by the sum of both scores, and these."""
    (item_U, sum_U), found_M = sums, hits.ids(q)
    depth = min(limit, len(item_U))
    best_U = np.argpartition(-sum_U, depth - 1)[:depth] if depth else np.zeros(0, dtype=np.int64)
    proposed = item_U[best_U[sum_U[best_U] > 0]]  # what the events speak against is left to the vector
    proposed = proposed[~np.isin(proposed, found_M)]
    item_N, score_N = np.concatenate([found_M, proposed]), np.zeros(len(found_M) + len(proposed), dtype=np.float32)
    score_N[: len(found_M)] = hits.scores(q)
    if len(proposed) and query_D.any():
        place = np.arange(len(proposed))
        score_N[len(found_M) :] = paired_inner_products(query_D[None], index.vectors(proposed), 0 * place, place)
    row_N, has_sum_N = find_rows(item_U, item_N)
    if len(item_U):
        score_N += np.where(has_sum_N, sum_U[row_N], np.float32(0))
    order_N = np.lexsort((item_N, -score_N))[:limit]
    return item_N[order_N], score_N[order_N]


def interest_terms(terms: Terms, own: OwnEvents, item_N: NDArray[np.int64], columns: int) -> NDArray[np.float64]:
    """Return how much each interest, and at last the events of none, speak for distinct items (N, K + 1).

    It is the sum of the squares of the positive terms: few large ones say more of a cause than many small ones. It is
    relative to that over all items: an interest with many events would be the cause of everything.
    """
    place_E, candidate_E = _of_items(terms, item_N)
    column_E = np.where(own.column_n < 0, columns, own.column_n)[terms.place_E]
    square_E = np.maximum(terms.term_E, 0, dtype=np.float64) ** 2
    total_K = np.bincount(column_E, square_E, minlength=columns + 1)
    cell_E = candidate_E * (columns + 1) + column_E[place_E]
    sums = np.bincount(cell_E, square_E[place_E], minlength=len(item_N) * (columns + 1))
    return np.asarray(sums.reshape(len(item_N), columns + 1) / np.maximum(total_K, np.finfo(np.float64).tiny))


def largest_terms(
    terms: Terms, own: OwnEvents, item_N: NDArray[np.int64], interest_N: NDArray[np.int64], reasons: int
) -> NDArray[np.int64]:
    """Return the own items that add most to the score of each of some distinct items (N, R); 0: no more add much.

    They are of the interest that the item is for, if it has events. An item adds much if it has a tenth of what all own
    items add: of many small terms none is the cause.
    """
    place_E, candidate_E = _of_items(terms, item_N)
    term_E, column_E = terms.term_E[place_E], own.column_n[terms.place_E[place_E]]
    added_N = np.bincount(candidate_E, np.maximum(term_E, 0), minlength=len(item_N))
    has_events_N = np.isin(interest_N, own.column_n)
    is_cause_E = (column_E == interest_N[candidate_E]) | ~has_events_N[candidate_E]
    is_cause_E &= term_E > _LEAST_SHARE * added_N[candidate_E]
    order_E = np.lexsort((place_E, -term_E, candidate_E))
    order_E = order_E[is_cause_E[order_E]]
    candidate_E = candidate_E[order_E]
    rank_E = np.arange(len(order_E)) - np.searchsorted(candidate_E, candidate_E)
    because_NR, is_shown_E = np.zeros((len(item_N), reasons), dtype=np.int64), rank_E < reasons
    own_E = own.item_n[terms.place_E[place_E[order_E[is_shown_E]]]]
    because_NR[candidate_E[is_shown_E], rank_E[is_shown_E]] = own_E
    return because_NR


def _of_items(terms: Terms, item_N: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the entries of some distinct items, and the place of the item of each."""
    is_wanted_I = np.zeros(int(max(item_N.max(initial=0), terms.item_E.max(initial=0))) + 1, dtype=np.bool_)
    is_wanted_I[item_N] = True  # a lookup is faster than a search for every entry
    entry, order_N = np.flatnonzero(is_wanted_I[terms.item_E]), np.argsort(item_N)
    return entry, order_N[np.searchsorted(item_N, terms.item_E[entry], sorter=order_N)]
