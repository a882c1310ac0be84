"""The SQLite file of a store: its tables, connections, errors, and the thread that writes to it.

======== ==================================================================================================
secret   one row: the key of the user digests
event    the newest events of each user, by time, then by arrival (``place``)
told     event_ids with their time of arrival, to recognise an event that is sent again; digests after an erasure
follows  followed topics, as a JSON list
forgot   users who asked to be erased, with the time
======== ==================================================================================================

``user`` is a ``validation.user_digest`` in every table: the file holds no user id. ``item`` has no type, so SQLite
converts neither integers nor texts.
"""

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Any, Final, TypeVar

from multitudes.errors import ArtefactError, MissingError, MultitudesError, StateError, UsageError
from multitudes.state.validation import SECRET_BYTES

T = TypeVar("T")
FORMAT: Final = 0x6D756C74  # "mult", the application id of the file
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
_Write = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]
_RETRY_S: Final = 0.01
_TRUNCATION_INTERVAL_S: Final = 0.5
_MAX_BATCH: Final = 1_000  # writes in one transaction, so that the write-ahead log and the waits stay short


def connect(file: Path, timeout_s: float) -> sqlite3.Connection:
    """Open a connection that one thread at a time may use.

    Raises:
        sqlite3.Error: see ``translate_error``.
    """
    connection = sqlite3.connect(file, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk, not only in memory
        connection.execute("PRAGMA secure_delete = ON")  # deleted rows are overwritten
    except sqlite3.Error:  # it is no database
        connection.close()
        raise
    return connection


def prepare_database(file: Path, timeout_s: float) -> bytes:
    """Create the file if it does not exist, and return its secret.

    Raises:
        UsageError: the folder does not exist or cannot be written to.
        ArtefactError: the file is not a store, or has another version.
        StateError: another process locks it for longer than ``timeout_s``.
    """
    if not file.parent.is_dir():
        raise UsageError(f"{file}: its folder does not exist; make it, or name another file")
    _create_private(file)
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


def copy_database(source: Path, target: Path) -> None:
    """Copy a store, which may be in use, as it is at one moment; its readers and writers go on meanwhile.

    Raises:
        UsageError: ``source`` is missing, or one of the files cannot be opened.
        ArtefactError: ``source`` is damaged.
    """
    _create_private(target)
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=rw", uri=True)) as reader,
            closing(sqlite3.connect(target)) as writer,
        ):
            reader.backup(writer)
    except sqlite3.Error as error:
        raise translate_error(error, source) from None


def _create_private(file: Path) -> None:
    """Create a file that its owner alone may read; SQLite gives the same mode to the files of its log."""
    with suppress(OSError):  # SQLite says why it cannot be created
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def truncate_log(connection: sqlite3.Connection) -> bool:
    """Empty the write-ahead log, which holds deleted rows; return False, at once, if another connection reads."""
    (timeout_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout = {timeout_ms}")
    return not is_busy


def translate_error(error: sqlite3.Error, file: Path) -> MultitudesError:
    """Return the error with the cause and the remedy for an SQLite error."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return MissingError(f"{file}: no space left on its disk; make room there. Nothing was stored")
    if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
        return ArtefactError(f"{file}: not an SQLite file, or damaged; restore a backup, or name another file")
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        return UsageError(f"{file}: cannot be opened for writing; allow it, make room, or name another file")
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StateError(f"{file}: another process locks it for too long; try again")
    return StateError(f"{file}: {error}; check its disk, then try again")


def _enable_wal(connection: sqlite3.Connection, file: Path, timeout_s: float) -> None:
    """Switch to the write-ahead log, and retry while another process does the same: SQLite does not wait for that."""
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
        raise UsageError(f"{file}: this file system does not support a write-ahead log; use a local disk")


def _read_or_create_secret(connection: sqlite3.Connection, file: Path) -> bytes:
    (file_format,), (version,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if (file_format, version) == (FORMAT, VERSION):
        return bytes(connection.execute("SELECT secret FROM secret").fetchone()[0])
    if file_format == FORMAT:
        raise ArtefactError(f"{file}: a store of version {version}; expected {VERSION}; name another file")
    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise ArtefactError(f"{file}: an SQLite file, but not a store of user states; name another file")
    for statement in filter(str.strip, _SCHEMA.split(";")):
        connection.execute(statement)
    secret = os.urandom(SECRET_BYTES)
    connection.execute("INSERT INTO secret VALUES (?)", (secret,))
    connection.execute(f"PRAGMA application_id = {FORMAT}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    return secret


class GroupCommit:
    """A thread that runs writes in transactions: writes that arrive during a commit share the next one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Start the thread, which owns ``connection`` from now on."""
        self._connection = connection
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._lock, self._closed = Lock(), False
        self._truncation_is_due = False
        self._thread = Thread(target=self._run, name="user-states", daemon=True)
        self._thread.start()

    def run(self, write: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of ``write`` after its commit is on the disk.

        Raises:
            sqlite3.Error: the transaction failed; none of its writes is on the disk.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise sqlite3.ProgrammingError("the store is closed")
            self._queue.put((write, future))
        return future.result()

    def truncate_log_later(self) -> None:
        """Empty the write-ahead log as soon as no other connection reads."""
        self.run(lambda _: setattr(self, "_truncation_is_due", True))

    def close(self) -> None:
        """Finish the queued writes, and close the connection."""
        with self._lock:
            if not self._closed:
                self._queue.put(None)
            self._closed = True
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            if batch:
                self._commit(batch)
            elif self._truncation_is_due:
                try:
                    self._truncation_is_due = not truncate_log(self._connection)
                except sqlite3.Error as error:  # the next one tries again
                    logging.getLogger(__name__).warning("the write-ahead log still holds erased rows: %s", error)
        self._connection.close()

    def _next_batch(self) -> tuple[list[_Write], bool]:
        """Wait for a write, or for the next truncation; return all that are queued, and whether more may come."""
        batch: list[_Write] = []
        while len(batch) < _MAX_BATCH and not (batch and self._queue.empty()):
            try:
                write = self._queue.get(timeout=_TRUNCATION_INTERVAL_S if self._truncation_is_due else None)
            except Empty:
                return batch, True
            if write is None:
                return batch, False
            batch.append(write)
        return batch, True

    def _commit(self, batch: list[_Write]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [write(self._connection) for write, _ in batch]
            self._connection.execute("COMMIT")
        except Exception as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
