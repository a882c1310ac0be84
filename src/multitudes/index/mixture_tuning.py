"""Tune the search for mixtures: the cheapest parameters for each depth that find enough of the exact list.

The users are real ones with the shares of their vectors. Half of them tune, the other half measure the result. What is
measured is the share of the exact list that the search finds, with its own estimate of the normalisers.

Items that a user excludes count as results, but need not be found. Those are mostly items of the history, which are
harder to find than others: the vectors were made from them, so they are among the best items in lists that are far
from the vectors. (A million latent vectors, seven free ones for each user: half of the best ten items are of the
history. 490 pairs find .97 of all ten, 100 pairs .97 of the others.)

Topics bring a part of the list beside the walk, so users with topics need fewer pairs. Each user is tuned without them
too, for those who follow nothing or little.

Legend: K vectors of a user · n items.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.engine import Level, RecallTarget, geometric_efforts
from multitudes.index.hits import empty_hits
from multitudes.index.inverted_mixture import MixtureWalk, WalkScores
from multitudes.index.mixture import NO_IDS, MixtureList, MixtureQuery, log_priors, rank
from multitudes.index.mixture_levels import NORMALISER_FEATURES, MixtureFallback, MixtureTuning
from multitudes.index.protocol import ANY_TOPIC, NO_ID, Hits
from multitudes.index.tuning import Half, ParameterGrid, Sample, tune_levels, tuned_depths
from multitudes.progress import Progress, silent
from multitudes.seeding import generator

UNTUNED = MixtureTuning((), 0, (0.0,) * NORMALISER_FEATURES, 0.0, 0, 0)
_USERS = 64  # to tune on; the same number of others to check
_DEEPEST = 2_000  # deeper searches score every item
_MIN_DEPTH = 100  # an index that is not good enough down to here is not searched for mixtures
_BELOW_PROMISE = 0.02  # the floor of a level: it may find so much less on the users that it was not tuned on
_FEWEST_WITH_TOPICS = 32  # fewer are searched as deep as users without topics
_LEAST_SHARE_QUANTILE = 0.1  # of the shares of their topics: with less, users are searched as if they had none
_VECTORS_OF_USER = 4  # where nothing is known but vectors
_EXACT_LISTS = (0, 1, 2, 4, 8)
_FITTED_VECTORS = 30  # fewer vectors fit nothing but the mean error
_WORTH = 1.3  # more exact lists have to lower the error by so much
# Measured with seven vectors at a million items: to begin a list takes as long as to read 40 codes (0.3 µs), to score a
# candidate with all vectors as long as 80.
_CODES_PER_LIST, _CODES_PER_CANDIDATE = 40, 80
_MAX_ERROR = 0.02  # standard deviation of a log normaliser


class _User(NamedTuple):
    """A user to tune on."""

    query: MixtureQuery
    scores: WalkScores
    log_prior_K: NDArray[np.float64]


def sample_users(users: Sequence[MixtureQuery] | None, queries: Sample, seed: int) -> list[MixtureQuery]:
    """Draw the users to tune on and to check on, half and half.

    Args:
        users: what they ask for and exclude; None: the vectors of ``queries`` in groups, with equal shares.
        queries: vectors of users.
        seed: of the draw.
    """
    if users is None:
        vectors_QD = np.concatenate([queries.tuning_QD, queries.validation_QD])
        starts = range(0, min(len(vectors_QD), 2 * _USERS * _VECTORS_OF_USER), _VECTORS_OF_USER)
        return [_even_query(vectors_QD[start : start + _VECTORS_OF_USER]) for start in starts]
    drawn = generator(seed, "index", "tuning users").permutation(len(users))[: 2 * _USERS]
    return [users[u] for u in drawn.tolist()]


def _even_query(vectors_KD: NDArray[np.float32]) -> MixtureQuery:
    count = len(vectors_KD)
    return MixtureQuery(
        vectors_KD,
        np.full(count, -np.log(count)),
        np.full(count, ANY_TOPIC),
        np.zeros(count, dtype=np.int64),
        0,
        NO_IDS,
    )


def tune_mixture(
    untuned: MixtureWalk, users: Sequence[MixtureQuery], target: RecallTarget, progress: Progress = silent
) -> MixtureTuning | MixtureFallback:
    """Tune the search for mixtures.

    Args:
        untuned: searches the index.
        users: half to tune on, half to check on; see ``sample_users``.
        target: the share of the exact list to find, without what a user excludes, and down to which depth.
        progress: called during the tuning.

    Returns:
        The tuning, or why each vector has to be searched by itself.
    """
    floor = round(target.recall - _BELOW_PROMISE, 4)
    deepest = min(_DEEPEST, target.deepest, max(10, len(untuned.table) // 10), len(untuned.table))
    users = [query for query in users if (query.log_share_K > -np.inf).any()]
    free = [kept for query in users if (kept := _without_topics(query)) is not None]
    if len(free) < 2:  # nobody has a vector that walks
        reason = f"{len(free)} users with a vector that may bring any item; expected 2 or more"
        return MixtureFallback(target.recall, floor, min(_MIN_DEPTH, deepest), None, 0, reason)
    group = _Group.of(untuned, free, deepest, progress)
    vectors_FD = np.concatenate([query.vectors_KD for query in group.users])
    tuning = _calibrate(untuned, vectors_FD, np.concatenate(group.log_sums))
    walk = untuned.with_tuning(tuning)
    tuned, checked_on = _tune_group(walk, group, target, progress), len(free) - group.middle
    levels = _levels_that_hold(tuned, floor)
    if not levels or levels[-1].depth < min(_MIN_DEPTH, deepest):
        return _explain(tuned, target.recall, floor, min(_MIN_DEPTH, deepest), checked_on)
    tuning = tuning._replace(
        levels=levels, users=group.middle, checked_on=checked_on, promise=target.recall, floor=floor
    )
    followers = [query for query in users if _share_of_topics(query) > 0]
    if len(followers) < _FEWEST_WITH_TOPICS:
        return tuning
    with_topics = _tune_group(walk, _Group.of(walk, followers, deepest, progress), target, progress)
    return tuning._replace(
        with_topics=_levels_that_hold(with_topics, floor),
        topic_share=float(np.quantile([_share_of_topics(query) for query in followers], _LEAST_SHARE_QUANTILE)),
    )


def _levels_that_hold(levels: Sequence[Level], floor: float) -> tuple[Level, ...]:
    """Return the levels that find enough on the users to check on."""
    return tuple(level for level in levels if level.checked >= floor)


def _explain(tuned: Sequence[Level], promise: float, floor: float, depth: int, checked_on: int) -> MixtureFallback:
    """Return why none of the tuned levels holds from ``depth`` on."""
    deep = [level for level in tuned if level.depth >= depth]
    if not deep:
        reason = f"no number of pairs finds {promise} of the exact list at depth {depth:,} with 95 % confidence"
        return MixtureFallback(promise, floor, depth, None, checked_on, reason)
    best = max(deep, key=lambda level: level.checked)
    found = f"{best.checked:.4f} of the exact list at depth {best.depth:,}"
    reason = f"{found} on {checked_on:,} held-out users, below the floor of {floor}"
    return MixtureFallback(promise, floor, depth, best.checked, checked_on, reason)


class _Group(NamedTuple):
    """Users, half to tune on and half to check on, with their exact lists."""

    users: list[MixtureQuery]  # who exclude nothing and ask for as many items as are tuned
    ignored: list[NDArray[np.int64]]  # ids that need not be found
    log_sums: list[NDArray[np.float64]]
    exact: list[MixtureList]

    @classmethod
    def of(cls, walk: MixtureWalk, users: Sequence[MixtureQuery], deepest: int, progress: Progress) -> "_Group":
        """Find the exact lists of users."""
        asked, log_sums, exact = [query._replace(n=deepest, excluded=NO_IDS) for query in users], [], []
        for u, query in enumerate(asked):
            progress(u, len(asked), "exact mixtures")
            scores = walk.score_all(query)
            log_prior_K = log_priors(query, scores.log_sum_K)
            log_sums.append(scores.log_sum_K)
            exact.append(rank([scores.propose(log_prior_K)], log_prior_K, query))
        return cls(asked, [query.excluded for query in users], log_sums, exact)

    @property
    def middle(self) -> int:
        """The number of users to tune on, who come first."""
        return (len(self.users) + 1) // 2

    def halves(self) -> tuple[Half, Half]:
        """Return the users to tune on, and those to check on."""
        deepest = self.users[0].n
        of_tuning, of_check = (
            Half(self.users[chosen], _ignoring(_as_hits(self.exact[chosen], deepest), self.ignored[chosen]))
            for chosen in (slice(0, self.middle), slice(self.middle, None))
        )
        return of_tuning, of_check


def _without_topics(query: MixtureQuery) -> MixtureQuery | None:
    """Return what a user asks for who follows nothing; None: then nothing is asked for."""
    free = query.topic_K == ANY_TOPIC
    if not (query.log_share_K[free] > -np.inf).any():
        return None
    return query._replace(
        vectors_KD=query.vectors_KD[free],
        log_share_K=query.log_share_K[free] - np.logaddexp.reduce(query.log_share_K[free]),
        topic_K=query.topic_K[free],
        limit_K=None if query.limit_K is None else query.limit_K[free],
    )


def _share_of_topics(query: MixtureQuery) -> float:
    share_K = np.exp(query.log_share_K)
    return float(share_K[query.topic_K != ANY_TOPIC].sum() / share_K.sum())


def _tune_group(walk: MixtureWalk, group: _Group, target: RecallTarget, progress: Progress) -> tuple[Level, ...]:
    """Return the levels of the least cost, with what they find on the users to check on."""
    halves, users, deepest = group.halves(), group.users, group.users[0].n
    most = max(int((query.topic_K == ANY_TOPIC).sum()) for query in users) * walk.lists.lists
    grid = ParameterGrid(geometric_efforts(most), _numbers_of_candidates, _cost_in_codes(walk))
    score_QN = halves[0].truth.score_QN

    prepared = dict[int, dict[int, _User]]()  # by depth and identity of the query

    def search(chosen: Sequence[MixtureQuery], level: Level) -> Hits:
        if level.depth not in prepared:  # as many of the best items of topics are proposed as for that many results
            of_depth = _prepare(walk, [query._replace(n=level.depth) for query in users])
            prepared[level.depth] = {id(query): user for query, user in zip(users, of_depth, strict=True)}
        return _as_hits([_search(walk, prepared[level.depth][id(query)], level) for query in chosen], level.depth)

    def height(depth: int) -> float:
        reached = score_QN[:, depth - 1][score_QN[:, depth - 1] > -np.inf]
        return float(reached.mean()) if len(reached) else 0.0

    return tune_levels(grid, search, halves, tuned_depths(deepest), height, target.recall, len(walk.table), progress)


def _numbers_of_candidates(depth: int) -> list[int]:
    return [over * depth + 32 for over in (4, 6, 8, 12)]


def _cost_in_codes(walk: MixtureWalk) -> Callable[[int, int], float]:
    """Return about what a number of pairs and of candidates costs, in codes read."""
    codes_per_pair = _CODES_PER_LIST + len(walk.table) / walk.lists.lists
    return lambda pairs, candidates: codes_per_pair * pairs + _CODES_PER_CANDIDATE * candidates


def _calibrate(walk: MixtureWalk, vectors_FD: NDArray[np.float32], log_sum_F: NDArray[np.float64]) -> MixtureTuning:
    """Return the least number of exact lists with which the normalisers are accurate, and their correction.

    The correction is fitted to the first half of the vectors, and the error is that of the other half.
    """
    score_FL = walk.list_scores(vectors_FD)
    middle = (len(vectors_FD) + 1) // 2
    found = list[MixtureTuning]()
    for exact in (exact for exact in _EXACT_LISTS if exact <= walk.lists.lists):
        raw_F, feature_FX = walk.raw_log_sums(vectors_FD, score_FL, exact)
        error_F = raw_F - log_sum_F
        used = NORMALISER_FEATURES if middle >= _FITTED_VECTORS else 1
        correction = np.zeros(NORMALISER_FEATURES)
        correction[:used] = np.linalg.lstsq(feature_FX[:middle, :used], error_F[:middle], rcond=None)[0]
        error = float((error_F - feature_FX @ correction)[middle:].std())
        found.append(UNTUNED._replace(exact_lists=exact, correction=tuple(correction.tolist()), error=error))
    allowed = max(_MAX_ERROR, _WORTH * min(tuning.error for tuning in found))
    return next(tuning for tuning in found if tuning.error <= allowed)


def _prepare(walk: MixtureWalk, users: Sequence[MixtureQuery]) -> list[_User]:
    of_all = zip(users, walk.scores(users), strict=True)
    return [_User(query, scores, log_priors(query, scores.log_sum_K)) for query, scores in of_all]


def _search(walk: MixtureWalk, user: _User, level: Level) -> MixtureList:
    prior_K = user.log_prior_K.astype(np.float32)
    of_topics, _ = user.scores.best_of_topics(prior_K, walk.left_out)
    items = user.scores.candidates(prior_K, of_topics, level.effort, level.proposals, walk.left_out)
    return rank([items], user.log_prior_K, user.query._replace(n=level.depth))


def _ignoring(hits: Hits, ignored: Sequence[NDArray[np.int64]]) -> Hits:
    """Return the hits with −1 in place of the ids that each user ignores."""
    id_QN = [np.where(np.isin(id_N, ids), NO_ID, id_N) for id_N, ids in zip(hits.id_QN, ignored, strict=True)]
    return hits._replace(id_QN=np.stack(id_QN))


def _as_hits(lists: Sequence[MixtureList], width: int) -> Hits:
    hits = empty_hits(len(lists), width)
    for row, found in enumerate(lists):
        hits.id_QN[row, : len(found.id_N)], hits.score_QN[row, : len(found.id_N)] = found.id_N, found.score_N
        hits.count_Q[row] = len(found.id_N)
    return hits
