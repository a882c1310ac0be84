"""The journal of the service: a JSON line for each request and for each failure, with the id of the request.

Requests that an overload rejects unread share a line a second.

It contains no user ids, so erasing a user leaves it unchanged: the service names the requests. At level ``debug`` it
does, and the messages of all errors. A text journal has no control character of a client (``reliability/guards.py``).
"""

import atexit
import logging
import os
import random
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from io import TextIOBase
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Final

import structlog
from starlette.types import Scope
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from multitudes.errors import MultitudesError, one_line
from multitudes.service.settings import JournalConfig

_LEVELS: Final = logging.getLevelNamesMapping()
_MAX_CHARACTERS: Final = 4 << 20  # that wait to be written: some ten thousand lines


class StandardError(TextIOBase):
    """Standard error, written by a thread: a pipe that nobody reads holds up no request.

    What does not fit into memory meanwhile is dropped, and a line says how many lines were. Where the reader has gone,
    all are: the service goes on without a journal.
    """

    def __init__(self, descriptor: int = 2) -> None:
        """Start the thread; at exit, the process waits a second for it at most."""
        self._descriptor, self._changed = descriptor, Condition()
        self._lines, self._characters, self._dropped = list[str](), 0, 0
        Thread(target=self._write_on, name="journal", daemon=True).start()
        atexit.register(self.drain, 1.0)

    def write(self, text: str, /) -> int:
        """Let the thread write ``text``, or drop it; return the number of characters."""
        with self._changed:
            if self._characters + len(text) <= _MAX_CHARACTERS:
                self._lines.append(text)
                self._characters += len(text)
            else:
                self._dropped += 1
            self._changed.notify_all()
        return len(text)

    def drain(self, timeout_s: float) -> None:
        """Wait until everything is written, for ``timeout_s`` seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lines, timeout_s)

    def _write_on(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines)
                lines, dropped, self._dropped = tuple(self._lines), self._dropped, 0
            notice = f'{{"event": "dropped", "lines": {dropped}, "level": "warning"}}\n' if dropped else ""
            content = ("".join(lines) + notice).encode("utf-8", "backslashreplace")
            with suppress(OSError):
                os.write(self._descriptor, content)
            with self._changed:
                del self._lines[: len(lines)]
                self._characters -= sum(map(len, lines))
                self._changed.notify_all()


@cache
def standard_error() -> StandardError:
    """Return the one that this process writes to."""
    return StandardError()


class Journal:
    """Writes the journal."""

    def __init__(self, config: JournalConfig, stream: TextIOBase | None = None) -> None:
        """Write to ``stream``; by default to standard error."""
        self._config = config
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(stream or standard_error()),  # type: ignore[arg-type]
            processors=[structlog.processors.add_log_level, *_base_processors(config), _renderer(config)],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[config.level.upper()]),
        )

    def log_request(self, scope: Scope, route: str, status: int, seconds: float) -> None:
        """Write a line for an answered request: for a share of them, and for all of status 500 and above."""
        state, failed = scope["state"], status >= 500
        if not failed and random.random() >= self._config.requests:
            return
        (self._log.error if failed else self._log.info)(
            "request",
            request_id=state["request_id"],
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1e3, 2),
            key=state.get("key"),
            **state.get("summary", {}),
        )

    def add_to_summary(self, summary: dict[str, Any], record: Mapping[str, Any]) -> None:
        """Add an answer, as JSON, to the fields of its request's line."""
        if not summary:
            summary |= {"release": record["release"], "answers": 0, "degraded": 0, "candidates": 0}
            summary["stages_ms"] = record["timings_ms"]
        summary["answers"] += 1
        summary["degraded"] += record["degraded"]
        summary["candidates"] += len(record["candidates"])
        if self._config.level == "debug":
            summary.setdefault("users", []).append(record["user_id"])

    def log_rejections(self, route: str, requests: int) -> None:
        """Write a line for requests that were rejected unread; a line for each would cost more than its rejection."""
        if self._config.requests > 0:
            self._log.info("rejected", route=route, status=429, requests=requests)

    def log_context(self, request_id: str, context: Mapping[str, object]) -> None:
        """Write the context that a request carries."""
        self._log.info("context", request_id=request_id, context=dict(context))

    def log_defect(self, state: Mapping[str, Any], error: Exception) -> None:
        """Write an unexpected error, with its place in the code."""
        self._log.error("defect", request_id=state["request_id"], exc_info=error)


def configure_logging(config: JournalConfig, *loggers: str, stream: TextIOBase | None = None) -> None:
    """Write the records of ``loggers`` in the form of the journal; a process that serves calls this once."""
    handler: logging.StreamHandler[Any] = logging.StreamHandler(stream or standard_error())
    processors: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        *_base_processors(config),
    ]
    handler.setFormatter(
        ProcessorFormatter(
            processors=[ProcessorFormatter.remove_processors_meta, _renderer(config)], foreign_pre_chain=processors
        )
    )
    level = _LEVELS[config.level.upper()]
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        # At INFO, uvicorn writes when each process starts and ends; that is of use only to debug uvicorn.
        quiet = name != "multitudes" and level == logging.INFO
        logger.setLevel(logging.WARNING if quiet else level)


def _base_processors(config: JournalConfig) -> list[Processor]:
    return [structlog.processors.TimeStamper(fmt="iso", utc=True), _ErrorFields(traces=config.level == "debug")]


def _renderer(config: JournalConfig) -> Processor:
    if config.format == "text":
        plain = structlog.dev.ConsoleRenderer(colors=False)
        return lambda logger, name, record: plain(logger, name, _escape_controls(record))
    return structlog.processors.JSONRenderer()


def _escape_controls(value: Any) -> Any:  # noqa: ANN401
    """Return a record whose texts have no control characters: a client chooses some, and a terminal obeys them."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    if isinstance(value, Mapping):
        kept = {"trace"}  # has lines
        return {_escape_controls(key): each if key in kept else _escape_controls(each) for key, each in value.items()}
    return [_escape_controls(each) for each in value] if isinstance(value, (list, tuple)) else value


class _ErrorFields:
    """Adds an error, its cause and its place to a record, each in one line; with ``traces`` the traceback too."""

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
        # Messages of this package and of the system contain no user ids. Others may: a KeyError contains the key.
        show_message = self._traces or isinstance(error, (MultitudesError, OSError))
        return one_line(error) if show_message else type(error).__name__


def _where(trace: TracebackType | None) -> str:
    """Return the innermost line of this package in a traceback."""
    frames = traceback.extract_tb(trace)
    own = [frame for frame in frames if "multitudes" in Path(frame.filename).parts] or list(frames)
    if not own:
        return ""
    return f"{'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno} in {own[-1].name}"
