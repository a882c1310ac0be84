"""How much time a request has: what its header says, or the default, counted from when its head had arrived."""

from time import perf_counter
from typing import Annotated, Final

from fastapi import Header, Request

from multitudes.service.settings import DeadlineConfig

HEADER: Final = b"x-deadline-ms"
DeadlineHeader = Annotated[
    int | None,
    Header(
        alias=HEADER.decode(),
        ge=1,
        le=3_600_000,
        description="Milliseconds that the answer may take; bounded by the settings of the service.",
    ),
]


class Deadline:
    """When a request must be answered."""

    def __init__(self, request: Request, given_ms: int | None, default_ms: int, config: DeadlineConfig) -> None:
        self._due_s = float(request.state.start_s) + allowed_s(given_ms, default_ms, config)

    def left_s(self) -> float:
        """Return the seconds that are left; never below 0."""
        return max(0.0, self._due_s - perf_counter())


def allowed_s(given_ms: int | None, default_ms: int, config: DeadlineConfig) -> float:
    """Return the seconds that a request has in all."""
    return min(default_ms if given_ms is None else given_ms, config.most_ms) / 1e3
