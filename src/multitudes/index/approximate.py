"""Requests answered by an engine that proposes candidates, as surely as its tuning says; by a scan where it cannot.

Legend: Q queries · W queries that wait · N results asked for · M proposals · D dimensions · n items.

Every candidate is ranked by its full vector. How far a query is searched is the depth at which its last result stands
among all items, the excluded ones too (``index.depth``): it is guessed, and known when the results are. Where few of
the best are excluded, as a rule, they are sieved out of the ranking, so that the queries of all users are searched
together; where many are, they are left out of the proposals, which are fewer then. What is of another topic is sieved
out. Each way the search counts if it was tuned for the depth it came to, else the query is searched again, deeper. That
holds the recall with filters as without.
"""

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial

import numpy as np
from numpy.typing import NDArray

from multitudes.index.depth import SLACK, Excluded
from multitudes.index.exact import scan_topic
from multitudes.index.order import Ranking, first, in_order, kept
from multitudes.index.postings import Kept
from multitudes.index.protocol import ANY_TOPIC, Hits
from multitudes.index.request import Request, by_topic, each_once, in_parts, put, runs
from multitudes.index.rows import Rows, find_rows
from multitudes.index.scan import no_hits, pair_keys, pair_products
from multitudes.index.selector import LeftOut, nothing
from multitudes.index.spread import Spread
from multitudes.index.tuning import Engine, Tuning, Walk

_TURNS = 3  # deeper each time; what is still not found then is scanned for
_GATHER_BYTES = 16 * 2**20  # vectors of candidates held at once


