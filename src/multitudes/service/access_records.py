"""What the data folder holds about access: when each key was last used, and an audit log of what needs the scope admin.

::

    audit.log          a line of JSON for each such request, also for those of keys without the scope
    key_uses/shop      empty; its time is that of the last use of the key `shop`, to the minute

An erased user must not return through the audit log: it names users by their digest in ``forgotten``.

A key that may do it has a line for each request. One without the scope could fill the disk: it has ten lines, then one
every ten minutes, with the number of its requests since the line before.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
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
_FORBIDDEN: Final = 403
_FORBIDDEN_LINES: Final = 10  # of a key without the scope at once, of each process
_FORBIDDEN_INTERVAL_S: Final = 600.0  # until it has one more


class Sender(NamedTuple):
    """Who sent a request: the name of the key, the address, and the id of the request."""

    key: str | None
    address: str | None
    request_id: str


@dataclass
class _Forbidden:
    """What a key without the scope has left: lines at a time, and the requests without a line since."""

    lines: float
    at_s: float
    without_line: int = 0

    def take_line(self, now_s: float) -> bool:
        """Return whether one more request has a line."""
        lines = min(self.lines + (now_s - self.at_s) / _FORBIDDEN_INTERVAL_S, _FORBIDDEN_LINES)
        self.lines, self.at_s = (lines - 1 if lines >= 1 else lines), now_s
        self.without_line += lines < 1
        return lines >= 1


class AccessRecords:
    """Records uses of keys and requests that need the scope admin. Processes may share a folder."""

    def __init__(
        self, folder: Path, digest: Callable[[Id], str | None], clock: Callable[[], float] = monotonic
    ) -> None:
        """Write to ``folder``.

        Args:
            folder: the data folder of the service.
            digest: returns the name of a user in the records; None: nobody was ever erased.
            clock: any steady clock, in seconds.
        """
        self._folder, self._digest, self._clock = folder, digest, clock
        self._next_use_s = dict[str, float]()
        self._forbidden, self._lock = dict[str | None, _Forbidden](), Lock()

    def record_use(self, key: str) -> None:
        """Record that a key was used now; most calls only look at a clock."""
        now_s = self._clock()
        if now_s < self._next_use_s.get(key, 0):
            return
        self._next_use_s[key] = now_s + _USE_INTERVAL_S
        with suppress(OSError):  # a full disk must not stop the service
            (self._folder / KEY_USES).mkdir(mode=0o700, exist_ok=True)
            (self._folder / KEY_USES / key).touch(0o600)

    def record_request(self, sender: Sender, method: str, path: str, status: int) -> None:
        """Append a request and the status of its answer to the audit log; see above for those without the scope."""
        more = self._count_forbidden(sender.key) if status == _FORBIDDEN else {}
        if more is None:
            return
        what, user = f"{method} {_pattern(path)}", None
        if path.startswith(_USERS):
            with suppress(ApiError, StateError):  # no id, or damaged: the status says so
                user = self._digest(parse_id(path.removeprefix(_USERS)))
        append_audit(self._folder / AUDIT_LOG, **sender._asdict(), what=what, user=user, status=status, **more)

    def close(self) -> None:
        """Append how many requests of each key have no line yet."""
        for key, one in self._forbidden.items():
            if one.without_line:
                what = {"key": key, "status": _FORBIDDEN, "without_line": one.without_line}
                append_audit(self._folder / AUDIT_LOG, **what)

    def _count_forbidden(self, key: str | None) -> dict[str, int] | None:
        """Return what the line of a request without the scope has beside the rest; None: it has no line."""
        with self._lock:
            now_s = self._clock()
            one = self._forbidden.setdefault(key, _Forbidden(_FORBIDDEN_LINES, now_s))
            if not one.take_line(now_s):
                return None
            before, one.without_line = one.without_line, 0
        return {"without_line": before} if before else {}


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
