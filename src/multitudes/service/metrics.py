"""The metrics of the service: all of them by name, and a method for each thing that happens.

Names and units are those of Prometheus: seconds and bytes, ``_total`` for what only grows, times in seconds since 1970.
No label is an id or anything else that a client chooses. If several processes serve together, counters and histograms
are summed, and the ``multiprocess_mode`` of a gauge says how those of the processes are combined
(``service.multiprocess_metrics``).
"""

import os
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from threading import Lock
from time import time
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from multitudes.api import Source
from multitudes.errors import StateError
from multitudes.logs.logs import Logs
from multitudes.periodic import PeriodicTask
from multitudes.retrieval.release_watcher import ReleaseWatcher
from multitudes.retrieval.request import CAUSES, Degradation
from multitudes.retrieval.response import Recommendation
from multitudes.service import multiprocess_metrics
from multitudes.service.engine import Engine
from multitudes.service.loop_lag import LoopLagMonitor
from multitudes.service.state_guard import GuardedStates

disable_created_metrics()  # type: ignore[no-untyped-call]  # the start time of each series would double the size of the page

_INTERVAL_S: Final = 5.0  # the age of what a page shows of the other processes; Prometheus asks every 15 s
_MEMORY: Final = Path("/proc/self/statm")  # on systems without it, memory is not reported
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "DELETE"}  # all other methods share one label: clients choose them
_INTEREST_KINDS: Final = {"implicit", "explicit"}
_ORIGIN: Final = attrgetter("source", "interest", "found_by")
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_STAGE_SECONDS: Final = (0.0001, 0.00025, 0.0005, *_SECONDS[:-1])
_CANDIDATES: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)


