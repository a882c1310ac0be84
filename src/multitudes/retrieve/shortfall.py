"""Why an answer is less than it could be: a cause for programs and a reason for people, from where both are known."""

from typing import Final, Literal, NamedTuple, get_args

Cause = Literal["state", "failed", "time", "few", "unknown"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


class Shortfall(NamedTuple):
    """One thing that an answer lacks.

    ``state``: the user states did not answer. ``failed``: the retrieval did. ``time``: less was done, to be in time.
    ``few``: the interests found too few items. ``unknown``: nothing is known of the user.
    """

    cause: Cause
    reason: str  # a line, with an id where that helps


def in_time(instead: str) -> Shortfall:
    """Return what an answer lacks for which ``instead`` was done, because of a deadline."""
    return Shortfall("time", f"to be in time: {instead}")
