"""What the data folder holds about access: when each key was last used, and an audit log of what needs the scope admin.

::

    audit.log          a line of JSON for each such request, also for those of keys without the scope
    key_uses/shop      empty; its time is that of the last use of the key `shop`, to the minute

An erased user must not return through the audit log: it names users by their digest in ``forgotten``.

A key that may do it has a line for each request. One without the scope could fill the disk: it has a line every ten
minutes at most, with the number of its requests since the line before.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Final

from starlette.types import Scope

from multitudes.audit import AUDIT_LOG, append_audit
from multitudes.errors import StateError, UsageError
from multitudes.ids import Id
from multitudes.service.errors import ApiError
from multitudes.service.id_types import parse_id

KEY_USES: Final = "key_uses"
_USERS: Final = "/v1/users/"
_USE_INTERVAL_S: Final = 60.0  # between two records of one key, of each process
_FORBIDDEN: Final = 403
_FORBIDDEN_INTERVAL_S: Final = 600.0  # between two lines of a key without the scope, of each process


class AccessRecords:
    """Records uses of keys and requests that need the scope admin. Processes may share a folder."""

    def __init__(
        self, folder: Path, digest: Callable[[Id], str | None], clock: Callable[[], float] = monotonic
    ) -> None:
        """Write to the data folder; ``digest`` returns the name of a user there, None if nobody was ever erased."""
        self._folder, self._digest, self._clock = folder, digest, clock
        self._next_use_s, self._next_forbidden_s = dict[str, float](), dict[str | None, float]()
        self._without_line, self._lock = Counter[str | None](), Lock()

    def record_use(self, key: str) -> None:
        """Record that a key was used now; most calls only look at a clock."""
        now_s = self._clock()
        if now_s < self._next_use_s.get(key, 0):
            return
        self._next_use_s[key] = now_s + _USE_INTERVAL_S
        with suppress(OSError):  # a full disk must not stop the service
            (self._folder / KEY_USES).mkdir(mode=0o700, exist_ok=True)
            (self._folder / KEY_USES / key).touch(0o600)

    def record_request(self, scope: Scope, status: int) -> None:
        """Append a request and the status of its answer to the audit log; see above for those without the scope."""
        key, path, address = scope["state"].get("key"), scope["path"], scope.get("client")
        what, user, more = f"{scope['method']} another path", None, dict[str, int]()  # a path may hold an id
        if status == _FORBIDDEN:
            with self._lock:
                now_s = self._clock()
                if now_s < self._next_forbidden_s.get(key, now_s):
                    self._without_line[key] += 1
                    return
                self._next_forbidden_s[key] = now_s + _FORBIDDEN_INTERVAL_S
                before = self._without_line.pop(key, 0)
            more = {"without_line": before} if before else {}
        if path.startswith(_USERS):
            what = f"{scope['method']} {_USERS}{{id}}"
            with suppress(ApiError, StateError):  # no id, or damaged: the status says so
                user = self._digest(parse_id(path.removeprefix(_USERS)))
        who = {"key": key, "address": address[0] if address else None, "request_id": scope["state"]["request_id"]}
        append_audit(self._folder / AUDIT_LOG, **who, what=what, user=user, status=status, **more)

    def close(self) -> None:
        """Append how many requests of each key have no line yet."""
        for key, requests in self._without_line.items():
            append_audit(self._folder / AUDIT_LOG, key=key, status=_FORBIDDEN, without_line=requests)


def last_uses(folder: Path) -> dict[str, float]:
    """Return when each key was last used, by name, in seconds since 1970; ``folder`` is the data folder.

    Raises:
        UsageError: it does not exist, so nobody knows that a key was not used.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder; expected the data folder of the service")
    uses = folder / KEY_USES
    return {file.name: file.stat().st_mtime for file in uses.iterdir()} if uses.is_dir() else {}
