"""What the data folder holds about access: when each key was last used, and an audit log of what needs the scope admin.

::

    audit.log          a line of JSON for each such request, also for those of keys without the scope
    key_uses/shop      empty; its time is that of the last use of the key `shop`, to the minute

An erased user must not return through the audit log: it names users by their digest in ``forgotten``.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

from multitudes.audit import AUDIT_LOG, append_audit
from multitudes.errors import StateError, UsageError
from multitudes.ids import Id
from multitudes.service.errors import ApiError
from multitudes.service.id_types import parse_id

KEY_USES: Final = "key_uses"
_USERS: Final = "/v1/users/"
_USE_INTERVAL_S: Final = 60.0  # between two records of one key, of each process


class Sender(NamedTuple):
    """Who sent a request: the name of the key, the address, and the id of the request."""

    key: str | None
    address: str | None
    request_id: str


class AccessRecords:
    """Records uses of keys and requests that need the scope admin. Processes may share a folder."""

    def __init__(self, folder: Path, digest: Callable[[Id], str | None]) -> None:
        """Write to ``folder``.

        Args:
            folder: the data folder of the service.
            digest: returns the name of a user in the records; None: nobody was ever erased.
        """
        self._folder, self._digest = folder, digest
        self._next_use_s = dict[str, float]()

    def record_use(self, key: str) -> None:
        """Record that a key was used now; most calls only look at a clock."""
        now_s = monotonic()
        if now_s < self._next_use_s.get(key, 0):
            return
        self._next_use_s[key] = now_s + _USE_INTERVAL_S
        with suppress(OSError):  # a full disk must not stop the service
            (self._folder / KEY_USES).mkdir(mode=0o700, exist_ok=True)
            (self._folder / KEY_USES / key).touch(0o600)

    def record_request(self, sender: Sender, method: str, path: str, status: int) -> None:
        """Append a request and the status of its answer to the audit log."""
        what, user = f"{method} {_pattern(path)}", None
        if path.startswith(_USERS):
            with suppress(ApiError, StateError):  # no id, or damaged: the status says so
                user = self._digest(parse_id(path.removeprefix(_USERS)))
        append_audit(self._folder / AUDIT_LOG, **sender._asdict(), what=what, user=user, status=status)


def _pattern(path: str) -> str:
    """Return the pattern of a path: it holds no id."""
    return f"{_USERS}{{id}}" if path.startswith(_USERS) else "another path"


def last_uses(folder: Path) -> dict[str, float]:
    """Return when each key was last used, by name, in seconds since 1970; ``folder`` is the data folder.

    Raises:
        UsageError: it does not exist, so nobody knows that a key was not used.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; expected the data folder of the service")
    uses = folder / KEY_USES
    return {file.name: file.stat().st_mtime for file in uses.iterdir()} if uses.is_dir() else {}
