"""One collection: its schema, its rows, its filters, the queries to it, the alias that other programs find it by.

A collection holds vectors under int64 ids, the topics of each item as an array, and a bucket, by which a share of the
collection can be selected. Its description identifies the items with which it was published.

Every stored vector has one more coordinate, which makes all items equally long; see ``item_table.pad_to_length``.
Measured at 12,000 items of a factor model, 16 links: without it no number of candidates finds more than 0.994 of the
best 100; with it 1,600 candidates find 1.0.

Legend: n items · m items of a batch · D dimensions.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient

from multitudes.errors import DataError, UnavailableError
from multitudes.index.item_table import ItemTable, common_length, pad_to_length
from multitudes.index.protocol import ANY_TOPIC, Topics
from multitudes.seeding import splitmix64
from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.connection import Connection

MAX_RESULTS = 16_384  # of one search or page, a limit of the server
BUCKETS = 64  # a hash of its id puts every item into one of them, evenly
_MAX_TOPICS = 4_096  # of one item, a limit of the server
_MIN_TOPIC_CAPACITY = 64  # topics of an item for which there is always room: later items may have more of them
BATCH_BYTES = 8 * 2**20  # of one message; the server takes 64 MiB, but its log segments prefer less
_PAGE = 100_000  # ids of one answer
_DESCRIPTION_KEY = "multitudes"


class Identity(NamedTuple):
    """What a collection was published with, to check that it belongs to a release."""

    items: int
    dimension: int
    digest: str  # of ids, vectors and topics
    capacity: int  # topics that an item may have
    length: float  # common length of the items, with the additional coordinate


class Collection:
    """A collection by its unique name. ``session``: whether this object wrote, and so must see its own writes."""

    session = False

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection = connection
        self.name = name

    @property
    def consistency(self) -> str:
        """A session sees its own writes, after a wait of up to 0.2 s; others see data at most seconds old."""
        return "Session" if self.session else "Bounded"

    def query(self, what: str, expression: str, fields: list[str], consistency: str = "") -> list[dict[str, Any]]:
        """Return the fields of all rows that pass a filter."""
        level = consistency or self.consistency
        rows = self.connection.call(
            what,
            lambda client: client.query(self.name, filter=expression, output_fields=fields, consistency_level=level),
        )
        return list(rows)

    def count(self, expression: str = "", consistency: str = "") -> int:
        """Return the number of items that pass a filter."""
        return int(self.query("count items", expression, ["count(*)"], consistency)[0]["count(*)"])

    def ids(self, expression: str = "") -> NDArray[np.int64]:
        """Return the ids of the items that pass a filter, ascending; fetched in pages.

        It waits for what others have written, up to 0.2 s: a catalogue keeps the list.
        """
        filters = [expression] if expression else bucket_filters(1 + self.count(consistency="Strong") // _PAGE)
        rows = [row["id"] for page in filters for row in self.query("list ids", page, ["id"], "Strong")]
        return np.sort(np.array(rows, dtype=np.int64))

    def activate(self, release: str) -> None:
        """Point the alias to the collection, and drop expired collections; see ``Index.activate``."""
        del release  # an alias holds no comment
        name, alias = self.name, self.connection.config.alias
        if self.count() == 0:
            raise UnavailableError(f"{self.connection.config.uri}: collection {name} is empty; publish again")
        if serving_collection(self.connection) is None:
            self.connection.call("make the alias", lambda client: client.create_alias(name, alias), retry=False)
        else:
            self.connection.call("move the alias", lambda client: client.alter_alias(name, alias))
        expire(self.connection)

    def discard(self) -> None:
        """Drop the collection unless an alias points to it; if the server does not answer, ``expire`` drops it later.

        The server would drop it despite its aliases, and their readers would fail.
        """
        try:
            found = self.connection.call("ask for aliases", lambda client: client.describe_collection(self.name))
            if not found["aliases"]:
                self.connection.call("drop a collection", lambda client: client.drop_collection(self.name))
        except UnavailableError:
            return


def serving_collection(connection: Connection) -> str | None:
    """Return the name of the collection that the alias points to; None if there is no alias."""
    alias = connection.config.alias
    if not connection.call("look for the alias", lambda client: client.has_collection(alias)):
        return None
    found = connection.call("ask for the alias", lambda client: client.describe_collection(alias))
    return str(found["collection_name"])


def expire(connection: Connection) -> list[str]:
    """Drop the collections that no release needs, such as that of a publish that was killed; return their names.

    It keeps the collection that the alias points to, the newest ``config.kept`` others, and those younger than
    ``config.grace_s``, because other processes may still be searching or building them.
    """
    config, serving = connection.config, serving_collection(connection)
    names = connection.call("list collections", lambda client: client.list_collections())
    age_s = {name: age for name in names if name != serving and (age := _age_s(name, config)) is not None}
    older = sorted(age_s, reverse=True)[config.kept :]  # names begin with the time
    expired = [name for name in older if age_s[name] >= config.grace_s]
    for name in expired:
        Collection(connection, name).discard()
    return expired


def _age_s(name: str, config: MilvusConfig) -> float | None:
    """Return the age of a collection of this alias, from its name; None for any other collection."""
    match = re.fullmatch(rf"{config.alias}_(\d{{8}}T\d{{12}})_[0-9a-f]{{8}}", name)
    if match is None:
        return None
    created = datetime.strptime(match[1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    return (datetime.now(UTC) - created).total_seconds()


def create_collection(client: MilvusClient, name: str, config: MilvusConfig, identity: Identity) -> None:
    """Create an empty collection."""
    text = json.dumps({_DESCRIPTION_KEY: identity._asdict()})
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=text)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=identity.dimension + 1)
    schema.add_field("topics", DataType.ARRAY, element_type=DataType.INT64, max_capacity=identity.capacity)
    schema.add_field("bucket", DataType.INT8)
    client.create_collection(name, schema=schema, num_shards=config.shards)


def read_identity(client: MilvusClient, name: str) -> Identity | None:
    """Return the identity of a collection; None if this library did not publish it."""
    try:
        return Identity(**json.loads(client.describe_collection(name)["description"])[_DESCRIPTION_KEY])
    except (ValueError, KeyError, TypeError):
        return None


def make_identity(table: ItemTable) -> Identity:
    """Return the identity of a collection of these items.

    Raises:
        DataError: an item has more topics than the server accepts.
    """
    most = max_topics_per_item(table.postings.topics(len(table)))
    if most > _MAX_TOPICS:
        raise DataError(f"an item has {most} topics; Milvus accepts up to {_MAX_TOPICS} of an item; leave some out")
    capacity, length = max(_MIN_TOPIC_CAPACITY, most), common_length(table.vectors_nD)
    return Identity(len(table), table.dimension, table.digest(), capacity, length)


def max_topics_per_item(topics: Topics) -> int:
    """Return the largest number of topics that an item has."""
    return int(np.diff(topics.offset).max(initial=0))


def insert_batches(table: ItemTable, length: float) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a table in the client's format, in messages of a bounded size.

    They are in the order of a hash: the server fills one segment after the other, and decides for each segment how it
    searches, so each should have the same share of every topic.
    """
    offset, topic_M = table.postings.topics(len(table))
    hash_n = splitmix64(table.ids.astype(np.uint64))
    bucket_n, order_n = hash_n % np.uint64(BUCKETS), np.argsort(hash_n, kind="stable")
    size = max(1, BATCH_BYTES // (4 * table.dimension + 8 * len(topic_M) // len(table) + 64))
    for start in range(0, len(table), size):
        row_m = order_n[start : start + size]
        yield [
            {
                "id": int(table.ids[n]),
                "vector": vector_D,
                "topics": topic_M[offset[n] : offset[n + 1]].tolist(),
                "bucket": int(bucket_n[n]),
            }
            for n, vector_D in zip(row_m.tolist(), pad_to_length(table.vectors_nD[row_m], length), strict=True)
        ]


def ids_filter(ids: NDArray[np.int64]) -> str:
    """Return the filter for the items ``ids``; not empty, because some servers match everything with an empty list."""
    return f"id in {ids.tolist()}"


def search_filter(topic: int, excluded: NDArray[np.int64]) -> str:
    """Return the filter for the items of a topic without the excluded ones; an empty filter matches every item."""
    filters = [] if topic == ANY_TOPIC else [f"array_contains(topics, {topic})"]
    if len(excluded):
        filters.append(f"id not in {excluded.tolist()}")
    return combine_filters(*filters)


def combine_filters(*filters: str) -> str:
    """Return the filter for items that pass all of ``filters``."""
    return " and ".join(each for each in filters if each)


def bucket_filters(count: int) -> Iterator[str]:
    """Yield filters that divide the collection into ``count`` pieces, at most one for each bucket."""
    edges = np.linspace(0, BUCKETS, min(count, BUCKETS) + 1).astype(int).tolist()
    for start, stop in pairwise(edges):
        yield f"bucket >= {start} and bucket < {stop}"
