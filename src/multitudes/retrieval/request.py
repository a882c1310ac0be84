"""Why an answer is less than it could be: a cause for programs and a reason for people, from where both are known.

What is asked of a retriever: for whom, how many, what to leave out and what to prefer, and with how much effort.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from multitudes.errors import UsageError
from multitudes.ids import Id, reject_text

Cause = Literal["state", "failed", "time", "few", "unknown"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


class Shortfall(NamedTuple):
    """One thing that an answer lacks.

    ``state``: the user states did not answer. ``failed``: the retrieval did. ``time``: less was done, to be in time.
    ``few``: the interests found too few items. ``unknown``: nothing is known of the user.
    """

    cause: Cause
    reason: str  # a line, with an id where that helps


def time_shortfall(instead: str) -> Shortfall:
    """Return what an answer lacks for which ``instead`` was done, because of a deadline."""
    return Shortfall("time", f"to be in time: {instead}")


if TYPE_CHECKING:
    from multitudes.state.protocol import UserState


class Degradation(IntEnum):
    """How much is done for an answer; each one costs less than the one before, and less than full is marked."""

    NONE = 0  # all vectors of the user
    FEWER = 1  # the few vectors with the largest shares
    CACHED = 2  # those of the user's last answer: no tower
    POPULAR = 3  # no tower, no search

    @property
    def label(self) -> str:
        """Name for logs and metrics; an answer that lacks nothing is ``full``."""
        return "full" if self is Degradation.NONE else self.name.lower()


@dataclass(frozen=True)
class Request:
    """One request. It is about a user (``user_id``), or about somebody described (``history`` and ``followed_topics``).

    Muted topics: no vector stands for them and their items do not come back. Boosted topics are conditions of the
    answer, also when nobody follows them, before any others are drawn. Interests are muted and boosted by the numbers
    that an earlier answer gave them. What is boosted counts ``[retrieve] boost`` times. Unknown topics are counted.
    """

    user_id: Id | None = None
    user_state: "UserState | None" = (
        None  # what is known of the user beside a release; None: nobody asked, or ``state_error``
    )
    history: Sequence[Id] | None = None  # item ids, newest last
    followed_topics: Sequence[str] | None = None
    n: int = 100
    exclude: Sequence[Id] = ()
    mute_topics: Sequence[str] = ()
    boost_topics: Sequence[str] = ()
    mute_interests: Sequence[int] = ()
    boost_interests: Sequence[int] = ()
    request_id: str = ""  # decides which followed topics are drawn, so that an answer can be replayed
    time_s: int | None = None  # when it is asked, since 1970, for the ages of interests; None: at the newest event
    state_error: str = ""  # why the state of the user could not be read, or empty

    @property
    def is_anonymous(self) -> bool:
        """Whether the request says itself who asks."""
        return self.history is not None or self.followed_topics is not None

    def check(self) -> None:
        """Refuse what cannot be answered.

        Raises:
            UsageError: neither or both of a user and a description are given, ``n`` is below 1, or a text stands where
                a list belongs.
        """
        if self.is_anonymous == (self.user_id is not None):
            raise UsageError("give either a user or a history and followed topics")
        if self.n < 1:
            raise UsageError(f"{self.n} candidates were asked for; ask for at least 1")
        for name in ("history", "followed_topics", "exclude", "mute_topics", "boost_topics"):
            reject_text(name, getattr(self, name))
