"""Who the users are (history length, cohort) and what their targets are (head, torso, tail).

Legend: B users. A label of −1 belongs to no segment.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut
from multitudes.data.prepared import SPLIT_CODE, Prepared, Split

DAY_S = 86_400
HISTORY = ("0", "1-9", "10-49", "50+")
COHORT = ("core", "non-core", "new")
POPULARITY = ("head", "torso", "tail")


class Segment(NamedTuple):
    """One way to part the users: ``label_B`` numbers the ``names``."""

    names: tuple[str, ...]
    label_B: NDArray[np.int64]


def user_segments(prepared: Prepared, held: HeldOut, split: Split, core_days: int) -> dict[str, Segment]:
    """Return the partitions of the users; cohorts are left out of logs that carry order only."""
    length_B = held.end_B - prepared.event_offset[held.user_B]
    segments = {"history": Segment(HISTORY, np.searchsorted([1, 10, 50], length_B, side="right"))}
    if not prepared.ordered_only:
        segments["cohort"] = Segment(COHORT, cohorts(prepared, held, split, core_days))
    return segments


def cohorts(
    prepared: Prepared, held: HeldOut, split: Split, core_days: int, window_days: int = 28
) -> NDArray[np.int64]:
    """Return 0 for core, 1 for non-core and 2 for new users, shape (B,).

    Core: active on at least ``core_days`` distinct days within the ``window_days`` before the cut. New: not core, and
    the whole history (it may be empty) lies within that window. Non-core: all others (casual, marginal, resurrected).
    """
    cut_B = cut_times(prepared, held, split)
    label_B = np.empty(len(held), dtype=np.int64)
    for b, (user, end, cut) in enumerate(zip(held.user_B, held.end_B, cut_B, strict=True)):
        age_day = (cut - 1 - prepared.event_time[prepared.event_offset[user] : end]) // DAY_S
        recent = age_day[age_day < window_days]
        if len(np.unique(recent)) >= core_days:
            label_B[b] = 0
        else:
            label_B[b] = 2 if len(recent) == len(age_day) else 1
    return label_B


def cut_times(prepared: Prepared, held: HeldOut, split: Split) -> NDArray[np.int64]:
    """Return the time at which each user's future begins: one for all in a time split, else the user's own."""
    own_B = np.asarray(prepared.event_time[held.end_B])
    if prepared.manifest["config"].get("split") != "time":
        return own_B
    return np.full(len(held), prepared.event_time[prepared.event_split == SPLIT_CODE[split]].min())
