"""The protocol of an index: the seam between retrieval and nearest-neighbour engines.

Every implementation guarantees this (``tests/index/test_contract.py``):

* Results are best first, with ties by the smaller id. The score is the inner product.
* A search returns as many results as asked for, if the index holds that many after exclusion and topic; never an
  excluded id, and never an item of another topic.
* A query gets the same answer alone and in a batch.
* The recall is the one that ``info()`` states, with and without filters.

Legend: Q queries · N results asked for · D dimensions · n items held.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from multitudes.config import Config
from multitudes.progress import Progress, silent

NO_ID = -1  # fills a row of Hits beyond its count
ANY_TOPIC = 0  # as a topic: all items; topics are numbered from 1


class Topics(NamedTuple):
    """The topics of n items, in the order of their ids: those of item i are ``topic[offset[i] : offset[i + 1]]``."""

    offset: NDArray[np.int64]  # n + 1
    topic: NDArray[np.int64]

    @classmethod
    def from_counts(cls, length_n: NDArray[np.int64], topic: NDArray[np.int64]) -> "Topics":
        """Return the topics of items with ``length_n`` topics each, given one item after the other."""
        return cls(np.concatenate([[0], np.cumsum(length_n)]).astype(np.int64), topic)


class Hits(NamedTuple):
    """The results of Q queries, best first. A row with fewer than N results ends in ``NO_ID`` and minus infinity."""

    id_QN: NDArray[np.int64]
    score_QN: NDArray[np.float32]
    count_Q: NDArray[np.int64]

    def ids(self, query: int) -> NDArray[np.int64]:
        """Return the ids that a query found, without the fill."""
        return self.id_QN[query, : self.count_Q[query]]

    def scores(self, query: int) -> NDArray[np.float32]:
        """Return the scores of ``ids(query)``."""
        return self.score_QN[query, : self.count_Q[query]]

    def select(self, queries: slice | NDArray[np.int64]) -> "Hits":
        """Return the hits of some of the queries."""
        return Hits(self.id_QN[queries], self.score_QN[queries], self.count_Q[queries])


class Index(Protocol):
    """Holds vectors under int64 ids, and finds those with the largest inner product. Items may come and go."""

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Find the best ids of each query.

        Args:
            query_QD: the queries. Pass all vectors of a request in one call.
            limit: N, the number of results: for all queries, or one number for each (Q,). Hits are as wide as the
                largest.
            excluded: for each query an array of ids that must not be returned. Ids that the index does not hold are
                ignored; several queries may share one array.
            topic_Q: for each query the topic to which its items are restricted; ``ANY_TOPIC``: all items. An unknown
                topic has no items.

        Returns:
            The hits of each query (Q, N).

        Raises:
            UsageError: the queries have another width than the index, or ``limit``, ``excluded`` or ``topic_Q`` another
                length than the queries.
            DataError: a query is not finite.
            UnavailableError: a remote engine did not answer in time.
        """

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each.

        Raises:
            UsageError: an id is not in the index.
        """

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; empty for an unknown topic."""

    def __len__(self) -> int:
        """Return the number of items."""

    def info(self) -> dict[str, Any]:
        """Describe the index for people and manifests: kind, items, dimension, and how it was tuned."""

    def save(self, folder: Path) -> None:
        """Write the index into ``folder``, which must exist, with a checksum for every file."""

    def add(
        self, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None, names: pl.DataFrame | None = None
    ) -> None:
        """Add items, or replace those that the index holds already. The next search sees all of them or none.

        Args:
            ids: integers, distinct (n).
            vectors: one row for each id (n, D).
            topics: of the items, in the order of ``ids``; None: the items have no topics.
            names: item_id and title of the items, likewise, for others who search the server; None: unknown.

        Raises:
            DataError: a vector is not finite or has another width, or ids are repeated or not integers. Nothing is
                added then.
        """

    def remove(self, ids: ArrayLike) -> None:
        """Remove items. The next search does not find them.

        Args:
            ids: of items that the index holds.

        Raises:
            UsageError: the index does not hold an id. Nothing is removed then.
        """

    def activate(self, release: str) -> None:
        """Let other programs find an index on a server, once its release, a version, is the current one.

        Raises:
            UnavailableError: the server did not answer in time.
        """
        del release  # an embedded index appears, and disappears, with the folder of its release

    def discard(self) -> None:
        """Remove the index of a release that did not appear from its server."""
        return


class IndexKind(Protocol):
    """What an entry point of ``multitudes.indexes`` names: how indexes of its kind are built and opened."""

    settings: type[Config]  # the table [index.options]

    def check(self, config: Any) -> None:  # noqa: ANN401 (an object of ``settings``)
        """Check that a server can hold an index, before anything is computed for it.

        Args:
            config: the settings of this kind.

        Raises:
            UnavailableError: it did not answer in time.
            UsageError: it holds something else under that name.
        """

    def build(
        self,
        ids: ArrayLike,
        vectors: ArrayLike,
        config: Any,  # noqa: ANN401 (an object of ``settings``)
        *,
        topics: Topics | None = None,
        names: pl.DataFrame | None = None,
        queries: NDArray[np.float32] | None = None,
        recall: float = 0.97,
        progress: Progress = silent,
    ) -> Index:
        """Build an index, to which items can be added and from which they can be removed.

        Args:
            ids: integers, distinct (n).
            vectors: one row for each id (n, D).
            config: the settings of this kind.
            topics: of the items, in the order of ``ids``.
            names: item_id and title of the items, likewise; see ``Index.add``.
            queries: held-out user vectors to tune on (Q, D); without any, items with noise replace them.
            recall: share of the exact answer to find.
            progress: called during the build.

        Returns:
            The index, which nobody finds before it is activated.

        Raises:
            DataError: a vector is not finite, or ids are repeated.
            UnavailableError: a server did not answer in time.
        """

    def open(self, folder: Path, record: dict[str, Any]) -> Index:
        """Open the index of a release.

        Args:
            folder: of the release's index, in which ``Index.save`` wrote.
            record: the description in it.

        Returns:
            The index.

        Raises:
            ArtefactError: the description is damaged, or the index is missing or another one.
            UnavailableError: a server did not answer in time.
        """
