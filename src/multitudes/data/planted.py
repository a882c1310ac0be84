"""A planted world: synthetic tables in which the taste behind every event is known, so that methods can be tested.

Every item belongs to a niche and every niche to a topic. Every user has ``tastes`` niches with individual weights and
engages with items of these niches, and sometimes with any item (noise). Users follow some topics of their tastes and
some stale ones; some events log the followed topic that sourced them. If there are more niches than a model is
wide, one vector cannot represent any three of them; with ``tastes = 1``, the control, it can.

Legend: U users · I items · E events · K tastes. Events are sorted by user and time, and the times of a user strictly
increase, so the prepared folder has them in the same order.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from multitudes.config import Config
from multitudes.errors import UsageError
from multitudes.seeding import generator

NOISE = -1
START_S = 1_700_000_000  # 2023-11-14; fixed, so that no file depends on the clock
_MIN_EVENTS = 3


class PlantedConfig(Config):
    """The size and the properties of a planted world."""

    users: int = Field(2_000, gt=0, description="users")
    items: int = Field(3_000, gt=0, description="items")
    events: int = Field(100_000, gt=0, description="events; every user has at least 3")
    niches: int = Field(60, gt=0, description="groups of items; a taste is for one of them")
    topics: int = Field(20, gt=0, description="topics; every niche belongs to one")
    tastes: int = Field(3, gt=0, description="niches that each user likes; 1 is the control world")
    days: int = Field(90, gt=0, description="length of time in days")
    noise_share: float = Field(0.05, ge=0, le=1, description="events that follow no taste")
    hide_share: float = Field(0.02, ge=0, le=1, description="events that are hides of items that follow no taste")
    featureless_share: float = Field(0.02, ge=0, le=1, description="items without topics and embedding")
    follow_share: float = Field(0.7, ge=0, le=1, description="chance that a user follows the topic of a taste")
    stale_follows: int = Field(1, ge=0, description="topics that each user follows without any taste for them")
    sourced_share: float = Field(0.3, ge=0, le=1, description="events of followed topics that log their source")
    popularity: float = Field(2.0, ge=1, description="1: items of a niche are equal; larger: few are popular")
    embedding_width: int = Field(0, ge=0, description="width of the item embeddings; 0: none")
    seed: int = Field(0, ge=0, description="seed of every draw")


@dataclass(frozen=True)
class PlantedWorld:
    """A planted world with its ground truth. Ids of users and items are their positions."""

    config: PlantedConfig
    user_taste_UK: NDArray[np.int64]  # the niches of each user
    user_weight_UK: NDArray[np.float64]  # the weight of each niche; sums to 1
    user_follow_offset: NDArray[np.int64]  # U + 1
    user_follow: NDArray[np.int64]  # topics
    item_niche: NDArray[np.int64]
    item_has_features: NDArray[np.bool_]
    niche_topic: NDArray[np.int64]
    event_user: NDArray[np.int64]
    event_item: NDArray[np.int64]
    event_time: NDArray[np.int64]  # seconds
    event_taste: NDArray[np.int64]  # column of user_taste_UK behind the event; -1 = noise or a hide
    event_hide: NDArray[np.bool_]
    event_source: NDArray[np.int64]  # topic, -1 = not logged


def plant(config: PlantedConfig | None = None) -> PlantedWorld:
    """Return the world of ``config``; equal configurations give equal worlds.

    Raises:
        UsageError: there are fewer niches than tastes, fewer items than niches, or too few events.
    """
    config = config or PlantedConfig()
    if not config.tastes <= config.niches <= config.items:
        raise UsageError(
            f"tastes = {config.tastes}, niches = {config.niches}, items = {config.items}; expected tastes <= niches <="
            " items, since tastes are distinct niches and every niche has an item"
        )
    if config.events < _MIN_EVENTS * config.users:
        raise UsageError(f"events = {config.events}; expected at least {_MIN_EVENTS} for each of {config.users} users")
    taste_UK = sample_distinct(generator(config.seed, "tastes"), config.users, config.tastes, config.niches)
    weight_UK = generator(config.seed, "weights").dirichlet(np.full(config.tastes, 5.0), config.users)
    niche_topic = np.arange(config.niches) % config.topics
    item_niche = generator(config.seed, "items").permutation(np.arange(config.items) % config.niches)
    followed_UT = _followed_topics(config, niche_topic[taste_UK])
    user = np.repeat(np.arange(config.users), _activity(config))
    hide, taste = _tastes(config, user, weight_UK)
    random_niche = generator(config.seed, "noise").integers(config.niches, size=len(user))
    niche = np.where(taste == NOISE, random_niche, taste_UK[user, taste])
    is_logged = generator(config.seed, "sources").random(len(user)) < config.sourced_share
    is_sourced = is_logged & followed_UT[user, niche_topic[niche]] & ~hide
    return PlantedWorld(
        config=config,
        user_taste_UK=taste_UK,
        user_weight_UK=weight_UK,
        user_follow_offset=np.append(0, np.cumsum(followed_UT.sum(axis=1))),
        user_follow=np.nonzero(followed_UT)[1],
        item_niche=item_niche,
        item_has_features=generator(config.seed, "features").random(config.items) >= config.featureless_share,
        niche_topic=niche_topic,
        event_user=user,
        event_item=_items(config, niche, item_niche),
        event_time=_times(config, user),
        event_taste=taste,
        event_hide=hide,
        event_source=np.where(is_sourced, niche_topic[niche], NOISE),
    )


def write_world(world: PlantedWorld, folder: Path) -> None:
    """Write the canonical tables of ``world`` into ``folder``, which is created if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    names = topic_names(world.config.topics, digits=3)
    events = (world.event_user, world.event_item, world.event_time, world.event_hide, world.event_source)
    users = {"user_id": np.arange(world.config.users)}
    users["followed_topics"] = pa.ListArray.from_arrays(world.user_follow_offset, names.take(world.user_follow))
    write_table(folder / "events.parquet", events_table(*events, names))
    write_table(folder / "items.parquet", _items_table(world, names))
    write_table(folder / "users.parquet", pa.table(users))


