"""D14 and D15: users are erased while a backup reads the store; their events are sent again, and a backup is restored.

An event is sent again as it was, without a time, and by a machine whose clock is 45 seconds ahead. The backup is a copy
of the store's file, from before the erasure.
"""

import sqlite3
import time
from contextlib import closing
from typing import Any

from reliability.codes import Code, without_effect
from reliability.requests_in_turn import ask, send_event
from reliability.world import FIRST_ITEM, World

_USER, _AHEAD_S = 7, 45


def _attack(code: Code) -> dict[str, Any]:
    code.publish(World(items=200, users=20))
    store, copy = code.folder / "service" / "state.sqlite", code.folder / "copy.sqlite"
    path = f"/v1/users/{_USER}"
    with code.serving() as server:
        at_s = int(time.time())
        for number in range(3):
            send_event(server, _USER, f"e-{number}", FIRST_ITEM + number, time_s=at_s)
        with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        with closing(sqlite3.connect(store, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
            tables = reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                reader.execute(f'SELECT * FROM "{table}"').fetchall()
            status = ask(server, "DELETE", path).status
        if status != 200:
            assert ask(server, "DELETE", path).status == 200
        again = [
            send_event(server, _USER, "e-0", FIRST_ITEM),
            send_event(server, _USER, "e-1", FIRST_ITEM + 1, time_s=at_s),
            send_event(server, _USER, "e-2", FIRST_ITEM + 2, time_s=int(time.time()) + _AHEAD_S),
        ]
        ask(server, "DELETE", path)
        server.end()
    for file in store.parent.glob("state.sqlite*"):
        file.unlink()
    copy.rename(store)
    with code.serving() as server:
        restored = len(ask(server, "GET", path).record["events"])
    taken = sum(one.record.get("new", 0) for one in again)
    return {"refused": int(status != 200), "status": status, "taken": taken, "restored": restored}


trial = without_effect(
    _attack,
    refused="erasures refused while a backup reads",
    taken="events of before the erasure, taken when they are sent again",
    restored="events that a restored backup brings back",
)
