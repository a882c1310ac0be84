"""How much time a request has: what its header says, or the default, counted from when its head had arrived."""

from time import perf_counter
from typing import Annotated

from fastapi import Header, Request

from multitudes.service.settings import DeadlineConfig

DeadlineHeader = Annotated[
    int | None,
    Header(
        alias="x-deadline-ms",
        ge=1,
        le=3_600_000,
        description="Milliseconds that the answer may take; bounded by the settings of the service.",
    ),
]


class Deadline:
    """When a request must be answered."""

    def __init__(self, request: Request, given_ms: int | None, default_ms: int, config: DeadlineConfig) -> None:
        allowed_ms = min(default_ms if given_ms is None else given_ms, config.most_ms)
        self._due_s = float(request.state.start_s) + allowed_ms / 1e3

    def left_s(self) -> float:
        """Return the seconds that are left; never below 0."""
        return max(0.0, self._due_s - perf_counter())
