"""Single requests of an attack: status and JSON, in turn."""

import json
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from reliability.server import Server

_PATIENCE_S = 60.0


class Reply(NamedTuple):
    """Status and body of an answer."""

    status: int
    record: Any  # JSON, or a text


def ask(server: Server, method: str, path: str, body: object = None, **headers: str) -> Reply:
    """Ask once. ``headers``: with ``_`` in place of ``-``."""
    content = None if body is None else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = Request(server.url + path, content, {"content-type": "application/json"} | named, method=method)
    try:
        with urlopen(asked, timeout=_PATIENCE_S) as answer:
            return Reply(answer.status, _read(answer.read()))
    except HTTPError as error:
        return Reply(error.code, _read(error.read()))


def send_event(server: Server, user: int, name: str, item: int, **more: int) -> Reply:
    """Send one event."""
    return ask(server, "POST", "/v1/events", {"events": [{"event_id": name, "user_id": user, "item_id": item, **more}]})


def _read(body: bytes) -> Any:  # noqa: ANN401
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
