"""What the parts of the service count themselves, and how they are now: looked at every second, and for each page."""

import os
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from time import time
from typing import Final, NamedTuple, Protocol

from prometheus_client import Counter

from multitudes.every import Every
from multitudes.logs.logs import Logs
from multitudes.retrieve.current import Current
from multitudes.service.engine import Engine
from multitudes.service.families import Families
from multitudes.service.heartbeat import Heartbeat
from multitudes.service.outlet import stderr
from multitudes.service.shadow import Shadow

_EVERY_S: Final = 1.0
_MEMORY: Final = Path("/proc/self/statm")  # where there is none, memory is not told


class Breaking(Protocol):
    """A store behind a breaker."""

    @property
    def open(self) -> bool: ...  # noqa: D102


class Watched(NamedTuple):
    """What is looked at."""

    current: Current
    engine: Engine
    states: Breaking
    logs: Logs
    heartbeat: Heartbeat
    shadow: Shadow | None = None


class Watch:
    """Looks; threads may share it."""

    def __init__(self, families: Families, watched: Watched) -> None:
        self._families, self._watched = families, watched
        self._before: dict[Counter, float] = {}
        self._served = ""  # version
        self._lock, self._looking = Lock(), Every(_EVERY_S, self.look, "watch")
        families.processes.set(1)
        families.started.set(time())
        families.build_info.labels(version("multitudes")).set(1)

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        self._looking.start()

    def close(self) -> None:
        """End it."""
        self._looking.close()

    def look(self) -> None:
        """Bring everything up to date."""
        with self._lock:
            self._engine()
            self._stores()
            self._release()
            self._shadow()
            if _MEMORY.exists():
                pages = int(_MEMORY.read_text().split()[1])
                self._families.resident_bytes.set(pages * os.sysconf("SC_PAGE_SIZE"))

    def _engine(self) -> None:
        families, state = self._families, self._watched.engine.state()
        families.queue_length.set(state.waiting)
        families.queue_seconds.set(state.ahead_s)
        families.loop_lag_seconds.set(self._watched.heartbeat.lag_s())
        for effort, seconds in state.cost_s.items():
            families.cost_seconds.labels(effort).set(seconds)
        for kind in ("late", "failed", "cancelled"):
            self._grown(families.setbacks.labels(kind), state.counts.get(kind, 0))
        remembered = self._watched.current().remembered
        families.remembered.set(len(remembered))
        self._grown(families.recalls.labels("hit"), remembered.hits)
        self._grown(families.recalls.labels("miss"), remembered.misses)

    def _stores(self) -> None:
        families = self._families
        families.breaker_open.set(self._watched.states.open)
        for log, counts in self._watched.logs.counts().items():
            self._grown(families.log_rows.labels(log), counts["appended"])
            self._grown(families.log_lost_rows.labels(log), counts["lost"])
            self._grown(families.log_torn_lines.labels(log), counts["torn"])
            self._grown(families.log_parts.labels(log), counts["parts"])
            self._grown(families.log_failures.labels(log), counts["failures"])
        self._grown(families.journal_lost_lines, stderr().lost)

    def _release(self) -> None:
        families, followed, release = self._families, self._watched.current.state(), self._watched.current().release
        if self._served != release.version:
            if self._served:  # a series that was there stays, as the library has it
                families.release_info.labels(self._served).set(0)
            families.release_info.labels(release.version).set(1)
            self._served = release.version
        families.release_created.set(release.manifest.created_at.timestamp())
        families.release_items.set(len(release.index))
        families.release_refused.set(bool(followed.problem))
        self._grown(families.release_switches, followed.switches)

    def _shadow(self) -> None:
        if self._watched.shadow is None:
            return
        families, compared = self._families, self._watched.shadow.compared()
        self._grown(families.shadow.labels("compared"), compared.requests)
        self._grown(families.shadow.labels("dropped"), compared.dropped)
        self._grown(families.shadow.labels("failed"), compared.errors)
        self._grown(families.shadow_candidates, compared.candidates)
        self._grown(families.shadow_common, compared.common)
        self._grown(families.shadow_seconds, compared.seconds)

    def _grown(self, counter: Counter, now: float) -> None:
        """Bring a counter to what a part has counted; one that begins anew, as with another release, is added to it."""
        before = self._before.get(counter, 0.0)
        counter.inc(now - before if now >= before else now)
        self._before[counter] = now
