"""A request to a retriever, how far its answer may be degraded, and why an answer falls short."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from multitudes.errors import UsageError
from multitudes.ids import Id, reject_text

if TYPE_CHECKING:
    from multitudes.state.protocol import UserState

Cause = Literal["state", "failed", "time", "few", "unknown"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


@dataclass(frozen=True)
class Request:
    """A request for candidates, for a known user (``user_id``) or an anonymous one (``history``, ``followed_topics``).

    A muted topic has no vector in the answer, and none of its items is returned. Boosted topics become conditions
    before any other topic is drawn, also when the user does not follow them. Interests are muted and boosted by the
    numbers that an earlier answer gave them. A boost multiplies a share by ``[retrieve] boost``. Unknown topics are
    counted in the answer.

    Attributes:
        user_id: A user; excludes ``history`` and ``followed_topics``.
        user_state: what a state store knows of the user beside the release. None: the store was not asked or failed.
        history: item ids of an anonymous user, newest last.
        followed_topics: topic names of an anonymous user.
        n: number of candidates, at least 1.
        exclude: item ids that are not returned, beside those that the user has seen.
        mute_topics: topic names.
        boost_topics: topic names.
        mute_interests: numbers of interests.
        boost_interests: numbers of interests.
        request_id: determines which followed topics are drawn, so a request can be replayed.
        time_s: time of the request, in seconds since 1970, from which the ages of interests count. None: the time of
            the newest event.
        state_error: why the user's state could not be read; empty if it was.
    """

    user_id: Id | None = None
    user_state: "UserState | None" = None
    history: Sequence[Id] | None = None
    followed_topics: Sequence[str] | None = None
    n: int = 100
    exclude: Sequence[Id] = ()
    mute_topics: Sequence[str] = ()
    boost_topics: Sequence[str] = ()
    mute_interests: Sequence[int] = ()
    boost_interests: Sequence[int] = ()
    request_id: str = ""
    time_s: int | None = None
    state_error: str = ""

    def __post_init__(self) -> None:
        """Check that the request can be answered.

        Raises:
            UsageError: neither or both of a user and a description are given, ``n`` is below 1, or a string is given
                where a list is expected.
        """
        if self.is_anonymous == (self.user_id is not None):
            raise UsageError("give either a user or a history and followed topics")
        if self.n < 1:
            raise UsageError(f"n = {self.n} candidates; expected at least 1")
        for name in ("history", "followed_topics", "exclude", "mute_topics", "boost_topics"):
            reject_text(name, getattr(self, name))

    @property
    def is_anonymous(self) -> bool:
        """Whether the request describes the user instead of naming one."""
        return self.history is not None or self.followed_topics is not None


class Degradation(IntEnum):
    """How much is left out of an answer to save time; a larger value leaves out more and costs less."""

    NONE = 0  # all vectors of the user
    FEWER = 1  # only the vectors with the largest shares
    CACHED = 2  # the vectors of the user's last answer: no tower
    POPULAR = 3  # popular items: no tower, no search

    @property
    def label(self) -> str:
        """Name in logs and metrics; an answer without degradation is ``full``."""
        return "full" if self is Degradation.NONE else self.name.lower()


class Shortfall(NamedTuple):
    """One way in which an answer is less than the full method would give.

    Attributes:
        cause: ``state``: the user states could not be read. ``failed``: the retrieval failed. ``time``: work was left
            out to meet the deadline. ``few``: the interests found too few items. ``unknown``: nothing is known of the
            user.
        reason: one line for people, with an id where that helps.
    """

    cause: Cause
    reason: str


def time_shortfall(fallback: str) -> Shortfall:
    """Return the shortfall of an answer that contains only ``fallback`` because of its deadline."""
    return Shortfall("time", f"to be in time: {fallback}")
