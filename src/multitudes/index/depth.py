"""How deep a request has to be searched where some of the best are excluded: guessed before, so that once is enough.

The scores of the excluded items are one small product. How many of them stand above the last result would be known if
that result's score were; so the score is guessed, from how high above the mean a result of that place stood when the
index was tuned. A wrong guess costs time and never recall: the search itself shows how deep its last result stands.

Legend: Q queries · W queries that wait · L levels · E excluded items · D dimensions.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.rows import Rows
from multitudes.index.spread import Spread
from multitudes.index.tuning import Level

SLACK = 1.03  # so much deeper than was tuned is found almost as surely; a level has more to spare
_LOOKED_AT = 1_000  # excluded items, evenly spaced: a guess needs no more of the many thousands that have gone
_ALL = np.iinfo(np.int64).max  # a place for which a level makes all its proposals
_PART = 0.7  # of a level's depth and proposals: enough for places so high


class Depths(NamedTuple):
    """How deep each query is searched, and at which place its last result is thought to stand; both can change."""

    depth_Q: NDArray[np.int64]
    place_Q: NDArray[np.int64]

    def levels(
        self, levels: Sequence[Level], waiting_W: NDArray[np.int64]
    ) -> Iterator[tuple[Level | None, NDArray[np.int64]]]:
        """Yield the queries that are searched alike, with their level; None where none is deep enough.

        Where the last result stands much higher than the level is deep, as many proposals less do. There are two such
        parts and no more, since every search of its own costs; and a query has as many as it would have alone.
        """
        at_W = np.searchsorted([level.depth for level in levels], self.depth_Q[waiting_W])
        deep_W = np.array([*(level.depth for level in levels), 0])[at_W]
        high_W = self.place_Q[waiting_W] <= _PART * deep_W
        for at, high in sorted(set(zip(at_W.tolist(), high_W.tolist(), strict=True))):
            where = waiting_W[(at_W == at) & (high_W == high)]
            if at == len(levels):
                yield None, where
            else:
                yield (_higher(levels[at]) if high else levels[at]), where


def _higher(level: Level) -> Level:
    return level._replace(proposals=int(np.ceil(_PART * level.proposals)))


def plain(limit_Q: NDArray[np.int64]) -> Depths:
    """Return the depths of queries from which nothing is known to be filtered: those that were tuned, as tuned."""
    return Depths(limit_Q.copy(), np.full(len(limit_Q), _ALL))


def guessed(
    rows: Rows,
    spread: Spread,
    levels: Sequence[Level],
    query_QD: NDArray[np.float32],
    limit_Q: NDArray[np.int64],
    row_E: NDArray[np.int64],
) -> Depths:
    """Return the depths of queries that exclude the items ``row_E``; as if they were none, where heights are not known.

    The last result stands within the depth, and the middle one in its upper half: ``approximate`` asks as much.
    """
    known = [(np.log(level.depth), level.height) for level in levels if level.height is not None]
    if len(row_E) == 0 or not known:
        return plain(limit_Q)
    step = max(1, len(row_E) // _LOOKED_AT)
    row_E = row_E[::step]
    # A product of its own for each query, so that it is searched alike alone and in a batch.
    score_QE = np.matmul(rows.vectors_nD[row_E], query_QD[:, :, None])[:, :, 0]
    mean_Q, deviation_Q = spread.of(query_QD)
    log_depth_L, height_L = zip(*known, strict=True)

    def above(place_Q: NDArray[np.int64]) -> NDArray[np.int64]:
        height_Q = np.interp(np.log(np.maximum(1, place_Q)), log_depth_L, height_L)
        return np.asarray((score_QE > (mean_Q + height_Q * deviation_Q)[:, None]).sum(axis=1) * step)

    place_Q, middle_Q = (_place(above, nth_Q, len(row_E) * step) for nth_Q in (limit_Q, (limit_Q + 1) // 2))
    depth_Q = np.ceil(np.maximum(place_Q, 2 * middle_Q - 1) / SLACK).astype(np.int64)
    return Depths(np.maximum(limit_Q, depth_Q), np.where(place_Q > limit_Q, place_Q, _ALL))


def _place(
    above: Callable[[NDArray[np.int64]], NDArray[np.int64]], nth_Q: NDArray[np.int64], excluded: int
) -> NDArray[np.int64]:
    """Return the first place down to which there are ``nth_Q`` results besides those that are excluded."""
    least_Q, most_Q = nth_Q, nth_Q + excluded
    for _ in range(excluded.bit_length()):
        place_Q = (least_Q + most_Q) // 2
        enough_Q = place_Q - above(place_Q) >= nth_Q
        least_Q, most_Q = np.where(enough_Q, least_Q, place_Q + 1), np.where(enough_Q, place_Q, most_Q)
    return most_Q
