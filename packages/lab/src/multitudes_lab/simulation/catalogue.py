"""The items of a world: their niche and topics, quality and popularity, and the day on which they appear."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multitudes_lab.simulation import constants, draws
from multitudes_lab.simulation.world_config import WorldConfig

_OLDEST_DAYS = 365  # age of the oldest item at day 0
_FIRST_ITEM_DAY = -36_500  # day on which the first item of each niche appears
_DAY_RANGE = 2**32  # more than there are days


@dataclass(frozen=True)
class Catalogue:
    """The properties of each item (I) and of each niche."""

    niche_I: NDArray[np.int16]
    second_niche_I: NDArray[np.int16]  # -1: none
    topic_I: NDArray[np.int64]
    second_topic_I: NDArray[np.int64]  # -1: none
    created_I: NDArray[np.int64]  # day on which the item appears
    has_features_I: NDArray[np.bool_]
    quality_I: NDArray[np.float32]  # log-odds
    niche_topic: NDArray[np.int64]
    niche_cdf: NDArray[np.float64]  # cumulative share of the niches, among items and among tastes
    niche_index: "NicheIndex"


@dataclass(frozen=True)
class NicheIndex:
    """Items sorted by niche and day, so that the items of a niche that exist on a day are one range.

    An item of two niches is there twice (R rows).
    """

    item_R: NDArray[np.int64]
    key_R: NDArray[np.int64]  # niche and day as one ascending number
    popularity_cdf: NDArray[np.float64]  # cumulative popularity, R + 1 entries

    def draw_items(self, day: int, niche_E: NDArray[np.integer], draw_E: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return an item of each niche that exists on ``day``, drawn by popularity; ``draw_E`` is uniform."""
        niches = np.arange(self.key_R[-1] // _DAY_RANGE + 1)
        first = np.searchsorted(self.key_R, niches * _DAY_RANGE)
        end = np.searchsorted(self.key_R, niches * _DAY_RANGE + _day_key(np.int64(day)), side="right")
        low_E, high_E = self.popularity_cdf[first][niche_E], self.popularity_cdf[end][niche_E]
        row_E = np.searchsorted(self.popularity_cdf, low_E + draw_E * (high_E - low_E), side="right") - 1
        row_E = np.clip(row_E, first[niche_E], end[niche_E] - 1)  # rounding may step over either end
        return np.asarray(self.item_R[row_E])


def build_catalogue(config: WorldConfig) -> Catalogue:
    """Return the items of a world."""
    seed, item_I = config.seed, np.arange(config.items)
    share = (1.0 + np.arange(config.niches)) ** -constants.NICHE_SKEW
    niche_cdf = np.cumsum(share / share.sum())
    niche_I = category_at(niche_cdf, draws.uniform(seed, "item niche", item_I))
    niche_I[: config.niches] = np.arange(config.niches)  # every niche has an item
    niche_topic = np.arange(config.niches) % config.topics
    in_next_I = draws.uniform(seed, "in next niche", item_I) < config.overlap
    second_niche_I = np.where(in_next_I, next_niche(config, niche_I), -1)
    popularity_I = draws.normal(seed, "popularity", item_I)
    own_I = draws.normal(seed, "quality", item_I)
    correlation = constants.QUALITY_POPULARITY
    quality_I = constants.QUALITY_SPREAD * (correlation * popularity_I + np.sqrt(1 - correlation**2) * own_I)
    topic_I, second_topic_I = _item_topics(config, niche_topic, niche_I, second_niche_I)
    created_I = _creation_days(config)
    return Catalogue(
        niche_I=niche_I.astype(np.int16),
        second_niche_I=second_niche_I.astype(np.int16),
        topic_I=topic_I,
        second_topic_I=second_topic_I,
        created_I=created_I,
        has_features_I=draws.uniform(seed, "features", item_I) >= constants.FEATURELESS_SHARE,
        quality_I=quality_I.astype(np.float32),
        niche_topic=niche_topic,
        niche_cdf=niche_cdf,
        niche_index=_build_niche_index(
            niche_I, second_niche_I, created_I, np.exp(constants.POPULARITY_SPREAD * popularity_I)
        ),
    )


def next_niche(config: WorldConfig, niche: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the neighbour of each niche; its topic is another, if there are several."""
    return (niche + 1) % config.niches


def category_at(cdf: NDArray[np.float64], draw: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the category of each uniform draw: the inverse of the cumulative shares ``cdf``."""
    return np.minimum(np.searchsorted(cdf, draw, side="right"), len(cdf) - 1)


def _item_topics(
    config: WorldConfig, niche_topic: NDArray[np.int64], niche_I: NDArray[np.int64], second_niche_I: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the topic of each item, and a second one or -1: that of its second niche, or any."""
    seed, item_I = config.seed, np.arange(config.items)
    any_I = (draws.uniform(seed, "any topic", item_I) * config.topics).astype(np.int64)
    is_any_I = draws.uniform(seed, "has any topic", item_I) < config.topic_noise
    topic_I = np.where(is_any_I, any_I, niche_topic[niche_I])
    second_I = (draws.uniform(seed, "second topic", item_I) * config.topics).astype(np.int64)
    has_second_I = draws.uniform(seed, "has second topic", item_I) < constants.SECOND_TOPIC_SHARE
    of_second_niche_I = (second_niche_I >= 0) & ~is_any_I
    second_I = np.where(of_second_niche_I, niche_topic[second_niche_I], second_I)
    return topic_I, np.where((has_second_I | of_second_niche_I) & (second_I != topic_I), second_I, -1)


def _creation_days(config: WorldConfig) -> NDArray[np.int64]:
    """Return the day on which each item appears; the first item of every niche always exists."""
    item_I = np.arange(config.items)
    draw_I = draws.uniform(config.seed, "born", item_I)
    old_I = -(draw_I * _OLDEST_DAYS).astype(np.int64)
    new_I = 1 + (draw_I * constants.HORIZON).astype(np.int64)
    is_new_I = draws.uniform(config.seed, "is new", item_I) < constants.NEW_ITEMS_SHARE
    created_I = np.where(is_new_I, new_I, old_I)
    created_I[: config.niches] = _FIRST_ITEM_DAY
    return created_I


def _build_niche_index(
    niche_I: NDArray[np.int64],
    second_niche_I: NDArray[np.int64],
    created_I: NDArray[np.int64],
    popularity_I: NDArray[np.float64],
) -> NicheIndex:
    second = np.flatnonzero(second_niche_I >= 0)
    item, niche = np.append(np.arange(len(niche_I)), second), np.append(niche_I, second_niche_I[second])
    key = niche * _DAY_RANGE + _day_key(created_I[item])
    order = np.argsort(key, kind="stable")
    return NicheIndex(item[order], key[order], np.append(0.0, np.cumsum(popularity_I[item[order]])))


def _day_key(day: NDArray[np.int64] | np.int64) -> NDArray[np.int64] | np.int64:
    return day + _DAY_RANGE // 2
