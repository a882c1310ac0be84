"""The watchdog of systemd, with a socket in its place."""

import asyncio
import socket
from contextlib import suppress

from multitudes.service.watchdog import Watchdog


def test_systemd_hears_of_an_event_loop_that_turns_and_of_nothing_else(tmp_path):
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(60)
        watchdog = Watchdog({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000"})

        async def serve() -> list[bytes]:
            watchdog.start()
            heard = [await asyncio.to_thread(systemd.recv, 64) for _ in range(4)]
            systemd.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    systemd.recv(64)  # else its queue may be full, and nobody waits for room
            watchdog.stop()
            return heard

        assert asyncio.run(serve()) == [b"READY=1", *[b"WATCHDOG=1"] * 3]
        assert systemd.recv(64) == b"STOPPING=1"


def test_without_systemd_nothing_is_sent(tmp_path):
    nobody = {"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "soon"}
    for environment in ({}, nobody, {"WATCHDOG_USEC": "9" * 400}):
        watchdog = Watchdog(environment)
        watchdog.start()
        watchdog.stop()
