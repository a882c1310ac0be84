"""Publish a run: write a release to a hidden folder, check it against the model, and make it the current one.

Legend: U users · B sampled users · L history · C conditions · K vectors · I items.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import (
    Histories,
    event_times,
    followed_topics,
    gather_histories,
)
from multitudes.batches.user_vectors import UserVectors
from multitudes.data.own_items import positive_items, prepared_items
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
    write_carried_items,
)
from multitudes.publishing.gate import GateConfig, GateResult, check_gate
from multitudes.publishing.towers import item_tower_difference, new_item_settings, pinnersage_settings, write_towers
from multitudes.release.item_map import lay_out_items
from multitudes.release.manifest import Manifest
from multitudes.release.onnx_session import open_tower
from multitudes.release.release import ITEM_TOWER, Release, write_release
from multitudes.release.signature import read_private_key, sign_release
from multitudes.release.store import ReleaseStore
from multitudes.repeats.fit import fit_repeats, repeat_rates
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.preferences import draw_topics
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.user_vectors import user_vectors
from multitudes.seeding import generator
from multitudes.training.runs import Run, open_run

_CHECKED_USERS = 1_000
TOLERANCE = 1e-5  # largest difference between run and release, relative to the largest component


class PublishResult(NamedTuple):
    """The result of publishing a run.

    Attributes:
        version: of the new release.
        checked_users: number of users whose vectors were compared.
        largest_difference: between the vectors of run and release, relative to the largest component.
        index_info: description of the index.
        carried_items: items that were added to the release before and are not in the data.
        waiting_items: such items without a vector in this release; they are kept for the next one.
        removed_items: items that were removed from the release before and stay removed.
        gate: what the gate measured; None: there was none.
    """

    version: str
    checked_users: int
    largest_difference: float
    index_info: dict[str, Any]
    carried_items: int = 0
    waiting_items: int = 0
    removed_items: int = 0
    gate: GateResult | None = None


def publish(
    run: str | Path,
    releases: str | Path,
    *,
    retrieve: RetrieveConfig | None = None,
    index: IndexConfig | None = None,
    sign: Path | None = None,
    gate: GateConfig | None = None,
    progress: Progress = silent,
) -> PublishResult:
    """Publish a run as the current release.

    Args:
        run: folder of a finished run.
        releases: folder of releases; created if it does not exist.
        retrieve: default settings of retrieval of the release; missing shares are set as fitted in training.
        index: settings of the index.
        sign: file of the private key that signs the release; None: it is not signed.
        gate: what the release must hold in comparison with the one that serves; None: nothing.
        progress: called after each of five steps.

    Returns:
        The new version, and how it compares with the run.

    Raises:
        ArtefactError: the run is unfinished or damaged, an exported tower differs from the model, or the gate
            rejects it.
        UsageError: another process publishes to the folder, or ``sign`` is no private key.
        MissingError: ``sign`` does not exist.
    """
    key = None if sign is None else read_private_key(sign)
    opened, index = open_run(run), index or IndexConfig()
    store = ReleaseStore(Path(releases))
    retrieve = with_run_defaults(retrieve or RetrieveConfig(), opened.shares, opened.blend, opened.calibration)
    conditions = retrieve.topics_per_request if "explicit" in opened.kinds(1) else 0
    with store.stage() as stage:
        progress(0, 5, "users")
        sample = _sample_users(opened, conditions)
        progress(1, 5, "towers")
        write_towers(opened, stage, conditions)
        progress(2, 5, "index")
        carried = carry_over(store, opened.prepared)
        corpus = _build_release_corpus(opened, stage, carried)
        built = build_corpus_index(corpus, sample.expected, index)
        with activate_on_success(built):
            progress(3, 5, "files")
            write_carried_items(stage, carried)
            _write_release_files(stage, opened, corpus, built, conditions, retrieve)
            progress(4, 5, "check")
            difference = _user_tower_difference(Release.open(stage), sample)
            _check_difference(run, "user tower", difference, f"{len(sample.topic_BC)} users")
            item_difference = item_tower_difference(opened, stage)
            _check_difference(run, "item tower", item_difference, "items without their ids")
            passed = None if gate is None else check_gate(Retriever.open(stage), _serving(store), opened.prepared, gate)
            if key is not None:
                sign_release(stage, key)
            version = store.commit(stage)
        progress(5, 5, version)
    n_carried = corpus.names.height - opened.prepared.n_items
    return PublishResult(
        version,
        len(sample.topic_BC),
        max(difference, item_difference),
        built.info(),
        carried_items=n_carried,
        waiting_items=carried.items.height - n_carried,
        removed_items=len(carried.removed_s),
        gate=passed,
    )


def _serving(store: ReleaseStore) -> Retriever | None:
    """Open the release that serves; None if nothing was ever published here.

    Raises:
        ArtefactError: it is damaged: what is found with it is unknown.
    """
    return Retriever.open(store.folder()) if store.versions() else None


def _check_difference(run: str | Path, tower: str, difference: float, compared: str) -> None:
    if difference > TOLERANCE:
        raise ArtefactError(
            f"{run}: the exported {tower} differs from the model by {difference:.1e} on {compared}; at most"
            f" {TOLERANCE:.0e} is allowed. Nothing was published"
        )


class _CheckSample(NamedTuple):
    """B users with the vectors that the model computes."""

    histories: Histories
    topic_BC: NDArray[np.int64]
    time_BL: NDArray[np.int64]
    positives: list[NDArray[np.int64]]
    expected: UserVectors


def _sample_users(run: Run, conditions: int) -> _CheckSample:
    prepared = run.prepared
    rng = generator(0, "publish", "users")
    count = min(prepared.n_users, _CHECKED_USERS)
    user_B = np.sort(rng.choice(prepared.n_users, count, replace=False)).astype(np.int64)
    end_B, length = prepared.event_offset[user_B + 1], run.config.model.history
    histories = gather_histories(prepared, user_B, end_B, length)
    time_BL = event_times(prepared.event_time, end_B, length)
    topic_BC = draw_topics(followed_topics(prepared, user_B), conditions, 0, user_B)
    positives = positive_items(prepared, user_B, end_B)
    expected = run.user_vectors(histories, topic_BC, time_BL=time_BL, positives=positives)
    return _CheckSample(histories, topic_BC, time_BL, positives, expected)


def _build_release_corpus(run: Run, stage: Path, carried: CarriedItems) -> Corpus:
    """Return the items of the release, whose towers are in ``stage``."""
    settings = new_item_settings(run)
    if settings is None or settings.vectors in ("run", "linear"):
        return build_corpus(run, carried._replace(items=carried.items.clear()), None, None)
    tower = open_tower(stage / ITEM_TOWER) if settings.vectors == "tower" and carried.items.height else None
    return build_corpus(run, carried, settings, tower)


def _write_release_files(
    stage: Path, run: Run, corpus: Corpus, index: Index, conditions: int, retrieve: RetrieveConfig
) -> None:
    prepared, length = run.prepared, run.config.model.history
    repeats = fit_repeats(prepared)
    manifest = Manifest(
        method=run.config.method,
        kinds=run.kinds(conditions),
        history_length=length,
        actions=tuple(prepared.manifest["actions"]),
        default_action=int(np.bincount(prepared.event_action[prepared.event_valid], minlength=2)[1:].argmax()) + 1,
        negative_actions=tuple(prepared.manifest["config"]["negative_actions"]),
        ordered_only=prepared.ordered_only,
        counts={"users": prepared.n_users, "items": corpus.names.height, "topics": prepared.n_topics},
        retrieval=retrieve.model_dump(),
        index=index.info(),
        pinnersage=pinnersage_settings(run),
        linear=None if run.linear is None else run.linear.weights.model_dump(mode="json"),
        repeats=None if repeats is None else repeats.model_dump(mode="json"),
        positive_actions=_positive_actions(prepared),
        new_items=new_item_settings(run),
    )
    arrays: dict[str, NDArray[Any]] = {
        **corpus.arrays,
        "follow_offset": prepared.follow_offset,
        "follow_topic": prepared.follow_topic,
        "user_feature": prepared.user_feature,
        **recent_events(prepared, length),
        **seen_items(prepared),
        **own_items(prepared),
    }
    if run.linear is not None:
        arrays["linear_input"] = run.linear.input_IR
    if repeats is not None:
        arrays["item_repeat_rate"] = repeat_rates(prepared)
    arrays["map_item"], arrays["map_position"] = lay_out_items(index, corpus.arrays["item_count"])
    write_release(stage, manifest, arrays, index, prepared.user_ids, corpus.names, prepared.topics)


def recent_events(prepared: PreparedData, length: int) -> dict[str, NDArray[Any]]:
    """Return the event arrays of a release: the ``length`` most recent events of each user."""
    count_U = np.minimum(np.diff(prepared.event_offset), length)
    offset = np.concatenate([[0], np.cumsum(count_U)])
    first_U = prepared.event_offset[1:] - count_U
    position = np.arange(offset[-1]) + np.repeat(first_U - offset[:-1], count_U)
    names = ("event_item", "event_time", "event_action", "event_valid")
    return {"event_offset": offset, **{name: getattr(prepared, name)[position] for name in names}}


def seen_items(prepared: PreparedData) -> dict[str, NDArray[Any]]:
    """Return the seen-item arrays of a release: the distinct known items of each user's entire history."""
    user = np.repeat(np.arange(prepared.n_users), np.diff(prepared.event_offset))
    known = prepared.event_item > 0
    pair = np.unique(user[known] * (prepared.n_items + 1) + prepared.event_item[known])
    pair_user, item = np.divmod(pair, prepared.n_items + 1)
    return {
        "seen_offset": np.searchsorted(pair_user, np.arange(prepared.n_users + 1)),
        "seen_item": item,
    }


