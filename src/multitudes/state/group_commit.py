"""One thread that writes to an SQLite file: what gathered while it committed is committed together, with one flush."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
_AT_ONCE = 1_000  # works in one transaction, so that a reader's log and a wait stay short


class _Work(NamedTuple):
    do: Callable[[sqlite3.Connection], Any]
    done: "Future[Any]"


class GroupCommit:
    """Runs work in transactions; whoever asked is answered after the commit."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take a connection, which nobody else may use from now on."""
        self._connection = connection
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        self._door, self._closed = Lock(), False
        self._thread = Thread(target=self._run, name="user-states", daemon=True)
        self._thread.start()

    def run(self, do: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``do`` returned, once it is on the disk.

        Raises:
            sqlite3.Error: it is not on the disk, nor is what was committed with it.
        """
        done: Future[T] = Future()
        with self._door:
            if self._closed:
                raise sqlite3.ProgrammingError("the store is closed")
            self._waiting.put(_Work(do, done))
        return done.result()

    def close(self) -> None:
        """Finish what waits, and close the connection."""
        with self._door:
            if not self._closed:
                self._waiting.put(None)
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
        while len(batch) < _AT_ONCE and not (batch and self._waiting.empty()):
            work = self._waiting.get()
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