class Metrics:
    """All metrics of one process; ``render`` covers all processes that serve together.

    Series whose labels are known start at 0, so that the first failure is an increase.
    """

    def __init__(self) -> None:
        self._folder = multiprocess_metrics.shared_folder()
        if self._folder is not None:
            multiprocess_metrics.fold_dead_processes(self._folder)
        self.registry = CollectorRegistry()
        self.refresh: Callable[[], None] = lambda: None  # called before each page, to bring the gauges up to date
        self._add_requests()
        self._add_answers()
        self._add_engine()
        self._add_stores()
        self._add_releases()
        self._add_processes()

    def _add_requests(self) -> None:
        self.requests = self._counter("requests", "Requests, by route and status.", "route", "method", "status")
        self.request_seconds = self._histogram(
            "request_seconds", "From head to answer; of none that was rejected unread.", _SECONDS, "route"
        )
        self.in_flight = self._gauge("requests_in_flight", "Requests that are being answered.", "livesum")
        self.shed = self._counter("shed", "Requests rejected because there was no time for them.", "work", "reason")
        for work in ("interactive", "batch", "similar"):
            self.shed.labels(work, "time")
        self.shed.labels("events", "in_flight")
        self.rejected_keys = self._counter(
            "rejected_keys", "Requests rejected for their API key, by its name and the reason.", "key", "reason"
        )
        for reason in ("missing", "unknown"):
            self.rejected_keys.labels("", reason)

    def _add_answers(self) -> None:
        self.stage_seconds = self._histogram(
            "stage_seconds",
            "Time of an answer by stage; requests that are answered together share it.",
            _STAGE_SECONDS,
            "stage",
        )
        self.answers = self._counter(
            "answers",
            "Recommendations, by how much was done for them.",
            "degradation",
            start=[level.label for level in Degradation],
        )
        self.degraded = self._counter(
            "degraded", "Recommendations with less than the full method, by cause.", "cause", start=CAUSES
        )
        self.slots = self._counter("slots", "Candidates that were asked for.")
        self.empty_slots = self._counter("empty_slots", "Candidates that were asked for and not found.")
        self.candidates = self._counter(
            "candidates", "Candidates, by the kind of interest that they are for.", "source", start=get_args(Source)
        )
        self.overlapping = self._counter(
            "overlapping_candidates", "Candidates found by an implicit and by an explicit interest."
        )
        self.interest_candidates = self._histogram(
            "interest_candidates", "Candidates of an answer that are for one interest.", _CANDIDATES, "kind"
        )
        self.unknown_items = self._counter("unknown_items", "Items of histories and events unknown to the release.")
        self.unknown_topics = self._counter("unknown_topics", "Topics of requests unknown to the release.")
        self.unlogged = self._counter("unlogged", "Answers that could not be written to the log.")

    def _add_engine(self) -> None:
        self.queue_length = self._gauge("queue_length", "Requests that wait for the engine.", "livesum")
        self.queue_seconds = self._gauge("queue_seconds", "Expected wait of the next request.", "livemax")
        self.cost_seconds = self._gauge(
            "cost_seconds", "Measured cost of one request, by how much is done for it.", "livemax", "degradation"
        )
        self.loop_lag_seconds = self._gauge("loop_lag_seconds", "Lag of the event loop; 0 without requests.", "livemax")
        self.setbacks = self._counter(
            "setbacks",
            "Requests that were late or failed and got popular items, or whose caller disconnected.",
            "kind",
            start=("late", "failed", "cancelled"),
        )
        self.cached_users = self._gauge("remembered_users", "Users whose last vectors are cached.", "livesum")
        self.cache_lookups = self._counter(
            "recalls", "Lookups of a user's last vectors.", "outcome", start=("hit", "miss")
        )

    def _add_stores(self) -> None:
        self.state_seconds = self._histogram("state_seconds", "Calls of the user states.", _STAGE_SECONDS, "call")
        self.state_errors = self._counter(
            "state_errors",
            "Calls of the user states that failed.",
            "call",
            start=("append", "read", "follow", "forget", "ping"),
        )
        self.breaker_open = self._gauge("state_breaker_open", "1: the circuit breaker of reads is open.", "livemax")
        self.state_damaged = self._gauge("state_damaged", "1: the store of user states is damaged.", "livemax")
        self.log_rows = self._log_counter("log_rows", "Rows appended to a log.")
        self.log_lost_rows = self._log_counter("log_lost_rows", "Rows that could not be appended to a log.")
        self.log_torn_lines = self._log_counter("log_torn_lines", "Lines that a killed process left unfinished.")
        self.log_segments = self._log_counter("log_parts", "Parquet segments made of a log.")
        self.log_failures = self._log_counter("log_failures", "Attempts to make a segment that failed.")
        self.log_damaged = self._gauge("log_damaged_segments", "Damaged segments, set aside.", "livemax", "log")

    def _add_releases(self) -> None:
        self.release_info = self._gauge(
            "release_info", "Processes that serve this release; 0: none any more.", "livesum", "release"
        )
        self.release_created = self._gauge(
            "release_created_timestamp_seconds", "When the release that serves was published.", "livemin"
        )
        self.release_items = self._gauge("release_items", "Items that can be retrieved.", "livemin")
        self.release_refused = self._gauge(
            "release_refused", "1: the release that CURRENT names was rejected; the former one still serves.", "livemax"
        )
        self.release_switches = self._counter("release_switches", "Changes to another release, of each process.")
        self.release_rejections = self._counter("release_rejections", "Releases that were rejected, by each process.")

    def _add_processes(self) -> None:
        self.processes = self._gauge("processes", "Processes that serve.", "livesum")
        self.started = self._gauge(
            "process_start_timestamp_seconds",
            "When the youngest process started; changes when a process is replaced.",
            "livemax",
        )
        self.resident_bytes = self._gauge(
            "resident_bytes", "Memory of all processes; shared pages of the index count for each.", "livesum"
        )
        self.build_info = self._gauge("build_info", "Always 1; the version of multitudes.", "livemax", "version")

    def _counter(self, name: str, meaning: str, *labels: str, start: Sequence[str] = ()) -> Counter:
        """Return a new counter, with a series at 0 for each of the values ``start`` of its only label."""
        counter = Counter(f"multitudes_{name}", meaning, labels, registry=self.registry)
        for value in start:
            counter.labels(value)
        return counter

    def _log_counter(self, name: str, meaning: str) -> Counter:
        return self._counter(name, meaning, "log", start=("served", "events"))

    def _gauge(self, name: str, meaning: str, mode: Literal["livesum", "livemax", "livemin"], *labels: str) -> Gauge:
        return Gauge(f"multitudes_{name}", meaning, labels, registry=self.registry, multiprocess_mode=mode)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"multitudes_{name}", meaning, labels, buckets=buckets, registry=self.registry)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self.requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def unread_counters(self, route: str, method: str, work: str) -> tuple[Counter, Counter]:
        """Return what counts a request that is rejected unread, without a look for its series."""
        return self.shed.labels(work, "in_flight"), self.requests.labels(route, method, "429")

    def record_stages(self, stage_s: Mapping[str, float]) -> None:
        """Record the seconds of an answer by stage."""
        for stage, seconds in stage_s.items():
            self.stage_seconds.labels(stage).observe(seconds)

    def record_answer(self, answer: Recommendation, n: int) -> None:
        """Count an answer to one request for ``n`` candidates, and its candidates."""
        # Without a vector, the items are popular ones.
        level = answer.degradation if answer.interests else Degradation.POPULAR
        self.answers.labels(level.label).inc()
        if answer.cause is not None:
            self.degraded.labels(answer.cause).inc()
        self.slots.inc(n)
        self.empty_slots.inc(max(0, n - len(answer.candidates)))
        self.unknown_items.inc(len(answer.unknown_items))
        self.unknown_topics.inc(len(answer.unknown_topics))
        kinds: dict[int, str] = {interest.number: interest.kind for interest in answer.interests}
        by_interest = Tally[int | None]()
        # Many candidates have the same source and interests, so these combinations are counted.
        for (source, interest, found_by), count in Tally(map(_ORIGIN, answer.candidates)).items():
            self.candidates.labels(source).inc(count)
            by_interest[interest] += count
            if len(found_by) > 1 and {kinds[k] for k in found_by} >= _INTEREST_KINDS:
                self.overlapping.inc(count)
        for number, kind in kinds.items():
            self.interest_candidates.labels(kind).observe(by_interest[number])

    def record_state_call(self, call: str, seconds: float, failure: StateError | None) -> None:
        """Record a call of the user states."""
        self.state_seconds.labels(call).observe(seconds)
        if failure is not None:
            self.state_errors.labels(call).inc()

    def render(self) -> bytes:
        """Return the page for Prometheus; with several processes, this reads their files."""
        self.refresh()
        if self._folder is None:
            return generate_latest(self.registry)
        return multiprocess_metrics.render(self._folder)


