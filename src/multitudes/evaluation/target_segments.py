"""Segments of targets: by popularity of the item, by the time from the query, and by the age of the interest.

The query is at the user's cut, where the history ends. A user may have targets in several parts of a segmentation: each
target counts in its own.

Legend: B users · T targets, flat by user · P events, flat · X pairs of an item and one of its topics · C topics + 1.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, first_positions
from multitudes.data.arrays import expand_ranges
from multitudes.data.prepared import PreparedData, Split
from multitudes.data.timestamps import DAY_S
from multitudes.evaluation.config import SegmentName
from multitudes.evaluation.targets import common_cut, cut_times
from multitudes.metrics.ranking import target_rows

POPULARITY = ("head", "torso", "tail")
# Parts of each segmentation of targets. They name columns of the outcomes, so no two are the same.
TARGET_SEGMENTS: dict[SegmentName, tuple[str, ...]] = {
    "popularity": POPULARITY,
    "horizon": ("within_day", "within_week", "later"),
    "topic_age": ("topic_recent", "topic_earlier", "topic_never"),
}
WEEK_S = 7 * DAY_S
_SESSION_SHARE = 0.5  # of the users with their entire log within a day, from which times are those of one session
_NEVER = np.iinfo(np.int64).min

TargetLabels = dict[SegmentName, NDArray[np.int64]]  # label_T indexes the parts; −1: none of them


@dataclass(frozen=True)
class TimeSegments:
    """The segmentations of targets that need times of use.

    Attributes:
        prepared: the data.
        split: the split of the targets.
        names: horizon, topic_age, or both.
    """

    prepared: PreparedData
    split: Split
    names: tuple[SegmentName, ...]

    def labels(self, held: HeldOut) -> TargetLabels:
        """Return the part of each target, by segmentation."""
        label = {"horizon": self._horizon, "topic_age": self._topic_age}
        return {name: label[name](held) for name in self.names}

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


def time_segments(prepared: PreparedData, split: Split) -> TimeSegments:
    """Return the segmentations of targets by time that the data allow."""
    if prepared.ordered_only or _has_session_times(prepared):  # those of a session say nothing about days
        return TimeSegments(prepared, split, ())
    # In a leave_one_out split the only target of a user is at the cut.
    at_cut = prepared.manifest["config"].get("split") == "leave_one_out"
    return TimeSegments(prepared, split, ("topic_age",) if at_cut else ("horizon", "topic_age"))


def _has_session_times(prepared: PreparedData) -> bool:
    """Return whether at least half of the users with several events have all of them within a day."""
    first_U, end_U = prepared.event_offset[:-1], prepared.event_offset[1:]
    has_several_U = end_U - first_U > 1
    span_U = prepared.event_time[end_U[has_several_U] - 1] - prepared.event_time[first_U[has_several_U]]
    return len(span_U) > 0 and bool((span_U < DAY_S).mean() >= _SESSION_SHARE)
