"""Prepared data in the format of the peers: the same split and vocabulary, without the extra fields of events.

A peer trains on the events that can be targets: positive, of known items. Of a held-out user it gets all events of
known items, since those are what no list may hold. Actions, topics, follows and features stay here; none of the peers'
methods reads them.
"""

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.exchange import Sequences, Task
from multitudes.batches.held_out import HeldOut, held_out_users
from multitudes.data.prepared import TRAIN, PreparedData
from multitudes.errors import DataError
from multitudes.evaluation.targets import targets_of_kind


def evaluated_users(prepared: PreparedData) -> HeldOut:
    """Return the validation users to evaluate, with their first-time targets.

    The validation split is used because every system stops at its best epoch there; the test split stays unused.

    Raises:
        DataError: no user has such a target.
    """
    held = targets_of_kind(held_out_users(prepared, "validation"), "new")
    if not len(held):
        raise DataError(f"{prepared.path}: no user has a first-time target in validation; prepare with another split")
    return held


def export_task(prepared: PreparedData, held: HeldOut) -> Task:
    """Return the training events of all users, and the whole past of those in ``held``."""
    known = prepared.event_item > 0
    positive = known & (prepared.event_weight > 0) & (prepared.event_split == TRAIN)
    offset = np.asarray(prepared.event_offset)
    return Task(
        n_users=prepared.n_users,
        n_items=prepared.n_items,
        train=_sequences(prepared, np.arange(prepared.n_users), offset[1:], positive),
        held=_sequences(prepared, held.user_B, held.end_B, known),
    )


def _sequences(
    prepared: PreparedData, user_B: NDArray[np.int64], end_B: NDArray[np.int64], wanted: NDArray[np.bool_]
) -> Sequences:
    """Return the wanted events of each user before ``end``, oldest first."""
    parts = [
        prepared.event_item[start:end][wanted[start:end]].astype(np.int64)
        for start, end in zip(prepared.event_offset[user_B], end_B, strict=True)
    ]
    offset = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Sequences(np.asarray(user_B, dtype=np.int64), offset, np.concatenate(parts))
