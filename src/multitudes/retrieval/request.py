"""A request to a retriever, the levels of degradation of its answer, and the reasons for an answer that falls short."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, NamedTuple, get_args

from multitudes.api import RecommendRequest
from multitudes.errors import UsageError
from multitudes.state.protocol import UserState

Cause = Literal["state", "failed", "time", "few", "unknown"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


@dataclass(frozen=True)
class Request(RecommendRequest):
    """A request for candidates, with what is known of its user in addition to the release.

    A muted topic has no vector in the answer, and none of its items is returned. Boosted topics become conditions
    before any other topic is drawn, also when the user does not follow them. Interests are muted and boosted by the
    numbers that an earlier answer gave them. A boost multiplies a share, of .05 at least, by 3.
    Unknown topics are counted in the answer.

    Attributes:
        request_id: determines which followed topics are drawn, so a request can be replayed.
        user_state: what a state store holds of the user. None: the store was not read, or failed.
        time_s: time of the request, in seconds since 1970, from which the ages of interests count. None: the time of
            the newest event.
        state_error: why the user's state could not be read; empty if it was.
        vectors_only: the answer has the vectors and what a store filters (``search``), and no candidates.
        interest_shares: shares of the list by interest number, at least 0, in any unit; an interest without one gets
            nothing. None, or none above 0: the shares of the release.
    """

    request_id: str = ""
    user_state: UserState | None = None
    time_s: int | None = None
    state_error: str = ""
    interest_shares: Mapping[int, float] | None = None
    vectors_only: bool = False

    def __post_init__(self) -> None:
        """Check the request once, here; see ``RecommendRequest.check``."""
        self.check()
        if self.rows is not None and (self.vectors_only or self.found is not None):
            raise UsageError(
                f"rows = {self.rows}: rows search the release's own index; ask a vector store for one list"
            )


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
