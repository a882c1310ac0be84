"""From a trained run to a release that serves: written aside, checked against the model, then switched to.

Legend: U users · B sampled users · L history · C conditions · K vectors · I items.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import Histories, event_times, followed_topics, gather_histories
from multitudes.batches.user_vectors import UserVectors
from multitudes.data.prepared import PreparedData
from multitudes.errors import ArtefactError
from multitudes.index.factory import IndexConfig, activate_on_success
from multitudes.index.protocol import Index
from multitudes.progress import Progress, silent
from multitudes.publishing.corpus import (
    CarriedItems,
    Corpus,
    build_corpus,
    build_corpus_index,
    carry_over,
    write_carried,
)
from multitudes.publishing.towers import item_tower_difference, new_item_settings, pinnersage_settings, write_towers
from multitudes.release.manifest import Manifest
from multitudes.release.onnx_session import open_tower
from multitudes.release.release import ITEM_TOWER, Release, write_release
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.preferences import draw_topics
from multitudes.retrieval.user_vectors import user_vectors
from multitudes.seeding import generator
from multitudes.training.runs import Run, open_run

_CHECKED_USERS = 1_000
TOLERANCE = 1e-5  # between run and release, of the largest component


class PublishResult(NamedTuple):
    """What was published."""

    version: str
    checked_users: int
    largest_difference: float  # between the run's vectors and the release's, of the largest component
    index_info: dict[str, Any]
    carried_items: int = 0  # that came to the release before and are not in the data
    waiting_items: int = 0  # the same, but this release cannot make their vectors: they are kept for the next one
    removed_items: int = 0  # that were removed from the release before and stay away


def publish(
    run: str | Path,
    releases: str | Path,
    *,
    retrieve: RetrieveConfig | None = None,
    index: IndexConfig | None = None,
    progress: Progress = silent,
) -> PublishResult:
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
    retrieve = with_run_defaults(retrieve or RetrieveConfig(), trained.shares, trained.blend)
    conditions = retrieve.topics_per_request if "explicit" in trained.kinds(1) else 0
    with store.stage() as stage:
        progress(0, 5, "users")
        sample = _sample_users(trained, conditions)
        progress(1, 5, "towers")
        write_towers(trained, stage, conditions)
        progress(2, 5, "index")
        taken_over = carry_over(store, trained.prepared)
        items = _build_release_corpus(trained, stage, taken_over)
        built = build_corpus_index(items, sample.expected.vectors_BKD[sample.expected.mask_BK], index)
        with activate_on_success(built):
            progress(3, 5, "files")
            write_carried(stage, taken_over)
            _write_release_files(stage, trained, items, built, conditions, retrieve)
            progress(4, 5, "check")
            difference = _user_tower_difference(Release.open(stage), sample)
            _check_difference(
                run, difference, f"user tower differs from the model by {{}} on {len(sample.topic_BC)} users"
            )
            item_difference = item_tower_difference(trained, stage)
            _check_difference(
                run, item_difference, "item tower differs from the model by {} on items without their ids"
            )
            version = store.commit(stage)
        progress(5, 5, version)
    came = items.names.height - trained.prepared.n_items
    return PublishResult(
        version,
        len(sample.topic_BC),
        max(difference, item_difference),
        built.info(),
        carried_items=came,
        waiting_items=taken_over.items.height - came,
        removed_items=len(taken_over.removed_s),
    )


def _check_difference(run: str | Path, difference: float, what: str) -> None:
    if difference > TOLERANCE:
        raise ArtefactError(
            f"{run}: the exported {what.format(f'{difference:.1e}')}; at most {TOLERANCE:.0e} is allowed."
            " Nothing was published"
        )


class _CheckSample(NamedTuple):
    """B users, and the vectors that the model gives them."""

    histories: Histories
    topic_BC: NDArray[np.int64]
    time_BL: NDArray[np.int64]
    expected: UserVectors


def _sample_users(run: Run, conditions: int) -> _CheckSample:
    prepared = run.prepared
    rng = generator(0, "publish", "users")
    count = min(prepared.n_users, _CHECKED_USERS)
    user_B = np.sort(rng.choice(prepared.n_users, count, replace=False)).astype(np.int64)
    end_B, length = prepared.event_offset[user_B + 1], run.config.model.history
    histories, time_BL = (
        gather_histories(prepared, user_B, end_B, length),
        event_times(prepared.event_time, end_B, length),
    )
    topic_BC = draw_topics(followed_topics(prepared, user_B), conditions, 0, user_B)
    return _CheckSample(histories, topic_BC, time_BL, run.user_vectors(histories, topic_BC, time_BL=time_BL))


def _build_release_corpus(run: Run, stage: Path, taken_over: CarriedItems) -> Corpus:
    """Return the items of the release whose towers lie in ``stage``."""
    how = new_item_settings(run)
    if how is None or how.vectors == "run":
        return build_corpus(run, taken_over._replace(items=taken_over.items.clear()), None, None)
    tower = open_tower(stage / ITEM_TOWER) if how.vectors == "tower" and taken_over.items.height else None
    return build_corpus(run, taken_over, how, tower)


def _write_release_files(
    stage: Path, run: Run, items: Corpus, index: Index, conditions: int, retrieve: RetrieveConfig
) -> None:
    prepared, length = run.prepared, run.config.model.history
    manifest = Manifest(
        method=run.config.method,
        kinds=run.kinds(conditions),
        history_length=length,
        actions=tuple(prepared.manifest["actions"]),
        default_action=int(np.bincount(prepared.event_action[prepared.event_valid], minlength=2)[1:].argmax()) + 1,
        negative_actions=tuple(prepared.manifest["config"]["negative_actions"]),
        ordered_only=prepared.ordered_only,
        counts={"users": prepared.n_users, "items": items.names.height, "topics": prepared.n_topics},
        retrieval=retrieve.model_dump(),
        index=index.info(),
        pinnersage=pinnersage_settings(run),
        new_items=new_item_settings(run),
    )
    arrays: dict[str, NDArray[Any]] = {
        **items.arrays,
        "follow_offset": prepared.follow_offset,
        "follow_topic": prepared.follow_topic,
        "user_feature": prepared.user_feature,
        **recent_events(prepared, length),
        **seen_items(prepared),
    }
    write_release(stage, manifest, arrays, index, prepared.user_ids, items.names, prepared.topics)


def recent_events(prepared: PreparedData, length: int) -> dict[str, NDArray[Any]]:
    """Return the ``length`` most recent events of each user, under the names of a release."""
    count_U = np.minimum(np.diff(prepared.event_offset), length)
    offset = np.concatenate([[0], np.cumsum(count_U)])
    first_U = prepared.event_offset[1:] - count_U
    position = np.arange(offset[-1]) + np.repeat(first_U - offset[:-1], count_U)
    names = ("event_item", "event_time", "event_action", "event_valid")
    return {"event_offset": offset, **{name: getattr(prepared, name)[position] for name in names}}


def seen_items(prepared: PreparedData) -> dict[str, NDArray[Any]]:
    """Return the distinct known items of each user's whole history, under the names of a release."""
    user = np.repeat(np.arange(prepared.n_users), np.diff(prepared.event_offset))
    known = prepared.event_item > 0
    pair = np.unique(user[known] * (prepared.n_items + 1) + prepared.event_item[known])
    owner, item = np.divmod(pair, prepared.n_items + 1)
    return {"seen_offset": np.searchsorted(owner, np.arange(prepared.n_users + 1)), "seen_item": item}


