"""The HTTP server: one process, or several workers on one address, which are replaced when they die.

The parent of workers imports nothing of what answers, which would be memory of a further process.
"""

import asyncio
import errno
import gc
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET, socket
from threading import Thread
from time import monotonic, sleep
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from uvicorn import Config, Server
from uvicorn.supervisors import multiprocess
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from multitudes.atomic import create_text
from multitudes.config import parse
from multitudes.errors import MissingError, MultitudesError, UsageError, explain
from multitudes.service.journal import configure_logging
from multitudes.service.multiprocess_metrics import share_metrics, shared_folder
from multitudes.service.settings import ServeConfig
from multitudes.service.unsent_answers import UnsentAnswers

if TYPE_CHECKING:
    from fastapi import FastAPI

_WORKER_ENV: Final = "MULTITUDES_SERVING"  # environment variable that tells a worker what to serve
_LOGGERS: Final = ("multitudes", "uvicorn")
# uvloop accepts one connection per listening socket in each turn of its loop. Under load, turns are long: with one
# socket, a connection would wait a turn for each one before it, beyond any deadline, and nothing could reject it.
_LISTENING_SOCKETS: Final = 32
# An answer creates thousands of objects, and nearly all are freed without a search for cycles: one every few answers is
# enough. By default Python would do several in each.
_GC_THRESHOLD: Final = 10_000
_READY = "ready"  # file by which a worker tells the others, and its parent, that the service has begun
_READY_POLL_S: Final = 0.01
_PING_POLL_S: Final = 0.1
_DATE_INTERVAL_S: Final = 1.0
_STARTUP_FAILED: Final = 3  # exit code after which the server does not restart a worker
_FAILURE: Final = "failure.json"  # what a worker that cannot start leaves for its parent, which tells it once
# A worker that does not answer its parent for so long hangs, and is replaced. uvicorn's own 5 s are too few for a busy
# machine, on which a worker takes longer to import its libraries.
_HANGS_AFTER_S: Final = 20
_RETRY_S: Final = 5  # after which a worker that could not replace another one ends, so that the next is tried


def listen(host: str, port: int) -> socket:
    """Return a socket that listens on an address.

    Raises:
        MissingError: the port is in use.
        UsageError: this machine has no such address, or the process may not use the port.
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
    """Return a socket and its duplicates, so that the server accepts many connections in one turn of its loop."""
    return [listening, *(listening.dup() for _ in range(_LISTENING_SOCKETS - 1))]


def socket_url(listening: socket) -> str:
    """Return the URL of a service that listens on a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve_single(app: "FastAPI", settings: ServeConfig, listening: socket) -> None:
    """Serve until SIGTERM, and return when the accepted requests are answered."""
    configure_logging(settings.journal, *_LOGGERS)
    gc.set_threshold(_GC_THRESHOLD)
    # Exit with 0 after SIGTERM: when uvicorn has shut down, it raises the signal again.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        _Server(Config(app, **_uvicorn_options(settings))).run(duplicate_socket(listening))
    finally:
        signal.signal(signal.SIGTERM, before)


def serve_workers(releases: Path, settings: ServeConfig, listening: socket, on_ready: Callable[[], None]) -> None:
    """Serve with several processes that share a socket; one that dies or hangs is replaced.

    ``on_ready`` is called once, from another thread, when the first process is ready.

    Raises:
        MultitudesError: a worker could not start; the error is that of the worker.
        MissingError: no folder for temporary files can be written.
    """
    os.environ[_WORKER_ENV] = json.dumps({"releases": str(releases), "settings": settings.model_dump(mode="json")})
    configure_logging(settings.journal, *_LOGGERS)
    config = Config(f"{__name__}:worker", factory=True, workers=settings.server.processes, **_uvicorn_options(settings))
    workers = _Workers(config, duplicate_socket(listening))
    with share_metrics() as folder:
        Thread(target=_announce, args=(folder, on_ready), name="ready", daemon=True).start()
        workers.run()
        failure = folder / _FAILURE
        record = json.loads(failure.read_text(encoding="utf-8")) if failure.exists() else {}
    if workers.interrupted:
        raise KeyboardInterrupt
    if any(worker.exitcode == _STARTUP_FAILED for worker in workers.processes):
        error = MultitudesError(record.get("message", "a worker could not start; the reason is above"))
        error.exit_code = record.get("exit_code", error.exit_code)
        raise error


class _Server(Server):
    """A server that wakes once a second, to renew the date in its headers; uvicorn would look for signals ten times."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()

    async def main_loop(self) -> None:
        """Serve until a signal."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), _DATE_INTERVAL_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End after a signal, which interrupts the loop anywhere."""
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ended.set)


