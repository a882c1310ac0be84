"""The SQLite file of a store: how it is opened, what lies in it, and what its failures mean.

======== ==================================================================================================
secret   one row: what makes the names of users
event    the newest events of each user, by time, then arrival (``place``)
told     names of events, with the time of their arrival: sent again, they are known
follows  topics that were stated, as a JSON list
forgot   users who asked to be forgotten, and when
======== ==================================================================================================

``user`` is ``arrival.digest`` everywhere: the file holds no user's id. ``item`` has no type, so that it comes back as
the whole number or the text that it was.

One thread that writes to an SQLite file: what gathered while it committed is committed together, with one flush.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, NamedTuple, TypeVar

from multitudes.errors import ArtefactError, MissingError, MultitudesError, StateError, UsageError
from multitudes.state.validation import SECRET_BYTES

FORMAT: Final = 0x6D756C74  # "mult": what tells the file from other SQLite files
VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE secret (secret BLOB NOT NULL);
CREATE TABLE event (user BLOB, time_s INTEGER, place INTEGER, event_id TEXT, item, action TEXT,
                    PRIMARY KEY (user, time_s, place)) WITHOUT ROWID;
CREATE TABLE told (user BLOB, event_id TEXT, arrived_s INTEGER, PRIMARY KEY (user, event_id)) WITHOUT ROWID;
CREATE INDEX told_when ON told (arrived_s);
CREATE TABLE follows (user BLOB PRIMARY KEY, topics TEXT) WITHOUT ROWID;
CREATE TABLE forgot (user BLOB PRIMARY KEY, at_s INTEGER) WITHOUT ROWID;
"""
_RETRY_S: Final = 0.01


def connect(file: Path, timeout_s: float) -> sqlite3.Connection:
    """Open one connection, which any one thread at a time may use.

    Raises:
        sqlite3.Error: see ``translate_error``.
    """
    connection = sqlite3.connect(file, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk, not only in the system's memory
    connection.execute("PRAGMA secure_delete = ON")  # what was deleted is overwritten
    return connection


def prepare_database(file: Path, timeout_s: float) -> bytes:
    """Make the file where there is none, and return its secret.

    Raises:
        UsageError: the folder is missing or cannot be written to.
        ArtefactError: the file is no store, or of another version.
        StateError: another process holds it for longer than ``timeout_s``.
    """
    if not file.parent.is_dir():
        raise UsageError(f"{file}: its folder does not exist; make it, or name another file")
    try:
        connection = connect(file, timeout_s)
        try:
            _enable_wal(connection, file, timeout_s)
            connection.execute("BEGIN IMMEDIATE")
            secret = _read_or_create_secret(connection, file)
            connection.execute("COMMIT")
            return secret
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise translate_error(error, file) from None


def translate_error(error: sqlite3.Error, file: Path) -> MultitudesError:
    """Return the error that tells a person what happened."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return MissingError(f"{file}: no space left on its disk; make room there. Nothing of this was kept")
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return ArtefactError(f"{file}: no SQLite file, or damaged; put a backup in its place, or name another file")
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        return UsageError(f"{file}: cannot be opened for writing; allow it, or name another file")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StateError(f"{file}: another process holds it for too long; try again")
    return StateError(f"{file}: {error}; look at its disk, then try again")


def _enable_wal(connection: sqlite3.Connection, file: Path, timeout_s: float) -> None:
    """Switch to the write-ahead log; SQLite does not wait by itself while another process does the same."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_RETRY_S)
    if mode != "wal":
        raise UsageError(f"{file}: this file system takes no write-ahead log; use one of this machine's own disks")


def _read_or_create_secret(connection: sqlite3.Connection, file: Path) -> bytes:
    (form,), (version,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if (form, version) == (FORMAT, VERSION):
        return bytes(connection.execute("SELECT secret FROM secret").fetchone()[0])
    if form == FORMAT:
        raise ArtefactError(f"{file}: a store of version {version}; expected {VERSION}; name another file")
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise ArtefactError(f"{file}: an SQLite file, but no store of user states; name another file")
    for statement in filter(str.strip, _SCHEMA.split(";")):
        connection.execute(statement)
    secret = os.urandom(SECRET_BYTES)
    connection.execute("INSERT INTO secret VALUES (?)", (secret,))
    connection.execute(f"PRAGMA application_id = {FORMAT}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    return secret


T = TypeVar("T")
_MAX_BATCH = 1_000  # works in one transaction, so that a reader's log and a wait stay short


class _Work(NamedTuple):
    do: Callable[[sqlite3.Connection], Any]
    done: "Future[Any]"


class GroupCommit:
    """Runs work in transactions; whoever asked is answered after the commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take a connection, which nobody else may use from now on."""
        self._connection = connection
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._lock, self._closed = Lock(), False
        self._thread = Thread(target=self._run, name="user-states", daemon=True)
        self._thread.start()

    def run(self, do: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``do`` returned, once it is on the disk.

        Raises:
            sqlite3.Error: it is not on the disk, nor is what was committed with it.
        """
        done: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise sqlite3.ProgrammingError("the store is closed")
            self._queue.put(_Work(do, done))
        return done.result()

    def close(self) -> None:
        """Finish what waits, and close the connection."""
        with self._lock:
            if not self._closed:
                self._queue.put(None)
            self._closed = True
        self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            batch, going_on = self._gather()
            if batch:
                self._commit(batch)
        self._connection.close()

    def _gather(self) -> tuple[list[_Work], bool]:
        """Return everything that waits, at least one work, and whether more may come."""
        batch: list[_Work] = []
        while len(batch) < _MAX_BATCH and not (batch and self._queue.empty()):
            work = self._queue.get()
            if work is None:
                return batch, False
            batch.append(work)
        return batch, True

    def _commit(self, batch: list[_Work]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [work.do(self._connection) for work in batch]
            self._connection.execute("COMMIT")
        except Exception as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for work in batch:
                work.done.set_exception(error)
        else:
            for work, result in zip(batch, results, strict=True):
                work.done.set_result(result)
