"""Services as they are written at first, for the controls: ``python -m reliability.naive KIND FOLDER``.

Each listens on loopback and prints its address as the real one does. What is wrong with each stands at its class.
"""

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import socket
from typing import Any, TextIO

from reliability.server import Server, run_program

_THREADS = 32


class Plain(BaseHTTPRequestHandler):
    """Answers any request with an empty record; what is wrong is in those that follow."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        self.answer(self.record())

    do_GET = do_PUT = do_DELETE = do_POST

    def record(self) -> Any:  # noqa: ANN401
        """Return the body of the request."""
        return json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"null")

    def answer(self, record: object, status: int = 200) -> None:
        """Send a record."""
        body = json.dumps(record).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write nothing."""


class Forgetful(Plain):
    """Acknowledges events when they are in a buffer of its own."""

    file: TextIO

    def do_POST(self) -> None:
        """Take events in."""
        for event in self.record()["events"]:
            self.file.write(event["event_id"] + "\n")
        self.answer({"new": 1})


class Trusting(Plain):
    """Takes what comes for what it should be."""

    def do_POST(self) -> None:
        """Read the body as if it were right, and fail where it is not."""
        try:
            n = 10 // self.record()["n"]
        except Exception as error:
            self.answer({"detail": repr(error)}, 500)
        else:
            self.answer({"items": list(range(n))})

    do_GET = do_PUT = do_DELETE = do_POST


class Pooled(HTTPServer):
    """Serves each connection in a thread of a pool, from its first byte to its last."""

    request_queue_size = 2048

    def __init__(self, handler: type[Plain]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self._pool = ThreadPoolExecutor(_THREADS)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Hand a connection to a thread."""
        self._pool.submit(self._serve, request, client_address)

    def _serve(self, request: socket, client_address: Any) -> None:  # noqa: ANN401
        try:
            self.finish_request(request, client_address)
        except OSError:
            return
        finally:
            self.shutdown_request(request)


KINDS: dict[str, type[Plain]] = {"plain": Plain, "forgetful": Forgetful, "trusting": Trusting}


@contextmanager
def naive(kind: str, folder: Path) -> Iterator[Server]:
    """Run one of the kinds, until the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with run_program([sys.executable, "-m", "reliability.naive", kind, str(folder)], folder) as process:
        assert process.stdout is not None
        yield Server(process, int(process.stdout.readline().rpartition(":")[2]), folder)


def _main(kind: str, folder: Path) -> None:
    with (folder / "events").open("a") as file:
        Forgetful.file = file
        server = Pooled(KINDS[kind])
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
