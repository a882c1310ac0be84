"""The protocol of an index: the seam between retrieval and nearest-neighbour engines.

Every implementation guarantees this (``tests/index/test_contract.py``):

* Results are best first, with ties by the smaller id. The score is the inner product.
* A search returns as many results as asked for, if the index holds that many after exclusion and topic; never an
  excluded id, and never an item of another topic.
* A query gets the same answer alone and in a batch.
* The recall is the one that ``info()`` states, with and without filters.

``sort_keys`` packs the score and the row of a candidate into one integer, so that one sort ranks candidates with ties
by the smaller row. NumPy sorts integers faster than it argsorts floats: 12 × 722 candidates take 0.13 ms instead of
0.32 on one core. The lowest bit of a key is 1 if a filter removes the candidate. A removed candidate keeps its rank, so
the rank of the last result is known.

Legend: Q queries · M candidates · R results of all queries, flat · N results asked for · D dimensions · n items held.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.config import Config
from multitudes.progress import Progress, silent

T = TypeVar("T")
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


class Searchable(Protocol):
    """Holds vectors under int64 ids, and finds those with the largest inner product."""

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
        ...

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each.

        Raises:
            UsageError: an id is not in the index.
        """
        ...

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        ...

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; empty for an unknown topic."""
        ...

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def info(self) -> dict[str, Any]:
        """Describe the index for people and manifests: kind, items, dimension, and how it was tuned."""
        ...

    def save(self, folder: Path) -> None:
        """Write the index into ``folder``, which must exist, with a checksum for every file."""
        ...


class Index(Searchable, Protocol):
    """A searchable index to which items can be added and from which they can be removed."""

    def add(self, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None) -> None:
        """Add items, or replace those that the index holds already. The next search sees all of them or none.

        Args:
            ids: integers, distinct (n).
            vectors: one row for each id (n, D).
            topics: of the items, in the order of ``ids``; None: the items have no topics.

        Raises:
            DataError: a vector is not finite or has another width, or ids are repeated or not integers. Nothing is
                added then.
        """
        ...

    def remove(self, ids: ArrayLike) -> None:
        """Remove items. The next search does not find them.

        Args:
            ids: of items that the index holds.

        Raises:
            UsageError: the index does not hold an id. Nothing is removed then.
        """
        ...


class RemoteIndex(Index, Protocol):
    """An index outside of the folder of its release, such as on a server. The folder says which one it is."""

    def activate(self) -> None:
        """Let other programs find this index, once its release is the current one.

        Raises:
            UnavailableError: the server did not answer in time.
        """
        ...

    def discard(self) -> None:
        """Remove the index of a release that did not appear."""
        ...


class IndexKind(Protocol):
    """What an entry point of ``multitudes.indexes`` names: how indexes of its kind are built and opened."""

    settings: type[Config]  # the table [index.options]

    def build(
        self,
        ids: ArrayLike,
        vectors: ArrayLike,
        config: Any,  # noqa: ANN401 (an object of ``settings``)
        *,
        topics: Topics | None = None,
        queries: NDArray[np.float32] | None = None,
        recall: float = 0.97,
        progress: Progress = silent,
    ) -> RemoteIndex:
        """Build an index; the arguments are those of ``factory.build_index``.

        Args:
            ids: integers, distinct (n).
            vectors: one row for each id (n, D).
            config: the settings of this kind.
            topics: of the items, in the order of ``ids``.
            queries: held-out user vectors to tune on (Q, D).
            recall: share of the exact answer to find.
            progress: called during the build.

        Returns:
            The index, which nobody finds before it is activated.

        Raises:
            DataError: a vector is not finite, or ids are repeated.
            UnavailableError: a server did not answer in time.
        """
        ...

    def open(self, folder: Path, record: dict[str, Any]) -> RemoteIndex:
        """Open the index of a release.

        Args:
            folder: of the release's index, in which ``RemoteIndex.save`` wrote.
            record: the description in it.

        Returns:
            The index.

        Raises:
            ArtefactError: the description is damaged, or the index is missing or another one.
            UnavailableError: a server did not answer in time.
        """
        ...


class Segment(Searchable, Protocol):
    """An index that never changes: everything of ``Index`` but ``add`` and ``remove``."""

    def topics(self) -> Topics:
        """Return the topics of every item, in the order of ``ids()``."""
        ...

    def have_topics(self, ids: NDArray[np.int64], topic_T: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which items have which topics.

        Args:
            ids: of n items; one that the index does not hold has no topic.
            topic_T: the topics.

        Returns:
            Whether an item has a topic (T, n).
        """
        ...

    def without(self, ids: NDArray[np.int64]) -> Searchable:
        """Return a view whose searches do not find some items; they are looked up once, not in each search.

        Args:
            ids: ascending.
        """
        ...


