"""A cache of the vectors of users' last answers, for requests without the time or the user state to compute them.

A cache belongs to one release: each retriever has its own.
"""

from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from cachetools import LRUCache

from multitudes.batches.user_vectors import UserVectors
from multitudes.ids import Id

if TYPE_CHECKING:
    from multitudes.retrieval.user_context import UserContext


class CachedUser(NamedTuple):
    """One user at the time of their last answer."""

    context: "UserContext"
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
