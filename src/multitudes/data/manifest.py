"""The manifest of a prepared folder: settings, inputs, counts, repairs and warnings.

Legend: E events of a batch · U users of a batch · I items of the vocabulary.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.data.arrays import RaggedArray
from multitudes.data.clean.tables import CleanData
from multitudes.data.engine import Engine
from multitudes.data.features import Features
from multitudes.data.location import RemotePath
from multitudes.data.prepared import FORMAT, FORMAT_VERSION, SPLIT_CODE, TRAIN
from multitudes.data.tables import Table, table_sha256
from multitudes.data.user_batches import Columns, UserEvents

FEW_USERS = 100  # with fewer test users, intervals are too wide to compare methods
RECENT_S = 7 * 86_400  # seconds before the end of training that count as recent
_SPLITS = ("train", *SPLIT_CODE)


class EventCounter:
    """Counts events in batches of users.

    A target is a positive event of an item in the vocabulary, later than the time at which the user's followed topics
    are known.
    """

    def __init__(self, followed_topics: RaggedArray, item_topics: RaggedArray, recent_after: int | None) -> None:
        """Start at zero; events after ``recent_after`` are recent, all of them if it is None."""
        self._followed_topics, self._item_topics, self._recent_after = followed_topics, item_topics, recent_after
        self._counts: Counter[str] = Counter()
        self.positives_I = np.zeros(len(item_topics), dtype=np.int64)  # positive training events of each item
        self.recent_I = np.zeros(len(item_topics), dtype=np.int64)

    def add(self, users: UserEvents, columns: Columns) -> None:
        """Count the events of a batch; ``EventArrays.write_items`` yields its columns."""
        positive_E = columns["event_weight"] > 0
        named_E = columns["event_item"] > 0
        later_E = positive_E & columns["event_after_follows"]
        target_E = later_E & named_E
        count = self._count
        count("events", np.ones_like(positive_E))
        count("positives", positive_E)
        count("valid_events", columns["event_valid"])
        count("events_of_rare_items", columns["known"] & ~named_E)
        earliest_U = np.minimum.reduceat(columns["event_split"], users.starts)
        for code, split in enumerate(_SPLITS):
            within_E = columns["event_split"] == code
            held_E = target_E & within_E
            held_U = np.logical_or.reduceat(held_E, users.starts)
            count(f"{split}_events", within_E)
            count(f"{split}_users", held_U)
            count(f"{split}_targets", held_E)
            count(f"{split}_cold_targets", later_E & within_E & ~named_E)
            count(f"{split}_tied_targets", held_E & columns["tied"])
            count(f"{split}_users_with_history", held_U & (earliest_U < code))
        train_E = columns["event_split"] == TRAIN
        self._add_items(users, columns["event_item"], positive_E & train_E)
        self._add_conditions(users, columns, np.flatnonzero(target_E & train_E))

    @property
    def events(self) -> dict[str, int]:
        """Events and targets, in total and in each split; users with targets, and those with an event before the split.

        Only the latter have a history that can help.
        """
        names = ["events", "positives", "valid_events", "events_of_rare_items"]
        counted = ("events", "users", "targets", "cold_targets", "tied_targets")
        names += [f"{split}_{name}" for split in _SPLITS for name in counted]
        return {name: self._counts[name] for name in [*names, *(f"{split}_users_with_history" for split in SPLIT_CODE)]}

    @property
    def conditions(self) -> dict[str, int]:
        """Training targets with a condition of each kind, which make triples (condition, user, item).

        ``source``: the topic that sourced the impression is logged. ``item``: the item has a topic. ``match``: the
        item has a topic that the user follows.
        """
        return {name: self._counts[name] for name in ("source", "item", "match")}

    def _count(self, name: str, true: NDArray[np.bool_]) -> None:
        self._counts[name] += int(np.count_nonzero(true))

    def _add_items(self, users: UserEvents, item_E: NDArray[np.int32], counted_E: NDArray[np.bool_]) -> None:
        counted_E &= item_E > 0
        self.positives_I += np.bincount(item_E[counted_E], minlength=len(self.positives_I))
        if self._recent_after is not None:
            counted_E &= users.time_E > self._recent_after
        self.recent_I += np.bincount(item_E[counted_E], minlength=len(self.recent_I))

    def _add_conditions(self, users: UserEvents, columns: Columns, row_N: NDArray[np.int64]) -> None:
        """Count the conditions of the targets at ``row_N``."""
        item_N = columns["event_item"][row_N]
        user_N = users.per_event(np.arange(len(users.number_U)))[row_N]
        self._count("source", columns["event_source"][row_N] > 0)
        self._count("item", self._item_topics.count[item_N] > 0)
        owner_P, topic_P = self._item_topics.gather(item_N)  # pairs of a target and a topic of its item
        follower_F, followed_F = self._followed_topics.gather(users.number_U)
        width = self._item_topics.width
        is_followed_P = np.isin(user_N[owner_P] * width + topic_P, follower_F * width + followed_F)
        self._count("match", np.bincount(owner_P[is_followed_P], minlength=len(row_N)) > 0)


def build_manifest(
    engine: Engine,
    cleaned: CleanData,
    config: Mapping[str, Any],
    actions: list[str],
    counter: EventCounter,
    features: Mapping[str, Features],
) -> dict[str, Any]:
    """Return the manifest of a prepared folder, whose tables the engine still has.

    ``config`` has the settings that can change the result, ``actions`` are in the order of their numbers, and
    ``counter`` has counted all events. ``features`` are those of "items" and of "users".
    """
    entities = {"users": "member", "items": "item_number", "topics": "topic", "follows": "follow"}
    selected = ", ".join(f"(SELECT count(*) FROM {table}) AS {name}" for name, table in entities.items())
    counts = engine.record(f"SELECT {selected}") | counter.events
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "config": dict(config),
        "inputs": {name: _describe_input(engine, table) for name, table in cleaned.inputs.items()},
        "counts": counts,
        "conditions": counter.conditions,
        **({"sources": dict(cleaned.attribution)} if cleaned.attribution else {}),
        "actions": actions,
        "ordered_only": cleaned.ordered_only,
        "recent_s": RECENT_S,
        "id_kinds": dict(cleaned.id_types),
        "item_features": features["items"].names,
        "user_features": features["users"].names,
        "item_encoding": features["items"].encoding,
        "skipped_columns": {name: features[name].skipped for name in features},
        "repairs": dict(cleaned.repairs),
        "warnings": [*cleaned.warnings, *_warnings(config, cleaned, actions, counts)],
    }


def _describe_input(engine: Engine, table: Table) -> dict[str, Any]:
    """Return the digest and size of a table, and the URL of a remote one."""
    description = {"sha256": table_sha256(engine.fetch(table.file)), "rows": table.rows}
    return description | ({"address": str(table.file)} if isinstance(table.file, RemotePath) else {})


def _warnings(
    config: Mapping[str, Any], cleaned: CleanData, actions: list[str], counts: Mapping[str, int]
) -> Iterator[str]:
    """Yield warnings about actions and ratings that no event has, and about held-out splits with too few users."""
    if config["min_rating"] is not None and not any("rating" in table for table in cleaned.inputs.values()):
        yield "min_rating is given, and no table has ratings: every event counts as liked"
    if missing := sorted(set(config["positive_actions"]) - set(actions)):
        yield f"positive_actions names {', '.join(missing)}, which no event has"
    advice = "; the split 'user' keeps more" if config["split"] == "time" else ""
    for split in SPLIT_CODE:
        users = counts[f"{split}_users_with_history"]
        if users < FEW_USERS:
            yield f"only {users} users have a history and {split} targets (split '{config['split']}'){advice}"
