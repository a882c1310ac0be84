"""Which store an address means: a file of this machine, or a server."""

import re
from pathlib import Path

from multitudes.errors import UsageError
from multitudes.state.config import StateConfig
from multitudes.state.protocol import UserStates
from multitudes.state.sqlite import SQLiteStates

_SERVERS = ("redis", "rediss", "unix")


def open_states(address: str | Path, config: StateConfig | None = None) -> UserStates:
    """Open the store at a path (SQLite) or at ``redis://``, ``rediss://`` or ``unix://`` (Redis, Valkey).

    Raises:
        UsageError: the address is of no known kind, or the file cannot be written.
        ArtefactError: the file is no store, or of another version.
        MissingError: the package for such a server is not installed.
    """
    scheme = re.match(r"(\w+)://", str(address))
    if scheme is None:
        return SQLiteStates(address, config)
    if scheme[1] not in _SERVERS:
        raise UsageError(f"a store of user states at {scheme[1]}://…; expected a path, or redis://HOST:PORT")
    from multitudes.state.redis import RedisStates  # noqa: PLC0415 (an extra)

    return RedisStates(str(address), config)
