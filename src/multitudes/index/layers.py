"""An immutable segment and what has gone from it since: the stone that ``Live`` is built of.

Legend: Q queries · N results · M results of all layers · D dimensions · n items.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from multitudes.index.protocol import ANY_TOPIC, Hits, Searchable, Topics
from multitudes.index.rows import find_rows
from multitudes.index.scan import cut, log_sum_exp, products

_ROWS_AT_ONCE = 65_536
_ROUNDINGS = 1_000  # a difference of float32 sums counts while it is this many times larger than their rounding


class Segment(Searchable, Protocol):
    """An index that never changes: all of ``Index`` but ``add`` and ``remove``."""

    def topics(self) -> Topics:
        """Return the topics of every item, in the order of ``ids()``."""
        ...

    def without(self, ids: NDArray[np.int64]) -> Searchable:
        """Return the segment for searches that find none of some items, which are looked up once.

        Sums are still those of all items; ``ids`` ascend.
        """
        ...


class Items(NamedTuple):
    """Items as a build takes them."""

    ids: NDArray[np.int64]
    vectors_nD: NDArray[np.float32]
    topics: Topics


@dataclass(frozen=True)
class Layer:
    """A segment, and those of its ids that were removed or that a later layer holds anew (ascending)."""

    segment: Segment
    gone: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of items that are left."""
        return len(self.segment) - len(self.gone)

    def left(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of the segment's ``ids`` that have not gone."""
        return ids[~find_rows(self.gone, ids)[1]] if len(self.gone) else ids

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say of each id whether it is here and has not gone."""
        here: NDArray[np.bool_] = find_rows(self.segment.ids(), ids)[1] & ~find_rows(self.gone, ids)[1]
        return here

    def without(self, ids: NDArray[np.int64]) -> "Layer":
        """Return the layer after the removal of ``ids``; those that it does not hold are ignored."""
        here = self.holds(ids)
        return Layer(self.segment, np.union1d(self.gone, ids[here])) if here.any() else self

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        excluded: Sequence[NDArray[np.int64]] | None,
        topic_Q: NDArray[np.int64] | None,
        log_sums: bool,
    ) -> Hits:
        """Find what is left here; see ``Index.search``."""
        hits = self._left.search(query_QD, limit, excluded=excluded, topic_Q=topic_Q, log_sums=log_sums)
        if hits.log_sum_Q is None or len(self.gone) == 0:
            return hits
        topic_Q = np.full(len(query_QD), ANY_TOPIC) if topic_Q is None else np.asarray(topic_Q)
        return hits._replace(log_sum_Q=self._log_sums(np.asarray(query_QD, np.float32), topic_Q, hits.log_sum_Q))

    @cached_property
    def _left(self) -> Searchable:
        """The segment without what has gone: made once for each change, however many searches follow."""
        return self.segment.without(self.gone) if len(self.gone) else self.segment

    def _log_sums(
        self, query_QD: NDArray[np.float32], topic_Q: NDArray[np.int64], total_Q: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Take what has gone from the sums over the whole segment; what the segment does not know stays NaN."""
        left_Q = total_Q.astype(np.float64)
        for topic in np.unique(topic_Q[np.isfinite(total_Q)]).tolist():
            ids = self.segment.ids() if topic == ANY_TOPIC else self.segment.items_of(topic)
            gone = ids[find_rows(self.gone, ids)[1]]
            if len(gone) == 0:
                continue
            where = np.flatnonzero((topic_Q == topic) & np.isfinite(total_Q))
            total, minus = left_Q[where], self._sum_over(gone, query_QD[where])
            share = -np.expm1(np.minimum(minus - total, 0))  # of the sum that is left
            rounding = np.finfo(np.float32).eps * np.maximum(1, np.abs(total))
            exact = share <= _ROUNDINGS * rounding  # next to nothing is left: the difference would be rounding alone
            with np.errstate(divide="ignore"):
                left_Q[where] = total + np.log(share)
            if exact.any():
                left_Q[where[exact]] = self._sum_over(self.left(ids), query_QD[where[exact]])
        return left_Q.astype(np.float32)

    def _sum_over(self, ids: NDArray[np.int64], query_QD: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log Σ exp(score) over some items of the segment."""
        sum_Q = np.full(len(query_QD), -np.inf)
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            vectors_nD = self.segment.vectors(ids[start : start + _ROWS_AT_ONCE])
            sum_Q = np.logaddexp(sum_Q, log_sum_exp(products(query_QD, vectors_nD)))
        return sum_Q

    def items(self) -> Items:
        """Return what is left."""
        ids, topics = self.segment.ids(), self.segment.topics()
        here = ~find_rows(self.gone, ids)[1]
        length_n = np.diff(topics.offset)
        kept = Topics.of(length_n[here], topics.topic[np.repeat(here, length_n)])
        return Items(ids[here], self.segment.vectors(ids[here]), kept)


def joined(parts: Sequence[Items]) -> Items:
    """Return the items of several parts, one after the other."""
    length_n = np.concatenate([np.diff(part.topics.offset) for part in parts])
    topic = np.concatenate([part.topics.topic for part in parts])
    return Items(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.vectors_nD for part in parts]),
        Topics.of(length_n, topic),
    )


def merged(parts: Sequence[Hits], limit: int | NDArray[np.int64]) -> Hits:
    """Return the results of the same queries in several layers as one: best first, ties by the smaller id."""
    if len(parts) == 1:
        return parts[0]
    id_QM, score_QM = np.hstack([p.id_QN for p in parts]), np.hstack([p.score_QN for p in parts])
    limit_Q = np.maximum(0, np.broadcast_to(limit, len(id_QM)))
    # The fill scores minus infinity, so it comes last.
    order_QN = np.lexsort((id_QM, -score_QM), axis=1)[:, : int(limit_Q.max(initial=0))]
    id_QN = np.take_along_axis(id_QM, order_QN, axis=1)
    score_QN = np.take_along_axis(score_QM, order_QN, axis=1)
    count_Q = np.sum([p.count_Q for p in parts], axis=0)
    sums = [p.log_sum_Q for p in parts if p.log_sum_Q is not None]
    with np.errstate(invalid="ignore"):  # what one layer does not know is not known of all
        log_sum_Q = np.logaddexp.reduce(sums, axis=0) if sums else None
    return cut(Hits(id_QN, score_QN, count_Q, log_sum_Q), limit_Q)


def gathered(layers: Sequence[Layer], of: Callable[[Layer], NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the ids that every layer has ``of`` something, ascending; no id is in two layers."""
    ids = [layer.left(of(layer)) for layer in layers]
    # Runs that are sorted already are merged by the stable kind, and sorted anew by the other.
    return ids[0] if len(ids) == 1 else np.sort(np.concatenate(ids), kind="stable")
