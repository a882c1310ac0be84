"""Baselines without training: popularity, followed topics, co-visitation, and a user's own history.

The first n places of a list are the candidates at budget n. A list ends in zeros if there are too few items.

Legend: B users · I items · N places.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from multitudes.batches.held_out import HeldOut, has_known_followed_topics
from multitudes.data.prepared import PreparedData
from multitudes.evaluation import co_visitation
from multitudes.evaluation.targets import TargetKind, items_to_exclude

Items = NDArray[np.int64]
# Names of the baselines wherever they are beside other systems.
BASELINES = ("popularity", "recent_popularity", "followed_topics", "covisit", "own_history")
_NO_ITEMS = np.empty(0, dtype=np.int64)


class Baselines:
    """The baselines of a data set; data that all users share is computed once."""

    def __init__(self, prepared: PreparedData) -> None:
        self._prepared = prepared
        self._popular = items_by_popularity(prepared.item_count)
        # Without timestamps, nothing is recent.
        self._recent = (
            None if prepared.ordered_only else items_by_popularity(prepared.item_recent_count, prepared.item_count)
        )
        self._by_topic = items_by_topic(prepared, self._popular)

    def lists(
        self, held: HeldOut, histories: Sequence[Items], kind: TargetKind, length: int
    ) -> dict[str, NDArray[np.int64]]:
        """Return the lists (B, N) of each baseline that is fair for this kind of targets.

        Args:
            held: the users.
            histories: distinct items of each user's history, newest first; excluded for first-time targets.
            kind: ``new`` or ``all``.
            length: N.
        """
        seen = items_to_exclude(histories, kind)
        known_B = has_known_followed_topics(self._prepared, held.end_B)
        followed = [
            self._followed_topic_items(user, length + len(excluded)) if known else _NO_ITEMS
            for user, known, excluded in zip(held.user_B, known_B, seen, strict=True)
        ]
        lists = {"popularity": fill_lists([_NO_ITEMS] * len(held), self._popular, seen, length)}
        if self._recent is not None:
            lists["recent_popularity"] = fill_lists([_NO_ITEMS] * len(held), self._recent, seen, length)
        co_visited = co_visitation.co_visitation_candidates(self._co_visitation, histories, length)
        lists["covisit"] = fill_lists(co_visited, self._popular, seen, length)
        lists["followed_topics"] = fill_lists(followed, self._popular, seen, length)
        if kind == "all":
            lists["own_history"] = fill_lists(histories, self._popular, seen, length)
        return lists

    @cached_property
    def _co_visitation(self) -> csr_array:
        return co_visitation.co_visitation_matrix(self._prepared)

    def _followed_topic_items(self, user: int, depth: int) -> Items:
        return interleave([self._by_topic[topic][:depth] for topic in self._prepared.followed_topics(user)])


def items_by_popularity(count: NDArray[np.int64], tie_count: NDArray[np.int64] | None = None) -> Items:
    """Return all items from 1, most popular first; ties by ``tie_count`` if given, then by item number."""
    keys = (-count[1:],) if tie_count is None else (-tie_count[1:], -count[1:])
    return np.lexsort(keys).astype(np.int64) + 1


def items_by_topic(prepared: PreparedData, order: Items) -> list[Items]:
    """Return the items of each topic, by topic number, in the given order: the inverted index topic → items."""
    place = np.empty(prepared.n_items + 1, dtype=np.int64)
    place[order] = np.arange(len(order))
    item = np.repeat(np.arange(prepared.n_items + 1), np.diff(prepared.item_topic_offset))
    topic = np.asarray(prepared.item_topic, dtype=np.int64)
    sorted_pairs = np.lexsort((place[item], topic))
    edges = np.searchsorted(topic[sorted_pairs], np.arange(prepared.n_topics + 2))
    return [item[sorted_pairs[a:b]] for a, b in pairwise(edges)]


def interleave(lists: Iterable[Items]) -> Items:
    """Return the lists merged in turns; an item of several lists occurs several times."""
    rows = [row for row in lists if len(row)]
    if not rows:
        return _NO_ITEMS
    padded = np.zeros((max(map(len, rows)), len(rows)), dtype=np.int64)
    for column, row in enumerate(rows):
        padded[: len(row), column] = row
    turns = padded.ravel()
    return turns[turns > 0]


def unique_items(items: Items) -> Items:
    """Return the items without repeats, each at its first place."""
    _, first = np.unique(items, return_index=True)
    return items[np.sort(first)]


def fill_lists(first: Sequence[Items], fallback: Items, seen: Sequence[Items], length: int) -> NDArray[np.int64]:
    """Return each user's list ``first``, filled up from ``fallback``, without seen items, cut at ``length``."""
    lists = np.zeros((len(seen), length), dtype=np.int64)
    for row, start, excluded in zip(lists, first, seen, strict=True):
        # Enough of the fallback even if all other items are repeats or seen.
        rest = fallback[: length + len(start) + len(excluded)]
        items = unique_items(np.concatenate([start, rest])) if len(start) else rest
        items = items[~np.isin(items, excluded)][:length] if len(excluded) else items[:length]
        row[: len(items)] = items
    return lists
