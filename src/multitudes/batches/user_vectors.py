"""User vectors, as retrieval searches with them: ONNX computes them in serving, torch in evaluation. No torch here."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

InterestKind = Literal["unconditioned", "implicit", "explicit"]
INTEREST_KINDS: tuple[InterestKind, ...] = get_args(InterestKind)
# The implicit interests of a user: the model's own, or a control: those of a random division of the history, or its own
# on the conditions of another user.
Partition = Literal["interests", "random", "other_user"]


class UserVectors(NamedTuple):
    """The K vectors of each of B users; the kind of column k is ``kinds[k]``, the same for every user."""

    kinds: tuple[InterestKind, ...]
    vectors_BKD: NDArray[np.float32]
    weight_BK: NDArray[np.float32]  # importance within its kind; zero where masked
    mask_BK: NDArray[np.bool_]  # True = the user has this vector
    topic_BK: NDArray[np.int64]  # the condition of an explicit vector, else 0
    assignment_BL: NDArray[np.int64]  # column k of the interest that each history event belongs to, -1 = none
    events_B: NDArray[np.int64] | None = None  # usable events that the vectors read; None: unknown
    # Shares of the list that requests set (B, K), in place of the configured ones; NaN rows: as configured.
    share_BK: NDArray[np.float64] | None = None
    # Part of the list of each taste of the user (B, T); None: the list is not calibrated.
    taste_BT: NDArray[np.float64] | None = None
    # Column of the interest that most of the user's events in each taste belong to, -1 = none (B, T); None: unknown.
    owner_BT: NDArray[np.int64] | None = None

    def select(self, chosen: slice | NDArray[np.int64]) -> "UserVectors":
        """Return the vectors of some of the users."""
        return UserVectors(
            self.kinds,
            self.vectors_BKD[chosen],
            self.weight_BK[chosen],
            self.mask_BK[chosen],
            self.topic_BK[chosen],
            self.assignment_BL[chosen],
            None if self.events_B is None else self.events_B[chosen],
            None if self.share_BK is None else self.share_BK[chosen],
            None if self.taste_BT is None else self.taste_BT[chosen],
            None if self.owner_BT is None else self.owner_BT[chosen],
        )


def concatenate_vectors(chunks: Sequence[UserVectors]) -> UserVectors:
    """Return the vectors of all users of ``chunks``, of which there is at least one."""
    if len(chunks) == 1:
        return chunks[0]
    events = [chunk.events_B for chunk in chunks if chunk.events_B is not None]
    has_shares = any(chunk.share_BK is not None for chunk in chunks)
    return UserVectors(
        kinds=chunks[0].kinds,
        vectors_BKD=np.concatenate([chunk.vectors_BKD for chunk in chunks]),
        weight_BK=np.concatenate([chunk.weight_BK for chunk in chunks]),
        mask_BK=np.concatenate([chunk.mask_BK for chunk in chunks]),
        topic_BK=np.concatenate([chunk.topic_BK for chunk in chunks]),
        assignment_BL=np.concatenate([chunk.assignment_BL for chunk in chunks]),
        events_B=np.concatenate(events) if len(events) == len(chunks) else None,
        share_BK=np.concatenate([_shares_or_nan(chunk) for chunk in chunks]) if has_shares else None,
        taste_BT=_concatenate_tastes(chunks),
    )


def _shares_or_nan(vectors: UserVectors) -> NDArray[np.float64]:
    return np.full(vectors.mask_BK.shape, np.nan) if vectors.share_BK is None else vectors.share_BK


def _concatenate_tastes(chunks: Sequence[UserVectors]) -> NDArray[np.float64] | None:
    """Return the tastes of all users; users without any, such as those of another release, have zeros."""
    known = [chunk.taste_BT for chunk in chunks if chunk.taste_BT is not None]
    if not known:
        return None
    width = known[0].shape[1]
    return np.concatenate(
        [np.zeros((len(chunk.mask_BK), width)) if chunk.taste_BT is None else chunk.taste_BT for chunk in chunks]
    )


def without_masked_columns(vectors: UserVectors) -> UserVectors:
    """Return the vectors without the columns that no user has; no event is assigned to an interest any more."""
    columns = np.flatnonzero(vectors.mask_BK.any(axis=0))
    return vectors._replace(
        kinds=tuple(vectors.kinds[k] for k in columns.tolist()),
        vectors_BKD=vectors.vectors_BKD[:, columns],
        weight_BK=vectors.weight_BK[:, columns],
        mask_BK=vectors.mask_BK[:, columns],
        topic_BK=vectors.topic_BK[:, columns],
        assignment_BL=np.full_like(vectors.assignment_BL, -1),
        owner_BT=None,
    )
