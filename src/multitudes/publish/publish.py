"""From a trained run to a release that serves: written aside, checked against the model, then switched to.

Legend: U users · B sampled users · L history · C conditions · K vectors · I items.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import Histories, event_times, follows, gather
from multitudes.batches.vectors import UserVectors
from multitudes.data.prepared import Prepared
from multitudes.errors import ArtefactError
from multitudes.index.build import IndexConfig, build
from multitudes.index.postings import topics_of
from multitudes.index.protocol import Index
from multitudes.progress import Progress, silent
from multitudes.publish.tower import pinnersage_settings, write_tower
from multitudes.release.manifest import Manifest
from multitudes.release.release import Release
from multitudes.release.store import ReleaseStore
from multitudes.release.write import write_release
from multitudes.retrieve.conditions import draw
from multitudes.retrieve.plan import RetrieveConfig, fitted
from multitudes.retrieve.tower import user_vectors
from multitudes.seeding import generator
from multitudes.train.runs import Run, open_run

_CHECKED_USERS = 1_000
TOLERANCE = 1e-5  # between run and release, of the largest component


class Published(NamedTuple):
    """What was published."""

    version: str
    checked_users: int
    largest_difference: float  # between the run's vectors and the release's, of the largest component
    index_info: dict[str, Any]


def publish(
    run: str | Path,
    releases: str | Path,
    *,
    retrieve: RetrieveConfig | None = None,
    index: IndexConfig | None = None,
    progress: Progress = silent,
) -> Published:
    """Publish a run as the current release.

    Args:
        run: a finished run folder.
        releases: the folder of releases, made when missing.
        retrieve: the retrieval defaults of the release; shares that it leaves open are as training fitted them.
        index: which index is built.
        progress: told after each of five steps.

    Raises:
        ArtefactError: the run is unfinished or damaged, or the exported tower does not agree with the model.
        UsageError: another process publishes into the folder.
    """
    trained, index = open_run(run), index or IndexConfig()
    store = ReleaseStore(Path(releases))
    retrieve = fitted(retrieve or RetrieveConfig(), trained.shares, trained.blend)
    conditions = retrieve.topics_per_request if "explicit" in trained.kinds(1) else 0
    with store.stage() as stage:
        progress(0, 5, "users")
        sample = _sample(trained, conditions)
        progress(1, 5, "index")
        built = _index(trained, sample.expected, index)
        progress(2, 5, "user tower")
        write_tower(trained, stage, conditions)
        progress(3, 5, "files")
        _write(stage, trained, built, conditions, retrieve)
        progress(4, 5, "check")
        difference = _difference(Release.open(stage), sample)
        if difference > TOLERANCE:
            raise ArtefactError(
                f"{run}: the exported user tower differs from the model by {difference:.1e} on {len(sample.topic_BC)}"
                f" users; at most {TOLERANCE:.0e} is allowed. Nothing was published"
            )
        version = store.commit(stage)
        progress(5, 5, version)
    return Published(version, len(sample.topic_BC), difference, built.info())


class _Sample(NamedTuple):
    """B users, and the vectors that the model gives them."""

    histories: Histories
    topic_BC: NDArray[np.int64]
    time_BL: NDArray[np.int64]
    expected: UserVectors


def _sample(run: Run, conditions: int) -> _Sample:
    prepared = run.prepared
    rng = generator(0, "publish", "users")
    count = min(prepared.n_users, _CHECKED_USERS)
    user_B = np.sort(rng.choice(prepared.n_users, count, replace=False)).astype(np.int64)
    end_B, length = prepared.event_offset[user_B + 1], run.config.model.history
    histories, time_BL = gather(prepared, user_B, end_B, length), event_times(prepared.event_time, end_B, length)
    topic_BC = draw(follows(prepared, user_B), conditions, 0, user_B)
    return _Sample(histories, topic_BC, time_BL, run.user_vectors(histories, topic_BC, time_BL=time_BL))


def _index(run: Run, users: UserVectors, config: IndexConfig) -> Index:
    """Build the index over all items that have a vector, tuned on the vectors of real users."""
    item_vectors = run.item_vectors()
    present = np.flatnonzero(item_vectors.any(axis=1))
    prepared = run.prepared
    topics = topics_of(prepared.item_topic_offset, prepared.item_topic, present) if prepared.n_topics else None
    return build(present, item_vectors[present], config, topics=topics, queries=users.vectors_BKD[users.mask_BK])


def _write(stage: Path, run: Run, index: Index, conditions: int, retrieve: RetrieveConfig) -> None:
    prepared, length = run.prepared, run.config.model.history
    manifest = Manifest(
        method=run.config.method,
        kinds=run.kinds(conditions),
        history_length=length,
        actions=tuple(prepared.manifest["actions"]),
        default_action=int(np.bincount(prepared.event_action[prepared.event_valid], minlength=2)[1:].argmax()) + 1,
        ordered_only=prepared.ordered_only,
        counts={"users": prepared.n_users, "items": prepared.n_items, "topics": prepared.n_topics},
        retrieval=retrieve.model_dump(),
        index=index.info(),
        pinnersage=pinnersage_settings(run),
    )
    arrays: dict[str, NDArray[Any]] = {
        "item_input": run.item_inputs(),
        "item_topic_offset": prepared.item_topic_offset,
        "item_topic": prepared.item_topic,
        "item_count": prepared.item_count,
        "item_usable": usable_items(prepared),
        "follow_offset": prepared.follow_offset,
        "follow_topic": prepared.follow_topic,
        "user_feature": prepared.user_feature,
        **recent_events(prepared, length),
        **seen_items(prepared),
    }
    write_release(stage, manifest, arrays, index, prepared.user_ids, prepared.items, prepared.topics)


def usable_items(prepared: Prepared) -> NDArray[np.bool_]:
    """Return which items have a feature, topics or content (I + 1); all of them where no item has any."""
    usable = np.diff(prepared.item_topic_offset) > 0
    if prepared.item_embedding is not None:
        usable |= prepared.item_embedding.any(axis=1)
    usable = usable if usable.any() else np.ones_like(usable)
    usable[0] = False
    return usable


def recent_events(prepared: Prepared, length: int) -> dict[str, NDArray[Any]]:
    """Return the ``length`` most recent events of each user, under the names of a release."""
    count_U = np.minimum(np.diff(prepared.event_offset), length)
    offset = np.concatenate([[0], np.cumsum(count_U)])
    first_U = prepared.event_offset[1:] - count_U
    position = np.arange(offset[-1]) + np.repeat(first_U - offset[:-1], count_U)
    names = ("event_item", "event_time", "event_action", "event_valid")
    return {"event_offset": offset, **{name: getattr(prepared, name)[position] for name in names}}


def seen_items(prepared: Prepared) -> dict[str, NDArray[Any]]:
    """Return the distinct known items of each user's whole history, under the names of a release."""
    user = np.repeat(np.arange(prepared.n_users), np.diff(prepared.event_offset))
    known = prepared.event_item > 0
    pair = np.unique(user[known] * (prepared.n_items + 1) + prepared.event_item[known])
    owner, item = np.divmod(pair, prepared.n_items + 1)
    return {"seen_offset": np.searchsorted(owner, np.arange(prepared.n_users + 1)), "seen_item": item}


def _difference(release: Release, sample: _Sample) -> float:
    """Return the largest difference of vectors and weights between release and run, of the largest component."""
    served = user_vectors(release, sample.histories, sample.topic_BC, sample.time_BL)
    expected = sample.expected
    if (served.mask_BK != expected.mask_BK).any():
        return float("inf")
    vector_difference = np.abs(served.vectors_BKD - expected.vectors_BKD)[expected.mask_BK].max(initial=0)
    weight_difference = np.abs(served.weight_BK - expected.weight_BK)[expected.mask_BK].max(initial=0)
    scale = max(1.0, float(np.abs(expected.vectors_BKD[expected.mask_BK]).max(initial=0)))
    # Weights divide places among interests: the third decimal of one changes no list.
    return max(float(vector_difference) / scale, float(weight_difference) / 100)
