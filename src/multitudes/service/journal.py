"""The journal of the service: a line for each request and for what goes wrong, JSON with the request it belongs to.

Who asked is not in it unless the settings say so (``users``, and ``debug`` with the words of any error): who forgets a
user need not look here.
"""

import logging
import traceback
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol

import structlog
from starlette.types import Scope
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from multitudes.errors import MultitudesError
from multitudes.service.queue_handler import stderr_stream
from multitudes.service.settings import JournalConfig

_LEVELS: Final = logging.getLevelNamesMapping()


class Stream(Protocol):
    """What lines are written to."""

    def write(self, text: str, /) -> int: ...  # noqa: D102
    def flush(self) -> None: ...  # noqa: D102


class Journal:
    """Writes the lines."""

    def __init__(self, config: JournalConfig, stream: Stream | None = None) -> None:
        """Write to a stream; by default to standard error, without ever waiting for it."""
        self._config = config
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(stream or stderr_stream()),  # type: ignore[arg-type]
            processors=[structlog.processors.add_log_level, *_base_processors(config), _renderer(config)],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[config.level.upper()]),
        )

    def log_request(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        """Write that a request was answered: a share of them, and all of status 500 and more."""
        state, wrong = scope["state"], status >= 500
        if not wrong and not is_sampled(state["request_id"], self._config.requests):
            return
        (self._log.error if wrong else self._log.info)(
            "request",
            request_id=state["request_id"],
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1e3, 2),
            key=state.get("key"),
            **state.get("summary", {}),
        )

    def summary(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the line of a request says of its answers: what they have in common, and where the time went."""
        told = {
            "release": records[0]["release"],
            "answers": len(records),
            "degraded": sum(record["degraded"] for record in records),
            "candidates": sum(len(record["candidates"]) for record in records),
            "stages_ms": records[0]["timings_ms"],
        }
        return told | ({"users": [record["user_id"] for record in records]} if self._config.users else {})

    def log_context(self, request_id: str, context: Mapping[str, object]) -> None:
        """Write what a request said of itself."""
        self._log.info("context", request_id=request_id, context=dict(context))

    def log_defect(self, state: Mapping[str, Any], error: Exception) -> None:
        """Write where the code failed."""
        self._log.error("defect", request_id=state["request_id"], exc_info=error)


def configure_logging(config: JournalConfig, *loggers: str, stream: Stream | None = None) -> None:
    """Write what other rooms and the server say in the form of the journal; done once, by the process that serves."""
    handler: logging.StreamHandler[Any] = logging.StreamHandler(stream or stderr_stream())
    known: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        *_base_processors(config),
    ]
    handler.setFormatter(
        ProcessorFormatter(
            processors=[ProcessorFormatter.remove_processors_meta, _renderer(config)], foreign_pre_chain=known
        )
    )
    level = _LEVELS[config.level.upper()]
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        # The server tells at INFO that it begins and ends, once for each process: of use to who looks into it alone.
        quiet = name != "multitudes" and level == logging.INFO
        logger.setLevel(logging.WARNING if quiet else level)


def is_sampled(request_id: str, share: float) -> bool:
    """Tell whether a request is among ``share`` of all; the same everywhere, so that a trace is whole or not there."""
    return zlib.crc32(request_id.encode("utf-8", "replace")) < share * 2**32


def _base_processors(config: JournalConfig) -> list[Processor]:
    return [structlog.processors.TimeStamper(fmt="iso", utc=True), _ErrorFields(traces=config.level == "debug")]


def _renderer(config: JournalConfig) -> Processor:
    if config.format == "text":
        return structlog.dev.ConsoleRenderer(colors=False)
    return structlog.processors.JSONRenderer()


class _ErrorFields:
    """Says of an error what it is, what caused it and where, in a line each; the whole trace where it is asked for."""

    def __init__(self, *, traces: bool) -> None:
        self._traces = traces

    def __call__(self, logger: WrappedLogger, name: str, record: EventDict) -> EventDict:
        del logger, name
        given = record.pop("exc_info", None)
        error = given[1] if isinstance(given, tuple) else given
        if not isinstance(error, BaseException):
            return record
        record["error"], record["where"] = self._line(error), _where(error.__traceback__)
        caused_by = error.__cause__ or error.__context__
        if caused_by is not None:
            record["cause"] = self._line(caused_by)
        if self._traces:
            record["trace"] = "".join(traceback.format_exception(error))
        return record

    def _line(self, error: BaseException) -> str:
        # Our own words, and the system's, name no user. What others say may: a KeyError is the key that was not there.
        told = self._traces or isinstance(error, (MultitudesError, OSError))
        return " ".join(f"{type(error).__name__}: {error}".split()) if told else type(error).__name__


def _where(trace: TracebackType | None) -> str:
    """Return the last line of this package that took part."""
    frames = traceback.extract_tb(trace)
    own = [frame for frame in frames if "multitudes" in Path(frame.filename).parts] or list(frames)
    if not own:
        return ""
    return f"{'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno} in {own[-1].name}"