class Items(NamedTuple):
    """Items as an index is built from them."""

    ids: NDArray[np.int64]
    vectors_nD: NDArray[np.float32]
    topics: Topics


_MAGNITUDE_BITS = np.int32(0x7FFFFFFF)  # all bits but the sign
_LOW_WORD = 0xFFFFFFFF  # of a key: 31 bits of the row, and the bit of the filter


class Ranking(NamedTuple):
    """The hits of one search, and the depth of its last result among all candidates."""

    hits: Hits
    depth_Q: NDArray[np.int64]


def empty_hits(n_queries: int, limit: int) -> Hits:
    """Return the hits of queries that found nothing."""
    return Hits(
        np.full((n_queries, limit), NO_ID, dtype=np.int64),
        np.full((n_queries, limit), -np.inf, dtype=np.float32),
        np.zeros(n_queries, dtype=np.int64),
    )


def sort_keys(
    row_QM: NDArray[np.int64], score_QM: NDArray[np.float32], removed_QM: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return a key for each candidate, best first. A negative row means no candidate; its key comes last."""
    bits_QM = (score_QM + np.float32(0)).view(np.int32)  # turns minus zero into zero, so that they tie
    descending_QM = ~(bits_QM ^ ((bits_QM >> 31) & _MAGNITUDE_BITS))  # the floats as integers, largest first
    key_QM = descending_QM.astype(np.int64) << 32
    key_QM |= (row_QM & _MAGNITUDE_BITS) << 1
    key_QM |= removed_QM | (row_QM < 0)
    key_QM.sort(axis=1)
    return key_QM


def top_unfiltered(key_QM: NDArray[np.int64], limit_Q: NDArray[np.int64], width: int) -> Hits:
    """Return the best rows of each query if no filter removes a candidate."""
    key_QN = key_QM[:, :width]
    found_QN = (key_QN & 1) == 0
    found_QN &= np.arange(key_QN.shape[1]) < limit_Q[:, None]
    hits = empty_hits(len(limit_Q), width)
    np.copyto(hits.id_QN[:, : key_QN.shape[1]], key_rows(key_QN), where=found_QN)
    np.copyto(hits.score_QN[:, : key_QN.shape[1]], _key_scores(key_QN), where=found_QN)
    return hits._replace(count_Q=found_QN.sum(axis=1))


def top_filtered(key_QM: NDArray[np.int64], limit_Q: NDArray[np.int64], width: int) -> Ranking:
    """Return the best rows of each query that no filter removes.

    The depth is that of an unfiltered search that finds its results as reliably. It contains the last result, and the
    mean rank of the results is in its upper half, as in an unfiltered search. Items of lower rank are found less
    reliably, so if the best items are excluded, twice the depth is needed. (1 M × 64, the best hundred of each query
    excluded, limit 100, recall target 0.97: recall 0.981, and 0.965 without this.)
    """
    kept_QM = (key_QM & 1) == 0
    nth_QM = np.cumsum(kept_QM, axis=1)
    kept_QM &= nth_QM <= limit_Q[:, None]
    query_R, column_R = np.nonzero(kept_QM)
    key_R, nth_R = key_QM[query_R, column_R], nth_QM[query_R, column_R] - 1
    hits = empty_hits(len(limit_Q), width)
    hits.id_QN[query_R, nth_R] = key_rows(key_R)
    hits.score_QN[query_R, nth_R] = _key_scores(key_R)
    count_Q = kept_QM.sum(axis=1)
    last_rank_Q, rank_sum_Q = np.zeros_like(count_Q), np.bincount(query_R, column_R + 1, minlength=len(limit_Q))
    last_rank_Q[query_R] = column_R + 1  # columns ascend within a query, so the last one is written last
    depth_Q = np.maximum(last_rank_Q, np.ceil(2 * rank_sum_Q / np.maximum(1, count_Q) - 1).astype(np.int64))
    return Ranking(hits._replace(count_Q=count_Q), depth_Q)


def key_rows(key_QM: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows in keys of ``sort_keys``."""
    return np.asarray((key_QM & _LOW_WORD) >> 1)


def _key_scores(key_R: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the scores in keys of ``sort_keys``."""
    ascending_R = ~(key_R >> 32).astype(np.int32)
    return np.asarray((ascending_R ^ ((ascending_R >> 31) & _MAGNITUDE_BITS)).view(np.float32))


def rank_candidates(
    query: NDArray[np.int64],
    ids: NDArray[np.int64],
    scores: NDArray[np.float32],
    limit_Q: NDArray[np.int64],
    width: int,
) -> Hits:
    """Return the hits of flat candidates, which ascend by query and then by id: best first, ties by the smaller id."""
    if len(limit_Q) == 1:
        return top_hits(ids[None], scores[None], limit_Q, width)
    count_Q = np.bincount(query, minlength=len(limit_Q))
    column = np.arange(len(query)) - np.repeat(np.cumsum(count_Q) - count_Q, count_Q)
    candidates = empty_hits(len(limit_Q), int(count_Q.max(initial=0)))
    candidates.id_QN[query, column] = ids
    candidates.score_QN[query, column] = scores
    return top_hits(candidates.id_QN, candidates.score_QN, limit_Q, width)


def top_hits(id_QM: NDArray[np.int64], score_QM: NDArray[np.float32], limit_Q: NDArray[np.int64], width: int) -> Hits:
    """Return the ``limit_Q`` best of M candidates of each query, which ascend by id; minus infinity is no candidate."""
    order_QN = np.argsort(-score_QM, axis=1, kind="stable")[:, :width]
    hits = empty_hits(len(score_QM), width)
    found = order_QN.shape[1]
    query_Q1 = np.arange(len(order_QN))[:, None]  # NumPy's take_along_axis takes three times as long
    hits.score_QN[:, :found] = score_QM[query_Q1, order_QN]
    hits.id_QN[:, :found] = id_QM[query_Q1, order_QN]
    is_none_QN = (hits.score_QN == -np.inf) | (np.arange(width) >= limit_Q[:, None])
    hits.score_QN[is_none_QN], hits.id_QN[is_none_QN] = -np.inf, NO_ID
    return hits._replace(count_Q=width - is_none_QN.sum(axis=1))


def truncate_hits(hits: Hits, limit_Q: NDArray[np.int64]) -> Hits:
    """Return at most ``limit_Q`` hits for each query."""
    if not (hits.count_Q > limit_Q).any():
        return hits
    beyond_QN = np.arange(hits.id_QN.shape[1]) >= limit_Q[:, None]
    return Hits(
        np.where(beyond_QN, NO_ID, hits.id_QN),
        np.where(beyond_QN, np.float32(-np.inf), hits.score_QN),
        np.minimum(hits.count_Q, limit_Q),
    )


def concatenate_hits(chunks: Sequence[Hits]) -> Hits:
    """Return the hits of consecutive queries as one; all have the same width."""
    if len(chunks) == 1:
        return chunks[0]
    return Hits(
        np.concatenate([chunk.id_QN for chunk in chunks]),
        np.concatenate([chunk.score_QN for chunk in chunks]),
        np.concatenate([chunk.count_Q for chunk in chunks]),
    )


def write_hits(hits: Hits, queries: NDArray[np.int64], found: Hits) -> None:
    """Write the hits of some queries into the hits of all, which are at least as wide."""
    width = found.id_QN.shape[1]
    hits.id_QN[queries, :width], hits.id_QN[queries, width:] = found.id_QN, NO_ID
    hits.score_QN[queries, :width], hits.score_QN[queries, width:] = found.score_QN, -np.inf
    hits.count_Q[queries] = found.count_Q


def merge_hits(layers: Sequence[Hits], limit: int | NDArray[np.int64]) -> Hits:
    """Merge the hits of the same queries in several layers: best first, ties by the smaller id."""
    if len(layers) == 1:
        return layers[0]
    id_QM, score_QM = np.hstack([hits.id_QN for hits in layers]), np.hstack([hits.score_QN for hits in layers])
    limit_Q = np.maximum(0, np.broadcast_to(limit, len(id_QM)))
    # The fill scores minus infinity, so it comes last.
    order_QN = np.lexsort((id_QM, -score_QM), axis=1)[:, : int(limit_Q.max(initial=0))]
    id_QN = np.take_along_axis(id_QM, order_QN, axis=1)
    score_QN = np.take_along_axis(score_QM, order_QN, axis=1)
    count_Q = np.sum([hits.count_Q for hits in layers], axis=0)
    return truncate_hits(Hits(id_QN, score_QN, count_Q), limit_Q)


def find_rows(
    ids: NDArray[np.integer[Any]], wanted: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the row of each wanted id in the sorted ``ids``, and whether it is there."""
    if len(ids) == 0:
        return np.zeros(wanted.shape, dtype=np.int64), np.zeros(wanted.shape, dtype=np.bool_)
    first, last = int(ids[0]), int(ids[-1])
    if last - first == len(ids) - 1:  # no gaps, as with item numbers: no search needed
        row = np.minimum(np.maximum(wanted, first), last) - first
    else:
        row = np.minimum(ids.searchsorted(wanted), len(ids) - 1)
    return row, ids.take(row) == wanted


def identity_runs(values: Sequence[T]) -> list[tuple[T, slice]]:
    """Return each run of successive values that are the same object, with its positions."""
    starts = [q for q in range(len(values)) if q == 0 or values[q] is not values[q - 1]]
    return [(values[a], slice(a, b)) for a, b in pairwise([*starts, len(values)])]
