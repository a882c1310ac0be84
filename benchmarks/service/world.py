"""A random world of items, topics and users: vectors of latent factors, and histories of items near the user's tastes.

Legend: I items · T topics · U users · G tastes of a user · S items looked at · L items of a history · D dimensions.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import SEED
from benchmarks.index.corpus import Corpus, Vectors
from multitudes.index.protocol import Topics
from multitudes.seeding import generator

Ids = NDArray[np.int64]
TASTES = 5
_LOOKED_AT = 20_000  # items among which the nearest to a taste are a history: of all, they would be too near
_USERS_AT_ONCE = 100


class Sizes(NamedTuple):
    """How large the world is. User ids are 1 … users, item ids 1 … items."""

    items: int
    users: int = 2_000
    width: int = 64
    topics: int = 100
    history: int = 100  # events that a tower reads
    seen: int = 300  # items of the whole history
    follows: int = 8

    def __str__(self) -> str:
        """Name the folder of the world."""
        return f"{self.items}-{self.users}x{self.width}"


class World(NamedTuple):
    """What was drawn; items and topics are numbered from 1."""

    item_ID: Vectors
    centre_TD: Vectors
    topic_I: Ids
    seen_UL: Ids  # item numbers, oldest first
    follow_UF: Ids

    @property
    def topics(self) -> Topics:
        """The topic of every item."""
        return Topics(np.arange(len(self.topic_I) + 1), self.topic_I)


def draw_world(sizes: Sizes) -> World:
    """Draw a world; the same for the same sizes."""
    corpus = Corpus("latent", sizes.items, sizes.width)
    item_ID = np.concatenate(list(corpus.chunks()))
    centre_TD = corpus.users(sizes.topics, "topics")[:, 0]
    taste_UGD = corpus.users(sizes.users, "served")[:, :TASTES]
    return World(
        item_ID,
        centre_TD,
        1 + _nearest(item_ID, centre_TD),
        1 + _histories(item_ID, taste_UGD, sizes.seen),
        1 + _follows(taste_UGD, centre_TD, sizes.follows),
    )


def _nearest(item_ID: Vectors, centre_TD: Vectors) -> Ids:
    """Return the row of the nearest centre of each item."""
    parts = np.array_split(item_ID, max(1, len(item_ID) // 50_000))
    return np.concatenate([(part @ centre_TD.T).argmax(axis=1) for part in parts])


def _histories(item_ID: Vectors, taste_UGD: Vectors, seen: int) -> Ids:
    """Return rows (U, L) near the tastes of each user, in any order of the tastes."""
    rng, of_each = generator(SEED, "service", "histories"), seen // TASTES
    parts = []
    for start in range(0, len(taste_UGD), _USERS_AT_ONCE):
        some = taste_UGD[start : start + _USERS_AT_ONCE]
        row_S = rng.choice(len(item_ID), min(_LOOKED_AT, len(item_ID)), replace=False)
        score_GS = some.reshape(-1, some.shape[2]) @ item_ID[row_S].T
        near = np.argpartition(-score_GS, of_each - 1, axis=1)[:, :of_each]
        parts.append(rng.permuted(row_S[near].reshape(len(some), -1), axis=1))
    return np.concatenate(parts)


def _follows(taste_UGD: Vectors, centre_TD: Vectors, follows: int) -> Ids:
    """Return topics (U, F): the nearest ones to each taste, and then the nearest to the first."""
    order_UGT = np.argsort(-(taste_UGD @ centre_TD.T), axis=2)
    first = np.concatenate([order_UGT[:, :, 0], order_UGT[:, 0, 1:]], axis=1)
    return np.stack([row[np.sort(np.unique(row, return_index=True)[1])][:follows] for row in first])
