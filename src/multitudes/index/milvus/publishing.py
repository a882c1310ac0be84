"""From vectors to a collection that serves: built under a name of its own, tried, and only then found by the alias.

A publish that fails, wherever it does, leaves the alias where it was and takes its own half-made collection away; one
that is killed leaves that collection behind, and ``expire`` of a later publish drops it.

Legend: Q queries · D dimensions.
"""

import re
import time
from datetime import UTC, datetime
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import UnavailableError
from multitudes.index.engine import RecallTarget
from multitudes.index.item_table import ItemTable, make_item_table
from multitudes.index.milvus.client_library import MilvusClient
from multitudes.index.milvus.collection import Collection, create_collection, insert_batches, make_identity
from multitudes.index.milvus.config import MilvusConfig
from multitudes.index.milvus.connection import Connection, Deadline
from multitudes.index.milvus.index import MilvusIndex
from multitudes.index.milvus.search import SearchParameters
from multitudes.index.milvus.tuning import tune_collection
from multitudes.index.protocol import Topics
from multitudes.progress import Progress, silent

_POLL_S = 0.2
_RECALL_MARGIN = 0.02  # between the recall on the queries that were tuned on, and on others
_NAME = "{alias}_{time:%Y%m%dT%H%M%S%f}_{digest:.8}"


def publish_collection(
    ids: ArrayLike,
    vectors: ArrayLike,
    config: MilvusConfig,
    *,
    topics: Topics | None = None,
    queries: NDArray[np.float32] | None = None,
    recall: float = 0.97,
    progress: Progress = silent,
) -> MilvusIndex:
    """Build a collection, load it, tune its search to ``recall``; the alias stays where it is.

    Args:
        ids: integers, distinct.
        vectors: one row for each id.
        config: which server, and how it builds.
        topics: of the items, in the order of ``ids``.
        queries: held-out user vectors to tune on and to check the recall with.
        recall: share of the exact answer to be found.
        progress: told the number of rows that the server has, then of depths that are tuned.

    Raises:
        DataError: vectors not finite, ids repeated, or an item with too many topics.
        UnavailableError: the server did not answer, or it took longer than ``publish_timeout_s``.
    """
    rows = make_item_table(ids, vectors, topics)
    identity = make_identity(rows)
    name = _NAME.format(alias=config.alias, time=datetime.now(UTC), digest=identity.digest)
    building = Connection(config, config.publish_timeout_s)
    try:
        with Deadline(config.publish_timeout_s):
            building.call(
                "make a collection", lambda client: create_collection(client, name, config, identity), again=False
            )
            _fill(building, name, rows, identity.length, progress)
            _index(building, name, config)
            effort = _verify_and_tune(Collection(building, name), rows, queries, recall, progress)
    except BaseException:
        discard(Connection(config), name)
        raise
    finally:
        building.close()
    return MilvusIndex(Connection(config), name, identity, effort)


def _fill(connection: Connection, name: str, rows: ItemTable, length: float, progress: Progress) -> None:
    sent = 0
    for batch in insert_batches(rows, length):
        progress(sent, len(rows), "sent to the server")
        # Never again: were the first one received after all, every row would be there twice.
        connection.call("insert items", partial(MilvusClient.insert, collection_name=name, data=batch), again=False)
        sent += len(batch)
    connection.call("flush", lambda client: client.flush(name))
    progress(sent, len(rows), "indexing")


def _index(connection: Connection, name: str, config: MilvusConfig) -> None:
    params = MilvusClient.prepare_index_params()
    graph = {"M": config.links, "efConstruction": config.construction}
    params.add_index("vector", index_type="HNSW", index_name="vector", metric_type="IP", params=graph)
    connection.call("index", lambda client: client.create_index(name, params, sync=False))
    while not connection.call("ask for the index", lambda client: _is_indexed(client, name)):
        time.sleep(_POLL_S)
    connection.call("load", lambda client: client.load_collection(name, replica_number=config.replicas))


def _is_indexed(client: MilvusClient, name: str) -> bool:
    """Return whether every row is in the index: "Finished" comes early, while rows are still being compacted."""
    found = client.describe_index(name, "vector")
    return bool(found["state"] == "Finished" and found["pending_index_rows"] == 0)


def _verify_and_tune(
    collection: Collection, rows: ItemTable, queries: NDArray[np.float32] | None, recall: float, progress: Progress
) -> SearchParameters:
    """Return the effort of a collection that was seen to hold every item and to find enough; it is warm then."""
    held, uri = collection.count(), collection.connection.config.uri
    if held != len(rows):
        raise UnavailableError(f"{uri}: {held} of {len(rows)} items have arrived; look into the server's log")
    promise = RecallTarget(recall, collection.connection.config.depth, scanned=0)
    effort = tune_collection(collection, rows, queries, promise, progress)
    least = min(level.checked for level in effort.tuning.levels)
    if least < recall - _RECALL_MARGIN:
        raise UnavailableError(
            f"{uri}: {least} of an exact answer is found, {recall} was asked for; raise construction"
        )
    return effort


def activate(index: MilvusIndex) -> None:
    """Let the alias point to the collection, and drop those that have expired.

    Raises:
        UnavailableError: the server did not answer in time, or the collection is not ready.
    """
    alias, connection = index.connection.config.alias, index.connection
    if len(index) == 0:
        raise UnavailableError(f"{connection.config.uri}: collection {index.name} is empty; publish again")
    if serving_collection(connection) is None:
        connection.call("make the alias", lambda client: client.create_alias(index.name, alias), again=False)
    else:
        connection.call("move the alias", lambda client: client.alter_alias(index.name, alias))
    expire(connection)


def serving_collection(connection: Connection) -> str | None:
    """Return the name of the collection that the alias points to; none where there is no alias."""
    alias = connection.config.alias
    if not connection.call("look for the alias", lambda client: client.has_collection(alias)):
        return None
    return str(
        connection.call("ask for the alias", lambda client: client.describe_collection(alias))["collection_name"]
    )


def discard(connection: Connection, name: str) -> None:
    """Drop a collection to which no alias points; where the server cannot be asked any more, leave it to ``expire``."""
    try:
        if not connection.call("ask for aliases", lambda client: _aliases(client, name)):
            connection.call("drop a collection", lambda client: client.drop_collection(name))
    except UnavailableError:
        return


def expire(connection: Connection) -> list[str]:
    """Drop what no release needs any more; return the names.

    Kept are the collection that the alias points to, the newest ones of the number in the settings, and those younger
    than the time of grace, for somebody may still be searching in them, or building them.
    """
    config = connection.config
    serving, names = (
        serving_collection(connection),
        connection.call("list collections", lambda client: client.list_collections()),
    )
    age_s = {name: age for name in names if name != serving and (age := _age_s(name, config)) is not None}
    older = sorted(age_s, reverse=True)[config.kept :]  # names begin with the time
    gone = [name for name in older if age_s[name] >= config.grace_s]
    for name in gone:
        discard(connection, name)
    return gone


def _aliases(client: MilvusClient, name: str) -> list[str]:
    """Return the aliases of a collection. This server would drop one that has some, and its readers would fail."""
    return [str(alias) for alias in client.describe_collection(name)["aliases"]]


def _age_s(name: str, config: MilvusConfig) -> float | None:
    """Return the age of a collection of this alias by its name; none for any other collection."""
    match = re.fullmatch(rf"{config.alias}_(\d{{8}}T\d{{12}})_[0-9a-f]{{8}}", name)
    if match is None:
        return None
    made = datetime.strptime(match[1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    return (datetime.now(UTC) - made).total_seconds()
