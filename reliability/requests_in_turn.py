"""Single requests of an attack, in turn: status and JSON; and waiting for what comes of them."""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from reliability.server import Server

_PATIENCE_S = 60.0


class Reply(NamedTuple):
    """Status and body of an answer."""

    status: int
    record: Any  # JSON, or a text


def ask(
    server: Server, method: str, path: str, body: object = None, *, patience_s: float = _PATIENCE_S, **headers: str
) -> Reply:
    """Ask once. ``headers``: with ``_`` in place of ``-``."""
    content = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = Request(server.url + path, content, {"content-type": "application/json"} | named, method=method)
    try:
        with urlopen(asked, timeout=patience_s) as answer:
            return Reply(answer.status, _read(answer.read()))
    except HTTPError as error:
        return Reply(error.code, _read(error.read()))


def send_event(server: Server, user: int, name: str, item: int, **more: int) -> Reply:
    """Send one event."""
    return ask(server, "POST", "/v1/events", {"events": [{"event_id": name, "user_id": user, "item_id": item, **more}]})


def wait_until(is_true: Callable[[], bool], patience_s: float = 30.0) -> None:
    """Return when a condition holds, or when patience has ended."""
    end_s = time.monotonic() + patience_s
    while not is_true() and time.monotonic() < end_s:
        time.sleep(0.2)


def _read(body: bytes) -> Any:  # noqa: ANN401
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
