"""The world of a simulated test: who comes, what they like, what they do with what they are shown, and the truth of it.

Every draw is a function of what it is for (``draws``), so arms that show the same get the same answers, and what
differs between arms comes from what they show. Its sister ``data/planted.py`` plants events and is done; here people
react, so nothing can be drawn in the order of a stream, and what both share is the date on which they begin.
"""

from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.data.timestamps import DAY_S
from multitudes.simulation import actions, draws, population
from multitudes.simulation.actions import CLICK, HIDE, NOTHING, SAVE, Actions
from multitudes.simulation.catalogue import build_catalogue
from multitudes.simulation.population import Tastes
from multitudes.simulation.world_config import COHORTS, WorldConfig, day_start_s

__all__ = ["CLICK", "HIDE", "NOTHING", "SAVE", "Actions", "World"]

_FRESH_DAYS = 3.0  # in which an item's freshness falls to a third
_BLOCK_PAIRS = 2**16  # pairs at a time: what is computed of them stays in the processor's cache
_EVENING = 20 / 24  # when most people are there, as a share of the day
_CLICK_MOOD, _HIDE_MOOD = 0.2, 1.0  # in saves


class World:
    """A world of ``config``; the same configuration is the same world. Ids of users and items are their numbers."""

    def __init__(self, config: WorldConfig) -> None:
        self.config = config
        self.users, self.items = config.users, config.items
        self.topics = tuple(f"topic-{topic:03d}" for topic in range(config.topics))
        self.cohorts = COHORTS
        self.catalogue = build_catalogue(config)
        self.niche_I, self.topic_I = self.catalogue.niche_I, self.catalogue.topic_I
        self.created_I, self.has_features_I = self.catalogue.created_I, self.catalogue.has_features_I
        # Narrow copies: what is compared for millions of pairs should lie close together.
        self._topic16_I = self.topic_I.astype(np.int16)
        self._niche_topic16 = self.catalogue.niche_topic.astype(np.int16)
        self.activity = population.draw_activity(config)
        self.cohort_U = self.activity.cohort_U
        self._tastes = Tastes(config, self.catalogue.niche_cdf)
        follows = population.draw_follows(config, self._tastes, self.catalogue.niche_topic)
        self.followed_offset, self.followed_topic, self.followed_kind = follows
        self._aspires_UT = np.zeros((config.users, config.topics), dtype=np.bool_)
        hopes = self.followed_kind == population.ASPIRATIONAL
        self._aspires_UT[self._follow_user()[hopes], self.followed_topic[hopes]] = True

    def items_table(self, day: int) -> pl.DataFrame:
        """Return the canonical items that are there on ``day``: item_id, topics, title, and embedding if there is."""
        catalogue, item = self.catalogue, np.flatnonzero(self.created_I <= day)
        topics = [
            [self.topics[t] for t in (first, second) if t >= 0] if has else []
            for first, second, has in zip(
                self.topic_I[item].tolist(),
                catalogue.second_topic_I[item].tolist(),
                self.has_features_I[item].tolist(),
                strict=True,
            )
        ]
        table = pl.DataFrame(
            {
                "item_id": item,
                "topics": pl.Series(topics, dtype=pl.List(pl.String)),
                "title": [f"item {i} of niche {n}" for i, n in zip(item, self.niche_I[item], strict=True)],
            }
        )
        if self.config.embedding_width == 0:
            return table
        embedding = pl.Series(self._embeddings(item), dtype=pl.Array(pl.Float32, self.config.embedding_width))
        has = pl.Series(self.has_features_I[item])
        return table.with_columns(embedding=pl.when(has).then(embedding.cast(pl.List(pl.Float32))))

    def users_table(self) -> pl.DataFrame:
        """Return the canonical users: user_id, followed_topics."""
        ends = self.followed_offset.tolist()
        names = [self.topics[topic] for topic in self.followed_topic.tolist()]
        lists = [names[first:end] for first, end in pairwise(ends)]
        return pl.DataFrame(
            {"user_id": np.arange(self.users), "followed_topics": pl.Series(lists, dtype=pl.List(pl.String))}
        )

    def visitors(self, day: int, mood_U: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return who opens the feed on ``day``, ascending; moods are in [-1, 1], 0 is neutral."""
        chance_U = self.activity.chance(day) * (1 + self.config.mood_gain * mood_U)
        return np.flatnonzero(draws.uniform(self.config.seed, "visit", day, np.arange(self.users)) < chance_U)

    def visit_times(self, day: int, user_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return when the session of each user begins on ``day``, in seconds since 1970."""
        return self._time_of_day(day, "visit time", user_B)

    def appeal(self, day: int, user_B: NDArray[np.int64], item_BN: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the log-odds of a save (B, N) before position, fatigue and saturation; -inf for negative items."""
        appeal_BN, charm_I = np.empty(item_BN.shape, dtype=np.float32), self._item_appeal(day)
        rows = max(1, _BLOCK_PAIRS // max(1, item_BN.shape[1]))
        for first in range(0, len(user_B), rows):
            block = slice(first, first + rows)
            appeal_BN[block] = self._appeal(day, user_B[block], item_BN[block], charm_I)
        return appeal_BN

    def draw_reactions(
        self,
        day: int,
        user_B: NDArray[np.int64],
        item_BS: NDArray[np.int64],
        appeal_BS: NDArray[np.float32],
        seen_BS: NDArray[np.integer],
    ) -> NDArray[np.int8]:
        """Return what users do with what is shown in this order (B, S): NOTHING, CLICK, SAVE or HIDE.

        Args:
            day: the day.
            user_B: who; each has one session on a day.
            item_BS: what they are shown; negative is an empty place, with which nothing is done.
            appeal_BS: of these items, as ``appeal`` says.
            seen_BS: how often each was shown to them before.
        """
        action_BS = np.zeros(item_BS.shape, dtype=np.int8)
        rows = max(1, _BLOCK_PAIRS // max(1, item_BS.shape[1]))
        for first in range(0, len(user_B), rows):
            block = slice(first, first + rows)
            action_BS[block] = self._draw_reactions(
                day, user_B[block], item_BS[block], appeal_BS[block], seen_BS[block]
            )
        return action_BS

    def organic_actions(self, day: int) -> Actions:
        """Return what users save on ``day`` outside of the feed, sorted by user and time; equal in all arms."""
        user_E, item_E, number_E = actions.organic_saves(self.config, self.catalogue, self._tastes, day, self.activity)
        time_E = self._time_of_day(day, "organic time", user_E, number_E)
        order = np.lexsort((time_E, user_E))
        return Actions(user_E[order], item_E[order], time_E[order], np.full(len(order), SAVE, dtype=np.int8))

    def update_mood(
        self, mood_U: NDArray[np.float32], user_B: NDArray[np.int64], action_BS: NDArray[np.int8]
    ) -> NDArray[np.float32]:
        """Return the moods after a day on which ``user_B`` did ``action_BS``; those of all others fade."""
        config = self.config
        joy_B = (action_BS == SAVE).sum(axis=1) + _CLICK_MOOD * (action_BS == CLICK).sum(axis=1)
        joy_B = joy_B - _HIDE_MOOD * (action_BS == HIDE).sum(axis=1)
        after_U = config.mood_memory * mood_U.astype(np.float64)
        after_U[user_B] += (1 - config.mood_memory) * np.tanh(joy_B - config.mood_saves)
        return np.clip(after_U, -1, 1).astype(np.float32)

    def tastes(self, day: int) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Return the truth of a day: the niches that each user likes (U, K) and how much (U, K), which sums to 1.

        The last column is a short-term taste; its weight is 0 where there is none.
        """
        return self._tastes.at_day(day, np.arange(self.users))

    def _appeal(
        self, day: int, user_B: NDArray[np.int64], item_BN: NDArray[np.int64], charm_I: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        config = self.config
        liked = self._tastes.at_day(day, user_B)
        niche_BN, topic_BN = self.niche_I[item_BN], self._topic16_I[item_BN]
        topic_BK = self._niche_topic16[liked.niche_BK]
        odds_BN = np.full(item_BN.shape, config.unloved_odds, dtype=np.float32)
        for k in range(liked.niche_BK.shape[1]):
            loved_B = config.loved_odds * liked.weight_BK[:, k, None]
            odds_BN += (niche_BN == liked.niche_BK[:, k, None]) * ((1 - config.kinship) * loved_B)
            odds_BN += (topic_BN == topic_BK[:, k, None]) * (config.kinship * loved_B)
        ready_B1 = self.activity.ready_U[user_B, None]
        own_BN = draws.uniform(config.seed, "pair", user_B[:, None], item_BN)
        # Uniform, as only its spread matters, and a normal draw would cost more than all the rest.
        own_BN = ((own_BN - 0.5) * (np.sqrt(12.0) * config.pair_spread)).astype(np.float32)
        return np.where(item_BN < 0, np.float32(-np.inf), np.log(odds_BN) + charm_I[item_BN] + own_BN + ready_B1)

    def _item_appeal(self, day: int) -> NDArray[np.float32]:
        """Return quality and freshness of each item."""
        age_I = np.maximum(day - self.created_I, 0)
        return (self.catalogue.quality_I + self.config.freshness * np.exp(-age_I / _FRESH_DAYS)).astype(np.float32)

    def _draw_reactions(
        self,
        day: int,
        user_B: NDArray[np.int64],
        item_BS: NDArray[np.int64],
        appeal_BS: NDArray[np.float32],
        seen_BS: NDArray[np.integer],
    ) -> NDArray[np.int8]:
        config = self.config
        tired_BS = (1 + config.fatigue * seen_BS) * (
            1 + config.saturation * actions.same_niche_above(self.niche_I[item_BS])
        )
        odds_BS = np.exp(appeal_BS) / tired_BS
        hopes_BS = self._aspires_UT[user_B[:, None], self.topic_I[item_BS]]
        click_BS = config.clicks_per_save * np.where(hopes_BS, np.exp(config.aspiration), 1.0)
        draw_BS = draws.uniform(config.seed, "reaction", day, user_B[:, None], item_BS)
        action_BS = actions.draw_actions(config, draw_BS, odds_BS, click_BS)
        looked_BS = actions.is_examined(config, day, user_B, item_BS.shape[1])
        return np.where(looked_BS & (item_BS >= 0), action_BS, np.int8(NOTHING))

    def _time_of_day(self, day: int, name: str, *keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a second of ``day``; most people are there in the evening."""
        spread = draws.uniform(self.config.seed, name, day, *keys, 0) + draws.uniform(
            self.config.seed, name, day, *keys, 1
        )
        share = (_EVENING + (spread - 1) / 2) % 1
        return day_start_s(day) + (share * DAY_S).astype(np.int64)

    def _follow_user(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(self.users), np.diff(self.followed_offset))

    def _embeddings(self, item: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a vector per item: that of its niche, and a little of its own."""
        seed, width_D = self.config.seed, np.arange(self.config.embedding_width)
        niche_ND = draws.normal(seed, "niche embedding", self.niche_I[item].astype(np.int64)[:, None], width_D)
        return (niche_ND + 0.3 * draws.normal(seed, "item embedding", item[:, None], width_D)).astype(np.float32)
