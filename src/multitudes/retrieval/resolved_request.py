"""The user of a request: who they are now, or as they were at their last answer.

A user who cannot be read in full, or for whom there is no time, is taken from the cache of last answers, if they are in
it. A cache belongs to one release: each retriever has its own.
"""

from threading import Lock
from typing import NamedTuple

import numpy as np
from cachetools import LRUCache

from multitudes.batches.user_vectors import UserVectors
from multitudes.ids import Id
from multitudes.retrieval.request import Degradation, Request, Shortfall, time_shortfall
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
    """A request with its user."""

    request: Request
    context: UserContext  # of one user
    degradation: Degradation
    shortfalls: tuple[Shortfall, ...] = ()  # why the answer is less than the full method would give
    cached_vectors: UserVectors | None = None  # of the user's last answer, used instead of new ones


def resolve_request(
    builder: UserContextBuilder, request: Request, degradation: Degradation, cache: VectorCache
) -> ResolvedRequest:
    """Find the user of a request.

    Args:
        builder: reads users from a release.
        request: the request.
        degradation: the least degradation of the answer.
        cache: the users of the last answers.

    Returns:
        The request with its user. It is more degraded than ``degradation`` if nothing is known of the user, or if the
        vectors of their last answer are needed and not cached.
    """
    cached = cache.get(request.user_id) if degradation == Degradation.CACHED or request.state_error else None
    if cached is not None:
        fallback = "the interests of the last answer"
        shortfall = _state_shortfall(request, fallback) if request.state_error else time_shortfall(fallback)
        degradation = max(degradation, Degradation.CACHED)
        return ResolvedRequest(request, cached.context, degradation, (shortfall,), cached.vectors)
    if request.is_anonymous:
        context = builder.from_request(request.history or (), request.followed_topics or ())
        resolved = ResolvedRequest(request, context, degradation)
    else:
        resolved = _resolve_user(builder, request, degradation)
    if degradation >= Degradation.CACHED:
        shortfalls = resolved.shortfalls or (time_shortfall("popular items"),)
        return resolved._replace(degradation=Degradation.POPULAR, shortfalls=shortfalls)
    if resolved.degradation == Degradation.FEWER:
        shortfalls = (*resolved.shortfalls, time_shortfall("only the strongest interests"))
        return resolved._replace(shortfalls=shortfalls)
    return resolved


def _resolve_user(builder: UserContextBuilder, request: Request, degradation: Degradation) -> ResolvedRequest:
    """Find a known user: by their state if it was read, else in the release alone."""
    assert request.user_id is not None
    if request.user_state is not None:
        context = builder.from_states([request.user_state])
        if context.user_B[0] >= 0 or request.user_state.events or request.user_state.followed_topics:
            return ResolvedRequest(request, context, degradation)
        return _resolve_unknown(request, context, f"nothing is known of user {request.user_id!r}")
    number = builder.user_number(request.user_id)
    if number is None:
        empty = builder.from_request((), (), user_id=request.user_id)
        return _resolve_unknown(request, empty, f"user {request.user_id!r} is not in this release")
    context = builder.from_release(np.array([number]))
    shortfalls = (_state_shortfall(request, "the history as it was published"),) if request.state_error else ()
    return ResolvedRequest(request, context, degradation, shortfalls)


def _resolve_unknown(request: Request, context: UserContext, reason: str) -> ResolvedRequest:
    """Return a request that is answered with popular items, because nothing is known of its user."""
    fallback = "popular items"
    if request.state_error:
        shortfall = _state_shortfall(request, fallback)
    else:
        shortfall = Shortfall("unknown", f"{reason}: {fallback}")
    return ResolvedRequest(request, context, Degradation.POPULAR, (shortfall,))


def _state_shortfall(request: Request, fallback: str) -> Shortfall:
    return Shortfall("state", f"{request.state_error}: {fallback}")
