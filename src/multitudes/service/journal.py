"""The journal of the service: lines of JSON on stderr, each with the request that it belongs to."""

import sys
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.types import Scope

from multitudes.service.settings import JournalConfig


class Journal:
    """Writes the lines. Ids of users and items are not in it: who forgets a user need not look here."""

    def __init__(self, config: JournalConfig) -> None:
        self._requests = config.requests
        self._log = structlog.wrap_logger(
            structlog.WriteLoggerFactory(sys.stderr)(),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )

    def request(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        """Write that a request was answered; where only what went wrong is written, those of status 500 and more."""
        if self._requests or status >= 500:
            state = scope["state"]
            self._log.info(
                event="request",
                request_id=state["request_id"],
                method=scope["method"],
                route=route,
                status=status,
                ms=round(seconds * 1e3, 2),
                key=state.get("key"),
            )

    def context(self, request_id: str, context: Mapping[str, object]) -> None:
        """Write what a request said of itself."""
        self._log.info(event="context", request_id=request_id, context=dict(context))

    def defect(self, state: dict[str, Any], error: Exception) -> None:
        """Write where the code failed."""
        self._log.error(event="defect", request_id=state["request_id"], exc_info=error)

    def note(self, event: str, message: str) -> None:
        """Write something that belongs to no request."""
        self._log.info(event=event, message=message)
