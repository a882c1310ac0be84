"""A planted world: items around the centres of tastes, and users whose next item has a known distribution.

Tastes come in groups, and a user has the tastes of one group. Centres of a group have the expected cosine ``overlap``,
others 0. Within a taste, a user prefers items that are near to a point of his own.

Legend: M items · D dimensions · C tastes of the world · T tastes of a user · B users · L events · R items of a group.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.seeding import generator

TASTES = 60  # of the world: as many as a release has
GROUP = 5  # tastes that belong together
EVENTS = 50  # of a history: as many as a tower reads
_SPREAD = 1.0  # length of an item's own part beside its centre: two items of a taste have the expected cosine .5
_SHARPNESS = 2.0  # of a user's preference within a taste: e^-4 of its items carry the weight


class Setting(NamedTuple):
    """What a world is like."""

    items: int
    width: int
    skew: float  # the k-th taste of a user has a weight in proportion to k^-skew
    overlap: float  # cosine of the centres of two tastes of a user
    tastes: int = GROUP  # of a user

    def __str__(self) -> str:
        """Return the name of the cell."""
        tastes = f"skew {self.skew:g}, overlap {self.overlap:g}" if self.tastes > 1 else "one taste"
        return f"{self.items:,} × {self.width}, {tastes}"


class World(NamedTuple):
    """The items, ordered by their tastes."""

    vector_MD: NDArray[np.float32]  # of length 1
    taste_M: NDArray[np.int64]
    centre_CD: NDArray[np.float64]


class Preference(NamedTuple):
    """The distribution of a user's next item over the items of his group, which are rows from ``first`` on."""

    first: int
    probability_R: NDArray[np.float64]


class Users(NamedTuple):
    """What users want, and what they did."""

    preferences: list[Preference]
    event_BL: NDArray[np.int64]  # rows of items


def plant(setting: Setting, seed: int) -> World:
    """Plant the items of a world."""
    random = generator(seed, "phase items", *setting)
    shared_CD = np.repeat(_unit(random.normal(size=(TASTES // GROUP, setting.width))), GROUP, axis=0)
    own_CD = _unit(random.normal(size=(TASTES, setting.width)))
    centre_CD = _unit(np.sqrt(setting.overlap) * shared_CD + np.sqrt(1 - setting.overlap) * own_CD)
    taste_M = np.sort(random.integers(TASTES, size=setting.items))
    vector_MD = random.standard_normal((setting.items, setting.width), dtype=np.float32)
    vector_MD *= np.float32(_SPREAD / np.sqrt(setting.width))
    bound = np.searchsorted(taste_M, np.arange(TASTES + 1)).tolist()
    for taste, (start, end) in enumerate(pairwise(bound)):
        vector_MD[start:end] = _unit(vector_MD[start:end] + centre_CD[taste].astype(np.float32))
    return World(vector_MD, taste_M, centre_CD)


def draw_users(world: World, setting: Setting, count: int, seed: int) -> Users:
    """Draw users with their histories."""
    random = generator(seed, "phase users", *setting)
    weight_T = np.where(np.arange(GROUP) < setting.tastes, np.arange(1.0, GROUP + 1) ** -setting.skew, 0)
    preferences, event_BL = [], np.empty((count, EVENTS), dtype=np.int64)
    for b in range(count):
        tastes = GROUP * random.integers(TASTES // GROUP) + np.arange(GROUP)
        weights = random.permutation(weight_T / weight_T.sum())
        own = [_within_taste(world, int(taste), random) for taste in tastes]
        probability_R = np.concatenate([weight * own_R for weight, own_R in zip(weights, own, strict=True)])
        preferences.append(Preference(int(np.searchsorted(world.taste_M, tastes[0])), probability_R))
        event_BL[b] = preferences[b].first + random.choice(len(probability_R), EVENTS, p=probability_R)
    return Users(preferences, event_BL)


def _within_taste(world: World, taste: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Return a user's distribution over the items of a taste: a softmax around a point that is drawn as items are."""
    point_D = world.centre_CD[taste] + _SPREAD / np.sqrt(world.centre_CD.shape[1]) * random.normal(
        size=world.centre_CD.shape[1]
    )
    start, end = np.searchsorted(world.taste_M, [taste, taste + 1])
    score_R = world.vector_MD[start:end].astype(np.float64) @ point_D
    # Standardised, so that the preference is as sharp in every width.
    probability_R = np.exp(_SHARPNESS * (score_R - score_R.mean()) / score_R.std())
    return np.asarray(probability_R / probability_R.sum())


def _unit(vector_ND: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(vector_ND / np.linalg.norm(vector_ND, axis=1, keepdims=True))
