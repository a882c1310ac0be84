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

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from multitudes.atomic import create_folder, write_json
from multitudes.config import Config
from multitudes.data.location import reject_url
from multitudes.data.planted import START_S, sample_distinct
from multitudes.errors import UsageError
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

MARKER = "synth.json"
SHARD_EVENTS = 1_000_000  # the draws depend on it
_CHUNK_ROWS = 100_000  # of the tables of users and items
_MAX = 10**12  # a larger number is a mistake, and its seconds would overflow
_NONE = -1
_ACTIONS = ("save", "hide")


class SynthConfig(Config):
    """The size and the properties of the tables."""

    events: int = Field(1_000_000, gt=0, le=_MAX, description="events")
    users: int = Field(20_000, gt=0, le=_MAX, description="users; some may have no event")
    items: int = Field(10_000, gt=0, le=_MAX, description="items, each of one topic")
    topics: int = Field(200, gt=0, le=10_000_000, description="topics, all equally large")
    days: int = Field(90, gt=0, le=_MAX, description="length of time in days")
    seed: int = Field(0, ge=0, description="seed of every draw")
    tastes: int = Field(3, gt=0, le=20, description="topics that each user likes")
    zipf: float = Field(1.0, ge=0, le=3, description="exponent of the items' popularity in a topic; 0: all are equal")
    activity: float = Field(
        1.0, ge=0, le=10, description="spread of the users' activity (σ of its logarithm); 0: all are equal"
    )
    noise_share: float = Field(0.05, ge=0, le=0.5, description="events of any topic")
    hide_share: float = Field(0.02, ge=0, le=0.5, description="events that are hides, of any topic")
    follow_share: float = Field(0.7, ge=0, le=1, description="chance that a user follows the topic of a taste")
    stale_follows: int = Field(
        1, ge=0, le=100, description="topics that a user follows without a taste for them, at most"
    )
    sourced_share: float = Field(0.3, ge=0, le=1, description="events of followed topics that log their source")


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
        """Draw users and items.

        Raises:
            UsageError: there are more tastes than topics, or more topics than items.
        """
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
        hide_E = kind_E < config.hide_share
        liked_E = ~hide_E & (kind_E < 1 - config.noise_share)
        cumulative_UK = self.weight_UK.cumsum(axis=1)[:, :-1]
        taste_E = (draw_E[:, None] > cumulative_UK[user_E]).sum(axis=1)
        topic_E = np.where(liked_E, self.taste_UK[user_E, taste_E], rng.integers(config.topics, size=n))
        sourced_E = liked_E & (rng.random(n) < config.sourced_share)
        source_E = np.where(sourced_E, self.follow_UF[user_E, taste_E], _NONE)
        size_E = (config.items - topic_E + config.topics - 1) // config.topics
        rank_E = zipf_ranks(rng.random(n), size_E, config.zipf)
        return EventShard(user_E, self.ranked_I[rank_E * config.topics + topic_E], START_S + time_E, hide_E, source_E)


def zipf_ranks(draw_E: NDArray[np.float64], size_E: NDArray[np.int64], exponent: float) -> NDArray[np.int64]:
    """Draw ranks from 0 to ``size_E`` - 1 whose probabilities fall with a power of the rank.

    The inverse of a continuous power law on [1, size + 1), rounded down; it needs no table for each size.

    Args:
        draw_E: uniform draws from [0, 1).
        size_E: the number of ranks.
        exponent: of the power law.
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

    Returns:
        The users and items.

    Raises:
        UsageError: the sizes do not fit each other, or ``out`` exists.
    """
    config = config or SynthConfig()
    reject_url(out)
    with create_folder(Path(out), MARKER, overwrite) as folder:
        world = SynthWorld.from_config(config)
        names = pa.array([f"topic-{topic:05d}" for topic in range(config.topics)])
        _write(folder / "items.parquet", _item_tables(world, names))
        _write(folder / "users.parquet", _user_tables(world, names))
        (folder / "truth").mkdir()
        _write(folder / "truth" / "users.parquet", _truth_tables(world, names))
        (folder / "events").mkdir()
        for number in range(world.n_shards):
            progress(number * SHARD_EVENTS, config.events, "events")
            table = _event_table(world.shard(number), names)
            _write(folder / "events" / f"part-{number:05d}.parquet", iter([table]))
        write_json(folder / MARKER, config.model_dump(mode="json"))
    return world


def _follows(config: SynthConfig, taste_UK: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the followed topics (U, F), each once; -1 = none."""
    rng = generator(config.seed, "follows")
    follow_UK = np.where(rng.random(taste_UK.shape) < config.follow_share, taste_UK, _NONE)
    stale_US = rng.integers(config.topics, size=(config.users, config.stale_follows))
    for s in range(config.stale_follows):
        others = np.concatenate([taste_UK, stale_US[:, :s]], axis=1)
        stale_US[(others == stale_US[:, s : s + 1]).any(axis=1), s] = _NONE
    return np.concatenate([follow_UK, stale_US], axis=1)


def _event_table(shard: EventShard, names: Any) -> Any:  # noqa: ANN401 (pyarrow has no types)
    return pa.table(
        {
            "user_id": shard.user_E,
            "item_id": shard.item_E,
            "timestamp": shard.time_E,
            "action": pa.DictionaryArray.from_arrays(shard.hide_E.astype(np.int8), pa.array(_ACTIONS)),
            "source_interest": pa.DictionaryArray.from_arrays(
                pa.array(shard.source_E, mask=shard.source_E == _NONE), names
            ),
        }
    )


def _item_tables(world: SynthWorld, names: Any) -> Iterator[Any]:  # noqa: ANN401
    topic_I = world.item_topic
    for start in range(0, len(topic_I), _CHUNK_ROWS):
        chunk = topic_I[start : start + _CHUNK_ROWS]
        yield pa.table({"item_id": np.arange(start, start + len(chunk)), "topics": _lists(chunk[:, None], names)})


def _user_tables(world: SynthWorld, names: Any) -> Iterator[Any]:  # noqa: ANN401
    for start in range(0, world.config.users, _CHUNK_ROWS):
        chunk = world.follow_UF[start : start + _CHUNK_ROWS]
        yield pa.table({"user_id": np.arange(start, start + len(chunk)), "followed_topics": _lists(chunk, names)})


def _truth_tables(world: SynthWorld, names: Any) -> Iterator[Any]:  # noqa: ANN401
    for start in range(0, world.config.users, _CHUNK_ROWS):
        chunk = slice(start, start + _CHUNK_ROWS)
        taste, weight = world.taste_UK[chunk], world.weight_UK[chunk]
        ends = np.arange(len(taste) + 1, dtype=np.int32) * world.config.tastes
        weights = pa.ListArray.from_arrays(ends, weight.ravel())
        rows = np.arange(start, start + len(taste))
        yield pa.table({"user_id": rows, "tastes": _lists(taste, names), "weights": weights})


def _lists(number_RC: NDArray[np.int64], names: Any) -> Any:  # noqa: ANN401
    """Return the names of the numbers of each row as a list; -1 is left out."""
    named_RC = number_RC != _NONE
    ends = np.append(0, named_RC.sum(axis=1).cumsum()).astype(np.int32)
    return pa.ListArray.from_arrays(ends, names.take(pa.array(number_RC[named_RC])))


def _write(file: Path, tables: Iterator[Any]) -> None:
    """Write a table chunk by chunk, with Parquet's types only: a dictionary of names is read as text."""
    first = next(tables)
    with pq.ParquetWriter(file, first.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)
