"""From histories to user vectors, with the user tower of a release (ONNX Runtime), its clustering (PinnerSage) or sums.

The sum over a whole history (``linear.history``) is the only vector of the method linear.

Legend: B requests or users · L history · K vectors · C conditions · D width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import Histories, slice_histories
from multitudes.batches.user_vectors import UserHistories, UserVectors, columns_of, concatenate_vectors
from multitudes.errors import ArtefactError
from multitudes.linear.followed import topic_vectors
from multitudes.linear.history import HistorySums, HistoryWeights
from multitudes.linear.neighbours import no_vectors
from multitudes.nn.methods import FOLLOWED, NEIGHBOURS
from multitudes.pinnersage import clustering
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.release.manifest import read_settings
from multitudes.release.onnx_session import run_tower
from multitudes.release.release import USER_TOWER, Release
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.preferences import draw_conditions
from multitudes.retrieval.resolved_request import ResolvedRequest

# Names of the inputs and outputs of the exported tower, in its order.
USER_TOWER_INPUTS = ("input_BLD", "action_BL", "valid_BL", "follow_BF", "topic_BC", "user_feature_BP")
USER_TOWER_OUTPUTS = ("vectors_BKD", "weight_BK", "mask_BK", "cluster_BL")
_TOWER_BATCH = 16  # users; with 64, each takes 1.1 times as long (joint, width 64, 100 events)


def vectors_for_requests(release: Release, requests: Sequence[ResolvedRequest], config: RetrieveConfig) -> UserVectors:
    """Return the vectors of a batch of requests, a row each: cached ones, or new ones from few calls of the tower."""
    rows = {b: one.cached_vectors for b, one in enumerate(requests) if one.cached_vectors is not None}
    missing = [b for b in range(len(requests)) if b not in rows]
    # Clustering uses the ages of events, so histories without times need a call of their own.
    has_times = [requests[b].context.time_BL is not None or release.manifest.pinnersage is None for b in missing]
    for group in sorted(set(has_times)):
        members = [b for b, timed in zip(missing, has_times, strict=True) if timed == group]
        vectors = _compute_vectors(release, [requests[b] for b in members], config)
        if len(members) == len(requests):
            return vectors
        rows |= {b: vectors.select(slice(i, i + 1)) for i, b in enumerate(members)}
    return concatenate_vectors([rows[b] for b in range(len(requests))])


def _compute_vectors(release: Release, requests: Sequence[ResolvedRequest], config: RetrieveConfig) -> UserVectors:
    """Draw the conditions of the requests and make the vectors of their users."""
    contexts = [one.context for one in requests]
    histories = Histories(*map(np.concatenate, zip(*(context.histories for context in contexts), strict=True)))
    topic_BC = draw_conditions(
        histories.follow_BF,
        [one.preferences for one in requests],
        release.manifest.kinds.count("explicit"),
        config.topics_per_request,
        np.array([context.user for context in contexts]),
        [one.request.request_id for one in requests],
    )
    times = [context.time_BL for context in contexts if context.time_BL is not None]
    time_BL = np.concatenate(times) if len(times) == len(contexts) else None
    return user_vectors(
        release, UserHistories(histories, topic_BC, time_BL, [context.positives for context in contexts])
    )


def user_vectors(release: Release, users: UserHistories) -> UserVectors:
    """Return the vectors of B users, with as many conditions as the release has explicit columns.

    Raises:
        ArtefactError: the tower does not have the expected inputs or outputs.
    """
    histories, topic_BC, time_BL, positives = users
    if release.manifest.pinnersage is not None:
        return _vectors_by_clustering(release, release.manifest.pinnersage, histories, time_BL)
    if release.manifest.method == FOLLOWED:
        return topic_vectors(topic_BC, histories.item_BL.shape[1])
    if release.manifest.method == NEIGHBOURS:
        return no_vectors(positives, histories.item_BL.shape[1], int(release.index.info()["dimension"]))
    if release.linear_input is None:
        return _vectors_by_tower(release, histories, topic_BC)
    assert positives is not None, "a linear history needs the items of the entire history"
    weights = read_settings(HistoryWeights, release.manifest.linear or {}, f"{release.path}/manifest.json: linear")
    return HistorySums(release.linear_input, weights).user_vectors(positives, histories.item_BL.shape[1])


def _vectors_by_clustering(
    release: Release, settings: dict[str, Any], histories: Histories, time_BL: NDArray[np.int64] | None
) -> UserVectors:
    """Cluster histories; the item inputs of such a release are unit vectors."""
    config = read_settings(PinnerSageConfig, settings["config"], f"{release.path}/manifest.json: pinnersage")
    age_BL = clustering.event_ages(time_BL, histories.item_BL, ordered_only=release.manifest.ordered_only)
    item, row = np.unique(histories.item_BL, return_inverse=True)  # only the items of these histories are read
    histories = histories._replace(item_BL=row.reshape(histories.item_BL.shape))
    return clustering.user_vectors(histories, age_BL, release.input_vectors(item), config, settings["typical"])


def _vectors_by_tower(release: Release, histories: Histories, topic_BC: NDArray[np.int64]) -> UserVectors:
    """Call the tower with as many users at once as fit into the processor's cache."""
    starts = range(0, len(topic_BC), _TOWER_BATCH)
    chunks = [slice(start, start + _TOWER_BATCH) for start in starts]
    return concatenate_vectors([_run_tower(release, slice_histories(histories, c), topic_BC[c]) for c in chunks])


def _run_tower(release: Release, histories: Histories, topic_BC: NDArray[np.int64]) -> UserVectors:
    item_BL, action_BL, valid_BL, follow_BF, user_feature_BP = histories
    arrays = (release.input_vectors(item_BL), action_BL, valid_BL, follow_BF, topic_BC, user_feature_BP)
    inputs: dict[str, NDArray[Any]] = dict(zip(USER_TOWER_INPUTS, arrays, strict=True))
    file, kinds = release.path / USER_TOWER, release.manifest.kinds
    vectors_BKD, weight_BK, mask_BK, assignment_BL = run_tower(release.user_tower, inputs, USER_TOWER_OUTPUTS, file)
    if vectors_BKD.ndim != 3 or vectors_BKD.shape[1] != len(kinds):
        found = f"{vectors_BKD.shape[1]} vectors" if vectors_BKD.ndim == 3 else f"an array of shape {vectors_BKD.shape}"
        raise ArtefactError(f"{file}: gives {found}; expected {len(kinds)}, as in the manifest; publish the run again")
    if not weight_BK.shape == mask_BK.shape == vectors_BKD.shape[:2] or assignment_BL.shape != item_BL.shape:
        found = f"weights {weight_BK.shape}, masks {mask_BK.shape}, interests of events {assignment_BL.shape}"
        raise ArtefactError(f"{file}: gives {found}, which do not fit its vectors; publish the run again")
    topic_BK = np.zeros(mask_BK.shape, dtype=np.int64)
    explicit_K = columns_of("explicit", kinds)
    topic_BK[:, explicit_K] = topic_BC[:, : explicit_K.sum()]
    mask_BK = mask_BK & (~explicit_K | (topic_BK > 0))
    weight_BK = np.where(mask_BK, weight_BK, 0)
    return UserVectors(kinds, vectors_BKD, weight_BK, mask_BK, topic_BK, assignment_BL, valid_BL.sum(axis=1))
