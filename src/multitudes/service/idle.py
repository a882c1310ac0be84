"""Connections on which nobody asks anything are closed: those whose head never ends, and those that never begin.

The server itself ends one that lies idle *after* an answer; without this, one that sent half a head would stay.
"""

import asyncio
from typing import Any, Protocol, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from multitudes.service.heads import BoundedHeads


class _Connection(Protocol):
    """What is read of the server's protocol."""

    transport: asyncio.Transport | None
    cycle: Any  # the request that is being answered, or was last; None: there was none
    timeout_keep_alive_task: asyncio.TimerHandle | None  # there while the connection lies idle after an answer


def impatient(
    head_s: float,
    config: Config,
    server_state: ServerState,
    app_state: dict[str, Any],
    _loop: asyncio.AbstractEventLoop | None = None,
) -> asyncio.Protocol:
    """Make the server's protocol for one connection, and close it when ``head_s`` pass without a request.

    It is looked at once in ``head_s``, so a client has between one and two times that. The other arguments are those
    that the server gives.
    """
    make = cast("Any", BoundedHeads)
    connection = make(config=config, server_state=server_state, app_state=app_state, _loop=_loop)
    asyncio.get_running_loop().call_later(head_s, _look, connection, head_s, None)
    return cast("asyncio.Protocol", connection)


def _look(connection: _Connection, head_s: float, before: object) -> None:
    transport, now = connection.transport, connection.cycle
    if transport is None or transport.is_closing():
        return
    answering = now is not None and not now.response_complete
    resting = connection.timeout_keep_alive_task is not None
    if not answering and not resting and now is before:
        transport.close()
        return
    asyncio.get_running_loop().call_later(head_s, _look, connection, head_s, now)
