"""Publish a run: write a release to a hidden folder, check it against the model, and make it the current one.

Legend: U users · B sampled users · L history · C conditions · K vectors · I items.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multitudes.batches.histories import event_times, followed_topics, gather_histories
from multitudes.batches.user_vectors import UserHistories, UserVectors
from multitudes.data.own_items import positive_items
from multitudes.errors import ArtefactError, UsageError
from multitudes.index.factory import IndexConfig
from multitudes.index.item_table import select_topics
from multitudes.index.protocol import Index
from multitudes.linear.followed import FollowedRun
from multitudes.linear.neighbours_run import NeighboursRun
from multitudes.linear.run import LinearRun
from multitudes.pinnersage.run import PinnerSageRun
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
from multitudes.release.item_map import lay_out_items
from multitudes.release.manifest import NewItems
from multitudes.release.onnx_session import open_tower
from multitudes.release.release import ITEM_TOWER, USER_TOWER, Release, write_release
from multitudes.release.signature import read_private_key, sign_release
from multitudes.release.store import VERSIONS, ReleaseStore
from multitudes.repeats import fit_repeats
from multitudes.retrieval.config import RetrieveConfig, with_run_defaults
from multitudes.retrieval.item_updates import pad_topics, run_item_tower
from multitudes.retrieval.preferences import draw_topics
from multitudes.retrieval.retriever import Retriever
from multitudes.retrieval.rollback import show_to_others
from multitudes.retrieval.user_vectors import user_vectors
from multitudes.run_record import UntrainedRun
from multitudes.seeding import generator
from multitudes.training.run_release import release_manifest, user_arrays
from multitudes.training.runs import Run, open_run

_CHECKED_USERS = _CHECKED_ITEMS = 1_000
TOLERANCE = 1e-5  # largest difference between run and release, relative to the largest component


class PublishResult(NamedTuple):
    """The result of publishing a run."""

    version: str  # of the new release
    checked_users: int  # number of users whose vectors were compared
    largest_difference: float  # between the vectors of run and release, relative to the largest component
    index_info: dict[str, Any]  # description of the index
    carried_items: int = 0  # items that were added to the release before and are not in the data
    waiting_items: int = 0  # such items without a vector in this release; they are kept for the next one
    removed_items: int = 0  # items that were removed from the release before and stay removed
    gate: GateResult | None = None  # what the gate measured; None: there was none
    former: str | None = None  # the version that served before; None: none did


def publish(
    run: str | Path,
    releases: str | Path,
    *,
    retrieve: RetrieveConfig | None = None,
    index: IndexConfig | None = None,
    sign: Path | None = None,
    trust: Path | None = None,
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
        trust: a public key, or a folder of them, one of which must have signed the item updates that are taken over;
            None: the key of ``sign``, or none is needed.
        gate: what the release must hold in comparison with the one that serves; None: nothing.
        progress: called after each of five steps.

    Returns:
        The new version, and how it compares with the run.

    Raises:
        ArtefactError: the run is unfinished or damaged, an exported tower differs from the model, or the gate
            rejects it.
        UsageError: another process publishes to the folder, it is one of something else, or ``sign`` is no private key.
        MissingError: ``sign`` does not exist.
    """
    store = ReleaseStore(releases)
    if store.root.is_dir() and any(store.root.iterdir()) and not (store.root / VERSIONS).is_dir():
        raise UsageError(
            f"{store.root}: holds something else than releases; give a new folder, or one that publish wrote"
        )
    key = None if sign is None else read_private_key(sign)
    index = index or IndexConfig()
    if index.kind not in index.built_in:  # before anything is computed for a server that does not answer
        index.plugin().check(index.parse_options())
    opened = open_run(run)
    retrieve = with_run_defaults(retrieve or RetrieveConfig(), opened.list_defaults)
    conditions = retrieve.topics_per_request if "explicit" in opened.kinds(1) else 0
    with store.stage() as stage:
        progress(0, 5, "users")
        sample = _sample_users(opened, conditions)
        expected = opened.user_vectors(sample)
        progress(1, 5, "towers")
        _write_towers(opened, stage, conditions)
        progress(2, 5, "index")
        carried = carry_over(store, opened.prepared, trust or key)
        corpus = _build_release_corpus(opened, stage, carried)
        built = build_corpus_index(corpus, expected, index)
        try:
            progress(3, 5, "files")
            write_carried_items(stage, carried, key)
            _write_release_files(stage, opened, corpus, built, conditions, retrieve)
            progress(4, 5, "check")
            difference = _user_tower_difference(Release.open(stage), sample, expected)
            _check_difference(run, "user tower", difference, f"{len(sample.topic_BC)} users")
            item_difference = _item_tower_difference(opened, stage)
            _check_difference(run, "item tower", item_difference, "items without their ids")
            passed = None
            if gate is not None:
                serving = Retriever.open(store.folder()) if store.versions() else None
                passed = check_gate(Retriever.open(stage), serving, opened.prepared, gate)
            if key is not None:
                sign_release(stage, key)
            former = None
            with suppress(ArtefactError):
                former = store.current()
            version = store.commit(stage)
        except BaseException:
            built.discard()
            raise
        show_to_others(built, version)
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
        former=former,
    )


