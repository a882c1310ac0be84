"""The systems that one run is asked as: its own method, and the controls that say what its gain comes from.

Legend: B users · K vectors · D dimensions.

============================ ======================================================================
system                       the question that it answers
============================ ======================================================================
the run's method             how good is the run, served as configured?
unconditioned                is one vector enough? All N candidates come from it
implicit, explicit           what does each kind bring alone?
averaged                     do K searches beat one search with the weighted mean of the K vectors?
random_partition             do *interests* matter, or would any parts of the history do?
round_robin, global_top, …   does the blend matter?
============================ ======================================================================
"""

from typing import NamedTuple, get_args

import numpy as np

from multitudes.batches.vectors import KINDS, Kind, UserVectors
from multitudes.retrieve.allocate import shares
from multitudes.retrieve.plan import Blend, RetrieveConfig


class System(NamedTuple):
    """Vectors of B users and how they are served."""

    name: str
    vectors: UserVectors
    config: RetrieveConfig

    @property
    def one_query(self) -> bool:
        """True when one vector brings all candidates."""
        return len(self.vectors.kinds) == 1


def systems(
    method: str, vectors: UserVectors, random_vectors: UserVectors | None, config: RetrieveConfig
) -> list[System]:
    """Return the run's own system first, then the controls that its vectors allow.

    Args:
        method: name of the run's method.
        vectors: the vectors that the run makes.
        random_vectors: the same from a random partition of the history; None where there are no implicit interests.
        config: how the run is served.
    """
    found = [System(method, vectors, config)]
    if len(vectors.kinds) == 1:
        return found
    kinds = [kind for kind in KINDS if kind in vectors.kinds and set(vectors.kinds) != {kind}]
    found += [System(kind, of_kind(vectors, kind), config) for kind in kinds]
    found.append(System("averaged", averaged(vectors, config), config))
    if random_vectors is not None and method != "random_partition":  # which is that control, trained
        found.append(System("random_partition", random_vectors, config))
    for blend in get_args(Blend):
        if blend != config.blend:
            found.append(System(blend, vectors, config.model_copy(update={"blend": blend})))
    return found


def of_kind(vectors: UserVectors, kind: Kind) -> UserVectors:
    """Return the vectors of one kind only."""
    columns = [k for k, name in enumerate(vectors.kinds) if name == kind]
    return UserVectors(
        kinds=(kind,) * len(columns),
        vectors_BKD=vectors.vectors_BKD[:, columns],
        weight_BK=vectors.weight_BK[:, columns],
        mask_BK=vectors.mask_BK[:, columns],
        topic_BK=vectors.topic_BK[:, columns],
        cluster_BL=np.full_like(vectors.cluster_BL, -1),  # history events point at columns that may be gone
    )


def averaged(vectors: UserVectors, config: RetrieveConfig) -> UserVectors:
    """Return one vector per user: the mean of its vectors, weighted as the blend weighs them."""
    share_BK = shares(vectors, config)
    mean_BD = np.einsum("bk,bkd->bd", share_BK, vectors.vectors_BKD).astype(np.float32)
    exists_B1 = (vectors.mask_BK.sum(axis=1) > 0)[:, None]
    return UserVectors(
        kinds=("unconditioned",),
        vectors_BKD=mean_BD[:, None],
        weight_BK=exists_B1.astype(np.float32),
        mask_BK=exists_B1,
        topic_BK=np.zeros(exists_B1.shape, dtype=np.int64),
        cluster_BL=np.full_like(vectors.cluster_BL, -1),
    )