class MetricsCollector(PeriodicTask):
    """Copies the state of the dependencies into the metrics: now and then, and for each page. Thread-safe."""

    def __init__(
        self,
        metrics: Metrics,
        releases: ReleaseWatcher,
        engine: Engine,
        states: GuardedStates,
        logs: Logs,
        loop_lag: LoopLagMonitor,
    ) -> None:
        super().__init__(_INTERVAL_S, self.collect, "metrics")
        self._metrics, self._releases, self._engine = metrics, releases, engine
        self._states, self._logs, self._loop_lag = states, logs, loop_lag
        self._last_values: dict[Counter, float] = {}
        self._version = ""  # of the release
        self._lock = Lock()
        metrics.processes.set(1)
        metrics.started.set(time())
        metrics.build_info.labels(version("multitudes")).set(1)

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
        metrics, state = self._metrics, self._engine.state()
        metrics.queue_length.set(state.queued)
        metrics.queue_seconds.set(state.backlog_s)
        metrics.loop_lag_seconds.set(self._loop_lag.lag_s())
        for level, seconds in state.cost_s.items():
            metrics.cost_seconds.labels(level).set(seconds)
        vector_cache = self._releases().vector_cache
        metrics.cached_users.set(len(vector_cache))
        self._set_counter(metrics.cache_lookups.labels("hit"), vector_cache.hits)
        self._set_counter(metrics.cache_lookups.labels("miss"), vector_cache.misses)

    def _collect_stores(self) -> None:
        metrics = self._metrics
        metrics.breaker_open.set(self._states.is_open)
        metrics.state_damaged.set(self._states.is_damaged)
        for log, counts in self._logs.counts().items():
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
