"""The vectors of users' last answers, for a moment when there is no time to make them, or nothing to make them from.

They belong to one release: a retriever has its own, and both are gone together.
"""

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from multitudes.batches.vectors import UserVectors
from multitudes.ids import Id
from multitudes.retrieve.people import Asked


class Memory(NamedTuple):
    """One user as of their last answer: who it was, with the history and the seen items, and the vectors."""

    asked: Asked
    vectors: UserVectors


class Remembered:
    """The users who were answered last, at most ``size``; threads may share it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._users: OrderedDict[Id, Memory] = OrderedDict()
        self._lock = Lock()
        self.hits = self.misses = 0

    def __len__(self) -> int:
        """Return how many users are remembered."""
        return len(self._users)

    def recall(self, user_id: Id | None) -> Memory | None:
        """Return a user as of their last answer; None: not known any more."""
        with self._lock:
            memory = self._users.get(user_id) if user_id is not None else None
            if memory is None or user_id is None:
                self.misses += 1
                return None
            self.hits += 1
            self._users.move_to_end(user_id)
            return memory

    def keep(self, user_id: Id, memory: Memory) -> None:
        """Remember a user; whoever was answered longest ago makes room."""
        with self._lock:
            self._users[user_id] = memory
            self._users.move_to_end(user_id)
            while len(self._users) > self.size:
                self._users.popitem(last=False)

    def forget(self, user_id: Id) -> None:
        """Remember a user no longer."""
        with self._lock:
            self._users.pop(user_id, None)
