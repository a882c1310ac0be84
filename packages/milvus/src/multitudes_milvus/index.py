"""The index on a Milvus server.

A ``MilvusIndex`` uses a collection by its unique name, never through the alias. One answer takes several calls (for
each topic, deeper searches, reading vectors), and a publish may move the alias between two of them. Through the alias,
one answer could mix items of two releases, in which the same number means different items. The alias only tells other
programs which collection is current.

Legend: Q queries · N results · D dimensions.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from pymilvus import MilvusClient

from multitudes.config import parse
from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.index import files
from multitudes.index.item_table import check_ids, find_rows, make_item_table
from multitudes.index.protocol import Hits, Topics
from multitudes.index.segment import check_request, search_by_topic
from multitudes_milvus.collection import (
    BATCH_BYTES,
    MAX_RESULTS,
    Collection,
    Identity,
    ids_filter,
    insert_batches,
    max_topics_per_item,
    read_identity,
)
from multitudes_milvus.config import MilvusConfig, published_settings, settings_to_open
from multitudes_milvus.connection import Connection, deadline
from multitudes_milvus.search import SearchParameters, parameters_from_record, search_topic

KIND = "milvus"


class MilvusIndex(Collection):
    """An ``Index`` on a server. Threads may share it.

    Additions and removals change the collection for everyone who searches it. The next search of this object sees them
    (it waits for the server's clock; measured: up to 0.2 s); other processes see them a moment later. A large addition
    is sent in several messages, so other processes may see some of its items before the others.
    """

    def __init__(self, connection: Connection, name: str, identity: Identity, parameters: SearchParameters) -> None:
        super().__init__(connection, name)
        self._identity, self._parameters = identity, parameters

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Find the best ids of each query; see ``Index.search``.

        Raises:
            UsageError: also if more than 16,384 results are asked for, the server's maximum.
            DataError: a query is not finite.
            UnavailableError: the server did not answer in time.
        """
        max_limit = int(np.max(limit, initial=0))
        items = len(self) if max_limit >= MAX_RESULTS else max_limit
        request = check_request(query_QD, limit, excluded, topic_Q, dimension=self._identity.dimension, items=items)
        if request.max_limit > MAX_RESULTS:
            raise UsageError(
                f"{request.max_limit} results are asked for; Milvus returns at most {MAX_RESULTS}; ask for fewer"
            )
        with deadline(self.connection.timeout_s):  # for all calls of an answer
            return search_by_topic(request, lambda topic, group: search_topic(self, self._parameters, topic, group))

    def add(
        self, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None, names: pl.DataFrame | None = None
    ) -> None:
        """Add items, or replace those that are held already; see ``Index.add``. It may be repeated after a failure."""
        del names  # a collection has numbers alone
        if np.size(ids) == np.size(vectors) == 0:
            return
        table = make_item_table(ids, vectors, topics, width=self._identity.dimension)
        most = max_topics_per_item(table.postings.topics(len(table)))
        if most > self._identity.capacity:
            raise DataError(f"an item has {most} topics; this collection accepts up to {self._identity.capacity}")
        for batch in insert_batches(table, self._identity.length):
            self._change(f"add {len(table)} items", partial(MilvusClient.upsert, collection_name=self.name, data=batch))

    def remove(self, ids: ArrayLike) -> None:
        """Remove items; see ``Index.remove``."""
        if np.size(ids) == 0:
            return
        id_n = np.unique(check_ids(ids))
        held_n = self.ids(ids_filter(id_n))
        if len(held_n) < len(id_n):
            missing = np.setdiff1d(id_n, held_n)[0]
            raise UsageError(f"id {missing} is not in the index of {len(self)} items. Nothing was removed")
        self._change(f"remove {len(id_n)} items", lambda client: client.delete(self.name, filter=ids_filter(id_n)))
        self.count(consistency="Strong")  # a session does not wait for its own deletions (2.3.5)

    def _change(self, what: str, request: Callable[[MilvusClient], Any]) -> None:
        self.session = True  # before the call: a change that fails here may have reached the server
        self.connection.call(what, request)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each; see ``Index.vectors``."""
        id_n, width = np.asarray(ids, dtype=np.int64), self._identity.dimension
        distinct_n, size = np.unique(id_n), max(1, BATCH_BYTES // (4 * width + 16))
        filters = (ids_filter(distinct_n[start : start + size]) for start in range(0, len(distinct_n), size))
        rows = [row for each in filters for row in self.query("read vectors", each, ["id", "vector"])]
        rows.sort(key=itemgetter("id"))
        row, is_held = find_rows(np.array([row["id"] for row in rows], dtype=np.int64), id_n)
        if not is_held.all():
            raise UsageError(f"id {id_n[~is_held][0]} is not in the index of {len(self)} items")
        vectors_nD = np.array([row["vector"][:width] for row in rows], dtype=np.float32)
        return np.asarray(vectors_nD.reshape(len(rows), width)[row])

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; empty for an unknown topic."""
        return self.ids(f"array_contains(topics, {int(topic)})")

    def __len__(self) -> int:
        """Return the number of items."""
        return self.count()

    def info(self) -> dict[str, Any]:
        """Describe the collection, its server, and how it was tuned."""
        return {
            "kind": KIND,
            "items": len(self),
            "dimension": self._identity.dimension,
            "collection": self.name,
            "server": published_settings(self.connection.config),
            "tuning": self._parameters.to_record(),
        }

    def save(self, folder: Path) -> None:
        """Write the name and identity of the collection into ``folder``; the items stay on the server."""
        files.write_description(folder, {**self.info(), "identity": self._identity._asdict()})

    @classmethod
    def open(cls, folder: Path, record: dict[str, Any]) -> "MilvusIndex":
        """Open the collection of a release; a UsageError if ``MILVUS_URI`` is not an address.

        Raises:
            ArtefactError: the description is damaged, or the collection is missing or another one.
            UnavailableError: the server does not answer in time, or rejects the token.
        """
        files.verify_all(folder, record["files"], (), files.DESCRIPTION)
        try:
            identity, name = Identity(**record["identity"]), record["collection"]
            parameters = parameters_from_record(record["tuning"])
            published = published_settings(parse(MilvusConfig, record["server"], f"{folder}/{files.DESCRIPTION}"))
        except (KeyError, TypeError, ValueError, AttributeError, UsageError):
            raise ArtefactError(f"{folder}/{files.DESCRIPTION}: damaged; publish the run again") from None
        config = settings_to_open(published, os.environ)
        connection = Connection(config)
        if not connection.call("look for the collection", lambda client: client.has_collection(name)):
            raise ArtefactError(f"{config.uri}: collection {name} is gone; publish again, or roll back")
        found = connection.call("describe the collection", lambda client: read_identity(client, name))
        if found != identity:
            raise ArtefactError(f"{config.uri}: collection {name} is not the one of {folder}; publish again")
        return cls(connection, name, identity, parameters)
