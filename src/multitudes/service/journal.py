"""The journal of the service: lines of JSON on stderr, each with the request that it belongs to."""

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

import structlog
from starlette.types import Scope
from structlog.stdlib import ProcessorFormatter
from structlog.typing import Processor

from multitudes.service.settings import JournalConfig

_STAMPED: Final[list[Processor]] = [
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
_AS_JSON: Final = structlog.processors.JSONRenderer(ensure_ascii=False)


class Journal:
    """Writes the lines. Ids of users and items are not in it: who forgets a user need not look here."""

    def __init__(self, config: JournalConfig, stream: TextIO = sys.stderr) -> None:
        self._requests = config.requests
        self._log = structlog.wrap_logger(
            structlog.WriteLoggerFactory(stream)(), processors=[structlog.processors.add_log_level, *_STAMPED, _AS_JSON]
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


def adopt(*loggers: str, stream: TextIO = sys.stderr) -> None:
    """Write what other rooms and the server say in the form of the journal; done once, by the process that serves."""
    handler = logging.StreamHandler(stream)
    known: list[Processor] = [structlog.stdlib.add_log_level, structlog.stdlib.add_logger_name, *_STAMPED]
    handler.setFormatter(
        ProcessorFormatter(processors=[ProcessorFormatter.remove_processors_meta, _AS_JSON], foreign_pre_chain=known)
    )
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "multitudes" else logging.WARNING)
