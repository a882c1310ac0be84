"""Which collection other programs find by the alias, and which collections are dropped.

A publish that is killed leaves its unfinished collection behind, and ``expire`` of a later publish drops it.
"""

import re
from datetime import UTC, datetime

from pymilvus import MilvusClient

from multitudes.errors import UnavailableError
from multitudes_milvus.collection import Collection
from multitudes_milvus.config import MilvusConfig
from multitudes_milvus.connection import Connection


def activate(collection: Collection) -> None:
    """Point the alias to the collection, and drop expired collections.

    Raises:
        UnavailableError: the server did not answer in time, or the collection is not ready.
    """
    name, connection = collection.name, collection.connection
    alias = connection.config.alias
    if collection.count() == 0:
        raise UnavailableError(f"{connection.config.uri}: collection {name} is empty; publish again")
    if serving_collection(connection) is None:
        connection.call("make the alias", lambda client: client.create_alias(name, alias), retry=False)
    else:
        connection.call("move the alias", lambda client: client.alter_alias(name, alias))
    expire(connection)


def serving_collection(connection: Connection) -> str | None:
    """Return the name of the collection that the alias points to; None if there is no alias."""
    alias = connection.config.alias
    if not connection.call("look for the alias", lambda client: client.has_collection(alias)):
        return None
    return str(
        connection.call("ask for the alias", lambda client: client.describe_collection(alias))["collection_name"]
    )


def discard(connection: Connection, name: str) -> None:
    """Drop a collection unless an alias points to it; if the server does not answer, ``expire`` drops it later."""
    try:
        if not connection.call("ask for aliases", lambda client: _aliases(client, name)):
            connection.call("drop a collection", lambda client: client.drop_collection(name))
    except UnavailableError:
        return


def expire(connection: Connection) -> list[str]:
    """Drop the collections that no release needs; return their names.

    It keeps the collection that the alias points to, the newest ``config.kept`` others, and those younger than
    ``config.grace_s``, because other processes may still be searching or building them.
    """
    config = connection.config
    serving = serving_collection(connection)
    names = connection.call("list collections", lambda client: client.list_collections())
    age_s = {name: age for name in names if name != serving and (age := _age_s(name, config)) is not None}
    older = sorted(age_s, reverse=True)[config.kept :]  # names begin with the time
    expired = [name for name in older if age_s[name] >= config.grace_s]
    for name in expired:
        discard(connection, name)
    return expired


def _aliases(client: MilvusClient, name: str) -> list[str]:
    """Return the aliases of a collection. The server would drop it despite them, and its readers would fail."""
    return [str(alias) for alias in client.describe_collection(name)["aliases"]]


def _age_s(name: str, config: MilvusConfig) -> float | None:
    """Return the age of a collection of this alias, from its name; None for any other collection."""
    match = re.fullmatch(rf"{config.alias}_(\d{{8}}T\d{{12}})_[0-9a-f]{{8}}", name)
    if match is None:
        return None
    created = datetime.strptime(match[1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC)
    return (datetime.now(UTC) - created).total_seconds()
