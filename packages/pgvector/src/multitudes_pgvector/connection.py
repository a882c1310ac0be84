"""A connection to PostgreSQL: every call is one transaction with a deadline, every failure one ``UnavailableError``.

The environment alone says where the server is and who asks: ``PGHOST``, ``PGPORT``, ``PGDATABASE``, ``PGUSER``,
``PGPASSWORD`` and the other variables of libpq. A release that named a server could send a password anywhere.
"""

import logging
import os
import threading
from collections.abc import Callable, Generator
from math import inf
from struct import pack
from time import monotonic
from typing import Any, TypeVar

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

from multitudes.errors import UnavailableError

logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # failures are raised, so its warnings need no log

T = TypeVar("T")
_ADDRESS = "start the server, or correct PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD"


class _Vector(Dumper):
    """A float32 array becomes a ``vector``: its width, two unused bytes, its numbers."""

    format = Format.BINARY

    def dump(self, obj: NDArray[np.float32]) -> bytes:
        return pack(">HH", len(obj), 0) + obj.astype(">f4").tobytes()


class _Array(Loader):
    """A ``vector`` becomes a float32 array."""

    format = Format.BINARY

    def load(self, data: Buffer) -> NDArray[np.float32]:
        return np.frombuffer(data, dtype=">f4", offset=4).astype(np.float32)


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed when a call reaches ``stop_s``: libpq waits for a server that hangs for ever."""

    stop_s = inf  # of the monotonic clock

    def __del__(self, __warn: Any = None) -> None:  # noqa: ANN401
        """Warn of nothing: what libpq has open ends with its object, or stays open for the process that forked."""

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:  # noqa: ANN401
        """Wait for an answer of the server."""
        try:
            return super().wait(_until(gen, self.stop_s), *args, **options)
        except TimeoutError:
            self.close()
            raise


def _until(steps: Generator[Any, Any, T], stop_s: float) -> Generator[Any, Any, T]:
    """Yield the steps of a call until ``stop_s``; while it waits, the client asks for one every tenth of a second."""
    ready = None
    while True:
        try:
            ready = yield steps.send(ready)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        if monotonic() > stop_s:
            raise TimeoutError


class Connection:
    """Connections to one server, one for each thread. They open on first use, and again in a forked process."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._local = threading.local()

    def call(self, what: str, request: Callable[[Session], T], *, retry: bool = True) -> T:
        """Return the result of ``request``, one transaction, which sees one state of the tables, within ``timeout_s``.

        Args:
            what: the request in words, for the error message.
            request: executes statements.
            retry: once, if the connection broke; only for requests that may be done twice.

        Raises:
            UnavailableError: the server did not answer in time, cannot be reached, or rejects the request.
        """
        stop_s = monotonic() + self.timeout_s
        while True:
            was_open, session = self._is_open(), None
            try:
                session = self._open()
                session.stop_s = stop_s
                with session.transaction():
                    session.execute(f"SET LOCAL statement_timeout = {max(1, int(1000 * (stop_s - monotonic())))}")
                    return request(session)
            except (psycopg.Error, TimeoutError) as error:
                is_broken = session is not None and session.closed
                if not (retry and is_broken and was_open and monotonic() < stop_s):
                    raise _unavailable(error, f"PostgreSQL: {what}", self.timeout_s) from None

    def _is_open(self) -> bool:
        local = self._local.__dict__
        return local.get("pid") == os.getpid() and not local["session"].closed

    def _open(self) -> Session:
        if not self._is_open():
            wait_s = max(2, int(self.timeout_s))  # libpq's least
            session = Session.connect("", autocommit=True, prepare_threshold=None, connect_timeout=wait_s)
            session.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            info = TypeInfo.fetch(session, "vector")
            if info is None:
                raise psycopg.NotSupportedError("the database has no pgvector; execute CREATE EXTENSION vector in it")
            info.register(session)
            session.adapters.register_dumper(np.ndarray, type("Vector", (_Vector,), {"oid": info.oid}))
            session.adapters.register_loader(info.oid, _Array)
            self._local.session, self._local.pid = session, os.getpid()
        opened: Session = self._local.session
        return opened


def _unavailable(error: Exception, subject: str, timeout_s: float) -> UnavailableError:
    """Return the error with cause and remedy; ``subject`` is the request in words. It never shows a password."""
    if isinstance(error, (TimeoutError, psycopg.errors.QueryCanceled, psycopg.errors.ConnectionTimeout)):
        return UnavailableError(
            f"{subject}: no answer within {timeout_s:g} s; try again, or give more in [index.options]"
        )
    if isinstance(error, psycopg.errors.UndefinedTable):
        return UnavailableError(f"{subject}: the table is gone; publish again, or roll back")
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    advice = _ADDRESS if isinstance(error, psycopg.OperationalError) else "see the log of the server"
    return UnavailableError(f"{subject}: failed: {reason}; {advice}")