def own_items(prepared: PreparedData) -> dict[str, NDArray[Any]]:
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


def _user_tower_difference(release: Release, sample: _CheckSample) -> float:
    """Return the largest difference of vectors and weights of release and run, relative to the largest component."""
    exported = user_vectors(release, sample.histories, sample.topic_BC, sample.time_BL, sample.positives)
    expected = sample.expected
    if (exported.mask_BK != expected.mask_BK).any():
        return float("inf")
    scale = max(1.0, float(np.abs(expected.vectors_BKD[expected.mask_BK]).max(initial=0)))
    vector_BK = np.abs(exported.vectors_BKD - expected.vectors_BKD).max(axis=2, initial=0) / scale
    # Weights divide places among interests: their third decimal changes no list.
    weight_BK = np.abs(exported.weight_BK - expected.weight_BK) / 100
    difference_B = (np.maximum(vector_BK, weight_BK) * expected.mask_BK).max(axis=1, initial=0)
    for b in np.flatnonzero(difference_B > TOLERANCE).tolist():
        difference_B[b] = min(
            difference_B[b], permuted_difference(exported.select(slice(b, b + 1)), expected, b, scale)
        )
    return float(difference_B.max(initial=0))


def permuted_difference(exported: UserVectors, expected: UserVectors, b: int, scale: float) -> float:
    """Return the largest difference for user ``b`` if the vectors of a kind may have another order.

    Two events may be equally far from the seeds of a clustering, up to rounding. Which of them becomes the next seed
    only changes the numbers of the interests.
    """
    largest, kinds = 0.0, np.array(expected.kinds)
    for kind in set(expected.kinds):
        columns = np.flatnonzero((kinds == kind) & expected.mask_BK[b])
        vector_KD, weight_K = exported.vectors_BKD[0, columns], exported.weight_BK[0, columns]
        distance_KK = np.abs(expected.vectors_BKD[b, columns][:, None] - vector_KD).max(axis=2, initial=0) / scale
        nearest_K = distance_KK.argmin(axis=1) if len(columns) else columns
        if len(set(nearest_K.tolist())) < len(columns):
            return float("inf")
        weights = np.abs(expected.weight_BK[b, columns] - weight_K[nearest_K]) / 100
        largest = max(largest, float(np.append(distance_KK.min(axis=1, initial=np.inf), weights).max(initial=0)))
    return largest
