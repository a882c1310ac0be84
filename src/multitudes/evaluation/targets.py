"""The users of an evaluation, their targets, and the segments of the users.

Targets are first-time targets or all targets. Users are segmented by history length and cohort; segments of targets
are in ``target_segments``.

Legend: B users. A label of −1 belongs to no segment.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, select_targets, select_users
from multitudes.data.prepared import SPLIT_CODE, PreparedData, Split
from multitudes.data.timestamps import DAY_S
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


def subsample(held: HeldOut, max_users: int | None, seed: int = 0) -> HeldOut:
    """Return at most ``max_users`` users, drawn at random, since files are often sorted."""
    if max_users is None or len(held) <= max_users:
        return held
    rows = generator(seed, "evaluate", "users").choice(len(held), size=max_users, replace=False)
    return select_users(held, np.sort(rows))


def items_to_exclude(histories: Sequence[NDArray[np.int64]], kind: TargetKind) -> Sequence[NDArray[np.int64]]:
    """Return the items that may not be candidates: for first-time targets all of the history, for all targets none."""
    return histories if kind == "new" else [np.empty(0, dtype=np.int64)] * len(histories)


class Segment(NamedTuple):
    """One segmentation of the users: ``label_B`` indexes ``names``."""

    names: tuple[str, ...]
    label_B: NDArray[np.int64]


def user_segments(prepared: PreparedData, held: HeldOut, split: Split) -> dict[str, Segment]:
    """Return the segmentations by history length and, unless events have only an order, by cohort."""
    length_B = held.end_B - prepared.event_offset[held.user_B]
    segments = {"history": Segment(HISTORY, np.searchsorted([1, 10, 50], length_B, side="right"))}
    if not prepared.ordered_only:
        segments["cohort"] = Segment(COHORT, cohorts(prepared, held, split))
    return segments


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
