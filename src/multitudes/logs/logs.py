"""The two logs of a service, ``served`` and ``events``, which later training reads.

A process appends rows to spools; a background thread turns spools into segments, applies erasure requests and removes
old segments.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from time import monotonic, time

from multitudes.errors import DataError
from multitudes.ids import Id
from multitudes.logs.config import LogConfig
from multitudes.logs.erasure import ErasureRequest, apply_erasures, erasures_in_spool, may_be_in_segments, write_request
from multitudes.logs.folder import list_damaged, list_segments, lock_log, make_log_folder, new_spool_path, start_time_s
from multitudes.logs.rotation import RetentionClock, apply_retention, expired_segments, rotate_spools
from multitudes.logs.schemas import IdTypes, LoggedEvent, LogName, ServedResponse
from multitudes.logs.spool import Spool, check_ids, encode_events, encode_served
from multitudes.periodic import PeriodicTask

_MAINTENANCE_INTERVAL_S = 1.0
_RETENTION_INTERVAL_S = 60.0
_ENCODING_ERRORS = DataError, OverflowError, ValueError
_ERASURE_S = 60.0  # a spool with rows to erase lives as long, so that many erasures do not leave many small segments


@dataclass
class LogCounts:
    """Counts since the process started."""

    appended: int = 0  # rows
    lost: int = 0  # rows that were not logged: the disk was full, or the row could not be encoded
    segments: int = 0  # written
    torn: int = 0  # incomplete lines that a writer left when it died
    expired_segments: int = 0  # removed because of their age
    over_size_segments: int = 0  # removed because the log was too large
    failures: int = 0  # failed maintenance runs; they are retried
    damaged_segments: int = 0  # segments that cannot be read, set aside now by any process


class Logs:
    """The logs ``folder/served`` and ``folder/events`` of one process. Threads may share it.

    Several processes of one machine may write to one folder. A disk error never fails a request: rows that cannot be
    written are counted, and the first is reported.
    """

    def __init__(self, folder: Path, id_types: IdTypes, config: LogConfig | None = None) -> None:
        """Open the logs in ``folder``, or create them.

        Raises:
            ArtefactError: the folder holds another log, or logs with other id types.
        """
        config = config or LogConfig()
        self._id_types = id_types
        self._served = Log(folder / "served", "served", id_types, config)
        self._events = Log(folder / "events", "events", id_types, config)
        # Segments are read and written in one thread alone, since each thread that has done so keeps memory of its own.
        self._worker = ThreadPoolExecutor(1, "logs")
        self._maintenance = PeriodicTask(
            _MAINTENANCE_INTERVAL_S, lambda: self._worker.submit(self.maintain, time()).result(), "logs"
        )

    def log_served(self, response: ServedResponse) -> bool:
        """Log a response; return whether it is written."""
        return self._served.append(lambda: encode_served(response, self._id_types), len(response.item_ids))

    def log_events(self, events: Sequence[LoggedEvent]) -> bool:
        """Log events, all or none; return whether they are written."""
        return not events or self._events.append(lambda: encode_events(events, self._id_types), len(events))

    def erase_user(self, user_id: Id) -> int:
        """Erase a user from both logs; return the number of rows removed now.

        Rows in spools are removed later, within about a minute.

        Raises:
            DataError: the id does not have the type of the logs.
            OSError: a segment cannot be rewritten; the rest is done later.
        """
        check_ids("user_id", (user_id,), self._id_types.user_id)
        logs = self._served, self._events
        # Requested first, so that an interrupted erasure is completed later.
        erasures = [(log, write_request(log.folder, user_id)) for log in logs]
        return self._worker.submit(lambda: sum(log.erase(request) for log, request in erasures)).result()

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the fields of ``LogCounts`` for each log."""
        return {"served": asdict(self._served.counts), "events": asdict(self._events.counts)}

    def problem(self) -> str:
        """Return what is wrong with the logs, or nothing."""
        if self._served.is_failing or self._events.is_failing:
            return "rows cannot be written, and events are rejected; often the disk is full"
        damaged = self._served.counts.damaged_segments + self._events.counts.damaged_segments
        return f"{damaged} damaged segments were set aside; the journal names them" if damaged else ""

    def start(self) -> None:
        """Run ``maintain`` in a background thread until ``close``."""
        self._maintenance.start()

    def maintain(self, now_s: float) -> None:
        """Maintain both logs; a failure is counted and logged, and the next call tries again."""
        for log in (self._served, self._events):
            with log.failures_reported("no segment was written; will retry"):
                log.maintain(now_s)

    def close(self) -> None:
        """Stop the threads and turn the spools into segments; the next process does what fails now."""
        self._maintenance.close()
        self._worker.shutdown()
        for log in (self._served, self._events):
            with log.failures_reported("no segment was written; the next process does it"):
                log.close()