def _user_tower_difference(release: Release, sample: _CheckSample) -> float:
    """Return the largest difference of vectors and weights between release and run, of the largest component."""
    served = user_vectors(release, sample.histories, sample.topic_BC, sample.time_BL)
    expected = sample.expected
    if (served.mask_BK != expected.mask_BK).any():
        return float("inf")
    scale = max(1.0, float(np.abs(expected.vectors_BKD[expected.mask_BK]).max(initial=0)))
    vector_BK = np.abs(served.vectors_BKD - expected.vectors_BKD).max(axis=2, initial=0) / scale
    # Weights divide places among interests: the third decimal of one changes no list.
    weight_BK = np.abs(served.weight_BK - expected.weight_BK) / 100
    difference_B = (np.maximum(vector_BK, weight_BK) * expected.mask_BK).max(axis=1, initial=0)
    for b in np.flatnonzero(difference_B > TOLERANCE).tolist():
        difference_B[b] = min(difference_B[b], permuted_difference(served.select(slice(b, b + 1)), expected, b, scale))
    return float(difference_B.max(initial=0))


def permuted_difference(served: UserVectors, expected: UserVectors, b: int, scale: float) -> float:
    """Return how far the vectors of user ``b`` are from those of the run in whatever order they stand within a kind.

    Two events may be equally unlike what was chosen before, up to rounding: which of them is the next seed changes the
    numbers of the interests, and nothing else.
    """
    furthest, kinds = 0.0, np.array(expected.kinds)
    for kind in set(expected.kinds):
        at = np.flatnonzero((kinds == kind) & expected.mask_BK[b])
        vector_KD, weight_K = served.vectors_BKD[0, at], served.weight_BK[0, at]
        apart_KK = np.abs(expected.vectors_BKD[b, at][:, None] - vector_KD).max(axis=2, initial=0) / scale
        nearest_K = apart_KK.argmin(axis=1) if len(at) else at
        if len(set(nearest_K.tolist())) < len(at):
            return float("inf")
        weights = np.abs(expected.weight_BK[b, at] - weight_K[nearest_K]) / 100
        furthest = max(furthest, float(np.append(apart_KK.min(axis=1, initial=np.inf), weights).max(initial=0)))
    return furthest
