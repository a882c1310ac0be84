"""The store of user states in one SQLite file, for the processes of one machine."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from multitudes.errors import ArtefactError, StateError
from multitudes.ids import Id
from multitudes.state.protocol import AppendResult, Event, StateConfig, UserState
from multitudes.state.sqlite_database import GroupCommit, connect, prepare_database, translate_error, truncate_log
from multitudes.state.validation import (
    ERASED_PREFIX,
    check_text,
    event_digest,
    late_before_s,
    user_digest,
    validate_events,
)

_OF_A_USER = ("event", "follows", "told")
_INSERT = "INSERT INTO event SELECT ?1, ?2, (SELECT coalesce(max(place), 0) + 1 FROM event WHERE user = ?1), ?3, ?4, ?5"
_TRIM = (
    "DELETE FROM event WHERE user = ?1 AND (time_s, place) <= (SELECT time_s, place FROM event WHERE user = ?1"
    " ORDER BY time_s DESC, place DESC LIMIT 1 OFFSET ?2)"
)


class SQLiteStateStore:
    """A ``UserStateStore`` in a file. An acknowledged write is on the disk.

    One thread writes and any number of threads read. Each read sees one snapshot; readers never wait for writers.
    """

    def __init__(
        self, file: str | Path, config: StateConfig | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Open ``file``, or create it; ``clock`` returns the seconds since 1970.

        Raises:
            UsageError: the folder does not exist or cannot be written to.
            ArtefactError: the file is not a store, or has another version.
            StateError: another process locks it for longer than ``config.timeout_s``.
        """
        self._file, self._config, self._clock = Path(file), config or StateConfig(), clock
        self._secret = prepare_database(self._file, self._config.timeout_s)
        self._readers: list[sqlite3.Connection] = []  # idle connections
        self._lock, self._closed = Lock(), False
        with self._translate_errors():
            self._writer = GroupCommit(connect(self._file, self._config.timeout_s))

    def append(self, events: Sequence[Event]) -> AppendResult:
        """Store events; see ``UserStateStore.append``."""
        now_s = int(self._clock())
        accepted, clamped = validate_events(events, now_s, self._config.skew_s)
        if not accepted:
            return AppendResult([])
        users = [user_digest(event.user_id, self._secret) for event in accepted]
        with self._translate_errors():
            new = self._writer.run(lambda connection: self._append(connection, users, accepted, now_s))
        return AppendResult(new, sum(map(all, zip(new, clamped, strict=True))))

    def read(self, user_ids: Sequence[Id]) -> list[UserState]:
        """Return the state of users; see ``UserStateStore.read``."""
        users = [user_digest(user_id, self._secret) for user_id in user_ids]
        with self._translate_errors(), self._reader() as connection:
            connection.execute("BEGIN")  # one snapshot for all
            try:
                return [
                    _read_user_state(connection, user, user_id) for user, user_id in zip(users, user_ids, strict=True)
                ]
            finally:
                connection.execute("COMMIT")

    def set_followed_topics(self, user_id: Id, followed_topics: Sequence[str]) -> None:
        """Replace the topics that a user follows; see ``UserStateStore.set_followed_topics``."""
        for topic in followed_topics:
            check_text(topic, "topic")
        row = user_digest(user_id, self._secret), json.dumps(list(followed_topics))
        with self._translate_errors():
            self._writer.run(lambda connection: connection.execute("INSERT OR REPLACE INTO follows VALUES (?, ?)", row))

    def erase(self, user_id: Id, at_s: int | None = None) -> bool:
        """Erase a user; see ``UserStateStore.erase``. SQLite overwrites the data in the file and in its log.

        While another process reads, as a backup does, its log cannot be overwritten: that is done when it ends.
        """
        user, erased_s = user_digest(user_id, self._secret), int(self._clock()) if at_s is None else at_s
        with self._translate_errors():
            known = self._writer.run(lambda connection: self._erase(connection, user, erased_s))
            with self._reader() as connection:
                if not truncate_log(connection):
                    self._writer.truncate_log_later()
        return known

    def ping(self) -> None:
        """Check that the file can be read."""
        with self._translate_errors(), self._reader() as connection:
            connection.execute("SELECT count(*) FROM secret").fetchone()

    def check(self) -> None:
        """Check all pages of the file; see ``UserStateStore.check``."""
        with self._translate_errors(), self._reader() as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise ArtefactError(f"{self._file}: damaged ({' '.join(found.split())}); restore a backup")

    def close(self) -> None:
        """Close all connections to the file."""
        self._writer.close()
        with self._lock:
            self._closed = True
            while self._readers:
                self._readers.pop().close()

    def _append(
        self, connection: sqlite3.Connection, users: list[bytes], events: list[Event], now_s: int
    ) -> list[bool]:
        horizon_s = now_s - self._config.remember_ids_s
        distinct, erasure = set(users), "SELECT user, at_s FROM forgot WHERE user = ?"
        erased_at_s: dict[bytes, int] = dict(row for user in distinct for row in connection.execute(erasure, (user,)))
        # Date events ahead of now to now: the clock was ahead when they arrived, and they would stay the newest.
        ahead = "UPDATE event SET time_s = ?2 WHERE user = ?1 AND time_s > ?2 + ?3"
        connection.executemany(ahead, [(user, now_s, self._config.skew_s) for user in distinct])
        new = []
        for user, event in zip(users, events, strict=True):
            erased_s = erased_at_s.get(user)
            is_late = erased_s is not None and (
                event.time_s < late_before_s(erased_s, now_s, self._config.skew_s)
                or _is_told(connection, user, event_digest(user, event.event_id, self._secret), horizon_s)
            )
            new.append(not is_late and _remember_event_id(connection, user, event, now_s, horizon_s))
            if new[-1]:
                connection.execute(_INSERT, (user, event.time_s, event.event_id, event.item_id, event.action))
        connection.executemany(_TRIM, [(user, self._config.keep) for user in distinct])
        _expire_event_ids(connection, horizon_s, 2 * len(events))
        return new

    def _erase(self, connection: sqlite3.Connection, user: bytes, erased_s: int) -> bool:
        told = connection.execute("SELECT event_id, arrived_s FROM told WHERE user = ?", (user,)).fetchall()
        counts = [connection.execute(f"DELETE FROM {name} WHERE user = ?", (user,)).rowcount for name in _OF_A_USER]
        rows = [
            (user, name if name.startswith(ERASED_PREFIX) else event_digest(user, name, self._secret), arrived_s)
            for name, arrived_s in told
        ]
        connection.executemany("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", rows)
        connection.execute(
            "INSERT INTO forgot VALUES (?, ?) ON CONFLICT DO UPDATE SET at_s = max(at_s, excluded.at_s)",
            (user, erased_s),
        )
        return any(counts[:-1]) or any(not name.startswith(ERASED_PREFIX) for name, _ in told)

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise StateError(f"{self._file}: the store is closed")
            idle = self._readers.pop() if self._readers else None
        connection = idle or connect(self._file, self._config.timeout_s)
        try:
            yield connection
        finally:
            with self._lock:
                if self._closed:
                    connection.close()
                else:
                    self._readers.append(connection)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translate_error(error, self._file) from None


