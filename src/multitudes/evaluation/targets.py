"""The users of an evaluation and their targets, and the segments of both.

Targets are first-time targets or all targets. Users are segmented by history length and cohort; targets by popularity
of the item, by the time from the query, and by the age of the interest. The query is at the user's cut, where the
history ends. A user may have targets in several segments of a segmentation: each target counts in its own.

Legend: B users · T targets, flat by user · P events, flat · X pairs of an item and one of its topics · C topics + 1.
A label of −1 belongs to no segment.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, first_positions, select_targets, select_users
from multitudes.data.arrays import expand_ranges
from multitudes.data.prepared import SPLIT_CODE, PreparedData, Split
from multitudes.data.timestamps import DAY_S
from multitudes.evaluation.config import SegmentName
from multitudes.metrics.ranking import target_rows
from multitudes.seeding import generator

TargetKind = Literal["new", "all"]
HISTORY = ("0", "1-9", "10-49", "50+")
COHORT = ("core", "non-core", "new")
CORE_DAYS, WINDOW_DAYS = 4, 28  # active days in the last ones that make a user core: once a week


def targets_of_kind(held: HeldOut, kind: TargetKind) -> HeldOut:
    """Return the users that have targets of a kind, with only those targets.

    ``new``: items that are not in the user's history; the history is then excluded from the candidates too.
    """
    if kind == "all":
        return held
    return select_targets(held, held.target_is_first_time)


def subsample(held: HeldOut, max_users: int, seed: int = 0) -> HeldOut:
    """Return at most ``max_users`` users (0: all), drawn at random, since files are often sorted."""
    if not max_users or len(held) <= max_users:
        return held
    rows = generator(seed, "evaluate", "users").choice(len(held), size=max_users, replace=False)
    return select_users(held, np.sort(rows))


def items_to_exclude(histories: Sequence[NDArray[np.int64]], kind: TargetKind) -> Sequence[NDArray[np.int64]]:
    """Return the items that may not be candidates: for first-time targets all of the history, for all targets none."""
    return histories if kind == "new" else [np.empty(0, dtype=np.int64)] * len(histories)


class Segmentation(NamedTuple):
    """One segmentation of the users: ``label_B`` indexes ``names``."""

    names: tuple[str, ...]
    label_B: NDArray[np.int64]


def user_segments(prepared: PreparedData, held: HeldOut, split: Split) -> dict[str, Segmentation]:
    """Return the segmentations by history length and, unless events have only an order, by cohort."""
    length_B = held.end_B - prepared.event_offset[held.user_B]
    found = {"history": Segmentation(HISTORY, np.searchsorted([1, 10, 50], length_B, side="right"))}
    if not prepared.ordered_only:
        found["cohort"] = Segmentation(COHORT, cohorts(prepared, held, split))
    return found


def cohorts(prepared: PreparedData, held: HeldOut, split: Split) -> NDArray[np.int64]:
    """Return the cohort of each user: 0 core, 1 non-core, 2 new; shape (B,).

    Core: active on at least ``CORE_DAYS`` distinct days within the ``WINDOW_DAYS`` before the cut. New: not core, and
    the entire history (it may be empty) is within that window. Non-core: all others (casual, marginal, resurrected).
    """
    cut_B = cut_times(prepared, held, common_cut(prepared, split))
    label_B = np.empty(len(held), dtype=np.int64)
    for b, (user, end, cut) in enumerate(zip(held.user_B, held.end_B, cut_B, strict=True)):
        age_day = (cut - 1 - prepared.event_time[prepared.event_offset[user] : end]) // DAY_S
        recent = age_day[age_day < WINDOW_DAYS]
        if len(np.unique(recent)) >= CORE_DAYS:
            label_B[b] = 0
        else:
            label_B[b] = 2 if len(recent) == len(age_day) else 1
    return label_B


def cut_times(prepared: PreparedData, held: HeldOut, common: int | None) -> NDArray[np.int64]:
    """Return the time at which each user's targets begin (B,): ``common_cut``, or the user's own if that is None."""
    return np.asarray(prepared.event_time[held.end_B]) if common is None else np.full(len(held), common)


def common_cut(prepared: PreparedData, split: Split) -> int | None:
    """Return the time at which the targets of all users begin; None: the data are not split by time."""
    if prepared.manifest["config"].get("split") != "time":
        return None
    return int(prepared.event_time[prepared.event_split == SPLIT_CODE[split]].min())


POPULARITY = ("head", "torso", "tail")
# Segments of each segmentation of targets. They name columns of the outcomes, so no two are the same.
TARGET_SEGMENTS: dict[SegmentName, tuple[str, ...]] = {
    "popularity": POPULARITY,
    "horizon": ("within_day", "within_week", "later"),
    "topic_age": ("topic_recent", "topic_earlier", "topic_never"),
}
WEEK_S = 7 * DAY_S
_SESSION_SHARE = 0.5  # of the users with their entire log within a day, from which times are those of one session
_NEVER = np.iinfo(np.int64).min

TargetLabels = dict[SegmentName, NDArray[np.int64]]  # label_T indexes the segments; −1: none of them


class TimeSegments:
    """The segmentations of the targets of a split by times of use: horizon and topic_age, where the data allow them."""

    def __init__(self, prepared: PreparedData, split: Split) -> None:
        self.prepared, self.split = prepared, split
        self._labels: dict[SegmentName, Callable[[HeldOut], NDArray[np.int64]]] = {}
        if prepared.ordered_only or _has_session_times(prepared):  # those of a session say nothing about days
            return
        if prepared.manifest["config"].get("split") != "leave_one_out":  # whose only target of a user is at the cut
            self._labels["horizon"] = self._horizon
        self._labels["topic_age"] = self._topic_age

    def labels(self, held: HeldOut) -> TargetLabels:
        """Return the segment of each target, by segmentation."""
        return {name: label(held) for name, label in self._labels.items()}

    def _horizon(self, held: HeldOut) -> NDArray[np.int64]:
        """Return 0 for targets within a day of the query, 1 within a week, 2 later."""
        position_T = first_positions(self.prepared, held, self.split)
        elapsed_T = self.prepared.event_time[position_T] - self._query_times(held)[target_rows(held.target_offset)]
        return np.searchsorted([DAY_S, WEEK_S], elapsed_T, side="right")

    def _topic_age(self, held: HeldOut) -> NDArray[np.int64]:
        """Return 0 if the user met a topic of the target in the week before the query, 1 earlier, 2 never."""
        owner_T = target_rows(held.target_offset)
        target_X, topic_X = self._topics(held.target)
        last_T = np.full(len(owner_T), _NEVER)
        np.maximum.at(last_T, target_X, self._last_times(held)[owner_T[target_X], topic_X])
        is_recent_T = last_T >= self._query_times(held)[owner_T] - WEEK_S
        label_T = np.where(last_T == _NEVER, 2, np.where(is_recent_T, 0, 1))
        has_topic_T = np.bincount(target_X, minlength=len(owner_T)) > 0
        return np.where(has_topic_T, label_T, -1)

    def _last_times(self, held: HeldOut) -> NDArray[np.int64]:
        """Return the time of each user's last event with each topic, shape (B, C)."""
        row_P, position_P = expand_ranges(self.prepared.event_offset[held.user_B], held.end_B)
        event_X, topic_X = self._topics(self.prepared.event_item[position_P])
        last_BC = np.full((len(held), self.prepared.n_topics + 1), _NEVER)
        np.maximum.at(last_BC, (row_P[event_X], topic_X), self.prepared.event_time[position_P[event_X]])
        return last_BC

    def _topics(self, item: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return each topic of each item, with the index of the item."""
        offset = self.prepared.item_topic_offset
        index_X, place_X = expand_ranges(offset[item], offset[item + 1])
        return index_X, self.prepared.item_topic[place_X].astype(np.int64)

    def _query_times(self, held: HeldOut) -> NDArray[np.int64]:
        return cut_times(self.prepared, held, self._common_cut)

    @cached_property
    def _common_cut(self) -> int | None:
        return common_cut(self.prepared, self.split)


def _has_session_times(prepared: PreparedData) -> bool:
    """Return whether at least half of the users with several events have all of them within a day."""
    first_U, end_U = prepared.event_offset[:-1], prepared.event_offset[1:]
    has_several_U = end_U - first_U > 1
    span_U = prepared.event_time[end_U[has_several_U] - 1] - prepared.event_time[first_U[has_several_U]]
    return len(span_U) > 0 and bool((span_U < DAY_S).mean() >= _SESSION_SHARE)
