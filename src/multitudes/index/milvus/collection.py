"""Filters in the language of Milvus.

Legend: P pieces.

One more coordinate makes all items equally long.

The graph is made for neighbours. The item of the largest inner product with a query is its neighbour only among items
of one length, and long items hide others. With √(length² − |x|²) behind each item x and 0 behind each query, every
inner product stays what it was, to the last bit, and the lengths are equal (Bachrach et al., RecSys 2014). Measured at
12,000 items of a factor model, 16 links: without it no number of candidates finds more than 0.994 of the best 100; with
it 1,600 find 1.0.

Legend: n items · D dimensions.

One collection: its fields, its rows, and the questions that are asked of it.

Legend: n items · D dimensions.

A collection holds int64 ids under which the vectors lie, lengthened by a coordinate, the topics of each item as an
array, and a bucket by which a share of the collection can be asked for. Its description says which items it was
published with.
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

from multitudes.errors import DataError
from multitudes.index.item_table import ItemTable
from multitudes.index.milvus.client_library import DataType, MilvusClient
from multitudes.index.milvus.config import MilvusConfig
from multitudes.index.milvus.connection import Connection
from multitudes.index.protocol import ANY_TOPIC, Topics
from multitudes.seeding import splitmix64

BUCKETS = 64  # every item is in one of them by its id alone, evenly: a way to ask for a share of the collection


def hash_ids(id_n: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return numbers that have nothing to do with each other though the ids do (the end of SplitMix64)."""
    return splitmix64(id_n.astype(np.uint64))


