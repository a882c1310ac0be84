"""A Redis server behind a wire of its own that can be cut: two network namespaces and a pair of virtual interfaces.

Cutting gives the server's side no way back, so packets arrive there and nothing ever returns: no refusal, no reset.
"""

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

from tests.state.redis_server import RedisServer


def why_not() -> str:
    """Return why a wire cannot be made here, or nothing."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "cutting the network needs root and the program ip"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    return "" if made.returncode == 0 else "this system lets nobody make a network namespace"


class Cut:
    """A server behind a wire, from the begin to the end of a block."""

    def __init__(self, folder: Path) -> None:
        number = os.getpid() % 4_000
        self._space, self._near, self._far = (f"mr{number}{end}" for end in ("s", "n", "f"))
        network = f"10.231.{number // 64}"
        self._here, self._there = (f"{network}.{4 * (number % 64) + host}" for host in (1, 2))
        self._redis = RedisServer(folder, host=self._there, within=("ip", "netns", "exec", self._space))

    @property
    def url(self) -> str:
        """Where the server listens."""
        return self._redis.url

    def cut(self) -> None:
        """Let nothing come back."""
        _ip("-n", self._space, "route", "add", "blackhole", f"{self._here}/32")

    def mend(self) -> None:
        """Let everything come back."""
        _ip("-n", self._space, "route", "del", "blackhole", f"{self._here}/32")

    def __enter__(self) -> "Cut":
        """Make the wire and start the server."""
        _ip("netns", "add", self._space)
        try:
            _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self._space)
            _ip("addr", "add", f"{self._here}/30", "dev", self._near)
            _ip("link", "set", self._near, "up")
            _ip("-n", self._space, "addr", "add", f"{self._there}/30", "dev", self._far)
            _ip("-n", self._space, "link", "set", self._far, "up")
            self._redis.start()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the server and take the wire away."""
        self._redis.kill()
        self._remove()

    def _remove(self) -> None:
        subprocess.run(["ip", "link", "del", self._near], check=False, capture_output=True)
        _ip("netns", "del", self._space)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
