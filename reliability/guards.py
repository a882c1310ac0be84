"""The smaller ones: what a proxy forwards to a service without keys, two Host headers, escapes in a journal, damage.

The file of erasures and the store of user states are damaged while the service is down: it says so at ``/readyz``, or
does not start.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from reliability.codes import Code, without_effect
from reliability.connection import Connection, request, run
from reliability.requests_in_turn import ask, send_event
from reliability.server import UNHURRIED, Server
from reliability.world import FIRST_ITEM, World

_ESCAPE = "\x1b[31m"


def _attack(code: Code) -> dict[str, Any]:
    code.publish(World(items=200, users=20))
    data = code.folder / "service"
    body = {"user_id": 1, "request_id": f"mine{_ESCAPE}", "context": {"page": f"mine{_ESCAPE}"}}
    with code.serving({"journal": {"format": "text"}, **UNHURRIED}) as server:
        for number in range(200):
            send_event(server, 1 + number % 20, f"e-{number}", FIRST_ITEM + number)
        ask(server, "POST", "/v1/recommend", body)
        ask(server, "DELETE", "/v1/users/3")
        forwarded = ask(server, "GET", "/v1/releases", x_forwarded_for="203.0.113.7").status == 200
        two_hosts = run(_status(server)) == 200
        server.end()
    escapes = (data / "journal").read_text(encoding="utf-8").count("\x1b")
    found = {"forwarded": int(forwarded), "two_hosts": int(two_hosts), "escapes": escapes}
    forgotten = (data / "forgotten").read_bytes()
    found["erasures"] = _ready(code, lambda: (data / "forgotten").write_bytes(b"\xff\x00 not digests"))
    (data / "forgotten").write_bytes(forgotten)
    found["store"] = _ready(code, lambda: _damage_store(data / "state.sqlite"))
    return found


async def _status(server: Server) -> int:
    connection = await Connection.to(server.port)
    two = request("GET", "/v1/releases").replace(b"host: ", b"host: evil.example\r\nhost: ")
    return (await connection.ask(two)).status


def _ready(code: Code, damage: Callable[[], object]) -> int:
    """Return 1 if the service says that all is well after the damage."""
    damage()
    try:
        with code.serving(UNHURRIED) as server:
            answer = ask(server, "GET", "/readyz")
            return int(answer.status == 200 and answer.record["status"] == "ok")
    except RuntimeError:  # it does not start
        return 0


def _damage_store(file: Path) -> None:
    """Overwrite pages in the middle of a store, whose log is written back first."""
    with closing(sqlite3.connect(file)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = store.execute("PRAGMA page_size").fetchone()
    content = bytearray(file.read_bytes())
    for start in range(2 * page, len(content), page):
        content[start : start + page // 2] = b"\xaa" * (page // 2)
    file.write_bytes(content)


trial = without_effect(
    _attack,
    forwarded="forwarded requests that a service without keys answers",
    two_hosts="requests with two Host headers that are answered",
    escapes="escapes in a text journal",
    erasures="ready with a damaged file of erasures",
    store="ready with a damaged store",
)