# pyarrow has no types; its arrays are ``Any`` below.
def topic_names(topics: int, digits: int) -> Any:  # noqa: ANN401
    """Return the names of topics by number."""
    return pa.array([f"topic-{topic:0{digits}d}" for topic in range(topics)])


def topic_lists(number_RC: NDArray[np.int64], names: Any) -> Any:  # noqa: ANN401
    """Return the names of the numbers of each row as a list; -1 is left out."""
    named_RC = number_RC != NOISE
    ends = np.append(0, named_RC.sum(axis=1).cumsum()).astype(np.int32)
    return pa.ListArray.from_arrays(ends, names.take(pa.array(number_RC[named_RC])))


def events_table(
    user_E: NDArray[np.int64],
    item_E: NDArray[np.int64],
    time_E: NDArray[np.int64],
    hide_E: NDArray[np.bool_],
    source_E: NDArray[np.int64],
    names: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Return events as the canonical table: saves and hides, and the name of the topic that sourced each, unless -1."""
    source = pa.array(source_E, mask=source_E == NOISE)
    return pa.table(
        {
            "user_id": user_E,
            "item_id": item_E,
            "timestamp": time_E,
            "action": pa.DictionaryArray.from_arrays(hide_E.astype(np.int8), pa.array(["save", "hide"])),
            "source_interest": pa.DictionaryArray.from_arrays(source, names),
        }
    )


def write_table(file: Path, table: Any) -> None:  # noqa: ANN401
    """Write a table with Parquet's types only: a dictionary of names is read as text."""
    pq.write_table(table, file, compression="zstd", store_schema=False)


def sample_distinct(rng: np.random.Generator, rows: int, columns: int, kinds: int) -> NDArray[np.int64]:
    """Return ``rows`` rows of ``columns`` distinct numbers below ``kinds``; rows with a repetition are drawn again."""
    drawn = rng.integers(kinds, size=(rows, columns))
    while True:
        in_order = np.sort(drawn, axis=1)
        repeated = np.flatnonzero((in_order[:, 1:] == in_order[:, :-1]).any(axis=1))
        if len(repeated) == 0:
            return drawn
        if columns * 2 > kinds or columns**2 > 4 * kinds:  # most rows would have a repetition: shuffle instead
            drawn[repeated] = rng.permuted(np.tile(np.arange(kinds), (len(repeated), 1)), axis=1)[:, :columns]
        else:
            drawn[repeated] = rng.integers(kinds, size=(len(repeated), columns))


def _followed_topics(config: PlantedConfig, topic_UK: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return whether each user follows each topic (U, topics): some topics of the tastes and some stale ones."""
    rng = generator(config.seed, "follows")
    followed_UT = np.zeros((config.users, config.topics), dtype=np.bool_)
    row_U = np.arange(config.users)
    for _ in range(config.stale_follows):
        followed_UT[row_U, rng.integers(config.topics, size=config.users)] = True
    for topic_U in topic_UK.T:
        followed_UT[row_U, topic_U] = False
    for topic_U in topic_UK.T:
        followed_UT[row_U, topic_U] |= rng.random(config.users) < config.follow_share
    return followed_UT


def _activity(config: PlantedConfig) -> NDArray[np.int64]:
    """Return the number of events of each user: few have many, all have at least ``_MIN_EVENTS``."""
    rng = generator(config.seed, "activity")
    activity_U = rng.lognormal(sigma=0.8, size=config.users)
    spare = config.events - _MIN_EVENTS * config.users
    return np.asarray(_MIN_EVENTS + rng.multinomial(spare, activity_U / activity_U.sum()), dtype=np.int64)


def _tastes(
    config: PlantedConfig, user: NDArray[np.int64], weight_UK: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return whether each event is a hide, and the taste behind each event (-1 = none)."""
    rng = generator(config.seed, "events")
    kind = rng.random(len(user))
    hide = kind < config.hide_share
    noise = hide | (kind >= 1.0 - config.noise_share)
    cumulative_UK = weight_UK.cumsum(axis=1)
    draw = rng.random(len(user))
    taste = sum((draw > column_U[user] for column_U in cumulative_UK.T[:-1]), np.zeros(len(user), dtype=np.int64))
    return hide, np.where(noise, NOISE, taste)


def _items(config: PlantedConfig, niche: NDArray[np.int64], item_niche: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an item of each event's niche, popular items more often."""
    by_niche = np.argsort(item_niche, kind="stable")
    size = np.bincount(item_niche, minlength=config.niches)
    start = np.append(0, size.cumsum()[:-1])
    draw = generator(config.seed, "popularity").random(len(niche)) ** config.popularity
    return np.asarray(by_niche[start[niche] + (size[niche] * draw).astype(np.int64)], dtype=np.int64)


def _times(config: PlantedConfig, user: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return times that strictly increase within a user: sorted draws, plus one second for each event before."""
    span_s = config.days * 86_400
    draw = generator(config.seed, "times").integers(span_s, size=len(user))
    in_order = np.sort(user * span_s + draw) - user * span_s
    first = np.searchsorted(user, np.arange(config.users))
    return START_S + in_order + np.arange(len(user)) - first[user]


def _items_table(world: PlantedWorld, names: Any) -> Any:  # noqa: ANN401
    niche_I, lacks_I = world.item_niche, ~world.item_has_features
    columns = {
        "item_id": np.arange(len(niche_I)),
        "topics": topic_lists(np.where(lacks_I, NOISE, world.niche_topic[niche_I])[:, None], names),
        "title": [f"item {item} of niche {niche}" for item, niche in enumerate(niche_I.tolist())],
    }
    if world.config.embedding_width:
        columns["embedding"] = pa.array(list(_embeddings(world)), mask=lacks_I)
    return pa.table(columns)


def _embeddings(world: PlantedWorld) -> NDArray[np.float32]:
    """Return a vector for each item: the vector of its niche plus noise."""
    rng = generator(world.config.seed, "embeddings")
    centre = rng.standard_normal((world.config.niches, world.config.embedding_width))
    own = rng.standard_normal((len(world.item_niche), world.config.embedding_width))
    return (centre[world.item_niche] + 0.3 * own).astype(np.float32)
