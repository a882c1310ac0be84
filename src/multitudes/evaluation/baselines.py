"""Baselines: popularity, linear models, followed topics, co-visitation, and a user's own history.

Popularity counts distinct users for first-time targets, and events for all targets, where repeats count.

The first n places of a list are the candidates at budget n. A list ends in zeros if there are too few items.

**Co-visitation** finds items that the same users engaged with around the same time, by counts alone. Two training
events of one user count if they are at most WINDOW events apart, and more if they are closer:

    nearness_ij = (Σ 1 / distance) / count_i

is how often j was near, per occurrence of i. An item's score is the sum of its nearness to the user's newest items,
older ones with smaller weight. With the cosine, which divides by sqrt(count_i · count_j) instead, the rarest pairs come
first; on the validation splits of MovieLens and Foursquare it finds less.

Legend: B users · I items · N places · M training events, by user and time · P pairs of events.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from multitudes.batches.held_out import HeldOut, has_known_followed_topics
from multitudes.data.prepared import TRAIN, PreparedData
from multitudes.evaluation.config import BaselineChoice, main_budget
from multitudes.evaluation.model_baselines import ModelBaseline, model_baselines
from multitudes.evaluation.targets import TargetKind, items_to_exclude, targets_of_kind
from multitudes.linear.item_knn import top_neighbours
from multitudes.linear.popularity import items_by_popularity, user_counts
from multitudes.progress import Progress, silent
from multitudes.retrieval.search import NO_ITEMS

Items = NDArray[np.int64]
# Names of the baselines wherever they are beside other systems.
BASELINES = (
    "popularity",
    "recent_popularity",
    "item_knn",
    "ease",
    "neighbours",
    "linear",
    "ials",
    "followed_topics",
    "covisit",
    "own_history",
    "repeats",
)
WINDOW = 10  # events to either side
MAX_NEIGHBOURS = 200  # nearest neighbours kept for each item
MAX_HISTORY = 50  # newest items of a history that contribute
RECENCY_DECAY = 0.95  # weight of an item relative to the next newer one
_PAIRS_PER_CHUNK = 5_000_000  # bounds the memory of counting: about 300 MB


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
        self._co_visitation = co_visitation_matrix(prepared)

    def lists(
        self, held: HeldOut, histories: Sequence[Items], kind: TargetKind, length: int
    ) -> dict[str, NDArray[np.int64]]:
        """Return the lists (B, N) of each baseline that is fair for this kind of targets, N being ``length``.

        ``histories`` are distinct items, newest first, which are excluded for first-time targets.
        """
        seen, popular = items_to_exclude(histories, kind), self._popular[kind]
        known_B = has_known_followed_topics(self._prepared, held.end_B)
        by_topic, followed_topics = self._by_topic[kind], self._prepared.followed_topics
        followed = [
            interleave([by_topic[topic][: length + len(excluded)] for topic in followed_topics(user)] if known else [])
            for user, known, excluded in zip(held.user_B, known_B, seen, strict=True)
        ]
        lists = {"popularity": fill_lists([NO_ITEMS] * len(held), popular, seen, length)}
        if self._recent:
            lists["recent_popularity"] = fill_lists([NO_ITEMS] * len(held), self._recent[kind], seen, length)
        if self._models:
            row_B = np.searchsorted(self._users[kind], held.user_B)
            lists |= {name: model.lists[kind][row_B, :length] for name, model in self._models.items()}
        co_visited = co_visitation_candidates(self._co_visitation, histories, length)
        lists["covisit"] = fill_lists(co_visited, popular, seen, length)
        lists["followed_topics"] = fill_lists(followed, popular, seen, length)
        if kind == "all":
            lists["own_history"] = fill_lists(histories, popular, seen, length)
        return lists


def fit_baselines(
    prepared: PreparedData,
    held: HeldOut,
    kinds: Sequence[TargetKind],
    budgets: tuple[int, ...],
    choice: BaselineChoice,
    progress: Progress = silent,
    own: str = "",
) -> tuple[Baselines | None, dict[str, Any]]:
    """Return the baselines of an evaluation, and a record of each that is fitted: settings and trials, or absent.

    Lists have the length of the largest budget. ``own`` is the method of the run: a baseline of that name is left out.
    ``progress`` is called with the number of baselines done.
    """
    if choice == "none":
        return None, {}
    if choice == "cheap":
        return Baselines(prepared), {}
    models = model_baselines(prepared, held, kinds, max(budgets), main_budget(budgets), progress, own)
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
        return NO_ITEMS
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
    # Ranges of items with about as many pairs each; an item is never divided.
    chunk_I = np.cumsum(count_I) * 2 * WINDOW // pairs_per_chunk
    edges = [0, *(np.flatnonzero(np.diff(chunk_I)) + 1).tolist(), len(count_I)]
    for low, high in pairwise(edges):
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
