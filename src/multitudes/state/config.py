"""How much a store of user states keeps, and for how long."""

from pydantic import Field

from multitudes.config import Config


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