def id_buckets(id_n: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bucket of each id."""
    return (hash_ids(id_n) % np.uint64(BUCKETS)).astype(np.int64)


def ids_filter(ids: NDArray[np.int64]) -> str:
    """Return the filter for the items ``ids``; there must be one, for an empty list matches everything somewhere."""
    return f"id in {ids.tolist()}"


def search_filter(topic: int, excluded: NDArray[np.int64]) -> str:
    """Return the filter for the items of a topic without those excluded; empty: every item."""
    parts = [] if topic == ANY_TOPIC else [f"array_contains(topics, {topic})"]
    if len(excluded):
        parts.append(f"id not in {excluded.tolist()}")
    return combine_filters(*parts)


def combine_filters(*filters: str) -> str:
    """Return the filter for what passes each of ``filters``."""
    return " and ".join(each for each in filters if each)


def bucket_filters(count: int) -> Iterator[str]:
    """Yield filters that part the collection into ``count`` (P) pieces, at most one for each bucket."""
    edge = np.linspace(0, BUCKETS, min(count, BUCKETS) + 1).astype(int).tolist()
    for start, stop in pairwise(edge):
        yield f"bucket >= {start} and bucket < {stop}"


_FARTHEST = 4  # medians: one very long item must not drown the differences of all others in the coordinate


def common_length(vectors_nD: NDArray[np.float32]) -> float:
    """Return the length that all items get; the few that are longer keep theirs."""
    length_n = np.sqrt(_squares(vectors_nD))
    return float(min(length_n.max(), _FARTHEST * np.median(length_n)))


def pad_to_length(vectors_nD: NDArray[np.float32], length: float) -> NDArray[np.float32]:
    """Return items of one length (n, D + 1)."""
    missing_n = np.sqrt(np.maximum(0, length**2 - _squares(vectors_nD)))
    return np.hstack([vectors_nD, missing_n[:, None].astype(np.float32)])


def pad_queries(vectors_nD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return queries whose inner product with what was lengthened is that with what it was before (n, D + 1)."""
    return np.hstack([vectors_nD, np.zeros((len(vectors_nD), 1), dtype=np.float32)])


def _squares(vectors_nD: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("nd,nd->n", vectors_nD, vectors_nD, dtype=np.float64))


MAX_RESULTS = 16_384  # of one search or page, a limit of the server
_MAX_TOPICS = 4_096  # of one item, a limit of the server
_MIN_TOPIC_CAPACITY = (
    64  # topics for which there is always room, since later items may have more of them than those published
)
_BATCH_BYTES = 8 * 2**20  # of one message; the server takes 64 MiB, but its log segments like less
_PAGE = 100_000  # ids of one answer
_DESCRIPTION_KEY = "multitudes"


class Identity(NamedTuple):
    """What a collection was published with: enough to see that it is the one a release means."""

    items: int
    dimension: int
    digest: str  # over ids, vectors and topics
    capacity: int  # topics that an item may have
    length: float  # of all items, by one more coordinate


class Collection:
    """A collection by its own name. ``session``: whether this object wrote, and so has to see what it wrote."""

    def __init__(self, connection: Connection, name: str, session: bool = False) -> None:
        self.connection = connection
        self.name = name
        self.session = session

    @property
    def consistency(self) -> str:
        """A session sees its own writes, after up to 0.2 s of waiting; others see what is at most seconds old."""
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

    def wait_until_consistent(self) -> None:
        """Wait until the server sees every change so far: a deletion tells its session no time to wait for (2.3.5)."""
        self.count(consistency="Strong")

    def ids(self, expression: str = "") -> NDArray[np.int64]:
        """Return the ids of the items that pass a filter, ascending; asked for in pages."""
        filters = [expression] if expression else bucket_filters(1 + self.count() // _PAGE)
        rows = [row["id"] for each in filters for row in self.query("list ids", each, ["id"])]
        return np.sort(np.array(rows, dtype=np.int64))

    def vectors(self, id_n: NDArray[np.int64], dimension: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return those of the distinct ids that are held, in no order, with their vectors."""
        size = max(1, _BATCH_BYTES // (4 * dimension + 16))
        found: list[dict[str, Any]] = []
        for start in range(0, len(id_n), size):
            found += self.query("read vectors", ids_filter(id_n[start : start + size]), ["id", "vector"])
        vectors_nD = np.array([row["vector"][:dimension] for row in found], dtype=np.float32)
        return np.array([row["id"] for row in found], dtype=np.int64), vectors_nD.reshape(len(found), dimension)


def create_collection(client: MilvusClient, name: str, config: MilvusConfig, identity: Identity) -> None:
    """Make an empty collection."""
    text = json.dumps({_DESCRIPTION_KEY: identity._asdict()})
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=text)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=identity.dimension + 1)
    schema.add_field("topics", DataType.ARRAY, element_type=DataType.INT64, max_capacity=identity.capacity)
    schema.add_field("bucket", DataType.INT8)
    client.create_collection(name, schema=schema, num_shards=config.shards)


def read_identity(client: MilvusClient, name: str) -> Identity | None:
    """Return with what a collection was published; none where it is not one of ours."""
    try:
        return Identity(**json.loads(client.describe_collection(name)["description"])[_DESCRIPTION_KEY])
    except (ValueError, KeyError, TypeError):
        return None


def make_identity(rows: ItemTable) -> Identity:
    """Return what a collection of these rows is known by.

    Raises:
        DataError: an item has more topics than the server takes.
    """
    topics = rows.postings.topics(len(rows))
    most = max_topics_per_item(topics)
    if most > _MAX_TOPICS:
        raise DataError(f"an item has {most} topics; Milvus takes up to {_MAX_TOPICS} of an item: leave some out")
    digest = xxhash.xxh3_128()
    for array in (rows.ids, rows.vectors_nD, *topics):
        digest.update(np.ascontiguousarray(array).data)
    length = common_length(rows.vectors_nD)
    return Identity(len(rows), rows.dimension, digest.hexdigest(), max(_MIN_TOPIC_CAPACITY, most), length)


def max_topics_per_item(topics: Topics) -> int:
    """Return the largest number of topics that an item has."""
    return int(np.diff(topics.offset).max(initial=0))


def insert_batches(rows: ItemTable, length: float) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a corpus as the client takes them, in messages of a bounded size.

    They come in the order of a hash: the server fills one segment after the other and decides within each how it
    searches, so each should hold the same share of every topic.
    """
    offset, topic_M = rows.postings.topics(len(rows))
    bucket_n = id_buckets(rows.ids)
    order_n = np.argsort(hash_ids(rows.ids), kind="stable")
    size = max(1, _BATCH_BYTES // (4 * rows.dimension + 8 * len(topic_M) // len(rows) + 64))
    for start in range(0, len(rows), size):
        batch_m = order_n[start : start + size]
        yield [
            {
                "id": int(rows.ids[n]),
                "vector": vector_D,
                "topics": topic_M[offset[n] : offset[n + 1]].tolist(),
                "bucket": int(bucket_n[n]),
            }
            for n, vector_D in zip(batch_m.tolist(), pad_to_length(rows.vectors_nD[batch_m], length), strict=True)
        ]
