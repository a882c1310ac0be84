"""The watchdog of systemd: it restarts a service whose event loop hangs."""

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress


class Watchdog:
    """Tells systemd from the event loop that the service is ready and lives, or it is restarted after WatchdogSec.

    systemd names a socket in the environment; elsewhere nothing is sent. With several processes each sends, and the
    server replaces one that hangs.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read the socket and the interval of the watchdog from the environment."""
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        watchdog_us = environment.get("WATCHDOG_USEC", "")
        self._interval_s = int(watchdog_us[:18]) / 2e6 if watchdog_us.isdecimal() else 0.0  # half: one may be late
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Say that the service is ready, and from now on that it lives; call this in the event loop."""
        self._send("READY=1")
        if self._interval_s and self._address:
            self._tick()

    def stop(self) -> None:
        """Say that the service ends."""
        if self._handle is not None:
            self._handle.cancel()
        self._send("STOPPING=1")

    def _tick(self) -> None:
        self._send("WATCHDOG=1")
        self._handle = asyncio.get_running_loop().call_later(self._interval_s, self._tick)

    def _send(self, text: str) -> None:
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stream:
                stream.setblocking(False)
                stream.sendto(text.encode(), self._address)
