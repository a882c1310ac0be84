"""PinnerSage (Pal et al., KDD 2020): the interests of a user, from item vectors that already exist; nothing is trained.

The events of a history are clustered by Ward's method. Each cluster is represented by its medoid, and its importance is
Σ exp(−decay · age) over its events. The K most important clusters are served.

Vectors have unit length, so the medoid (the member with the least sum of squared distances to the others) is the member
nearest to the direction of the cluster's sum. Many text encoders put all vectors close together, so that every distance
is small; distances are therefore in units of the typical distance between two items.

Deviations: the K most important clusters are served, instead of a sample of three by importance, so that equal requests
get equal results; ages count from the user's newest event, which does not change the proportions of the importances.

Legend: B users · L history · N usable events of one user, newest first · C clusters · K interests · I items ·
D dimensions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from multitudes.batches.histories import Histories
from multitudes.batches.user_vectors import InterestKind, UserVectors
from multitudes.config import Config
from multitudes.nn.methods import Partition
from multitudes.seeding import generator

_DAY_S = 86_400
DECAY = 0.01  # of the importance of an event, per day, or per event without times
_TEMPERATURE = 0.1  # divides the cosines; scales the scores, on which no blend of clusters depends
_TIE_TOLERANCE = 1e-5  # sums of cosines that differ by less count as equal


class PinnerSageConfig(Config):
    """Settings of PinnerSage, section [pinnersage]."""

    vectors: str | None = Field(
        None, description="run folder whose item vectors are clustered and searched; unset: the items' column embedding"
    )
    history: int = Field(100, ge=1, description="L, most recent events that are clustered")
    interests: int = Field(5, ge=1, description="K, clusters that are served; the paper serves 3")
    distance: float = Field(
        1.0, ge=0, description="Ward distance above which clusters stay apart; 1: the typical distance of two items"
    )


class Clusters(NamedTuple):
    """Clusters of one user."""

    label_N: NDArray[np.int64]  # cluster of each event, -1 = none
    medoid_C: NDArray[np.int64]  # position of the event whose item represents the cluster
    importance_C: NDArray[np.float64]


def typical_distance(unit_ID: NDArray[np.float32]) -> float:
    """Return the root mean square distance between two items that have a vector."""
    present_ID = unit_ID[unit_ID.any(axis=1)]
    mean_D = present_ID.mean(axis=0, dtype=np.float64)
    return float(np.sqrt(max(0.0, 2 * (1 - float(mean_D @ mean_D)))))


def event_ages(
    time_BL: NDArray[np.int64] | None, item_BL: NDArray[np.int64], *, ordered_only: bool
) -> NDArray[np.float64]:
    """Return how much older each event is than the user's newest (B, L), in days, or in events if times are unknown.

    The times are seconds, or with ``ordered_only`` positions.
    """
    if time_BL is None:
        return np.broadcast_to(np.arange(item_BL.shape[1], dtype=np.float64), item_BL.shape)
    return (time_BL[:, :1] - time_BL) / (1 if ordered_only else _DAY_S)


def interest_kinds(config: PinnerSageConfig) -> tuple[InterestKind, ...]:
    """Return the kind of every column of the user vectors."""
    implicit: InterestKind = "implicit"
    return (implicit,) * config.interests


def user_vectors(
    histories: Histories,
    age_BL: NDArray[np.float64],
    unit_ID: NDArray[np.float32],
    config: PinnerSageConfig,
    unit_distance: float,
    partition: Partition = "interests",
    seed: int = 0,
) -> UserVectors:
    """Return the vectors of B users; those of a user do not depend on the others.

    At most ``config.history`` events are read, and items whose unit vector is zeros have none. The partition "random"
    assigns the events evenly and at random to as many groups as the user has interests: the control.
    """
    item_BL, valid_BL = histories.item_BL[:, : config.history], histories.valid_BL[:, : config.history]
    users, k, width = len(item_BL), config.interests, unit_ID.shape[1]
    vectors_BKD = np.zeros((users, k, width), dtype=np.float32)
    weight_BK = np.zeros((users, k), dtype=np.float32)
    assignment_BL = np.full(histories.item_BL.shape, -1, dtype=np.int64)
    order_L: NDArray[np.int64] | None = None
    if partition == "random":  # the same order for all users, so batches do not matter
        order_L = generator(seed, "pinnersage", "partition").permutation(config.history)
    for b in range(users):
        usable_N = np.flatnonzero(valid_BL[b] & unit_ID[item_BL[b]].any(axis=1))
        if len(usable_N) == 0:
            continue
        vector_ND = unit_ID[item_BL[b, usable_N]]
        label_N = ward_labels(vector_ND, config.distance * unit_distance)
        if order_L is not None:
            # A random group for each event, all of equal size up to one event.
            label_N = np.argsort(np.argsort(order_L[usable_N])) % min(k, int(label_N.max()) + 1)
        found = most_important_clusters(summarise_clusters(vector_ND, label_N, age_BL[b, usable_N]), k)
        c = len(found.medoid_C)
        vectors_BKD[b, :c] = vector_ND[found.medoid_C] / _TEMPERATURE
        weight_BK[b, :c] = found.importance_C / found.importance_C.sum()
        assignment_BL[b, usable_N] = found.label_N
    topic_BK = np.zeros((users, k), dtype=np.int64)
    return UserVectors(interest_kinds(config), vectors_BKD, weight_BK, weight_BK > 0, topic_BK, assignment_BL)


def ward_labels(vector_ND: NDArray[np.float32], distance: float) -> NDArray[np.int64]:
    """Return the cluster of each event: Ward's method merges clusters up to ``distance``."""
    if len(vector_ND) == 1:
        return np.zeros(1, dtype=np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage  # noqa: PLC0415 (takes half a second)

    return np.asarray(fcluster(linkage(vector_ND, "ward"), distance, "distance") - 1, dtype=np.int64)


def summarise_clusters(
    vector_ND: NDArray[np.float32], label_N: NDArray[np.int64], age_N: NDArray[np.float64]
) -> Clusters:
    """Return medoid and importance of each cluster, the one with the newest event first; ties go to newer medoids."""
    _, first_C, label_N = np.unique(label_N, return_index=True, return_inverse=True)
    label_N = np.argsort(np.argsort(first_C))[label_N]  # numbered by their newest event
    member_CN = label_N == np.arange(len(first_C))[:, None]
    similarity_CN = np.where(member_CN, (member_CN.astype(np.float64) @ vector_ND) @ vector_ND.T, -np.inf)
    # The two members of a pair are always equally near: the tolerance decides, not rounding.
    medoid_C = (similarity_CN > similarity_CN.max(axis=1, keepdims=True) - _TIE_TOLERANCE).argmax(axis=1)
    importance_C = member_CN @ np.exp(-DECAY * (age_N - age_N[0]))  # from the newest: only proportions matter
    return Clusters(label_N, medoid_C, importance_C)


def most_important_clusters(found: Clusters, max_clusters: int) -> Clusters:
    """Return up to ``max_clusters`` clusters by importance; ties go to the one with the newer event."""
    # A smaller share of the total is zero at the precision of a weight.
    n_nonzero = int((found.importance_C > 1e-30 * found.importance_C.sum()).sum())
    kept_C = np.argsort(-found.importance_C, kind="stable")[: min(max_clusters, n_nonzero)]
    new_label_C = np.full(len(found.medoid_C), -1)
    new_label_C[kept_C] = np.arange(len(kept_C))
    return Clusters(new_label_C[found.label_N], found.medoid_C[kept_C], found.importance_C[kept_C])
