"""Baselines: popularity, linear models, followed topics, co-visitation, and a user's own history.

Popularity counts distinct users for first-time targets, and events for all targets, where repeats count.

The first n places of a list are the candidates at budget n. A list ends in zeros if there are too few items.

Legend: B users · I items · N places.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, has_known_followed_topics
from multitudes.data.prepared import PreparedData
from multitudes.evaluation import co_visitation
from multitudes.evaluation.config import BaselineChoice, main_budget
from multitudes.evaluation.model_baselines import ModelBaseline, model_baselines
from multitudes.evaluation.targets import TargetKind, items_to_exclude, targets_of_kind
from multitudes.linear.popularity import items_by_popularity, user_counts
from multitudes.progress import Progress, silent

Items = NDArray[np.int64]
# Names of the baselines wherever they are beside other systems.
BASELINES = (
    "popularity",
    "recent_popularity",
    "item_knn",
    "ease",
    "ials",
    "followed_topics",
    "covisit",
    "own_history",
    "repeats",
)
_NO_ITEMS = np.empty(0, dtype=np.int64)


class Baselines:
    """The baselines of a data set; data that all users share is computed once."""

    def __init__(
        self,
        prepared: PreparedData,
        models: Mapping[str, ModelBaseline] = MappingProxyType({}),
        users: Mapping[TargetKind, Items] = MappingProxyType({}),
    ) -> None:
        """Take the data, and the fitted baselines, of which ``users`` have lists, by kind of targets and ascending."""
        self._prepared, self._users = prepared, users
        self._models = {name: model for name, model in models.items() if model.lists}
        users_I, events_I = user_counts(prepared), prepared.item_count
        self._popular: dict[TargetKind, Items] = {
            "new": items_by_popularity(users_I, events_I),
            "all": items_by_popularity(events_I),
        }
        self._recent: dict[TargetKind, Items] = {}
        if not prepared.ordered_only:  # without timestamps, nothing is recent
            self._recent = {
                "new": items_by_popularity(user_counts(prepared, recent=True), users_I),
                "all": items_by_popularity(prepared.item_recent_count, events_I),
            }
        self._by_topic = {kind: items_by_topic(prepared, order) for kind, order in self._popular.items()}
        self._co_visitation = co_visitation.co_visitation_matrix(prepared)

    def lists(
        self, held: HeldOut, histories: Sequence[Items], kind: TargetKind, length: int
    ) -> dict[str, NDArray[np.int64]]:
        """Return the lists (B, N) of each baseline that is fair for this kind of targets, N being ``length``.

        ``histories`` are distinct items, newest first, which are excluded for first-time targets.
        """
        seen, popular = items_to_exclude(histories, kind), self._popular[kind]
        known_B = has_known_followed_topics(self._prepared, held.end_B)
        followed = [
            self._followed_topic_items(user, kind, length + len(excluded)) if known else _NO_ITEMS
            for user, known, excluded in zip(held.user_B, known_B, seen, strict=True)
        ]
        lists = {"popularity": fill_lists([_NO_ITEMS] * len(held), popular, seen, length)}
        if self._recent:
            lists["recent_popularity"] = fill_lists([_NO_ITEMS] * len(held), self._recent[kind], seen, length)
        if self._models:
            row_B = np.searchsorted(self._users[kind], held.user_B)
            lists |= {name: model.lists[kind][row_B, :length] for name, model in self._models.items()}
        co_visited = co_visitation.co_visitation_candidates(self._co_visitation, histories, length)
        lists["covisit"] = fill_lists(co_visited, popular, seen, length)
        lists["followed_topics"] = fill_lists(followed, popular, seen, length)
        if kind == "all":
            lists["own_history"] = fill_lists(histories, popular, seen, length)
        return lists

    def _followed_topic_items(self, user: int, kind: TargetKind, depth: int) -> Items:
        by_topic = self._by_topic[kind]
        return interleave([by_topic[topic][:depth] for topic in self._prepared.followed_topics(user)])


def fit_baselines(
    prepared: PreparedData,
    held: HeldOut,
    kinds: Sequence[TargetKind],
    budgets: tuple[int, ...],
    choice: BaselineChoice,
    progress: Progress = silent,
) -> tuple[Baselines | None, dict[str, Any]]:
    """Return the baselines of an evaluation, and a record of each that is fitted: settings and trials, or absent.

    Lists have the length of the largest budget. ``progress`` is called with the number of fits done.
    """
    if choice == "none":
        return None, {}
    if choice == "cheap":
        return Baselines(prepared), {}
    models = model_baselines(prepared, held, kinds, max(budgets), main_budget(budgets), progress)
    users = {kind: targets_of_kind(held, kind).user_B for kind in kinds}
    return Baselines(prepared, models, users), {name: model.record for name, model in models.items()}


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


def fill_lists(first: Sequence[Items], fallback: Items, seen: Sequence[Items], length: int) -> NDArray[np.int64]:
    """Return each user's list ``first``, filled up from ``fallback``, without seen items, cut at ``length``."""
    lists = np.zeros((len(seen), length), dtype=np.int64)
    largest = max((int(items.max(initial=0)) for items in (fallback, *first, *seen)), default=0)
    place_I = np.empty(largest + 1, dtype=np.int64)  # of each item in the list at hand; sorting takes 20 times as long
    for row, start, excluded in zip(lists, first, seen, strict=True):
        # Enough of the fallback even if all other items are repeats or seen.
        items = np.concatenate([start, fallback[: length + len(start) + len(excluded)]])
        place_I[items[::-1]] = np.arange(len(items))[::-1]  # of a repeated item the first place, written last
        place_I[excluded] = -1
        items = items[place_I[items] == np.arange(len(items))][:length]
        row[: len(items)] = items
    return lists
