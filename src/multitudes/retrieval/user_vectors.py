"""The user tower of a release: histories in, user vectors out, through ONNX Runtime or by clustering (PinnerSage).

Legend: B users · L history · K vectors · C conditions · D width.

Several requests are one batch of the tower, whoever asks; what a user's last answer left is used again.

Legend: B requests · L history · K vectors · C conditions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import Histories
from multitudes.batches.user_vectors import UserVectors
from multitudes.config import parse
from multitudes.errors import ArtefactError
from multitudes.pinnersage import clustering
from multitudes.pinnersage.clustering import PinnerSageConfig
from multitudes.release.release import USER_TOWER, Release
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.preferences import Preferences, draw_conditions
from multitudes.retrieval.user_context import ResolvedRequest

# The names that the exported tower has for what it takes and gives, in its order.
USER_TOWER_INPUTS = ("input_BLD", "action_BL", "valid_BL", "follow_BF", "topic_BC", "user_feature_BP")
USER_TOWER_OUTPUTS = ("vectors_BKD", "weight_BK", "mask_BK", "cluster_BL")


def user_vectors(
    release: Release,
    histories: Histories,
    topic_BC: NDArray[np.int64],
    time_BL: NDArray[np.int64] | None = None,
) -> UserVectors:
    """Return the vectors of B users.

    Args:
        release: whose tower and item inputs are used.
        histories: what the tower sees of the users.
        topic_BC: the conditions of the explicit vectors, 0 = none; as many as the release has explicit columns.
        time_BL: of the history's events; None: nobody knows them.

    Raises:
        ArtefactError: the tower does not take or give what this version expects.
    """
    if release.manifest.pinnersage is not None:
        return _vectors_by_clustering(release, release.manifest.pinnersage, histories, time_BL)
    return _vectors_by_tower(release, histories, topic_BC)


def _vectors_by_clustering(
    release: Release, settings: dict[str, Any], histories: Histories, time_BL: NDArray[np.int64] | None
) -> UserVectors:
    """Return the vectors of a release whose item inputs are vectors of unit length, ready to be clustered."""
    config = parse(PinnerSageConfig, settings["config"], f"{release.path}/manifest.json: pinnersage")
    age_BL = clustering.event_ages(time_BL, histories.item_BL, ordered_only=release.manifest.ordered_only)
    item, place = np.unique(histories.item_BL, return_inverse=True)  # of all items, those of these histories
    histories = histories._replace(item_BL=place.reshape(histories.item_BL.shape))
    return clustering.user_vectors(histories, age_BL, release.input_vectors(item), config, settings["typical"])


def _vectors_by_tower(release: Release, histories: Histories, topic_BC: NDArray[np.int64]) -> UserVectors:
    session, kinds = release.user_tower, release.manifest.kinds
    item_BL, action_BL, valid_BL, follow_BF, user_feature_BP = histories
    values = (release.input_vectors(item_BL), action_BL, valid_BL, follow_BF, topic_BC, user_feature_BP)
    offered = dict(zip(USER_TOWER_INPUTS, values, strict=True))
    wanted = [entry.name for entry in session.get_inputs()]  # a tower without features has no such input
    try:
        vectors_BKD, weight_BK, mask_BK, cluster_BL = session.run(
            USER_TOWER_OUTPUTS, {name: offered[name] for name in wanted}
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        reason = str(error).splitlines()[0]
        raise ArtefactError(
            f"{release.path / USER_TOWER}: does not take this input ({reason}); publish again"
        ) from error
    if vectors_BKD.shape[1] != len(kinds):
        raise ArtefactError(
            f"{release.path / USER_TOWER}: gives {vectors_BKD.shape[1]} vectors; the manifest names {len(kinds)} kinds."
            " Publish the run again"
        )
    topic_BK = np.zeros(mask_BK.shape, dtype=np.int64)
    explicit = np.array([kind == "explicit" for kind in kinds])
    topic_BK[:, explicit] = topic_BC[:, : explicit.sum()]
    mask_BK = mask_BK & (~explicit | (topic_BK > 0))
    return UserVectors(kinds, vectors_BKD, np.where(mask_BK, weight_BK, 0), mask_BK, topic_BK, cluster_BL)


def vectors_for_requests(
    release: Release, requests: Sequence[ResolvedRequest], preferences: Sequence[Preferences], config: RetrieveConfig
) -> UserVectors:
    """Return the vectors of B requests, by as few calls of the tower as it takes: one, or none."""
    rows = {b: case.cached_vectors for b, case in enumerate(requests) if case.cached_vectors is not None}
    missing = [b for b in range(len(requests)) if b not in rows]
    # Where ages count, a history whose times nobody knows is read in another way.
    timed = [requests[b].context.time_BL is not None or release.manifest.pinnersage is None for b in missing]
    for known in sorted(set(timed)):
        some = [b for b, is_timed in zip(missing, timed, strict=True) if is_timed == known]
        made = _compute_vectors(release, [requests[b] for b in some], [preferences[b] for b in some], config)
        if len(some) == len(requests):
            return made
        rows |= {b: made.select(slice(i, i + 1)) for i, b in enumerate(some)}
    return _concatenate([rows[b] for b in range(len(requests))])


def _compute_vectors(
    release: Release, requests: Sequence[ResolvedRequest], preferences: Sequence[Preferences], config: RetrieveConfig
) -> UserVectors:
    """Call the tower."""
    asked = [case.context for case in requests]
    histories = Histories(*map(np.concatenate, zip(*(one.histories for one in asked), strict=True)))
    topic_BC = draw_conditions(
        histories.follow_BF,
        preferences,
        release.manifest.kinds.count("explicit"),
        np.concatenate([one.user_B for one in asked]),
        [case.request.request_id for case in requests],
        config,
    )
    times = [one.time_BL for one in asked if one.time_BL is not None]
    return user_vectors(release, histories, topic_BC, np.concatenate(times) if len(times) == len(asked) else None)


def _concatenate(rows: Sequence[UserVectors]) -> UserVectors:
    """Return the vectors of several users as one."""
    if len(rows) == 1:
        return rows[0]
    arrays = (np.concatenate(arrays) for arrays in zip(*(row[1:] for row in rows), strict=True))
    return UserVectors(rows[0].kinds, *arrays)
