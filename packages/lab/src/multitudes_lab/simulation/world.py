"""The world of a simulated test: which users visit, what they like, and how they react to what is shown.

Every draw is a function of its keys (``draws``), so arms that show the same get the same reactions, and differences
between arms come only from what they show. ``data/planted.py`` plants a fixed set of events; here users react, so no
draw may depend on the order of the others. Both worlds begin on the same date.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from multitudes.data.planted import NOISE, topic_lists
from multitudes.data.timestamps import DAY_S
from multitudes_lab.simulation import actions, constants, draws, population
from multitudes_lab.simulation.actions import CLICK, HIDE, NOTHING, SAVE, Actions
from multitudes_lab.simulation.catalogue import build_catalogue
from multitudes_lab.simulation.population import Tastes
from multitudes_lab.simulation.world_config import WorldConfig, day_start_s

__all__ = ["CLICK", "HIDE", "NOTHING", "SAVE", "Actions", "World"]

_FRESH_DAYS = 3.0  # an item's freshness falls to a third within them
_CHUNK_PAIRS = 2**16  # pairs computed at a time: their arrays fit the processor's cache
_EVENING = 20 / 24  # the most frequent time of a visit, as a share of the day
_CLICK_MOOD, _HIDE_MOOD = 0.2, 1.0  # effect on the mood, in saves


Method = TypeVar("Method", bound=Callable[..., NDArray[Any]])


def _in_chunks(method: Method) -> Method:
    """Return a method of a day, users and their rows that computes some users at a time."""

    @wraps(method)
    def run(world: Any, day: int, user_B: NDArray[np.int64], *rows: NDArray[Any]) -> NDArray[Any]:  # noqa: ANN401
        size = max(1, _CHUNK_PAIRS // max(1, rows[0].shape[1]))
        chunks = [slice(first, first + size) for first in range(0, max(1, len(user_B)), size)]
        return np.concatenate([method(world, day, user_B[chunk], *(of[chunk] for of in rows)) for chunk in chunks])

    return cast("Method", run)


class World:
    """A world made from a configuration; equal configurations make equal worlds. Ids are numbers from 0."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.users, self.items = config.users, config.items
        self.topics = tuple(f"topic-{topic:03d}" for topic in range(config.topics))
        self.catalogue = build_catalogue(config)
        self.niche_I, self.topic_I = self.catalogue.niche_I, self.catalogue.topic_I
        self.created_I, self.has_features_I = self.catalogue.created_I, self.catalogue.has_features_I
        # Narrow copies for comparisons of millions of pairs: they take less memory bandwidth.
        self._topic16_I = self.topic_I.astype(np.int16)
        is_of_two_I = self.catalogue.second_niche_I >= 0
        self._next_topic16_I = np.where(is_of_two_I, self.catalogue.second_topic_I, -1).astype(np.int16)
        self._niche_topic16 = self.catalogue.niche_topic.astype(np.int16)
        self.activity = population.draw_activity(config)
        self.cohort_U = self.activity.cohort_U
        self._tastes = Tastes(config, self.catalogue.niche_cdf)
        follows = population.draw_follows(config, self._tastes, self.catalogue.niche_topic)
        self.followed_offset, self.followed_topic, self.followed_kind = follows
        self._aspires_UT = np.zeros((config.users, config.topics), dtype=np.bool_)
        is_aspirational = self.followed_kind == population.ASPIRATIONAL
        follower = np.repeat(np.arange(config.users), np.diff(self.followed_offset))
        self._aspires_UT[follower[is_aspirational], self.followed_topic[is_aspirational]] = True

    def items_table(self, day: int) -> pl.DataFrame:
        """Return the canonical items that exist on ``day``: item_id, topics, title."""
        item = np.flatnonzero(self.created_I <= day)
        topic_I2 = np.stack([self.topic_I, self.catalogue.second_topic_I], axis=1)
        topic_I2[~self.has_features_I] = NOISE
        topics = topic_lists(topic_I2[item], pa.array(self.topics))
        titles = [f"item {i} of niche {n}" for i, n in zip(item, self.niche_I[item], strict=True)]
        return pl.DataFrame({"item_id": item, "topics": pl.Series(topics), "title": titles})

    def users_table(self) -> pl.DataFrame:
        """Return the canonical users: user_id, followed_topics."""
        names = pa.array(self.topics).take(pa.array(self.followed_topic))
        topics = pa.ListArray.from_arrays(self.followed_offset.astype(np.int32), names)
        return pl.DataFrame({"user_id": np.arange(self.users), "followed_topics": pl.Series(topics)})

    def visitors(self, day: int, mood_U: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the users who open the feed on ``day``, ascending; moods are in [-1, 1], and 0 is neutral."""
        chance_U = self.activity.chance(day) * (1 + constants.MOOD_GAIN * mood_U)
        return np.flatnonzero(draws.uniform(self.config.seed, "visit", day, np.arange(self.users)) < chance_U)

    def visit_times(self, day: int, user_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the time at which each user's session begins on ``day``, in seconds since 1970."""
        return self._time_of_day(day, "visit time", user_B)

    @_in_chunks
    def appeal(self, day: int, user_B: NDArray[np.int64], item_BN: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the log-odds of a save (B, N) before position, fatigue and saturation; -inf for negative items."""
        liked = self._tastes.at_day(day, user_B)
        niche_BN, topic_BN = self.niche_I[item_BN], self._topic16_I[item_BN]
        next_niche_BN, next_topic_BN = self.catalogue.second_niche_I[item_BN], self._next_topic16_I[item_BN]
        topic_BK = self._niche_topic16[liked.niche_BK]
        odds_BN = np.full(item_BN.shape, constants.UNLOVED_ODDS, dtype=np.float32)
        for k in range(liked.niche_BK.shape[1]):
            loved_B = constants.LOVED_ODDS * liked.weight_BK[:, k, None]
            is_loved_BN, is_kin_BN = niche_BN == liked.niche_BK[:, k, None], topic_BN == topic_BK[:, k, None]
            if self.config.overlap:
                is_loved_BN |= next_niche_BN == liked.niche_BK[:, k, None]
                is_kin_BN |= next_topic_BN == topic_BK[:, k, None]
            odds_BN += is_loved_BN * ((1 - constants.KINSHIP) * loved_B)
            odds_BN += is_kin_BN * (constants.KINSHIP * loved_B)
        ready_B1 = self.activity.ready_U[user_B, None]
        pair_BN = draws.uniform(self.config.seed, "pair", user_B[:, None], item_BN)
        # Uniform: only the deviation matters, and normal draws would cost more than all other steps together.
        pair_BN = ((pair_BN - 0.5) * (np.sqrt(12.0) * constants.PAIR_SPREAD)).astype(np.float32)
        age_I = np.maximum(day - self.created_I, 0)
        of_item_I = (self.catalogue.quality_I + constants.FRESHNESS * np.exp(-age_I / _FRESH_DAYS)).astype(np.float32)
        log_odds_BN = np.log(odds_BN) + of_item_I[item_BN] + pair_BN + ready_B1
        return np.where(item_BN < 0, np.float32(-np.inf), log_odds_BN)

    @_in_chunks
    def draw_reactions(
        self,
        day: int,
        user_B: NDArray[np.int64],
        item_BS: NDArray[np.int64],
        appeal_BS: NDArray[np.float32],
        seen_BS: NDArray[np.integer],
    ) -> NDArray[np.int8]:
        """Return what users do with each item of their lists (B, S): NOTHING, CLICK, SAVE or HIDE.

        A user has one session per day. Lists are in the order shown; a negative item is an empty slot, whose reaction
        is NOTHING. The items' appeal is from ``appeal``; ``seen_BS`` counts how often the user was shown them before.
        """
        config = self.config
        n_above_BS = actions.same_niche_above(self.niche_I[item_BS])
        fatigue_BS = (1 + constants.FATIGUE * seen_BS) * (1 + constants.SATURATION * n_above_BS)
        odds_BS = np.exp(appeal_BS) / fatigue_BS
        aspires_BS = self._aspires_UT[user_B[:, None], self.topic_I[item_BS]]
        click_BS = constants.CLICKS_PER_SAVE * np.where(aspires_BS, np.exp(constants.ASPIRATION), 1.0)
        draw_BS = draws.uniform(config.seed, "reaction", day, user_B[:, None], item_BS)
        action_BS = actions.draw_actions(draw_BS, odds_BS, click_BS)
        # The slots that a user examines are the first ones, down to a depth drawn for the day.
        patience_B = draws.exponential(config.seed, "depth", day, user_B)
        depth_B = patience_B / -np.log1p(-1 / (config.depth + 1e-9))
        is_examined_BS = np.arange(item_BS.shape[1]) <= depth_B[:, None]
        return np.where(is_examined_BS & (item_BS >= 0), action_BS, np.int8(NOTHING))

    def organic_actions(self, day: int) -> Actions:
        """Return what users save on ``day`` outside the feed, sorted by user and time; the same in all arms."""
        user_E, item_E, number_E = actions.organic_saves(self.config, self.catalogue, self._tastes, day, self.activity)
        time_E = self._time_of_day(day, "organic time", user_E, number_E)
        order = np.lexsort((time_E, user_E))
        return Actions(user_E[order], item_E[order], time_E[order], np.full(len(order), SAVE, dtype=np.int8))

    def update_mood(
        self, mood_U: NDArray[np.float32], user_B: NDArray[np.int64], action_BS: NDArray[np.int8]
    ) -> NDArray[np.float32]:
        """Return the moods after a day on which ``user_B`` did ``action_BS``; the moods of all others fade."""
        gain_B = (action_BS == SAVE).sum(axis=1) + _CLICK_MOOD * (action_BS == CLICK).sum(axis=1)
        gain_B = gain_B - _HIDE_MOOD * (action_BS == HIDE).sum(axis=1)
        after_U = constants.MOOD_MEMORY * mood_U.astype(np.float64)
        after_U[user_B] += (1 - constants.MOOD_MEMORY) * np.tanh(gain_B - constants.MOOD_SAVES)
        return np.clip(after_U, -1, 1).astype(np.float32)

    def tastes(self, day: int) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Return the true tastes on a day: the niches that each user likes (U, K), and their weights (U, K).

        Weights sum to 1. The last column is a short-term taste; its weight is 0 if there is none.
        """
        return self._tastes.at_day(day, np.arange(self.users))

    def _time_of_day(self, day: int, name: str, *keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a time on ``day`` for each row of keys, in seconds since 1970; most are in the evening."""
        first = draws.uniform(self.config.seed, name, day, *keys, 0)
        spread = first + draws.uniform(self.config.seed, name, day, *keys, 1)
        share = (_EVENING + (spread - 1) / 2) % 1
        return day_start_s(day) + (share * DAY_S).astype(np.int64)
