"""What a release holds of a run, and a release in memory: a run answers as its release with an exact index would.

The user tower of a release in memory is that of torch; all else is the code of serving. No torch here.

Legend: U users · I items · D width of the vectors.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.user_vectors import InterestKind
from multitudes.data.arrays import expand_ranges
from multitudes.data.own_items import prepared_items
from multitudes.data.prepared import PreparedData
from multitudes.index.protocol import Index
from multitudes.index.tastes import cluster_items, nearest_tastes
from multitudes.linear.popularity import user_counts
from multitudes.linear.run import LinearRun
from multitudes.release.manifest import NO_NEW_ITEMS, Manifest, NewItems
from multitudes.release.onnx_session import Session
from multitudes.release.release import NEIGHBOUR_ARRAYS, Release
from multitudes.repeats import RepeatModel, fit_repeats, repeat_rates
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.scorer import Scorer, catalogue


class ServableRun(Scorer, Protocol):
    """A run with all that a release holds of it."""

    def kinds(self, topics: int) -> tuple[InterestKind, ...]:
        """Return the kind of every column of the user vectors for ``topics`` conditions."""

    def item_inputs(self) -> NDArray[np.float32]:
        """Return what the user tower reads of each item of a history (I + 1, D)."""


def retriever_in_memory(run: ServableRun, user_tower: Session) -> Retriever:
    """Return a retriever of the release that a trained run would be published as, with an exact index.

    ``user_tower`` has the calls of an ONNX session.
    """
    retrieve = with_run_defaults(RetrieveConfig(), run.list_defaults)
    conditions = retrieve.topics_per_request if "explicit" in run.kinds(1) else 0
    prepared, vector_ID = run.prepared, run.item_vectors()
    index, repeats = catalogue(run, vector_ID, tastes=False).index, fit_repeats(prepared)
    manifest = release_manifest(run, conditions, retrieve, index, repeats, prepared.n_items)
    arrays: dict[str, NDArray[Any]] = {
        "item_input": run.item_inputs(),
        "item_topic_offset": prepared.item_topic_offset,
        "item_topic": prepared.item_topic,
        "item_count": user_counts(prepared),
        "item_usable": usable_items(prepared),
        **item_tastes(vector_ID),
        **user_arrays(run, repeats),
    }
    names = prepared.user_ids, prepared.items.select("item_id", "title"), prepared.topics
    return Retriever(Release.in_memory(manifest, arrays, index, *names, user_tower=user_tower))


def release_manifest(
    run: ServableRun,
    conditions: int,
    retrieve: RetrieveConfig,
    index: Index,
    repeats: RepeatModel | None,
    items: int,
    *,
    new_items: NewItems = NO_NEW_ITEMS,
    pinnersage: dict[str, Any] | None = None,
) -> Manifest:
    """Return the description of a release of ``items`` items, for which ``conditions`` topics are drawn a request.

    ``pinnersage`` are the settings of the clustering; None: a tower or sums make the user vectors.
    """
    prepared = run.prepared
    return Manifest(
        method=run.config.method,
        kinds=run.kinds(conditions),
        history_length=run.config.model.history,
        actions=tuple(prepared.manifest["actions"]),
        default_action=int(np.bincount(prepared.event_action[prepared.event_valid], minlength=2)[1:].argmax()) + 1,
        negative_actions=tuple(prepared.manifest["config"]["negative_actions"]),
        ordered_only=prepared.ordered_only,
        counts={"users": prepared.n_users, "items": items, "topics": prepared.n_topics},
        retrieval=retrieve.model_dump(),
        index=index.info(),
        pinnersage=pinnersage,
        linear=run.linear.weights.model_dump(mode="json") if isinstance(run, LinearRun) else None,
        neighbours=None if run.neighbours is None else run.neighbours.weights.model_dump(mode="json"),
        repeats=None if repeats is None else repeats.model_dump(mode="json"),
        positive_actions=_positive_actions(prepared),
        new_items=new_items,
    )


def user_arrays(run: ServableRun, repeats: RepeatModel | None) -> dict[str, NDArray[Any]]:
    """Return the arrays of a release that are not of its items alone: those of users, and of sums and repeats."""
    prepared = run.prepared
    arrays: dict[str, NDArray[Any]] = {
        "follow_offset": prepared.follow_offset,
        "follow_topic": prepared.follow_topic,
        "user_feature": prepared.user_feature,
        **_recent_event_arrays(prepared, run.config.model.history),
        **_seen_item_arrays(prepared),
        **_own_item_arrays(prepared),
    }
    if isinstance(run, LinearRun):
        arrays["linear_input"] = run.linear.input_IR
    if run.neighbours is not None:
        arrays |= dict(zip(NEIGHBOUR_ARRAYS, run.neighbours.rows, strict=True))
    if repeats is not None:
        arrays["item_repeat_rate"] = repeat_rates(prepared)
    return arrays


def _recent_event_arrays(prepared: PreparedData, length: int) -> dict[str, NDArray[Any]]:
    """Return the event arrays of a release: the ``length`` most recent events of each user."""
    count_U = np.minimum(np.diff(prepared.event_offset), length)
    offset = np.concatenate([[0], np.cumsum(count_U)])
    _, position = expand_ranges(prepared.event_offset[1:] - count_U, prepared.event_offset[1:])
    names = ("event_item", "event_time", "event_action", "event_valid")
    return {"event_offset": offset, **{name: getattr(prepared, name)[position] for name in names}}


def _seen_item_arrays(prepared: PreparedData) -> dict[str, NDArray[Any]]:
    """Return the seen-item arrays of a release: the distinct known items of each user's entire history."""
    user = np.repeat(np.arange(prepared.n_users), np.diff(prepared.event_offset))
    known = prepared.event_item > 0
    pair = np.unique(user[known] * (prepared.n_items + 1) + prepared.event_item[known])
    pair_user, item = np.divmod(pair, prepared.n_items + 1)
    return {"seen_offset": np.searchsorted(pair_user, np.arange(prepared.n_users + 1)), "seen_item": item}


def _own_item_arrays(prepared: PreparedData) -> dict[str, NDArray[Any]]:
    """Return the own-item arrays of a release: the items of each user's events of positive weight."""
    own = prepared_items(prepared, np.arange(prepared.n_users), prepared.event_offset[1:])
    names = ("own_offset", "own_item", "own_count", "own_newest", "own_oldest")
    return dict(zip(names, own, strict=True))


def _positive_actions(prepared: PreparedData) -> tuple[str, ...]:
    """Return the actions whose events have a positive weight."""
    config = prepared.manifest["config"]
    weights, negative = config.get("positive_actions") or {}, config["negative_actions"]
    actions = (name for name in prepared.manifest["actions"] if name not in negative)
    return tuple(name for name in actions if not weights or weights.get(name, 0.0) > 0)


def item_tastes(vector_JD: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Return the taste arrays of a release: the taste of each item, and the centres."""
    centre_TD = cluster_items(vector_JD)
    return {"item_taste": nearest_tastes(vector_JD, centre_TD), "taste_centre": centre_TD}


def usable_items(prepared: PreparedData) -> NDArray[np.bool_]:
    """Return a mask of the items with topics or an embedding (I + 1); of all items if none has any."""
    usable = np.diff(prepared.item_topic_offset) > 0
    if prepared.item_embedding is not None:
        usable |= prepared.item_embedding.any(axis=1)
    usable = usable if usable.any() else np.ones_like(usable)
    usable[0] = False
    return usable
