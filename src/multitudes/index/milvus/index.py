"""The index over a Milvus server.

An object of this class is bound to one collection by the collection's own name, which no other release ever gets, and
never to the alias. One answer takes several calls (one for each topic, deeper ones, the reading of vectors), and the
alias may be moved between two of them: through it, one answer could mix the items of two releases, and the same number
means another item in each. By name that cannot happen, whatever is published meanwhile. The alias tells other programs
which collection is the current one.

Legend: Q queries · N results · D dimensions.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.config import parse
from multitudes.errors import ArtefactError, DataError, UsageError
from multitudes.index import files
from multitudes.index.item_table import check_ids, find_rows, make_item_table
from multitudes.index.milvus.client_library import MilvusClient
from multitudes.index.milvus.collection import (
    MAX_RESULTS,
    Collection,
    Identity,
    ids_filter,
    insert_batches,
    max_topics_per_item,
    read_identity,
)
from multitudes.index.milvus.config import MilvusConfig
from multitudes.index.milvus.connection import Connection, Deadline
from multitudes.index.milvus.search import SearchParameters, parameters_from_record, search_topic
from multitudes.index.protocol import Hits, Topics
from multitudes.index.request import check_request, search_by_topic

KIND = "milvus"


class MilvusIndex:
    """The whole ``Index``, on a server. Threads may share it.

    Additions and removals are in the collection at once and for all who search it. The next search of this object sees
    them (it waits for the server's clock, up to 0.2 s, measured); other processes see them a moment later. An addition
    beyond some megabytes is sent in several messages, so that others may see a part of it for a moment.
    """

    def __init__(self, connection: Connection, name: str, identity: Identity, effort: SearchParameters) -> None:
        self._collection = Collection(connection, name)
        self._identity = identity
        self._parameters = effort

    @property
    def name(self) -> str:
        """The collection's own name."""
        return self._collection.name

    @property
    def connection(self) -> Connection:
        """The way to the server."""
        return self._collection.connection

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
        log_sums: bool = False,
    ) -> Hits:
        """Find the best ids of each query; see ``Index.search``. Sums over all items are not known: NaN.

        Raises:
            UsageError: also where more than 16,384 ids are asked for, which the server does not give.
            UnavailableError: the server did not answer in time; nothing was retried beyond that.
        """
        most = int(np.max(limit, initial=0))
        items = len(self) if most >= MAX_RESULTS else most
        request = check_request(
            query_QD, limit, excluded, topic_Q, log_sums, dimension=self._identity.dimension, items=items
        )
        if request.max_limit > MAX_RESULTS:
            raise UsageError(
                f"{request.max_limit} results are asked for; Milvus gives up to {MAX_RESULTS}: ask for fewer"
            )
        with Deadline(self.connection.timeout_s):  # one deadline for all the calls of an answer
            return search_by_topic(
                request, lambda topic, part: search_topic(self._collection, self._parameters, topic, part)
            )

    def add(self, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None) -> None:
        """Add items, or replace those that are held already; see ``Index.add``. May be repeated after a failure."""
        if np.size(ids) == np.size(vectors) == 0:
            return
        rows = make_item_table(ids, vectors, topics)
        if rows.dimension != self._identity.dimension:
            expected = f"the index holds {self._identity.dimension}. Nothing was added"
            raise DataError(f"the vectors to add have {rows.dimension} dimensions; {expected}")
        most = max_topics_per_item(rows.postings.topics(len(rows)))
        if most > self._identity.capacity:
            raise DataError(f"an item has {most} topics; this collection takes up to {self._identity.capacity}")
        for batch in insert_batches(rows, self._identity.length):
            self._change(f"add {len(rows)} items", partial(MilvusClient.upsert, collection_name=self.name, data=batch))

    def remove(self, ids: ArrayLike) -> None:
        """Remove items; see ``Index.remove``."""
        if np.size(ids) == 0:
            return
        id_n = np.unique(check_ids(ids))
        held_n = self._collection.ids(ids_filter(id_n))
        if len(held_n) < len(id_n):
            missing = np.setdiff1d(id_n, held_n)[0]
            raise UsageError(f"id {missing} is not in the index of {len(self)} items. Nothing was removed")
        self._change(f"remove {len(id_n)} items", lambda client: client.delete(self.name, filter=ids_filter(id_n)))
        self._collection.wait_until_consistent()

    def _change(self, what: str, request: Callable[[MilvusClient], Any]) -> None:
        self._collection.session = True  # before, since a change that failed here may have reached the server
        self.connection.call(what, request)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each; see ``Index.vectors``."""
        id_n = np.asarray(ids, dtype=np.int64)
        found, vectors_nD = self._collection.vectors(np.unique(id_n), self._identity.dimension)
        order = np.argsort(found)
        row, held = find_rows(found[order], id_n)
        if not held.all():
            raise UsageError(f"id {id_n[~held][0]} is not in the index of {len(self)} items")
        return np.asarray(vectors_nD[order][row])

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return self._collection.ids()

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; none where the topic is not known."""
        return self._collection.ids(f"array_contains(topics, {int(topic)})")

    def __len__(self) -> int:
        """Return the number of items."""
        return self._collection.count()

    def info(self) -> dict[str, Any]:
        """Describe the collection, where it is, and how it was tuned."""
        return {
            "kind": KIND,
            "items": len(self),
            "dimension": self._identity.dimension,
            "collection": self.name,
            "server": self.connection.config.model_dump(),
            "tuning": self._parameters.to_record(),
        }

    def save(self, folder: Path) -> None:
        """Write into ``folder`` where the collection is and what it was published with; items stay on the server."""
        files.write_description(folder, {**self.info(), "identity": self._identity._asdict()})

    @classmethod
    def load(cls, folder: Path) -> "MilvusIndex":
        """Open the collection of a release, and see that it is the one that was published with it.

        Raises:
            ArtefactError: the description is damaged, or the collection is gone or another one.
            UnavailableError: the server does not answer in time, or refuses who asks.
        """
        return cls.open(folder, files.read_description(folder))

    @classmethod
    def open(cls, folder: Path, record: dict[str, Any]) -> "MilvusIndex":
        """Open the collection that ``record``, read from the folder of the release, describes; see ``load``."""
        files.verify_all(folder, record)
        try:
            identity, name, effort = (
                Identity(**record["identity"]),
                record["collection"],
                parameters_from_record(record["tuning"]),
            )
            config = parse(MilvusConfig, record["server"], f"{folder}/{files.DESCRIPTION}")
        except (KeyError, TypeError, UsageError):
            raise ArtefactError(f"{folder}/{files.DESCRIPTION}: damaged; publish the run again") from None
        connection = Connection(config)
        if not connection.call("look for the collection", lambda client: client.has_collection(name)):
            raise ArtefactError(f"{config.uri}: collection {name} is gone; publish again, or roll back")
        found = connection.call("describe the collection", lambda client: read_identity(client, name))
        if found != identity:
            raise ArtefactError(f"{config.uri}: collection {name} is not the one of {folder}; publish again")
        return cls(connection, name, identity, effort)
