"""The user tower of a release: histories in, user vectors out, through ONNX Runtime or by clustering (PinnerSage).

Legend: B users · L history · K vectors · C conditions · D width.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.batches import pinnersage
from multitudes.batches.histories import Histories
from multitudes.batches.pinnersage import PinnerSageConfig
from multitudes.batches.vectors import UserVectors
from multitudes.config import parse
from multitudes.errors import ArtefactError
from multitudes.release.release import USER_TOWER, Release

# The names that the exported tower has for what it takes and gives, in its order.
INPUTS = ("input_BLD", "action_BL", "valid_BL", "follow_BF", "topic_BC", "user_feature_BP")
OUTPUTS = ("vectors_BKD", "weight_BK", "mask_BK", "cluster_BL")


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
        return _clustered(release, release.manifest.pinnersage, histories, time_BL)
    return _from_onnx(release, histories, topic_BC)


def _clustered(
    release: Release, settings: dict[str, Any], histories: Histories, time_BL: NDArray[np.int64] | None
) -> UserVectors:
    """Return the vectors of a release whose item inputs are vectors of unit length, ready to be clustered."""
    config = parse(PinnerSageConfig, settings["config"], f"{release.path}/manifest.json: pinnersage")
    age_BL = pinnersage.ages(time_BL, histories.item_BL, ordered_only=release.manifest.ordered_only)
    item, place = np.unique(histories.item_BL, return_inverse=True)  # of all items, those of these histories
    histories = histories._replace(item_BL=place.reshape(histories.item_BL.shape))
    return pinnersage.user_vectors(histories, age_BL, release.inputs(item), config, settings["typical"])


def _from_onnx(release: Release, histories: Histories, topic_BC: NDArray[np.int64]) -> UserVectors:
    session, kinds = release.user_tower, release.manifest.kinds
    item_BL, action_BL, valid_BL, follow_BF, user_feature_BP = histories
    values = (release.inputs(item_BL), action_BL, valid_BL, follow_BF, topic_BC, user_feature_BP)
    offered = dict(zip(INPUTS, values, strict=True))
    wanted = [entry.name for entry in session.get_inputs()]  # a tower without features has no such input
    try:
        vectors_BKD, weight_BK, mask_BK, cluster_BL = session.run(OUTPUTS, {name: offered[name] for name in wanted})
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
