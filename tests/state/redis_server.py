"""A real Redis server for tests, with its own folder, port and process."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.ports import free_port

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
WHY_NOT = "neither redis-server nor valkey-server is on the PATH"
_START_S = 30.0


class RedisServer:
    """One server; ``start`` again after ``kill`` gives an empty one on the same port, unless it is durable."""

    def __init__(
        self,
        folder: Path,
        password: str = "",
        host: str = "127.0.0.1",
        within: tuple[str, ...] = (),
        *,
        durable: bool = False,
    ) -> None:
        self.port = free_port()
        self._folder, self._password, self._host = folder, password, host
        self._durable = durable
        self._within = within  # what comes before the program's name, as to run it in another network
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens, and how it lets one in."""
        return f"redis://{f':{self._password}@' if self._password else ''}{self._host}:{self.port}"

    def start(self) -> "RedisServer":
        assert PROGRAM is not None
        settings = {"port": self.port, "bind": self._host, "save": "", "appendonly": "no", "dir": self._folder}
        settings |= {"appendonly": "yes", "appendfsync": "always"} if self._durable else {}
        settings |= {"requirepass": self._password} if self._password else {}
        settings |= {} if self._host == "127.0.0.1" else {"protected-mode": "no"}
        call = [
            *self._within,
            PROGRAM,
            *(part for name, value in settings.items() for part in (f"--{name}", str(value))),
        ]
        self.process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection((self._host, self.port), timeout=1):
                return self
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(0.02)

    def pause(self) -> None:
        """Let it hang: connections stay open, nothing is answered."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
