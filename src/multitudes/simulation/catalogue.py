"""The items of a world: what they are about, how good and how known they are, and since when they are there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multitudes.simulation import draws
from multitudes.simulation.world_config import WorldConfig

_OLDEST_DAYS = 365  # of an item at day 0
_FIRST_ITEM_DAY = -36_500  # the day of birth of the first item of each niche


@dataclass(frozen=True)
class Catalogue:
    """What is known of each item, and of each niche."""

    niche_I: NDArray[np.int16]
    topic_I: NDArray[np.int64]
    second_topic_I: NDArray[np.int64]  # -1: none
    created_I: NDArray[np.int64]
    has_features_I: NDArray[np.bool_]
    quality_I: NDArray[np.float32]  # log-odds
    niche_topic: NDArray[np.int64]
    niche_cdf: NDArray[np.float64]  # cumulative share of the niches, of what is there and of what is liked
    niche_index: "NicheIndex"


@dataclass(frozen=True)
class NicheIndex:
    """The items by niche and age, so that those of a niche that are there on a day are neighbours."""

    item_I: NDArray[np.int64]
    key_I: NDArray[np.int64]  # niche and day of birth as one number that grows
    popularity_cdf: NDArray[np.float64]  # I + 1, cumulative popularity

    def draw_items(self, day: int, niche_E: NDArray[np.integer], draw_E: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return an item of each niche that is there on ``day``, by popularity; ``draw_E`` is uniform."""
        niches = np.arange(self.key_I[-1] // _DAY_RANGE + 1)
        first = np.searchsorted(self.key_I, niches * _DAY_RANGE)
        end = np.searchsorted(self.key_I, niches * _DAY_RANGE + _day_key(np.int64(day)), side="right")
        low_E, high_E = self.popularity_cdf[first][niche_E], self.popularity_cdf[end][niche_E]
        row_E = np.searchsorted(self.popularity_cdf, low_E + draw_E * (high_E - low_E), side="right") - 1
        row_E = np.clip(row_E, first[niche_E], end[niche_E] - 1)  # sums of floats end a little off
        return np.asarray(self.item_I[row_E])


_DAY_RANGE = 2**32  # more than there are days


def _day_key(day: NDArray[np.int64] | np.int64) -> NDArray[np.int64] | np.int64:
    return day + _DAY_RANGE // 2


def build_catalogue(config: WorldConfig) -> Catalogue:
    """Return the items of ``config``."""
    seed, item_I = config.seed, np.arange(config.items)
    share = (1.0 + np.arange(config.niches)) ** -config.niche_skew
    niche_upto = np.cumsum(share / share.sum())
    niche_I = category_at(niche_upto, draws.uniform(seed, "item niche", item_I))
    niche_I[: config.niches] = np.arange(config.niches)  # no niche without an item
    niche_topic = np.arange(config.niches) % config.topics
    other_I = (draws.uniform(seed, "second topic", item_I) * config.topics).astype(np.int64)
    has_other_I = draws.uniform(seed, "has second topic", item_I) < config.second_topic_share
    known_I = draws.normal(seed, "popularity", item_I)
    own_I = draws.normal(seed, "quality", item_I)
    shared = config.quality_popularity
    quality_I = config.quality_spread * (shared * known_I + np.sqrt(1 - shared**2) * own_I)
    topic_I = niche_topic[niche_I]
    born_I = _creation_days(config)
    return Catalogue(
        niche_I=niche_I.astype(np.int16),
        topic_I=topic_I,
        second_topic_I=np.where(has_other_I & (other_I != topic_I), other_I, -1),
        created_I=born_I,
        has_features_I=draws.uniform(seed, "features", item_I) >= config.featureless_share,
        quality_I=quality_I.astype(np.float32),
        niche_topic=niche_topic,
        niche_cdf=niche_upto,
        niche_index=_build_niche_index(niche_I, born_I, np.exp(config.popularity_spread * known_I)),
    )


def category_at(cdf: NDArray[np.float64], draw: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number whose share each uniform draw falls into; ``cdf`` is cumulative."""
    return np.minimum(np.searchsorted(cdf, draw, side="right"), len(cdf) - 1)


def _creation_days(config: WorldConfig) -> NDArray[np.int64]:
    """Return the day on which each item appears; the first of every niche was always there."""
    item_I = np.arange(config.items)
    when_I = draws.uniform(config.seed, "born", item_I)
    old_I = -(when_I * _OLDEST_DAYS).astype(np.int64)
    new_I = 1 + (when_I * config.horizon).astype(np.int64)
    is_new_I = draws.uniform(config.seed, "is new", item_I) < config.new_items_share
    born_I = np.where(is_new_I, new_I, old_I)
    born_I[: config.niches] = _FIRST_ITEM_DAY
    return born_I


def _build_niche_index(
    niche_I: NDArray[np.int64], created_I: NDArray[np.int64], known_I: NDArray[np.float64]
) -> NicheIndex:
    place_I = niche_I * _DAY_RANGE + _day_key(created_I)
    order = np.argsort(place_I, kind="stable")
    return NicheIndex(order, place_I[order], np.append(0.0, np.cumsum(known_I[order])))