class _Worker(Process):
    """A worker whose death is seen at once: uvicorn would wait for its answer until it counts as hung."""

    signals: ClassVar[list[int]] = []  # that the parent has not handled yet; they are more urgent than an answer

    @property
    def server(self) -> Server:
        """The server that runs in the worker."""
        if self._server is None:
            self._server = _Server(self.config)
        return self._server

    def ping(self, timeout: float = _HANGS_AFTER_S) -> bool:
        """Return whether the worker answers in time."""
        end_s = monotonic() + timeout
        with suppress(OSError, EOFError):
            self.parent_conn.send(b"ping")
            while self.process.is_alive() and monotonic() < end_s:
                if self.signals:
                    return True
                if self.parent_conn.poll(_PING_POLL_S):
                    self.parent_conn.recv()
                    return True
        return False

    def join(self) -> None:
        """Wait until the worker has answered what it accepted, and end it if it then hangs."""
        self.process.join((self.config.timeout_graceful_shutdown or 0) + _HANGS_AFTER_S)
        self.process.kill()
        self.process.join()


class _Workers(Multiprocess):
    """The workers of a service; remembers whether Ctrl-C ended it."""

    interrupted = False

    def init_processes(self) -> None:
        """Start the workers."""
        multiprocess.Process = _Worker  # type: ignore[misc]  # what uvicorn starts, now and as a replacement
        _Worker.signals = self.signal_queue
        super().init_processes()

    def handle_int(self) -> None:
        """End the service after Ctrl-C."""
        self.interrupted = True
        super().handle_int()


def _announce(folder: Path, on_ready: Callable[[], None]) -> None:
    """Call ``on_ready`` when a worker is ready."""
    while not (folder / _READY).exists():
        sleep(_READY_POLL_S)
    with suppress(OSError):  # the reader of stdout closed the pipe
        on_ready()


def worker() -> "FastAPI":
    """Return the application of a worker, from the environment that its parent set; uvicorn calls this by name."""
    from multitudes.service.app import create_app  # noqa: PLC0415 (the parent does without)
    from multitudes.service.startup import open_dependencies  # noqa: PLC0415

    task = json.loads(os.environ[_WORKER_ENV])
    settings = parse(ServeConfig, task["settings"], "settings of the service")
    configure_logging(settings.journal, *_LOGGERS)
    _exit_with_parent()
    gc.set_threshold(_GC_THRESHOLD)
    stack = ExitStack()
    try:
        deps = stack.enter_context(open_dependencies(Path(task["releases"]), settings))
        app, folder = create_app(deps, stack.close), shared_folder()
        assert folder is not None, "the parent shares it"
        (folder / _READY).touch()
        return app
    except Exception as error:
        _give_up(error)


def _give_up(error: Exception) -> NoReturn:
    """End this worker, which cannot start.

    At the start of the service its parent tells why, once, although all workers fail alike. Later the others still
    answer, and what fails may pass: the parent tries again.
    """
    explained, folder = explain(error), shared_folder()
    if explained is None:
        traceback.print_exc()
    if folder is not None and (folder / _READY).exists():
        sys.stderr.write(f"multitudes: a worker cannot start: {explained or error}\n")
        sleep(_RETRY_S)
        sys.exit(1)
    try:
        if explained is not None and folder is not None:
            create_text(folder / _FAILURE, json.dumps({"message": str(explained), "exit_code": explained.exit_code}))
    except OSError:
        sys.stderr.write(f"multitudes: {explained}\n")
    sys.exit(_STARTUP_FAILED)


def _protocol(*given: Any, **options: Any) -> asyncio.Protocol:  # noqa: ANN401
    """Return the protocol of a connection."""
    from multitudes.service.http_protocol import ServiceProtocol  # noqa: PLC0415 (the parent does without)

    return ServiceProtocol(*given, **options)


def _uvicorn_options(settings: ServeConfig) -> dict[str, Any]:
    """Return the options of uvicorn."""
    http, server = settings.http, settings.server
    return {
        "http": partial(_protocol, unsent=UnsentAnswers(http.client_s)),
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": http.idle_s,
        "timeout_graceful_shutdown": server.drain_s,
        "timeout_worker_healthcheck": _HANGS_AFTER_S,
        "forwarded_allow_ips": server.proxies,
    }


def _exit_with_parent() -> None:
    """End this worker when its parent dies; it would otherwise keep the address, and nothing would replace it."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os.kill(os.getpid(), signal.SIGTERM)

    Thread(target=wait, name="parent", daemon=True).start()