class Log:
    """One log of one process. Appended rows survive the death of the process. Threads may share it."""

    def __init__(self, folder: Path, log: LogName, id_types: IdTypes, config: LogConfig) -> None:
        make_log_folder(folder, log, id_types)
        self.folder, self.counts = folder, LogCounts()
        self._log, self._id_types, self._config = log, id_types, config
        self.is_failing = False  # whether the last rows could not be written
        self._spool: Spool | None = None
        self._spool_opened_s = 0.0  # by the monotonic clock
        self._append_lock = Lock()
        newest = list_segments(folder)[-1:]
        self._retention_clock = RetentionClock(start_time_s(newest[0]) if newest else None)
        self._last_retention_s, self._clock_jumped = 0.0, False

    def append(self, encode: Callable[[], bytes], rows: int) -> bool:
        """Append a line of ``rows`` rows; return whether it is written. If not, the rows are counted as lost."""
        try:
            payload = encode()
        except _ENCODING_ERRORS as error:
            return self._count_lost(rows, error)
        with self._append_lock:
            try:
                if self._spool is None:
                    self._spool, self._spool_opened_s = Spool(new_spool_path(self.folder, time())), monotonic()
                self._spool.append(payload)
            except OSError as error:
                return self._count_lost(rows, error)
            self.is_failing = False
            self.counts.appended += rows
            if self._spool.size >= self._config.segment_mb * 1e6:
                self._close_spool()
        return True

    def _count_lost(self, rows: int, error: Exception) -> bool:
        """Count rows that are not logged, and report the first. Return False, as ``append`` does then."""
        if not self.counts.lost:
            logging.getLogger(__name__).error(
                "%s: rows are lost: %s; further ones are counted only", self.folder, error
            )
        self.counts.lost += rows
        self.is_failing = isinstance(error, OSError)
        return False

    @contextmanager
    def failures_reported(self, message: str) -> Iterator[None]:
        """Count and report an error of the block, and go on."""
        try:
            yield
        except Exception as error:
            self.counts.failures += 1
            logging.getLogger(__name__).error("%s: %s", self.folder, message, exc_info=error)

    def maintain(self, now_s: float) -> None:
        """Do the work that is due: rotation, erasure requests, retention. Call it about every second.

        Raises:
            OSError: a segment cannot be written; the rows stay in the spool, and the next call tries again.
        """
        self._close_spool_if_due(now_s)
        with lock_log(self.folder, wait=False) as is_locked:
            if is_locked:
                self._maintain_segments(now_s)
        self.counts.damaged_segments = len(list_damaged(self.folder))

    def erase(self, request: ErasureRequest) -> int:
        """Do what the request asks, unless that is done; return the number of rows removed.

        Erasures that wait for each other are done in one pass over the segments: the first that gets the lock erases
        for all who asked by then, and counts their rows. Rows in spools are removed when those become segments: in a
        ``maintain`` of their process, when they are a minute old.

        Raises:
            OSError: a segment cannot be rewritten. A later ``maintain`` does the rest.
        """
        with lock_log(self.folder):
            if not may_be_in_segments(request):
                return 0
            return self._rotate() + apply_erasures(self.folder)

    def close(self) -> None:
        """Turn the spool into a segment."""
        with self._append_lock:
            self._close_spool()
        with lock_log(self.folder):
            self._maintain_segments(time())

    def _close_spool(self) -> None:
        """Release the spool, so that any process may turn it into a segment. The caller holds the append lock."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _close_spool_if_due(self, now_s: float) -> None:
        with self._append_lock:
            if self._spool is None:
                return
            file = self._spool.file
            # The name of a spool that was opened while the clock was ahead is in the future.
            age_s = max(now_s - start_time_s(file), monotonic() - self._spool_opened_s)
            if age_s >= self._config.segment_s or (age_s >= _ERASURE_S and erasures_in_spool(self.folder, file)):
                self._close_spool()

    def _maintain_segments(self, now_s: float) -> None:
        self._rotate()
        apply_erasures(self.folder)
        if abs(now_s - self._last_retention_s) < _RETENTION_INTERVAL_S:
            return
        self._last_retention_s = now_s
        believed_s = self._believed_s(now_s)
        max_bytes = round(self._config.max_gb * 1e9)
        expired, over_size = apply_retention(self.folder, believed_s, self._config.keep_days, max_bytes)
        self.counts.expired_segments += expired
        self.counts.over_size_segments += over_size

    def _believed_s(self, now_s: float) -> float:
        """Return the time by which segments are old; a clock that jumped ahead is reported once."""
        believed_s, keep_days = self._retention_clock.believed_s(now_s), self._config.keep_days
        has_jumped = believed_s < now_s
        if has_jumped and not self._clock_jumped:
            logging.getLogger(__name__).warning(
                "%s: the clock is %.1f days ahead of what passed; %d segments would be removed because of their age,"
                " and stay until the clock has kept this time for a day; set it right if it is wrong",
                *(self.folder, (now_s - believed_s) / 86_400, len(expired_segments(self.folder, now_s, keep_days))),
            )
        self._clock_jumped = has_jumped
        return believed_s

    def _rotate(self) -> int:
        result = rotate_spools(self.folder, self._log, self._id_types)
        self.counts.segments += result["segments"]
        self.counts.torn += result["torn"]
        return result["erased"]
