"""Which users are asked about and what should be found: first-time targets or all of them, all users or a sample.

Legend: B users · T targets, flat by user.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.held_out import HeldOut, part, with_targets
from multitudes.data.prepared import Prepared
from multitudes.seeding import generator

TargetKind = Literal["new", "all"]


def of_kind(held: HeldOut, kind: TargetKind) -> HeldOut:
    """Return the users that have targets of this kind, with those targets only.

    ``new``: items that are not in the user's history; the history is then kept out of the candidates too.
    """
    if kind == "all":
        return held
    return with_targets(held, held.target_is_new)


def sample(held: HeldOut, max_users: int | None, seed: int) -> HeldOut:
    """Return at most ``max_users`` users, drawn at random: files are often ordered, so never the first ones."""
    if max_users is None or len(held) <= max_users:
        return held
    chosen = generator(seed, "evaluate", "users").choice(len(held), size=max_users, replace=False)
    return part(held, np.sort(chosen))


def seen_items(prepared: Prepared, held: HeldOut) -> list[NDArray[np.int64]]:
    """Return the distinct known items of each user's whole past, newest event first."""
    return [
        _distinct_newest_first(prepared.event_item[prepared.event_offset[user] : end])
        for user, end in zip(held.user_B, held.end_B, strict=True)
    ]


def excluded(past: Sequence[NDArray[np.int64]], kind: TargetKind) -> Sequence[NDArray[np.int64]]:
    """Return the items that may not be candidates: the whole past for first-time targets, nothing for all targets."""
    return past if kind == "new" else [np.empty(0, dtype=np.int64)] * len(past)


def _distinct_newest_first(item: NDArray[np.int32]) -> NDArray[np.int64]:
    newest_first = item[::-1]
    distinct, first = np.unique(newest_first, return_index=True)
    in_order = newest_first[np.sort(first[distinct > 0])]
    return in_order.astype(np.int64)
