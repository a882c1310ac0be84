"""The gate of ``publish --gate``: a release is published only if it answers, and finds no less than the serving one.

Both releases answer the same held-out users of the new run's validation split, each from the user's history by item
ids, so they may have been made from different data. The difference of their recall has an interval over users. An
interval below zero shows a loss; where users are few it shows little, so the difference itself is bounded too.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multitudes.api import MAX_HISTORY
from multitudes.batches.held_out import HeldOut, held_out_histories, held_out_users, select_targets, select_users
from multitudes.config import Config
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError
from multitudes.ids import Id
from multitudes.retrieval.request import Request
from multitudes.retrieval.retriever import Retriever
from multitudes.seeding import generator

_BATCH_SIZE = 64
_CRITICAL_Z = 1.96  # half width of a 95 % interval, in standard errors
_MIN_USERS = 30  # with fewer, the interval means nothing


class GateConfig(Config):
    """What a release must hold before it serves."""

    users: int = Field(2_000, ge=_MIN_USERS, description="Held-out users of the validation split, at most.")
    n: int = Field(100, ge=1, le=1_000, description="Candidates of a user.")
    margin: float = Field(
        0.05, ge=0, lt=1, description="Share of the serving release's recall by which the new one may be below it."
    )
    max_degraded: float = Field(
        0.01, ge=0, le=1, description="Share of the requests that may be answered with less than the full method."
    )


class GateResult(NamedTuple):
    """What the gate measured: recall over users, and the new release minus the serving one with its 95 % interval."""

    users: int
    n: int  # candidates of each
    recall: float
    degraded: float
    serving: str | None = None  # the version; None: nothing serves yet, and nothing below was measured
    serving_recall: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


def check_gate(staged: Retriever, serving: Retriever | None, prepared: PreparedData, config: GateConfig) -> GateResult:
    """Compare a staged release with the one that serves; if there is none, the new one only has to answer.

    Raises:
        ArtefactError: too few users could be asked about, the serving release has none of the items, too many answers
            of either were degraded, or the new release finds less: the interval lies below zero, or more than the
            margin is lost.
    """
    held = users_of_gate(prepared, config)
    requests = held_out_requests(prepared, held, config.n)
    # Ids of another type or of other data find nothing.
    if serving is not None and not serving.release.item_names.numbers(prepared.items["item_id"].to_list()).any():
        raise ArtefactError(
            f"{serving.release.path}: has none of the items of {prepared.path}, so there is nothing to compare."
            " Nothing was published; give the folder of releases of this data, or publish without a gate"
        )
    ids = np.array(prepared.items["item_id"].to_list(), dtype=object)
    offsets = zip(held.target_offset[:-1].tolist(), held.target_offset[1:].tolist(), strict=True)
    targets = [ids[held.target[start:end] - 1].tolist() for start, end in offsets]
    recall_B, degraded = _recall(staged, requests, targets, config)
    if serving is None:
        return GateResult(len(held), config.n, float(recall_B.mean()), degraded)
    serving_B, _ = _recall(serving, requests, targets, config)
    difference_B = recall_B - serving_B
    difference, half = float(difference_B.mean()), _CRITICAL_Z * float(difference_B.std(ddof=1)) / len(held) ** 0.5
    low, high, allowed = difference - half, difference + half, -config.margin * float(serving_B.mean())
    if high < 0 or difference < allowed:
        raise ArtefactError(
            f"recall@{config.n} is {recall_B.mean():.4f}, and {serving_B.mean():.4f} with version"
            f" {serving.release.version} on the same {len(held):,} users: {difference:+.4f} ({low:+.4f} to"
            f" {high:+.4f}); the gate needs at least {allowed:+.4f}, and an interval that is not below zero."
            " Nothing was published"
        )
    means = float(recall_B.mean()), degraded, serving.release.version, float(serving_B.mean())
    return GateResult(len(held), config.n, *means, difference, low, high)


def users_of_gate(prepared: PreparedData, config: GateConfig) -> HeldOut:
    """Return the held-out users with a history and a first-time target, a random sample of them if there are many.

    Raises:
        ArtefactError: they are too few.
    """
    held = held_out_users(prepared, "validation")
    held = select_targets(held, held.target_is_first_time)
    rows = np.flatnonzero(held.end_B > prepared.event_offset[held.user_B])
    if len(rows) > config.users:
        rows = generator(0, "gate", "users").choice(rows, size=config.users, replace=False)
    if len(rows) < _MIN_USERS:
        raise ArtefactError(
            f"{prepared.path}: {len(rows)} users of the validation split have a history and a new target; the gate"
            f" needs {_MIN_USERS}. Nothing was published; prepare with a larger validation split"
        )
    return select_users(held, rows)


def held_out_requests(prepared: PreparedData, held: HeldOut, n: int) -> list[Request]:
    """Return what releases are asked: each user as an anonymous one, by item ids and names of topics."""
    ids = prepared.items["item_id"].to_list()
    follow_BF = held_out_histories(prepared, held.user_B, held.end_B, 1).follow_BF
    requests = []
    for user, end, topics in zip(held.user_B.tolist(), held.end_B.tolist(), follow_BF.tolist(), strict=True):
        start = max(int(prepared.event_offset[user]), end - MAX_HISTORY)
        history = tuple(ids[item - 1] for item in prepared.event_item[start:end].tolist() if item)
        follows = tuple(prepared.topics[topic] for topic in topics if topic)
        request_id = f"gate-{user}"
        requests.append(
            Request(history=history, followed_topics=follows, n=n, exclude_seen=True, request_id=request_id)
        )
    return requests


def _recall(
    retriever: Retriever, requests: list[Request], targets: list[list[Id]], config: GateConfig
) -> tuple[NDArray[np.float64], float]:
    """Return the recall of each user, and the share of degraded answers, which may not be too many."""
    recall_B, degraded = np.zeros(len(requests)), 0
    for start in range(0, len(requests), _BATCH_SIZE):
        for b, answer in enumerate(retriever.answer(requests[start : start + _BATCH_SIZE]), start):
            found = {candidate.item_id for candidate in answer.candidates}
            recall_B[b] = sum(item in found for item in targets[b]) / len(targets[b])
            degraded += answer.degraded
    share = degraded / len(requests)
    if share > config.max_degraded:
        raise ArtefactError(
            f"{retriever.release.path}: answered {share:.1%} of {len(requests):,} requests with less than its full"
            f" method; at most {config.max_degraded:.1%} is allowed. Nothing was published"
        )
    return recall_B, share
