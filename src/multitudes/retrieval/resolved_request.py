"""The user of a request: who they are now, or as they were at their last answer.

A user who cannot be read in full, or for whom there is no time, is taken from the cache of last answers, if they are in
it. A cache belongs to one release: each retriever has its own.
"""

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import NamedTuple

from cachetools import LRUCache

from multitudes.batches.user_vectors import UserVectors
from multitudes.ids import Id
from multitudes.retrieval.preferences import Preferences
from multitudes.retrieval.request import Cause, Degradation, Request, Shortfall, time_shortfall
from multitudes.retrieval.user_context import UserContext, UserContextBuilder


class CachedUser(NamedTuple):
    """One user at the time of their last answer."""

    context: UserContext
    vectors: UserVectors


class VectorCache:
    """Holds the most recently used users, at most ``size``; safe for use by several threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.hits = self.misses = 0
        self._users: LRUCache[Id, CachedUser] = LRUCache(size)
        self._lock = Lock()

    def __len__(self) -> int:
        """Return the number of cached users."""
        return len(self._users)

    def get(self, user_id: Id | None) -> CachedUser | None:
        """Return a user at the time of their last answer; None if they are not cached."""
        with self._lock:
            user = None if user_id is None else self._users.get(user_id)
            if user is None:
                self.misses += 1
            else:
                self.hits += 1
            return user

    def put(self, user_id: Id, user: CachedUser) -> None:
        """Cache a user, in place of the least recently used one if the cache is full."""
        if self.size:
            with self._lock:
                self._users[user_id] = user

    def remove(self, user_id: Id) -> None:
        """Remove a user from the cache."""
        with self._lock:
            self._users.pop(user_id, None)


class ResolvedRequest(NamedTuple):
    """A request with its user, and with the numbers of a release."""

    request: Request
    preferences: Preferences
    context: UserContext
    degradation: Degradation
    shortfalls: tuple[Shortfall, ...] = ()  # why the answer is less than the full method would give
    cached_vectors: UserVectors | None = None  # of the user's last answer, used instead of new ones


def resolve_requests(
    builder: UserContextBuilder, requests: Sequence[Request], degradation: Degradation, cache: VectorCache
) -> list[ResolvedRequest]:
    """Find the users of requests; those that the release alone describes are read together.

    A result is more degraded than ``degradation`` if nothing is known of the user, or if the vectors of their last
    answer are needed and not cached.
    """
    may_be_cached = degradation == Degradation.CACHED
    pairs = [(one, cache.get(one.user_id) if may_be_cached or one.state_error else None) for one in requests]
    unread = [one.user_id for one, cached in pairs if cached is None and one.user_state is None]
    published = builder.from_release_by_id([user_id for user_id in unread if user_id is not None])
    return [_resolve(builder, request, degradation, cached, published) for request, cached in pairs]


def _resolve(
    builder: UserContextBuilder,
    request: Request,
    degradation: Degradation,
    cached: CachedUser | None,
    published: Mapping[Id, UserContext],
) -> ResolvedRequest:
    preferences, error = Preferences.from_request(request, builder.release), request.state_error
    if cached is not None:
        fallback, level = "the interests of the last answer", max(degradation, Degradation.CACHED)
        shortfall = Shortfall("state", f"{error}: {fallback}") if error else time_shortfall(fallback)
        return ResolvedRequest(request, preferences, cached.context, level, (shortfall,), cached.vectors)
    context, unknown = _find_user(builder, request, published)
    shortfalls: tuple[Shortfall, ...] = ()
    if unknown:
        cause: Cause = "state" if error else "unknown"
        shortfalls = (Shortfall(cause, f"{error or unknown}: popular items"),)
    elif error and not request.is_anonymous and request.user_state is None:
        shortfalls = (Shortfall("state", f"{error}: the history as it was published"),)
    if unknown or degradation >= Degradation.CACHED:
        degradation, shortfalls = Degradation.POPULAR, shortfalls or (time_shortfall("popular items"),)
    elif degradation == Degradation.FEWER:
        shortfalls += (time_shortfall("only the strongest interests"),)
    return ResolvedRequest(request, preferences, context, degradation, shortfalls)


def _find_user(
    builder: UserContextBuilder, request: Request, published: Mapping[Id, UserContext]
) -> tuple[UserContext, str]:
    """Return a user, by their state if it was read, else by the release alone; and why they are unknown, if so."""
    user_id = request.user_id
    if user_id is None:
        return builder.from_request(request.history or (), request.followed_topics or ()), ""
    if request.user_state is not None:
        context = builder.from_state(request.user_state)
        is_known = context.user >= 0 or request.user_state.events or request.user_state.followed_topics
        return context, "" if is_known else f"nothing is known of user {user_id!r}"
    known = published.get(user_id)
    return (known, "") if known else (builder.from_request((), (), user_id), f"user {user_id!r} is not in this release")
