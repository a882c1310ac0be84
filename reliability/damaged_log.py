"""D13: a segment of a log is damaged; users are erased from all else, and the service ends as it should."""

from typing import Any

from reliability.codes import Code, without_effect
from reliability.requests_in_turn import ask, send_event, wait_until
from reliability.world import FIRST_ITEM, World

_USERS = 5


def _attack(code: Code) -> dict[str, Any]:
    code.publish(World(items=200, users=20))
    segments = code.folder / "service" / "logs" / "events"
    with code.serving({"logs": {"segment_s": 1}}) as server:
        for user in range(1, 1 + _USERS):
            send_event(server, user, f"e-{user}", FIRST_ITEM)
        wait_until(lambda: any(segments.glob("*.parquet")))
        segment = min(segments.glob("*.parquet"))
        content = segment.read_bytes()
        segment.write_bytes(content[: len(content) // 2] + b"\0" * (len(content) // 2))
        statuses = [ask(server, "DELETE", f"/v1/users/{user}").status for user in range(1, 1 + _USERS)]
        ready = ask(server, "GET", "/readyz")
        state = ready.record["status"] if isinstance(ready.record, dict) else ready.record
        ended = server.end()
    refused = sum(status != 200 for status in statuses)
    return {"refused": refused, "exit": ended, "statuses": statuses, "readyz": [ready.status, state]}


trial = without_effect(
    _attack,
    refused=f"of {_USERS} erasures, refused",
    exit="exit code after SIGTERM",
)
