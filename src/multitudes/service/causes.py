"""Why an answer was less than it could be, in five words; the reason itself is a line for people, with an id in it."""

from typing import Final, Literal, get_args

from multitudes.retrieve.cases import IN_TIME
from multitudes.service.answering import FAILED

Cause = Literal["state", "failed", "time", "few", "unknown"]
CAUSES: Final[tuple[Cause, ...]] = get_args(Cause)


def cause(reason: str, stateless: bool) -> Cause:
    """Return the cause that a reason tells of, the one outside the retrieval first.

    ``state``: the user states did not answer. ``failed``: the retrieval did. ``time``: less was done, to be in time.
    ``few``: the interests found too few items. ``unknown``: nothing is known of the user.

    Args:
        reason: of the answer.
        stateless: whether the user states did not answer.
    """
    if stateless:
        return "state"
    if reason.startswith(FAILED):
        return "failed"
    if reason.startswith(IN_TIME) or f"; {IN_TIME}" in reason:
        return "time"
    return "few" if reason.startswith("the interests found too few") else "unknown"
