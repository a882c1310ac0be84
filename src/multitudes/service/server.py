"""A process that serves, alone or as one of several: it opens its own parts, and ends when its parent is no more."""

import errno
import gc
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET, socket
from threading import Thread
from time import sleep
from types import FrameType
from typing import Any, Final

from fastapi import FastAPI
from uvicorn import Config, Server
from uvicorn.supervisors.multiprocess import Multiprocess

from multitudes.config import parse
from multitudes.errors import MissingError, MultitudesError, UsageError
from multitudes.service.app import create_app
from multitudes.service.journal import configure_logging
from multitudes.service.multiprocess_metrics import share_metrics
from multitudes.service.queue_handler import stderr_stream
from multitudes.service.request_limits import protocol_with_idle_timeout
from multitudes.service.settings import ServeConfig
from multitudes.service.startup import open_dependencies

_WORKER_ENV: Final = "MULTITUDES_SERVING"  # in the environment of a worker: what it serves
_LOGGERS: Final = ("multitudes", "uvicorn")
# uvloop takes one new connection in a turn of its loop from each socket that listens. Under load, when turns are long,
# those who connect would wait a turn for each before them: beyond any deadline, and where nobody can refuse them.
_LISTENING_SOCKETS: Final = 32
_GC_THRESHOLD: Final = 10_000  # an answer makes thousands, nearly all of them freed without a search for cycles
_READY_POLL_S: Final = 0.05  # whether a worker answers, where one was there and did not
_STARTUP_FAILED: Final = 3  # exit code of a worker that the server does not start again


def listen(host: str, port: int) -> socket:
    """Take the address.

    Raises:
        MissingError: the port is in use.
        UsageError: this machine has no such address, or may not take such a port.
    """
    listening = socket(AF_INET6 if ":" in host else AF_INET)
    listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise MissingError(f"port {port} of {host} is in use; give another with --port, or 0 for any") from None
        raise UsageError(f"cannot listen on {host}, port {port} ({error.strerror or error}); give another") from None
    listening.set_inheritable(True)
    return listening


def duplicate_socket(listening: socket) -> list[socket]:
    """Return sockets that listen at the same address, so that many who connect at once are taken in at once."""
    return [listening, *(listening.dup() for _ in range(_LISTENING_SOCKETS - 1))]


def socket_url(listening: socket) -> str:
    """Return where a service is reached that listens there."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve_single(app: FastAPI, settings: ServeConfig, listening: socket) -> None:
    """Serve until SIGTERM, and return when what was accepted is answered."""
    configure_logging(settings.journal, *_LOGGERS)
    _raise_gc_threshold()
    with _ignore_sigterm():
        Server(Config(app, **_uvicorn_options(settings))).run(duplicate_socket(listening))
    stderr_stream().drain()


def serve_workers(releases: Path, settings: ServeConfig, listening: socket, ready: Callable[[], None]) -> None:
    """Serve with several processes; one that dies or hangs is replaced.

    Args:
        releases: what to serve from.
        settings: of the service.
        listening: the socket that all of them share.
        ready: called once, from another thread, when one of them answers.

    Raises:
        MissingError: a worker could not begin; it has said why.
    """
    os.environ[_WORKER_ENV] = json.dumps({"releases": str(releases), "settings": settings.model_dump(mode="json")})
    configure_logging(settings.journal, *_LOGGERS)
    config = Config(f"{__name__}:worker", factory=True, workers=settings.server.workers, **_uvicorn_options(settings))
    workers = Multiprocess(config, duplicate_socket(listening))
    Thread(target=call_when_ready, args=(listening, ready), name="ready", daemon=True).start()
    with share_metrics():
        workers.run()
    stderr_stream().drain()
    if any(worker.exitcode == _STARTUP_FAILED for worker in workers.processes):
        raise MissingError("a worker could not begin to serve; its message stands above")


def call_when_ready(listening: socket, ready: Callable[[], None]) -> None:
    """Call ``ready`` when somebody answers who listens there; until then a connection waits to be taken."""
    host, port = listening.getsockname()[:2]
    while True:
        with closing(HTTPConnection(host, port)) as connection, suppress(OSError, HTTPException):
            connection.request("GET", "/readyz")
            if connection.getresponse().status == HTTPStatus.OK:
                break
        sleep(_READY_POLL_S)
    with suppress(OSError):  # nobody reads it
        ready()


def worker() -> FastAPI:
    """Make the application of a worker from what its parent handed over."""
    handed_over = json.loads(os.environ[_WORKER_ENV])
    settings = parse(ServeConfig, handed_over["settings"], "settings of the service")
    configure_logging(settings.journal, *_LOGGERS)
    _exit_with_parent()
    _raise_gc_threshold()
    parts = ExitStack()
    try:
        parts.callback(stderr_stream().drain)  # the last of all
        return create_app(parts.enter_context(open_dependencies(Path(handed_over["releases"]), settings)), parts.close)
    except MultitudesError as error:
        print(f"multitudes: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(_STARTUP_FAILED)


def _uvicorn_options(settings: ServeConfig) -> dict[str, Any]:
    """Return what the server is told."""
    http, server = settings.http, settings.server
    return {
        "http": partial(protocol_with_idle_timeout, http.head_s),
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": http.idle_s,
        "timeout_graceful_shutdown": server.drain_s,
        "forwarded_allow_ips": server.proxies,
    }


def _raise_gc_threshold() -> None:
    """Let the interpreter search for cyclic garbage every few answers, and no longer several times in each."""
    gc.set_threshold(_GC_THRESHOLD)


@contextmanager
def _ignore_sigterm() -> Iterator[None]:
    """Let SIGTERM end the service well: the server, when it has ended, raises the signal again."""

    def noted(number: int, frame: FrameType | None) -> None:
        del number, frame

    before = signal.signal(signal.SIGTERM, noted)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit_with_parent() -> None:
    """End this worker when its parent dies, which else would leave it with the address, watched by nobody."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=wait, name="parent", daemon=True).start()
