"""The seam between those who serve and the store that remembers users: SQLite, or Redis and its relatives."""

from collections.abc import Sequence
from typing import Protocol

from multitudes.ids import Id
from multitudes.state.records import Appended, Event, Person


class UserStates(Protocol):
    """Remembers what users did and follow. Threads may share one.

    Every call raises StateError where the store does not answer. An id is an int64 or a string; ``1`` and ``"1"`` are
    different users.
    """

    def append(self, events: Sequence[Event]) -> Appended:
        """Take events in, all or none of one user's; they are durable, and in the next ``read``, when this returns.

        Calling it again with the same events changes nothing.

        Raises:
            DataError: an id or a time cannot be kept exactly; nothing was taken in.
        """
        ...

    def read(self, user_ids: Sequence[Id]) -> list[Person]:
        """Return one answer per id, in order; a user who is not known is a Person with nothing."""
        ...

    def follow(self, user_id: Id, follows: Sequence[str]) -> None:
        """State the topics that a user follows, in place of those before."""
        ...

    def forget(self, user_id: Id) -> bool:
        """Forget a user entirely; only a mark stays that they asked, from which no id can be read.

        Returns:
            Whether anything was known of them.
        """
        ...

    def ping(self) -> None:
        """Return where the store answers."""
        ...

    def close(self) -> None:
        """Let go of the store; what was acknowledged stays."""
        ...
