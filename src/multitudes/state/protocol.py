"""The protocol of a store of user states, its arguments and results, and its settings.

A store remembers what each user did and which topics they follow since a release was published.
``store.open_state_store`` opens SQLite for a path, and Redis or Valkey for a URL.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pydantic import Field

from multitudes.config import Config
from multitudes.ids import Id


class StateConfig(Config):
    """Settings of a store; every process that opens the same store should use the same."""

    keep: int = Field(
        200, ge=1, description="newest events kept of each user; at least as many as the history of a release"
    )
    remember_ids_s: int = Field(
        7 * 86_400, ge=1, description="how long an event_id is remembered, so that an event sent again counts once"
    )
    skew_s: int = Field(
        60, ge=0, description="how far a sender's clock may be ahead; a later event gets the current time"
    )
    timeout_s: float = Field(
        1.0, gt=0, description="how long the store waits for a server, or for another process that writes to the file"
    )


class Event(NamedTuple):
    """One action of a user on an item.

    ``event_id`` identifies it among the events of its user: the same id sent again is the same event.
    """

    event_id: str
    user_id: Id
    item_id: Id
    time_s: int  # seconds since 1970; positions if the data has only an order
    action: str | None = None  # None: the default action of the release


class UserState(NamedTuple):
    """What a store knows of one user; empty for an unknown user."""

    user_id: Id
    events: tuple[Event, ...] = ()  # oldest first; at most as many as the store keeps
    followed_topics: tuple[str, ...] | None = None  # None: never set here, so those of the release apply
    erased: bool = False  # the user asked to be erased: what a release still holds of them must not be used
    erased_at_s: int | None = None  # when they asked last, in seconds since 1970


class AppendResult(NamedTuple):
    """The outcome of ``UserStateStore.append``."""

    new: list[bool]  # in the order given; False: already known (also before an erasure), or older than the erasure
    clamped: int = 0  # new events dated in the future, whose time was set to now


class UserStateStore(Protocol):
    """Remembers what users did and which topics they follow. Safe in threads.

    Every call raises StateError if the store does not answer. An id is an int64 or a string; ``1`` and ``"1"`` are
    different users.
    """

    def append(self, events: Sequence[Event]) -> AppendResult:
        """Store events of any users, in the order of their arrival, and return which are new.

        They are durable, and the next ``read`` returns them. The events of one user are stored all or none. Appending
        the same events again changes nothing.

        Raises:
            DataError: an id or a time cannot be stored exactly; nothing is stored then.
            StateError: the store does not answer.
        """

    def read(self, user_ids: Sequence[Id]) -> list[UserState]:
        """Return the state of users, one per id, in order; ids may repeat, and an unknown user has an empty state.

        Raises:
            DataError: an id cannot be stored exactly.
            StateError: the store does not answer.
        """

    def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str]) -> None:
        """Replace the followed topics of a user by the names of all that the user follows now; they may be none.

        Raises:
            DataError: the id or a topic cannot be stored exactly.
            StateError: the store does not answer.
        """

    def erase(self, user_id: Id, at_s: int | None = None) -> bool:
        """Erase everything about a user; return whether anything was known of them.

        ``at_s`` is when the user asked, in seconds since 1970; None: now. A record of the erasure stays, and digests of
        the event_ids for as long as those are remembered, so that an event that is sent again is not taken for a new
        one. They do not reveal the ids.

        Raises:
            DataError: the id cannot be stored exactly.
            StateError: the store does not answer.
        """

    def ping(self) -> None:
        """Check that the store answers.

        Raises:
            StateError: it does not.
        """

    def check(self) -> None:
        """Check that what is stored can be read; this may take minutes.

        Raises:
            ArtefactError: the store is damaged.
            StateError: the store does not answer.
        """

    def close(self) -> None:
        """Close the store; acknowledged writes stay."""
