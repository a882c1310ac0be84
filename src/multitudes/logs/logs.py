"""One log of one process: append, and now and then turn what was appended into a part.

Both logs of a service: ``served`` and ``events`` in one folder, kept by a thread of their own.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from time import time

from pydantic import Field

from multitudes.config import Config
from multitudes.errors import DataError
from multitudes.ids import Id
from multitudes.logs import erasure, lines, rotation
from multitudes.logs import folder as places
from multitudes.logs.schemas import IdTypes, LoggedEvent, LogName, ServedResponse
from multitudes.logs.spool import Spool
from multitudes.periodic import PeriodicTask

_RETENTION_INTERVAL_S = 60.0


class LogConfig(Config):
    """How the logs of a service are kept."""

    segment_mb: float = Field(32, gt=0, description="a part is made when a process has written so much of a log")
    segment_s: float = Field(600, gt=0, description="or when its oldest row is so many seconds old")
    keep_days: float = Field(90, ge=0, description="parts older than this are removed; 0: kept for ever")
    max_gb: float = Field(20, ge=0, description="the oldest parts are removed beyond this size of a log; 0: no bound")


@dataclass
class LogCounts:
    """What became of rows since the process began."""

    appended: int = 0
    lost: int = 0  # not taken: the disk was full, or the row could not be written
    segments: int = 0
    torn: int = 0  # lines that a writer which was cut off has left unfinished
    expired_segments: int = 0
    over_size_segments: int = 0
    failures: int = 0  # rotations that did not succeed and are tried again


class Log:
    """Rows are durable against the death of the process when ``append`` returns. Threads may share it."""

    def __init__(self, folder: Path, log: LogName, kinds: IdTypes, config: LogConfig) -> None:
        places.make_log_folder(folder, log, kinds)
        self.folder, self.counts = folder, LogCounts()
        self._log, self._kinds, self._config = log, kinds, config
        self._spool: Spool | None = None
        self._append_lock = Lock()
        self._last_retention_s = 0.0

    def append(self, payload: bytes, rows: int) -> bool:
        """Append a line of so many rows; return whether it is there. It is counted where the disk does not take it."""
        with self._append_lock:
            try:
                if self._spool is None:
                    self._spool = Spool(places.new_spool_path(self.folder, time()))
                self._spool.append(payload)
            except OSError as error:
                return self.count_lost(rows, error)
            self.counts.appended += rows
            if self._spool.size >= self._config.segment_mb * 1e6:
                self._seal()
        return True

    def count_lost(self, rows: int, why: Exception) -> bool:
        """Count rows that are not logged, and say so once: serving goes on. Returns False, as ``append`` does."""
        if not self.counts.lost:
            logging.getLogger(__name__).error("%s: rows are lost: %s; further ones are counted only", self.folder, why)
        self.counts.lost += rows
        return False

    def maintain(self, now_s: float) -> None:
        """Do what is due: call it every second or so, beside serving.

        Raises:
            OSError: the disk does not take a part; what was appended stays, and the next call tries again.
        """
        self._seal_if_due(now_s)
        with places.lock_log(self.folder, wait=False) as mine:
            if mine:
                self._maintain_segments(now_s)

    def erase_user(self, user_id: Id) -> int:
        """Take a user out of the log; return how many rows went.

        What other processes have in their spools goes when those become parts: at their next ``maintain``.

        Raises:
            OSError: a part cannot be written anew. The rest is done by a later ``maintain``.
        """
        with self._append_lock:
            self._seal()
        with places.lock_log(self.folder):
            erasure.write_request(self.folder, user_id)  # first, so that what is cut off from here on is done later
            return self._rotate() + erasure.apply_erasures(self.folder)

    def close(self) -> None:
        """Turn what was appended into a part."""
        with self._append_lock:
            self._seal()
        with places.lock_log(self.folder):
            self._maintain_segments(time())

    def _seal(self) -> None:
        """Let go of the spool, so that anybody may make it a part. Only for who is appending."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _seal_if_due(self, now_s: float) -> None:
        with self._append_lock:
            if self._spool is None:
                return
            file = self._spool.file
            if now_s - places.start_time_s(file) >= self._config.segment_s or erasure.erasures_in_spool(
                self.folder, file
            ):
                self._seal()

    def _maintain_segments(self, now_s: float) -> None:
        self._rotate()
        erasure.apply_erasures(self.folder)
        if abs(now_s - self._last_retention_s) < _RETENTION_INTERVAL_S:
            return
        self._last_retention_s = now_s
        removed = rotation.apply_retention(self.folder, now_s, self._config.keep_days, round(self._config.max_gb * 1e9))
        self.counts.expired_segments += removed.expired
        self.counts.over_size_segments += removed.over_size

    def _rotate(self) -> int:
        done = rotation.rotate_spools(self.folder, self._log, self._kinds)
        self.counts.segments += done.segments
        self.counts.torn += done.torn
        return done.erased


_MAINTENANCE_INTERVAL_S = 1.0


class Logs:
    """What a process serves and what it hears of, in ``folder/served`` and ``folder/events``.

    Several processes of one machine may write to one folder. Nothing here raises because of the disk while serving:
    what is lost is counted, and said once.
    """

    def __init__(self, folder: Path, kinds: IdTypes, config: LogConfig | None = None) -> None:
        config = config or LogConfig()
        self._kinds = kinds
        self._served = Log(folder / "served", "served", kinds, config)
        self._events = Log(folder / "events", "events", kinds, config)
        self._maintenance = PeriodicTask(_MAINTENANCE_INTERVAL_S, lambda: self.maintain(time()), "logs")

    def log_served(self, answer: ServedResponse) -> bool:
        """Log an answer; return whether it is written."""
        try:
            line = lines.encode_served(answer, self._kinds)
        except DataError as error:
            return self._served.count_lost(len(answer.item_ids), error)
        return self._served.append(line, len(answer.item_ids))

    def log_events(self, events: Sequence[LoggedEvent]) -> bool:
        """Log what users did, all of it or nothing; return whether it is written."""
        if not events:
            return True
        try:
            line = lines.encode_events(events, self._kinds)
        except DataError as error:
            return self._events.count_lost(len(events), error)
        return self._events.append(line, len(events))

    def erase_user(self, user_id: Id) -> int:
        """Take a user out of both logs; return how many rows went.

        Raises:
            DataError: the id is not of the kind of the logs.
            OSError: a part cannot be written anew; the rest is done later.
        """
        lines.check_ids("user_id", (user_id,), self._kinds.user_id)
        return self._served.erase_user(user_id) + self._events.erase_user(user_id)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return what became of rows, by log."""
        return {"served": asdict(self._served.counts), "events": asdict(self._events.counts)}

    def start(self) -> None:
        """Keep the logs from a thread, until ``close``."""
        self._maintenance.start()

    def maintain(self, now_s: float) -> None:
        """Do what is due; a failure is counted, said, and tried again."""
        for log in (self._served, self._events):
            try:
                log.maintain(now_s)
            except Exception as error:
                log.counts.failures += 1
                logging.getLogger(__name__).error("%s: no part was made; tried again", log.folder, exc_info=error)

    def close(self) -> None:
        """Stop the thread and turn what was appended into parts."""
        self._maintenance.close()
        for log in (self._served, self._events):
            log.close()
