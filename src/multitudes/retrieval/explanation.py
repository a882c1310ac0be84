"""Why a candidate is shown, in the user's own words: the items of their history that are most similar to it.

A similarity is the cosine of two item vectors of the index. A reason is shown only if it is rare in the catalogue: the
pair belongs to the top hundredth of pairs of items. A long history has an item near to anything, so the share shrinks
with its length: a random item of the catalogue gets a reason in at most one of twenty cases. And the pair is more
similar than random vectors are.

Legend: B users · L history · H own items of a user · N candidates · R reasons of a candidate · D width · S items of the
sample · P pairs of them.
"""

from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from multitudes.index.item_table import find_rows, l2_normalize
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Index
from multitudes.retrieval.search import Candidates
from multitudes.seeding import generator

MAX_REASONS: Final = 2  # own items that a candidate names
MAX_OWN_ITEMS: Final = 500  # the newest of a user's, that are compared with the candidates
_MAX_PAIR_SHARE: Final = 0.01  # of pairs of items, that are as similar as a reason
_MAX_CHANCE: Final = 0.05  # that a random item gets a reason
_MIN_SIMILARITY: Final = 0.5  # of random vectors of width 64, 3 pairs of 100,000 are so similar
_SAMPLE_SIZE: Final = 1_000  # items that stand for the catalogue
_ROUNDING: Final = 1e-6  # equal similarities differ by so much


class Explainer:
    """Finds the own items that are reasons for candidates."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def explain(self, own_H: NDArray[np.int64], candidates: Candidates) -> NDArray[np.int64]:
        """Return the own items that are most similar to each candidate, 0 where there are no more (N, R).

        Popular items and repeats have no reason, nor has anything where a server holds the vectors of the items. The
        own items are distinct, in any order.
        """
        because_NR = np.zeros((len(candidates.item_N), MAX_REASONS), dtype=np.int64)
        if not isinstance(self._index, LiveIndex):
            return because_NR
        own_H = np.sort(own_H[find_rows(self._index.ids(), own_H)[1]])
        brought_N = np.flatnonzero(candidates.interest_N >= 0)
        if not len(own_H) or not len(brought_N):
            return because_NR
        item_N = candidates.item_N[brought_N]
        similarity_NH = self._unit_vectors(item_N) @ self._unit_vectors(own_H).T
        similarity_NH[item_N[:, None] == own_H] = -np.inf  # an item is no reason for itself
        threshold, row_N = self._threshold(len(own_H)), np.arange(len(item_N))
        for reason in range(MAX_REASONS):
            nearest_N = similarity_NH.argmax(axis=1)
            is_near_N = similarity_NH[row_N, nearest_N] >= threshold
            because_NR[brought_N, reason] = np.where(is_near_N, own_H[nearest_N], 0)
            similarity_NH[row_N, nearest_N] = -np.inf
        return because_NR

    def _threshold(self, own_items: int) -> float:
        """Return the least similarity of a reason for a user with so many own items."""
        pairs, most_similar_P = self._similar_pairs
        if not pairs:
            return np.inf
        rank = max(1, int(pairs * min(_MAX_PAIR_SHARE, _MAX_CHANCE / own_items)))
        return max(_MIN_SIMILARITY, float(most_similar_P[rank - 1]) - _ROUNDING)

    @cached_property
    def _similar_pairs(self) -> tuple[int, NDArray[np.float32]]:
        """Return the number of pairs of sampled items, and the similarities of the top hundredth, highest first."""
        item_S = self._index.ids()
        if len(item_S) > _SAMPLE_SIZE:
            item_S = np.sort(generator(0, "explanation").choice(item_S, _SAMPLE_SIZE, replace=False))
        unit_SD = self._unit_vectors(item_S)
        similarity_P = (unit_SD @ unit_SD.T)[np.tri(len(unit_SD), k=-1, dtype=np.bool_)]
        kept = min(len(similarity_P), max(1, int(len(similarity_P) * _MAX_PAIR_SHARE)))
        top_P = np.partition(similarity_P, -kept)[-kept:] if kept else similarity_P
        return len(similarity_P), np.sort(top_P)[::-1]

    def _unit_vectors(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of items at length 1; zeros stay zeros."""
        return l2_normalize(self._index.vectors(items))
