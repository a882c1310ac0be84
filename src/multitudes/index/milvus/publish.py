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
from multitudes.index.milvus.collection import Collection, batches, create, identity_of
from multitudes.index.milvus.config import MilvusConfig
from multitudes.index.milvus.connection import Connection, within
from multitudes.index.milvus.effort import Effort
from multitudes.index.milvus.library import MilvusClient
from multitudes.index.milvus.milvus import Milvus
from multitudes.index.milvus.tuning import tuned
from multitudes.index.protocol import Topics
from multitudes.index.rows import Rows, checked_rows
from multitudes.index.tuning import Promise
from multitudes.progress import Progress, silent

_POLL_S = 0.2
_CHANCE = 0.02  # between the recall on the queries that were tuned on, and on others
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
) -> Milvus:
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
    rows = checked_rows(ids, vectors, topics)
    identity = identity_of(rows)
    name = _NAME.format(alias=config.alias, time=datetime.now(UTC), digest=identity.digest)
    building = Connection(config, config.publish_timeout_s)
    try:
        with within(config.publish_timeout_s):
            building.ask("make a collection", lambda client: create(client, name, config, identity), again=False)
            _fill(building, name, rows, identity.length, progress)
            _index(building, name, config)
            effort = _tried(Collection(building, name), rows, queries, recall, progress)
    except BaseException:
        discard(Connection(config), name)
        raise
    finally:
        building.close()
    return Milvus(Connection(config), name, identity, effort)


def _fill(connection: Connection, name: str, rows: Rows, length: float, progress: Progress) -> None:
    sent = 0
    for batch in batches(rows, length):
        progress(sent, len(rows), "sent to the server")
        # Never again: were the first one received after all, every row would be there twice.
        connection.ask("insert items", partial(MilvusClient.insert, collection_name=name, data=batch), again=False)
        sent += len(batch)
    connection.ask("flush", lambda client: client.flush(name))
    progress(sent, len(rows), "indexing")


def _index(connection: Connection, name: str, config: MilvusConfig) -> None:
    params = MilvusClient.prepare_index_params()
    graph = {"M": config.links, "efConstruction": config.construction}
    params.add_index("vector", index_type="HNSW", index_name="vector", metric_type="IP", params=graph)
    connection.ask("index", lambda client: client.create_index(name, params, sync=False))
    while not connection.ask("ask for the index", lambda client: _finished(client, name)):
        time.sleep(_POLL_S)
    connection.ask("load", lambda client: client.load_collection(name, replica_number=config.replicas))


def _finished(client: MilvusClient, name: str) -> bool:
    """Return whether every row is in the index: "Finished" comes early, while rows are still being compacted."""
    found = client.describe_index(name, "vector")
    return bool(found["state"] == "Finished" and found["pending_index_rows"] == 0)


def _tried(
    collection: Collection, rows: Rows, queries: NDArray[np.float32] | None, recall: float, progress: Progress
) -> Effort:
    """Return the effort of a collection that was seen to hold every item and to find enough; it is warm then."""
    held, uri = collection.count(), collection.connection.config.uri
    if held != len(rows):
        raise UnavailableError(f"{uri}: {held} of {len(rows)} items have arrived; look into the server's log")
    promise = Promise(recall, collection.connection.config.depth, scanned=0)
    effort = tuned(collection, rows, queries, promise, progress)
    least = min(level.checked for level in effort.tuning.levels)
    if least < recall - _CHANCE:
        raise UnavailableError(
            f"{uri}: {least} of an exact answer is found, {recall} was asked for; raise construction"
        )
    return effort


def activate(index: Milvus) -> None:
    """Let the alias point to the collection, and drop those that have expired.

    Raises:
        UnavailableError: the server did not answer in time, or the collection is not ready.
    """
    alias, connection = index.connection.config.alias, index.connection
    if len(index) == 0:
        raise UnavailableError(f"{connection.config.uri}: collection {index.name} is empty; publish again")
    if current(connection) is None:
        connection.ask("make the alias", lambda client: client.create_alias(index.name, alias), again=False)
    else:
        connection.ask("move the alias", lambda client: client.alter_alias(index.name, alias))
    expire(connection)


def current(connection: Connection) -> str | None:
    """Return the name of the collection that the alias points to; none where there is no alias."""
    alias = connection.config.alias
    if not connection.ask("look for the alias", lambda client: client.has_collection(alias)):
        return None
    return str(connection.ask("ask for the alias", lambda client: client.describe_collection(alias))["collection_name"])


def discard(connection: Connection, name: str) -> None:
    """Drop a collection to which no alias points; where the server cannot be asked any more, leave it to ``expire``."""
    try:
        if not connection.ask("ask for aliases", lambda client: _aliases(client, name)):
            connection.ask("drop a collection", lambda client: client.drop_collection(name))
    except UnavailableError:
        return


def expire(connection: Connection) -> list[str]:
    """Drop what no release needs any more; return the names.

    Kept are the collection that the alias points to, the newest ones of the number in the settings, and those younger
    than the time of grace, for somebody may still be searching in them, or building them.
    """
    config = connection.config
    serving, names = current(connection), connection.ask("list collections", lambda client: client.list_collections())
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
