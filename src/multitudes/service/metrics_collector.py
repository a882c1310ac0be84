"""Collects the metrics that components count themselves, and their current state: now and then, and for each page."""

import os
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from time import time
from typing import Final

from prometheus_client import Counter

from multitudes.periodic import PeriodicTask
from multitudes.retrieval.release_watcher import ReleaseWatcher
from multitudes.service.dependencies import Dependencies

_INTERVAL_S: Final = 5.0  # the age of what a page shows of the other processes; Prometheus asks every 15 s
_MEMORY: Final = Path("/proc/self/statm")  # on systems without it, memory is not reported


class MetricsCollector:
    """Copies the state of the dependencies into the metrics. Thread-safe."""

    def __init__(self, deps: Dependencies, releases: ReleaseWatcher) -> None:
        metrics = deps.metrics
        self._deps, self._metrics, self._releases = deps, metrics, releases
        self._last_values: dict[Counter, float] = {}
        self._version = ""  # of the release
        self._lock, self._periodic = Lock(), PeriodicTask(_INTERVAL_S, self.collect, "metrics")
        metrics.processes.set(1)
        metrics.started.set(time())
        metrics.build_info.labels(version("multitudes")).set(1)

    def start(self) -> None:
        """Start to collect now and then, in a thread."""
        self._periodic.start()

    def close(self) -> None:
        """Stop the thread."""
        self._periodic.close()

    def collect(self) -> None:
        """Bring all metrics up to date."""
        with self._lock:
            self._collect_engine()
            self._collect_stores()
            self._collect_release()
            if _MEMORY.exists():
                pages = int(_MEMORY.read_text().split()[1])
                self._metrics.resident_bytes.set(pages * os.sysconf("SC_PAGE_SIZE"))

    def _collect_engine(self) -> None:
        metrics, state = self._metrics, self._deps.engine.state()
        metrics.queue_length.set(state.queued)
        metrics.queue_seconds.set(state.backlog_s)
        metrics.loop_lag_seconds.set(self._deps.loop_lag.lag_s())
        for level, seconds in state.cost_s.items():
            metrics.cost_seconds.labels(level).set(seconds)
        vector_cache = self._releases().vector_cache
        metrics.cached_users.set(len(vector_cache))
        self._set_counter(metrics.cache_lookups.labels("hit"), vector_cache.hits)
        self._set_counter(metrics.cache_lookups.labels("miss"), vector_cache.misses)

    def _collect_stores(self) -> None:
        metrics = self._metrics
        metrics.breaker_open.set(self._deps.states.is_open)
        metrics.state_damaged.set(self._deps.states.is_damaged)
        for log, counts in self._deps.logs.counts().items():
            self._set_counter(metrics.log_rows.labels(log), counts["appended"])
            self._set_counter(metrics.log_lost_rows.labels(log), counts["lost"])
            self._set_counter(metrics.log_torn_lines.labels(log), counts["torn"])
            self._set_counter(metrics.log_segments.labels(log), counts["segments"])
            self._set_counter(metrics.log_failures.labels(log), counts["failures"])
            metrics.log_damaged.labels(log).set(counts["damaged_segments"])

    def _collect_release(self) -> None:
        metrics, release = self._metrics, self._releases().release
        watcher_state = self._releases.state()
        if self._version != release.version:
            if self._version:  # prometheus_client keeps a series once it exists
                metrics.release_info.labels(self._version).set(0)
            metrics.release_info.labels(release.version).set(1)
            self._version = release.version
        metrics.release_created.set(release.manifest.created_at.timestamp())
        metrics.release_items.set(len(release.index))
        metrics.release_refused.set(bool(watcher_state.problem))
        self._set_counter(metrics.release_switches, watcher_state.switches)
        self._set_counter(metrics.release_rejections, watcher_state.rejections)

    def _set_counter(self, counter: Counter, value: float) -> None:
        """Raise a counter to what a component has counted.

        A component that was replaced counts from 0 again, as with another release: its counts are added.
        """
        last_value = self._last_values.get(counter, 0.0)
        counter.inc(value - last_value if value >= last_value else value)
        self._last_values[counter] = value
