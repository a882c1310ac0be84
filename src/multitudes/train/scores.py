"""What every item scores with every vector of some users, piece by piece; what a user may not get scores lowest.

Neither all scores nor the vectors of all items are ever held at once: judging a model takes next to no memory beside
training it.

Legend: B users · K vectors of each · i items of a block · T topics of an item · E explicit vectors · A topics asked for
D width.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multitudes.batches.examples import item_topics
from multitudes.batches.held_out import HeldOut, known_histories
from multitudes.batches.vectors import UserVectors
from multitudes.data.ragged import ragged
from multitudes.nn.masking import lowest
from multitudes.train.run import TrainedRun, vector_blocks

BLOCK = 8_192  # items whose vectors are made at once
CHUNK = 4_000_000  # scores made at once: they stay near the processor


class Piece(NamedTuple):
    """The scores of a block of items for some of the users."""

    users: slice
    items: slice
    score_BKi: Tensor


class Scores:
    """The scores of all items for the users of some rows, made anew each time they are iterated."""

    def __init__(self, run: TrainedRun, held: HeldOut, rows: NDArray[np.int64], topics: int) -> None:
        """Make the users' vectors; ``topics``: of those followed, how many make a vector."""
        self._run = run
        user_B, end_B = held.user_B[rows], held.end_B[rows]
        histories = known_histories(run.prepared, user_B, end_B, run.config.model.history)
        self.users: UserVectors = run.user_vectors(histories, histories.follow_BF[:, :topics])
        self._seen_user, self._seen_item = _seen(run, user_B, end_B)

    @property
    def size(self) -> int:
        """How many scores there are."""
        users, vectors = self.users.mask_BK.shape
        return int(users * vectors * (self._run.prepared.n_items + 1))

    def __iter__(self) -> Iterator[Piece]:
        """Yield all pieces: block after block of the items, each for all users."""
        users, vectors = self.users.mask_BK.shape
        at_once = max(1, CHUNK // (vectors * BLOCK))
        for items, vector_iD in vector_blocks(self._run.model, BLOCK):
            topic_iT = item_topics(self._run.prepared, np.arange(items.start, items.stop))
            vectors_BKD = torch.from_numpy(self.users.vectors_BKD).to(vector_iD.device)
            for start in range(0, users, at_once):
                some = slice(start, min(start + at_once, users))
                score_BKi = vectors_BKD[some] @ vector_iD.T
                self._mask_seen(score_BKi, some, items)
                _mask_other_topics(score_BKi, self.users.rows(some), topic_iT)
                yield Piece(some, items, score_BKi)

    def _mask_seen(self, score_BKi: Tensor, users: slice, items: slice) -> None:
        """Let nobody get what they have seen, nor the unknown item."""
        impossible = lowest(score_BKi)
        if items.start == 0:
            score_BKi[:, :, 0] = impossible
        first, last = np.searchsorted(self._seen_item, [items.start, items.stop])
        user, item = self._seen_user[first:last], self._seen_item[first:last]
        own = (user >= users.start) & (user < users.stop)
        row, column = torch.from_numpy(user[own] - users.start), torch.from_numpy(item[own] - items.start)
        score_BKi[row, :, column] = impossible


def _seen(
    run: TrainedRun, user_B: NDArray[np.int64], end_B: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return who has seen which item, by item."""
    user, position = ragged(run.prepared.event_offset[user_B], end_B)
    item = run.prepared.event_item[position].astype(np.int64)
    order = np.argsort(item, kind="stable")
    return user[order], item[order]


def _mask_other_topics(score_BKi: Tensor, users: UserVectors, topic_iT: NDArray[np.int64]) -> None:
    """Let an explicit vector see the items of its topic only."""
    explicit = np.flatnonzero([kind == "explicit" for kind in users.kinds])
    if len(explicit) == 0:
        return
    asked_A, which = np.unique(users.topic_BK[:, explicit], return_inverse=True)
    which_BE = torch.from_numpy(which.reshape(len(users.topic_BK), len(explicit)))
    off_topic_Ai = np.stack([(topic_iT != topic).all(axis=1) for topic in asked_A.tolist()])
    hidden_Ai = torch.from_numpy(off_topic_Ai).to(score_BKi.device)
    for e, k in enumerate(explicit.tolist()):
        score_BKi[:, k].masked_fill_(hidden_Ai[which_BE[:, e]], lowest(score_BKi))
