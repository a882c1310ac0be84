"""User vectors, as retrieval searches with them: ONNX computes them in serving, torch in evaluation. No torch here."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.histories import Histories

InterestKind = Literal["unconditioned", "implicit", "explicit"]
INTEREST_KINDS: tuple[InterestKind, ...] = get_args(InterestKind)


@lru_cache
def columns_of(kind: InterestKind, kinds: tuple[InterestKind, ...]) -> NDArray[np.bool_]:
    """Return a mask of the columns of a kind (K)."""
    return np.array([column == kind for column in kinds], dtype=np.bool_)


class UserHistories(NamedTuple):
    """What the vectors of B users are made from."""

    histories: Histories
    topic_BC: NDArray[np.int64]  # conditions of the explicit vectors, 0 = none; ignored without explicit interests
    time_BL: NDArray[np.int64] | None = None  # times of the history's events, seconds or positions; None: unknown
    # Of each user the distinct items of the entire history with an event of positive weight, oldest first; None:
    # unknown. Linear models and neighbours need them.
    positives: Sequence[NDArray[np.int64]] | None = None


class OwnEvents(NamedTuple):
    """The own items of one user that propose items themselves; see ``retrieval.neighbours``."""

    item_n: NDArray[np.int64]  # distinct, oldest first
    weight_n: NDArray[np.float32]
    column_n: NDArray[np.int64]  # of the interest that each is of; -1 = none


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
    # Factors of the shares (B, K), of what requests boost; None: no boosts.
    boost_BK: NDArray[np.float64] | None = None
    # Part of the list of each taste of the user (B, T); None: the list is not calibrated.
    taste_BT: NDArray[np.float64] | None = None
    # How many of the user's events in each taste belong to each interest (B, T, K); None: unknown.
    events_BTK: NDArray[np.float32] | None = None
    own: Sequence[OwnEvents] | None = None  # of each user; None: the vectors propose alone

    @classmethod
    def alike(
        cls,
        kinds: tuple[InterestKind, ...],
        vectors_BKD: NDArray[np.float32],
        mask_BK: NDArray[np.bool_],
        history_length: int,
    ) -> "UserVectors":
        """Return vectors of equal weight and without topics; no event of the history belongs to any of them."""
        none_BL = np.full((len(mask_BK), history_length), -1)
        return cls(kinds, vectors_BKD, mask_BK.astype(np.float32), mask_BK, 0 * mask_BK.astype(np.int64), none_BL)

    def select(self, chosen: slice | NDArray[np.int64]) -> "UserVectors":
        """Return the vectors of some of the users."""
        rows: Any = [None if array is None else array[chosen] for array in self[1:-1]]
        users = range(len(self.mask_BK))[chosen] if isinstance(chosen, slice) else chosen.tolist()
        return UserVectors(self.kinds, *rows)._replace(own=None if self.own is None else [self.own[b] for b in users])

    def of_kind(self, kind: InterestKind) -> "UserVectors":
        """Return only the vectors of one kind; no event is assigned to an interest any more."""
        columns = columns_of(kind, self.kinds)
        number_K = np.append(np.where(columns, np.cumsum(columns) - 1, -1), -1)  # the last is of no interest
        return self._replace(
            kinds=(kind,) * int(columns.sum()),
            vectors_BKD=self.vectors_BKD[:, columns],
            weight_BK=self.weight_BK[:, columns],
            mask_BK=self.mask_BK[:, columns],
            topic_BK=self.topic_BK[:, columns],
            assignment_BL=np.full_like(self.assignment_BL, -1),
            share_BK=None if self.share_BK is None else self.share_BK[:, columns],
            events_BTK=None,
            own=self.own and [one._replace(column_n=number_K[one.column_n]) for one in self.own],
        )


def concatenate_vectors(chunks: Sequence[UserVectors]) -> UserVectors:
    """Return the vectors of all users of ``chunks``, of which there is at least one."""
    if len(chunks) == 1:
        return chunks[0]
    events = [chunk.events_B for chunk in chunks if chunk.events_B is not None]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("vectors_BKD", "weight_BK", "mask_BK", "topic_BK", "assignment_BL")
    }
    return UserVectors(
        kinds=chunks[0].kinds,
        **joined,
        events_B=np.concatenate(events) if len(events) == len(chunks) else None,
        share_BK=_concatenate_known(chunks, "share_BK", np.nan),  # NaN rows: as configured
        taste_BT=_concatenate_known(chunks, "taste_BT", 0.0),  # users of another release have no tastes
    )


def _concatenate_known(chunks: Sequence[UserVectors], name: str, fill: float) -> NDArray[np.float64] | None:
    """Return a column that some chunks may lack, which then have ``fill``; None if all lack it."""
    columns = [getattr(chunk, name) for chunk in chunks]
    width = next((column.shape[1] for column in columns if column is not None), None)
    if width is None:
        return None
    lengths = [len(chunk.mask_BK) for chunk in chunks]
    return np.concatenate(
        [np.full((n, width), fill) if column is None else column for n, column in zip(lengths, columns, strict=True)]
    )