class Approximate:
    """Rows, an engine that proposes some of them, and how hard it has to try."""

    def __init__(self, rows: Rows, engine: Engine, tuning: Tuning) -> None:
        self.rows, self.engine, self.tuning = rows, engine, tuning
        self._vectors, self._masks = Kept(rows.vectors_of), Kept(rows.mask_of)
        self._spread = Spread(rows)
        self._out = nothing(len(rows))

    def without(self, ids: NDArray[np.int64]) -> "Approximate":
        """Return the same for searches that find none of some items."""
        other = copy(self)
        other._out = self._out.also(self.rows.held(ids))
        return other

    def search(self, request: Request) -> Hits:
        """Answer a request. Sums are known for topics that were scanned."""
        return by_topic(request.in_rows(self.rows), self._answer)

    def _answer(self, topic: int, request: Request) -> Hits:
        size = len(self.rows) if topic == ANY_TOPIC else len(self.rows.postings.rows(topic))
        if topic != ANY_TOPIC and self.tuning.scans(topic, size):
            return self._scanned(topic, request)
        out_Q = self._left_out(request)
        if topic == ANY_TOPIC:
            hits = self._unseen(out_Q, request)
        else:
            hits = in_parts(request, _parts(out_Q), partial(self._of_topic, topic))
        return hits._replace(log_sum_Q=np.full(len(request.limit_Q), np.nan, np.float32)) if request.log_sums else hits

    def _scanned(self, topic: int, request: Request) -> Hits:
        excluded = [out.row_E for out in self._left_out(request)]
        return scan_topic(self.rows, self._vectors, topic, request._replace(excluded=excluded))

    def _unseen(self, out_Q: Sequence[LeftOut], request: Request) -> Hits:
        """Answer queries for all items but some."""
        if not any(len(out.row_E) for out, _ in runs(out_Q)):
            return self._deepened(ANY_TOPIC, request, request.limit_Q.copy(), partial(self._plain, request))
        excluded = Excluded.of(self.rows, request.query_QD, [out.row_E for out in out_Q])
        depth_Q = excluded.guess(self._spread, self.tuning.levels, request.query_QD, request.limit_Q)
        hits = no_hits(len(depth_Q), request.width)
        # Sieved, those of the next level are fewer than twice as many proposals.
        near_Q = self.tuning.places(depth_Q) <= self.tuning.places(request.limit_Q) + 1
        sieve = partial(self._without, request, out_Q, depth_Q - request.limit_Q)
        still = self._searched(hits, request, depth_Q, np.flatnonzero(near_Q & (request.limit_Q > 0)), sieve)
        waiting_W = np.sort(np.concatenate([still, np.flatnonzero(~near_Q)]))
        for out, some in runs([out_Q[q] for q in waiting_W.tolist()]):
            where = waiting_W[some]
            asked = request.of(where)
            rank = partial(self._among, asked, excluded.rows(where), out)
            put(hits, where, self._deepened(ANY_TOPIC, asked, depth_Q[where], rank))
        return hits

    def _of_topic(self, topic: int, out: LeftOut, request: Request) -> Hits:
        """Answer queries for the items of a large topic but some."""
        depth_Q = self._thin(request.limit_Q, len(self.rows.postings.rows(topic)))
        return self._deepened(topic, request, depth_Q, partial(self._sieved, topic, request, out))

    def _deepened(
        self,
        topic: int,
        request: Request,
        depth_Q: NDArray[np.int64],
        rank: Callable[[NDArray[np.int64], Walk], Ranking],
    ) -> Hits:
        """Search each query at its depth, and deeper while that was not deep enough; in the end by a scan."""
        hits = no_hits(len(request.limit_Q), request.width)
        waiting_W = np.flatnonzero(request.limit_Q)
        for _ in range(_TURNS):
            waiting_W = self._searched(hits, request, depth_Q, waiting_W, rank)
            if len(waiting_W) == 0:
                return hits
        put(hits, waiting_W, self._scanned(topic, request.of(waiting_W)))
        return hits

    def _searched(
        self,
        hits: Hits,
        request: Request,
        depth_Q: NDArray[np.int64],
        waiting_W: NDArray[np.int64],
        rank: Callable[[NDArray[np.int64], Walk], Ranking],
    ) -> NDArray[np.int64]:
        """Search each query that waits at its depth, once; return those for which that was not deep enough.

        What the others found is written into ``hits``, and how deep each was into ``depth_Q``.
        """
        tie_W = ~request.query_QD[waiting_W].any(axis=1)  # all items: an engine proposes any of them
        still = [waiting_W[tie_W]]
        for walk, where in self.tuning.together(depth_Q, waiting_W[~tie_W]):
            if walk is None:
                still.append(where)
                continue
            found, depth_Q[where] = rank(where, walk)
            enough = (found.count_Q >= request.limit_Q[where]) & (depth_Q[where] <= SLACK * walk.depth_Q)
            put(hits, where[enough], found.rows(np.flatnonzero(enough)))
            still.append(where[~enough])
        return np.concatenate(still)

    def _left_out(self, request: Request) -> list[LeftOut]:
        """Return what each query excludes, with what has gone; the vectors of one user share it."""
        if request.excluded is None:
            return [self._out] * len(request.limit_Q)
        return each_once(request.excluded, self._out.also)

    def _thin(self, limit_Q: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """Return depths as if a topic of so many items were as dense in the ranking as it is in the corpus."""
        return np.asarray(np.ceil((limit_Q + 2 * np.sqrt(limit_Q)) * len(self.rows) / size), dtype=np.int64)

    def rank(
        self,
        request: Request,
        walk: Walk,
        wanted_Q: NDArray[np.int64] | None = None,
        among: NDArray[np.uint8] | None = None,
    ) -> Ranking:
        """Search all items, or those among some, once; what the request itself filters is ignored."""
        row_QM, score_QM = self._proposed(request.query_QD, walk, wanted_Q, among)
        hits = first(in_order(row_QM, score_QM, row_QM < 0), request.limit_Q, request.width)
        short_Q = hits.count_Q < request.limit_Q
        return self._named(Ranking(hits, np.where(short_Q, walk.depth_Q + 1, request.limit_Q)))

    def _plain(self, request: Request, where: NDArray[np.int64], walk: Walk) -> Ranking:
        """Search where nothing is filtered."""
        return self.rank(request.of(where), walk)

    def _without(
        self,
        request: Request,
        out_Q: Sequence[LeftOut],
        above_Q: NDArray[np.int64],
        where: NDArray[np.int64],
        walk: Walk,
    ) -> Ranking:
        """Search all items once, and sieve out what each query leaves out: so many of its best, it is thought."""
        asked = request.of(where)
        wanted_Q = np.minimum(walk.proposals_Q, _spared(walk, self._own(asked)) + above_Q[where])
        row_QM, score_QM = self._proposed(asked.query_QD, walk, wanted_Q)
        deep_Q = (SLACK * walk.depth_Q).astype(np.int64)  # what stands deeper was not tuned for
        out_QM = _are_left_out(row_QM, [out_Q[q] for q in where.tolist()])
        key_QM = in_order(row_QM, score_QM, out_QM)[:, : deep_Q.max()]
        key_QM |= np.arange(key_QM.shape[1]) >= deep_Q[:, None]
        hits, depth_Q = kept(key_QM, asked.limit_Q, request.width)
        return self._named(Ranking(hits, np.where(hits.count_Q < asked.limit_Q, walk.depth_Q + 1, depth_Q)))

    def _among(
        self, request: Request, excluded: Excluded, out: LeftOut, where: NDArray[np.int64], walk: Walk
    ) -> Ranking:
        """Search as far as a walk goes, for no more than what is left without the excluded."""
        asked = request.of(where)
        hits = self.rank(asked, walk, _spared(walk, self._own(asked)), out.among).hits
        depth_W = excluded.rows(where).depth(hits.score_QN, asked.limit_Q)
        short_W = hits.count_Q < asked.limit_Q
        return Ranking(hits, np.where(short_W, np.maximum(depth_W, walk.depth_Q + 1), depth_W))

    def _own(self, request: Request) -> Walk:
        """Return how the queries would be searched if nothing were excluded."""
        return Walk.of([self.tuning.levels[at] for at in self.tuning.places(request.limit_Q).tolist()])

    def _sieved(self, topic: int, request: Request, out: LeftOut, where: NDArray[np.int64], walk: Walk) -> Ranking:
        """Search all items once for those of a topic but some."""
        asked = request.of(where)
        row_QM, score_QM = self._proposed(asked.query_QD, walk)
        out_QM = ~self._masks.of(topic)[row_QM]
        out_QM |= find_rows(out.row_E, row_QM)[1]
        hits, depth_Q = kept(in_order(row_QM, score_QM, out_QM), asked.limit_Q, request.width)
        short_Q = hits.count_Q < asked.limit_Q
        # Where too few were kept, what is missing lies as thin below as above.
        thin_Q = (row_QM >= 0).sum(axis=1) * (asked.limit_Q + 1) // (hits.count_Q + 1)
        return self._named(Ranking(hits, np.where(short_Q, np.maximum(thin_Q, walk.depth_Q + 1), depth_Q)))

    def _proposed(
        self,
        query_QD: NDArray[np.float32],
        walk: Walk,
        wanted_Q: NDArray[np.int64] | None = None,
        among: NDArray[np.uint8] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows that the engine proposes, as many as the walk does if not said, and their exact scores."""
        row_QM = self.engine.propose(query_QD, walk, walk.proposals_Q if wanted_Q is None else wanted_Q, among)
        row_QM.sort(axis=1)  # read from the front to the back
        return row_QM, self._scores(query_QD, row_QM)

    def _named(self, ranking: Ranking) -> Ranking:
        """Put the ids in the place of the rows."""
        return ranking._replace(hits=self.rows.named(ranking.hits))

    def _scores(self, query_QD: NDArray[np.float32], row_QM: NDArray[np.int64]) -> NDArray[np.float32]:
        score_QM = np.empty(row_QM.shape, dtype=np.float32)
        step = max(1, _GATHER_BYTES // max(1, row_QM.shape[1] * query_QD.shape[1] * 4))
        for start in range(0, len(row_QM), step):
            part = slice(start, start + step)
            score_QM[part] = pair_products(query_QD[part, None], self.rows.at(row_QM[part]))
        score_QM[row_QM < 0] = -np.inf
        return score_QM


def _spared(walk: Walk, own: Walk) -> NDArray[np.int64]:
    """Return the proposals for results that are tuned at ``own`` and stand as deep as those of ``walk``.

    What the codes misplace lies around the last result, the more the deeper it stands. (1 M × 64, the best thousand of
    a user excluded, at a promise of 0.97: recall 0.978, and 0.959 with the proposals of ``own``.)
    """
    return (own.proposals_Q + walk.proposals_Q - (walk.depth_Q - own.depth_Q) + 1) // 2


def _are_left_out(row_QM: NDArray[np.int64], out_Q: Sequence[LeftOut]) -> NDArray[np.bool_]:
    """Say of each row that queries propose, ascending, whether the query leaves it out; looked up for all at once."""
    each = runs(out_Q)
    user_Q = np.repeat(np.arange(len(each)), [some.stop - some.start for _, some in each])
    user_E = np.repeat(np.arange(len(each)), [len(out.row_E) for out, _ in each])
    row_E = np.concatenate([out.row_E for out, _ in each])
    return find_rows(pair_keys(user_E, row_E), pair_keys(user_Q[:, None], row_QM))[1]


def _parts(out_Q: Sequence[LeftOut]) -> list[tuple[LeftOut, NDArray[np.int64]]]:
    """Return what queries leave out, and those that leave out the same, which the vectors of one user share."""
    return [(out, np.arange(some.start, some.stop)) for out, some in runs(out_Q)]