def _check_difference(run: str | Path, tower: str, difference: float, compared: str) -> None:
    if difference > TOLERANCE:
        raise ArtefactError(
            f"{run}: the exported {tower} differs from the model by {difference:.1e} on {compared}; at most"
            f" {TOLERANCE:.0e} is allowed. Nothing was published"
        )


def _sample_users(run: Run, conditions: int) -> UserHistories:
    """Return some users, by whose vectors the exported tower is checked."""
    prepared = run.prepared
    rng = generator(0, "publish", "users")
    count = min(prepared.n_users, _CHECKED_USERS)
    user_B = np.sort(rng.choice(prepared.n_users, count, replace=False)).astype(np.int64)
    end_B, length = prepared.event_offset[user_B + 1], run.config.model.history
    histories = gather_histories(prepared, user_B, end_B, length)
    time_BL = event_times(prepared.event_time, end_B, length)
    topic_BC = draw_topics(followed_topics(prepared, user_B), conditions, user_B)
    positives = positive_items(prepared, user_B, end_B)
    return UserHistories(histories, topic_BC, time_BL, positives)


def _build_release_corpus(run: Run, stage: Path, carried: CarriedItems) -> Corpus:
    """Return the items of the release, whose towers are in ``stage``."""
    settings = _new_item_settings(run)
    if settings.vectors in ("run", "linear"):
        return build_corpus(run, carried._replace(items=carried.items.clear()), settings, None)
    tower = open_tower(stage / ITEM_TOWER) if settings.vectors == "tower" and carried.items.height else None
    return build_corpus(run, carried, settings, tower)


def _write_release_files(
    stage: Path, run: Run, corpus: Corpus, index: Index, conditions: int, retrieve: RetrieveConfig
) -> None:
    repeats, pinnersage = fit_repeats(run.prepared), None
    if isinstance(run, PinnerSageRun):  # without the source of the vectors, which the release contains
        settings = run.config.model.model_dump(mode="json", exclude={"vectors"})
        pinnersage = {"config": settings, "typical": run.typical_distance}
    new, items = _new_item_settings(run), corpus.names.height
    manifest = release_manifest(run, conditions, retrieve, index, repeats, items, new_items=new, pinnersage=pinnersage)
    arrays = corpus.arrays | user_arrays(run, repeats)
    arrays["map_item"], arrays["map_position"] = lay_out_items(index, corpus.arrays["item_count"])
    write_release(stage, manifest, arrays, index, run.prepared.user_ids, corpus.names, run.prepared.topics)


def _user_tower_difference(release: Release, sample: UserHistories, expected: UserVectors) -> float:
    """Return the largest difference of vectors and weights of release and run, relative to the largest component."""
    exported = user_vectors(release, sample)
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


def _write_towers(run: Run, stage: Path, conditions: int) -> None:
    """Write the towers of a trained run into a staged release; ``conditions``: topics drawn for a request."""
    if isinstance(run, UntrainedRun):  # what it serves with is in the manifest and the arrays
        return
    from multitudes.publishing.onnx_export import export_item_tower, export_user_tower  # noqa: PLC0415 (torch)

    features = run.prepared.user_feature.shape[1]
    export_user_tower(run.model, run.config.model.history, features, conditions, stage / USER_TOWER)
    export_item_tower(run, stage / ITEM_TOWER)


def _item_tower_difference(run: Run, stage: Path) -> float:
    """Return the largest difference between the exported item tower and the model, relative to the largest component.

    Both compute vectors of known items as if they were new: from their description, without their ids.
    """
    if isinstance(run, UntrainedRun):
        return 0.0
    from multitudes.publishing.onnx_export import vectors_without_ids  # noqa: PLC0415 (torch)

    prepared = run.prepared
    count = min(prepared.n_items, _CHECKED_ITEMS)
    item_N = 1 + np.sort(generator(0, "publish", "items").choice(prepared.n_items, count, replace=False))
    topic_NG = pad_topics(select_topics(prepared.item_topic_offset, prepared.item_topic, item_N))
    content = prepared.item_embedding
    content_NE = np.zeros((count, 0), dtype=np.float32) if content is None else content[item_N]
    exported = run_item_tower(open_tower(stage / ITEM_TOWER), topic_NG, prepared.item_feature[item_N], content_NE)
    differences = [
        float(np.abs(actual - expected).max()) / max(1.0, float(np.abs(expected).max()))
        for actual, expected in zip(exported, vectors_without_ids(run, item_N), strict=True)
    ]
    return max(differences)


def _new_item_settings(run: Run) -> NewItems:
    """Return the settings by which items that are added later get their vectors."""
    prepared = run.prepared
    width = 0 if prepared.item_embedding is None else int(prepared.item_embedding.shape[1])
    if isinstance(run, (LinearRun, NeighboursRun, FollowedRun)):
        return NewItems(vectors="linear")
    if isinstance(run, PinnerSageRun):
        if run.config.model.vectors is not None:
            return NewItems(vectors="run")
        return NewItems(vectors="embedding", content_width=width)
    encoding = tuple(prepared.manifest["item_encoding"])
    frozen = getattr(run.config.model, "item_tower", "trained") == "frozen"  # a combined run has no such setting
    return NewItems(vectors="tower", encoding=encoding, content_width=width, frozen=frozen)