def _is_told(connection: sqlite3.Connection, user: bytes, event_id: str, horizon_s: int) -> bool:
    row = connection.execute("SELECT arrived_s FROM told WHERE user = ? AND event_id = ?", (user, event_id)).fetchone()
    return row is not None and row[0] > horizon_s


def _remember_event_id(connection: sqlite3.Connection, user: bytes, event: Event, now_s: int, horizon_s: int) -> bool:
    """Remember an event_id; return whether it is new, or was last seen before ``horizon_s``."""
    cursor = connection.execute(
        "INSERT INTO told VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET arrived_s = excluded.arrived_s"
        " WHERE arrived_s <= ?",
        (user, event.event_id, now_s, horizon_s),
    )
    return cursor.rowcount == 1


def _expire_event_ids(connection: sqlite3.Connection, horizon_s: int, at_most: int) -> None:
    """Delete up to ``at_most`` event_ids from before ``horizon_s``: a few with each append, never many at once."""
    connection.execute(
        "DELETE FROM told WHERE (user, event_id) IN (SELECT user, event_id FROM told WHERE arrived_s <= ? LIMIT ?)",
        (horizon_s, at_most),
    )


def _read_user_state(connection: sqlite3.Connection, user: bytes, user_id: Id) -> UserState:
    rows = connection.execute(
        "SELECT event_id, item, time_s, action FROM event WHERE user = ? ORDER BY time_s, place", (user,)
    )
    events = tuple(Event(name, user_id, item, time_s, action) for name, item, time_s, action in rows)
    topics, erased_s = connection.execute(
        "SELECT (SELECT topics FROM follows WHERE user = ?1), (SELECT at_s FROM forgot WHERE user = ?1)", (user,)
    ).fetchone()
    followed = None if topics is None else tuple(json.loads(topics))
    return UserState(user_id, events, followed, erased_s is not None, erased_s)
