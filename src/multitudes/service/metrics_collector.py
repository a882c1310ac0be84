"""What the parts of the service count themselves, and how they are now: looked at every second, and for each page."""

import os
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from time import time
from typing import Final, NamedTuple, Protocol

from prometheus_client import Counter

from multitudes.logs.logs import Logs
from multitudes.periodic import PeriodicTask
from multitudes.retrieval.release_watcher import ReleaseWatcher
from multitudes.service.engine import Engine
from multitudes.service.loop_lag import LoopLagMonitor
from multitudes.service.metric_families import MetricFamilies
from multitudes.service.queue_handler import stderr_stream
from multitudes.service.shadow import Shadow

_INTERVAL_S: Final = 1.0
_MEMORY: Final = Path("/proc/self/statm")  # where there is none, memory is not told


class HasBreaker(Protocol):
    """A store behind a breaker."""

    @property
    def open(self) -> bool: ...  # noqa: D102


class MetricSources(NamedTuple):
    """What is looked at."""

    releases: ReleaseWatcher
    engine: Engine
    states: HasBreaker
    logs: Logs
    loop_lag: LoopLagMonitor
    shadow: Shadow | None = None


class MetricsCollector:
    """Looks; threads may share it."""

    def __init__(self, families: MetricFamilies, watched: MetricSources) -> None:
        self._families, self._sources = families, watched
        self._before: dict[Counter, float] = {}
        self._version = ""  # version
        self._lock, self._periodic = Lock(), PeriodicTask(_INTERVAL_S, self.collect, "watch")
        families.processes.set(1)
        families.started.set(time())
        families.build_info.labels(version("multitudes")).set(1)

    def start(self) -> None:
        """Begin to look, in a thread of its own."""
        self._periodic.start()

    def close(self) -> None:
        """End it."""
        self._periodic.close()

    def collect(self) -> None:
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
        families, state = self._families, self._sources.engine.state()
        families.queue_length.set(state.queued)
        families.queue_seconds.set(state.backlog_s)
        families.loop_lag_seconds.set(self._sources.loop_lag.lag_s())
        for effort, seconds in state.cost_s.items():
            families.cost_seconds.labels(effort).set(seconds)
        for kind in ("late", "failed", "cancelled"):
            self._set_counter(families.setbacks.labels(kind), state.counts.get(kind, 0))
        remembered = self._sources.releases().vector_cache
        families.remembered.set(len(remembered))
        self._set_counter(families.recalls.labels("hit"), remembered.hits)
        self._set_counter(families.recalls.labels("miss"), remembered.misses)

    def _stores(self) -> None:
        families = self._families
        families.breaker_open.set(self._sources.states.open)
        for log, counts in self._sources.logs.counts().items():
            self._set_counter(families.log_rows.labels(log), counts["appended"])
            self._set_counter(families.log_lost_rows.labels(log), counts["lost"])
            self._set_counter(families.log_torn_lines.labels(log), counts["torn"])
            self._set_counter(families.log_parts.labels(log), counts["segments"])
            self._set_counter(families.log_failures.labels(log), counts["failures"])
        self._set_counter(families.journal_lost_lines, stderr_stream().lost)

    def _release(self) -> None:
        families, followed, release = self._families, self._sources.releases.state(), self._sources.releases().release
        if self._version != release.version:
            if self._version:  # a series that was there stays, as the library has it
                families.release_info.labels(self._version).set(0)
            families.release_info.labels(release.version).set(1)
            self._version = release.version
        families.release_created.set(release.manifest.created_at.timestamp())
        families.release_items.set(len(release.index))
        families.release_refused.set(bool(followed.problem))
        self._set_counter(families.release_switches, followed.switches)

    def _shadow(self) -> None:
        if self._sources.shadow is None:
            return
        families, compared = self._families, self._sources.shadow.totals()
        self._set_counter(families.shadow.labels("compared"), compared.requests)
        self._set_counter(families.shadow.labels("dropped"), compared.dropped)
        self._set_counter(families.shadow.labels("failed"), compared.errors)
        self._set_counter(families.shadow_candidates, compared.candidates)
        self._set_counter(families.shadow_common, compared.common)
        self._set_counter(families.shadow_seconds, compared.seconds)

    def _set_counter(self, counter: Counter, now: float) -> None:
        """Bring a counter to what a part has counted; one that begins anew, as with another release, is added to it."""
        before = self._before.get(counter, 0.0)
        counter.inc(now - before if now >= before else now)
        self._before[counter] = now
