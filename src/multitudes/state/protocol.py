"""How much a store of user states keeps, and for how long.

What a store of user states takes and gives.

The seam between those who serve and the store that remembers users: SQLite, or Redis and its relatives.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pydantic import Field

from multitudes.config import Config
from multitudes.ids import Id


class StateConfig(Config):
    """Settings of a store; every process that opens the same store should have the same."""

    keep: int = Field(
        200, ge=1, description="newest events kept of each user; at least as many as the history of a release"
    )
    remember_ids_s: int = Field(
        7 * 86_400,
        ge=1,
        description="how long the name of an event is remembered, so that it counts once if sent again",
    )
    skew_s: int = Field(60, ge=0, description="how far ahead a clock may be; an event later than that is dated now")
    timeout_s: float = Field(
        1.0, gt=0, description="how long the store waits for a server, or for another process that writes to the file"
    )


class Event(NamedTuple):
    """One thing that a user did.

    ``event_id`` names it among the events of its user: sent again under the same name, it is the same event.
    """

    event_id: str
    user_id: Id
    item_id: Id
    time_s: int  # seconds since 1970; positions, where the data carry order only
    action: str | None = None  # None: the action that a release takes for granted


class UserState(NamedTuple):
    """What a store knows of one user; somebody whom it does not know has nothing."""

    user_id: Id
    events: tuple[Event, ...] = ()  # oldest first; at most as many as the store keeps
    followed_topics: tuple[str, ...] | None = None  # None: never stated here, so a release's own are good
    erased: bool = False  # asked to be forgotten: what a release still holds of them must not be used


class AppendResult(NamedTuple):
    """What became of events that were given to a store."""

    new: list[bool]  # in the order given; False: known already, or from before its user was forgotten
    clamped: int = 0  # new ones whose time lay in the future and was set to now


class UserStateStore(Protocol):
    """Remembers what users did and follow. Threads may share one.

    Every call raises StateError where the store does not answer. An id is an int64 or a string; ``1`` and ``"1"`` are
    different users.
    """

    def append(self, events: Sequence[Event]) -> AppendResult:
        """Take events in, all or none of one user's; they are durable, and in the next ``read``, when this returns.

        Calling it again with the same events changes nothing.

        Raises:
            DataError: an id or a time cannot be kept exactly; nothing was taken in.
        """
        ...

    def read(self, user_ids: Sequence[Id]) -> list[UserState]:
        """Return one answer per id, in order; a user who is not known is a Person with nothing."""
        ...

    def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str]) -> None:
        """State the topics that a user follows, in place of those before."""
        ...

    def erase(self, user_id: Id) -> bool:
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
