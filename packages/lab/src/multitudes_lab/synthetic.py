"""Synthetic tables of any size with known tastes, written shard by shard.

Memory is that of one shard and of the users. Every user has a few tastes, which are topics, with individual weights.
Events are of items of these topics, popular ones more often by Zipf's law, and sometimes of any item (noise, hides).
Some users are ten times as active as others. Users follow most topics of their tastes and some others; some events
log the followed topic that sourced them. Events are in the order of their times, as in a log.

``data.planted`` makes small worlds for tests: the taste of every event is known, items have niches within topics and
embeddings, and everything is in memory. Here a taste is a topic, and only the users' tastes are written.

Every draw of a shard is a function of (seed, purpose, number of the shard), so shards can be made in any order.

Legend: U users · I items · T topics · E events of a shard · K tastes · F topics that a user may follow.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from multitudes.atomic import create_folder, write_json
from multitudes.config import Config
from multitudes.data.location import reject_url
from multitudes.data.planted import NOISE, START_S, events_table, sample_distinct, topic_lists, topic_names, write_table
from multitudes.errors import UsageError
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

MARKER = "synth.json"
SHARD_EVENTS = 1_000_000  # the draws depend on it
_NOISE_SHARE = 0.05  # of the events are of any topic
_HIDE_SHARE = 0.02  # of the events are hides, of any topic
_FOLLOW_SHARE = 0.7  # of the topics of tastes are followed
_SOURCED_SHARE = 0.3  # of the events of followed topics log their source
_MAX = 10**12  # a larger number is a mistake, and its seconds would overflow


class SynthConfig(Config):
    """The size and the properties of the tables; ``multitudes synth --help`` says what each setting is."""

    events: int = Field(1_000_000, gt=0, le=_MAX)
    users: int = Field(20_000, gt=0, le=_MAX)
    items: int = Field(10_000, gt=0, le=_MAX)  # each of one topic
    topics: int = Field(200, gt=0, le=10_000_000)  # all equally large
    days: int = Field(90, gt=0, le=_MAX)
    seed: int = Field(0, ge=0)
    tastes: int = Field(3, gt=0, le=20)
    zipf: float = Field(1.0, ge=0, le=3)
    activity: float = Field(1.0, ge=0, le=10)  # σ of the logarithm of the users' activity; 0: all are equal


class EventShard(NamedTuple):
    """The events of a shard, by the numbers of users, items and topics."""

    user_E: NDArray[np.int64]
    item_E: NDArray[np.int64]
    time_E: NDArray[np.int64]  # seconds, ascending
    hide_E: NDArray[np.bool_]
    source_E: NDArray[np.int64]  # followed topic, or -1


@dataclass(frozen=True)
class SynthWorld:
    """Users and items; the events are drawn from them."""

    config: SynthConfig
    taste_UK: NDArray[np.int64]
    weight_UK: NDArray[np.float32]  # sums to 1
    follow_UF: NDArray[np.int64]  # the topics of the tastes, then others; -1 = not followed
    activity_U: NDArray[np.float64]  # cumulative share of the events
    ranked_I: NDArray[np.int64]  # item of topic t and rank r in it, at r · T + t

    @classmethod
    def from_config(cls, config: SynthConfig) -> "SynthWorld":
        """Draw users and items; raise UsageError if there are more tastes than topics, or more topics than items."""
        if not config.tastes <= config.topics <= config.items:
            raise UsageError(
                f"tastes = {config.tastes}, topics = {config.topics}, items = {config.items}; expected tastes <= topics"
                " <= items, since tastes are distinct topics and every topic has an item"
            )
        taste_UK = sample_distinct(generator(config.seed, "tastes"), config.users, config.tastes, config.topics)
        activity_U = generator(config.seed, "activity").lognormal(sigma=config.activity, size=config.users).cumsum()
        weight_UK = generator(config.seed, "weights").standard_gamma(5.0, taste_UK.shape, dtype=np.float32)
        return cls(
            config,
            taste_UK,
            weight_UK / weight_UK.sum(axis=1, keepdims=True),
            _follows(config, taste_UK),
            activity_U / activity_U[-1],
            generator(config.seed, "items").permutation(config.items),
        )

    @property
    def n_shards(self) -> int:
        """The number of files of events."""
        return -(-self.config.events // SHARD_EVENTS)

    @property
    def item_topic(self) -> NDArray[np.int64]:
        """The topic of each item (I)."""
        topic_I = np.empty(self.config.items, dtype=np.int64)
        topic_I[self.ranked_I] = np.arange(self.config.items) % self.config.topics
        return topic_I

    def shard(self, number: int) -> EventShard:
        """Draw the events of a shard; each shard covers its own period of time."""
        config, rng = self.config, generator(self.config.seed, "events", number)
        before = number * SHARD_EVENTS
        n = min(SHARD_EVENTS, config.events - before)
        # Sorted draws are looked up faster (cache); the result is then shuffled.
        user_E = rng.permutation(np.searchsorted(self.activity_U, np.sort(rng.random(n)), side="right"))
        time_E = np.sort(((before + n * rng.random(n)) * (config.days * 86_400 / config.events)).astype(np.int64))
        kind_E, draw_E = rng.random(n), rng.random(n, dtype=np.float32)
        hide_E = kind_E < _HIDE_SHARE
        liked_E = ~hide_E & (kind_E < 1 - _NOISE_SHARE)
        cumulative_UK = self.weight_UK.cumsum(axis=1)[:, :-1]
        taste_E = (draw_E[:, None] > cumulative_UK[user_E]).sum(axis=1)
        topic_E = np.where(liked_E, self.taste_UK[user_E, taste_E], rng.integers(config.topics, size=n))
        sourced_E = liked_E & (rng.random(n) < _SOURCED_SHARE)
        source_E = np.where(sourced_E, self.follow_UF[user_E, taste_E], NOISE)
        size_E = (config.items - topic_E + config.topics - 1) // config.topics
        rank_E = zipf_ranks(rng.random(n), size_E, config.zipf)
        return EventShard(user_E, self.ranked_I[rank_E * config.topics + topic_E], START_S + time_E, hide_E, source_E)


def zipf_ranks(draw_E: NDArray[np.float64], size_E: NDArray[np.int64], exponent: float) -> NDArray[np.int64]:
    """Draw ranks from 0 to ``size_E`` - 1 whose probabilities fall with a power of the rank.

    The inverse of a continuous power law on [1, size + 1) at uniform draws, rounded down; it needs no table for each
    size.
    """
    last_E = size_E + 1.0
    if exponent == 1:
        place_E = last_E**draw_E
    else:
        flat = 1 - exponent
        place_E = ((last_E**flat - 1) * draw_E + 1) ** (1 / flat)
    return np.minimum(place_E.astype(np.int64) - 1, size_E - 1)


def write_synthetic_tables(
    out: str | Path, config: SynthConfig | None = None, progress: Progress = silent, *, overwrite: bool = False
) -> SynthWorld:
    """Write synthetic tables as the new folder ``out``, with ``truth/users.parquet`` and the configuration.

    Equal configurations give equal tables.

    Args:
        out: the folder to create; ``prepare`` reads it.
        config: the settings; the defaults if None.
        progress: called with the number of events written.
        overwrite: replace ``out`` if it is such a folder.

    Raises:
        UsageError: the sizes do not fit each other, or ``out`` exists.
    """
    config = config or SynthConfig()
    reject_url(out)
    with create_folder(Path(out), MARKER, overwrite) as folder:
        world = SynthWorld.from_config(config)
        names = topic_names(config.topics, digits=5)
        items = {"item_id": np.arange(config.items), "topics": topic_lists(world.item_topic[:, None], names)}
        users = {"user_id": np.arange(config.users), "followed_topics": topic_lists(world.follow_UF, names)}
        weights = pa.FixedSizeListArray.from_arrays(world.weight_UK.ravel(), config.tastes)
        tastes = {"user_id": users["user_id"], "tastes": topic_lists(world.taste_UK, names), "weights": weights}
        (folder / "truth").mkdir()
        for name, columns in (("items", items), ("users", users), ("truth/users", tastes)):
            write_table(folder / f"{name}.parquet", pa.table(columns))
        (folder / "events").mkdir()
        for number in range(world.n_shards):
            progress(number * SHARD_EVENTS, config.events, "events")
            write_table(folder / "events" / f"part-{number:05d}.parquet", events_table(*world.shard(number), names))
        write_json(folder / MARKER, config.model_dump(mode="json"))
    return world


def _follows(config: SynthConfig, taste_UK: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the followed topics (U, F), most of the tastes and one other, each once; -1 = none."""
    rng = generator(config.seed, "follows")
    follow_UK = np.where(rng.random(taste_UK.shape) < _FOLLOW_SHARE, taste_UK, NOISE)
    stale_U = rng.integers(config.topics, size=config.users)
    stale_U[(taste_UK == stale_U[:, None]).any(axis=1)] = NOISE
    return np.column_stack([follow_UK, stale_U])
