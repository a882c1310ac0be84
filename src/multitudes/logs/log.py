"""One log of one process: append, and now and then turn what was appended into a part."""

import logging
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import time

from pydantic import Field

from multitudes.config import Config
from multitudes.ids import Id
from multitudes.logs import folder as places
from multitudes.logs import forget, notes, retention, rotate
from multitudes.logs.schemas import Kinds, LogName
from multitudes.logs.spool import Spool

_RETAIN_EVERY_S = 60.0


class LogConfig(Config):
    """How the logs of a service are kept."""

    part_mb: float = Field(32, gt=0, description="a part is made when a process has written so much of a log")
    part_s: float = Field(600, gt=0, description="or when its oldest row is so many seconds old")
    keep_days: float = Field(90, ge=0, description="parts older than this are removed; 0: kept for ever")
    most_gb: float = Field(20, ge=0, description="the oldest parts are removed beyond this size of a log; 0: no bound")


@dataclass
class Counts:
    """What became of rows since the process began."""

    appended: int = 0
    lost: int = 0  # not taken: the disk was full, or the row could not be written
    parts: int = 0
    torn: int = 0  # lines that a writer which was cut off has left unfinished
    expired_parts: int = 0
    crowded_out_parts: int = 0
    failures: int = 0  # rotations that did not succeed and are tried again


class Log:
    """Rows are durable against the death of the process when ``append`` returns. Threads may share it."""

    def __init__(self, folder: Path, log: LogName, kinds: Kinds, config: LogConfig) -> None:
        places.make(folder, log, kinds)
        self.folder, self.counts = folder, Counts()
        self._log, self._kinds, self._config = log, kinds, config
        self._spool: Spool | None = None
        self._appending = Lock()
        self._retained_s = 0.0

    def append(self, payload: bytes, rows: int) -> bool:
        """Append a line of so many rows; return whether it is there. It is counted where the disk does not take it."""
        with self._appending:
            try:
                if self._spool is None:
                    self._spool = Spool(places.new_spool(self.folder, time()))
                self._spool.append(payload)
            except OSError as error:
                return self.lose(rows, error)
            self.counts.appended += rows
            if self._spool.size >= self._config.part_mb * 1e6:
                self._seal()
        return True

    def lose(self, rows: int, why: Exception) -> bool:
        """Count rows that are not logged, and say so once: serving goes on. Returns False, as ``append`` does."""
        if not self.counts.lost:
            logging.getLogger(__name__).error("%s: rows are lost: %s; further ones are counted only", self.folder, why)
        self.counts.lost += rows
        return False

    def tick(self, now_s: float) -> None:
        """Do what is due: call it every second or so, beside serving.

        Raises:
            OSError: the disk does not take a part; what was appended stays, and the next call tries again.
        """
        self._seal_if_due(now_s)
        with places.changing(self.folder, wait=False) as mine:
            if mine:
                self._tidy(now_s)

    def forget(self, user_id: Id) -> int:
        """Take a user out of the log; return how many rows went.

        What other processes have in their spools goes when those become parts: at their next ``tick``.

        Raises:
            OSError: a part cannot be written anew. The rest is done by a later ``tick``.
        """
        with self._appending:
            self._seal()
        with places.changing(self.folder):
            notes.write(self.folder, user_id)  # first, so that what is cut off from here on is done later
            return self._sweep() + forget.finish(self.folder)

    def close(self) -> None:
        """Turn what was appended into a part."""
        with self._appending:
            self._seal()
        with places.changing(self.folder):
            self._tidy(time())

    def _seal(self) -> None:
        """Let go of the spool, so that anybody may make it a part. Only for who is appending."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _seal_if_due(self, now_s: float) -> None:
        with self._appending:
            if self._spool is None:
                return
            file = self._spool.file
            if now_s - places.begun_s(file) >= self._config.part_s or notes.about(self.folder, file):
                self._seal()

    def _tidy(self, now_s: float) -> None:
        self._sweep()
        forget.finish(self.folder)
        if abs(now_s - self._retained_s) < _RETAIN_EVERY_S:
            return
        self._retained_s = now_s
        removed = retention.retain(self.folder, now_s, self._config.keep_days, round(self._config.most_gb * 1e9))
        self.counts.expired_parts += removed.expired
        self.counts.crowded_out_parts += removed.crowded_out

    def _sweep(self) -> int:
        done = rotate.sweep(self.folder, self._log, self._kinds)
        self.counts.parts += done.parts
        self.counts.torn += done.torn
        return done.forgotten
