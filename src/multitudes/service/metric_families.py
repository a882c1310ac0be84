"""Everything that is measured, by name: the families of Prometheus, in one registry.

Names and units are those of Prometheus: seconds and bytes, ``_total`` for what only grows, times in seconds since 1970.
No label is an id, nor anything else that a client makes up. Where several processes serve together, counters and
histograms are added up, and a gauge says by its ``multiprocess_mode`` what becomes of theirs (``service.together``).
"""

from collections.abc import Sequence
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from multitudes.retrieval.request import Degradation

disable_created_metrics()  # type: ignore[no-untyped-call]  # the time at which each series began would double the page

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_STAGE_SECONDS: Final = (0.0001, 0.00025, 0.0005, *_SECONDS[:-1])
_CANDIDATES: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)
_MADE: Final = ("full", "fewer", "cached", "popular")


class MetricFamilies:
    """All families; those whose labels are known beforehand begin at 0, so that a first failure is an increase."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests()
        self._answers()
        self._engine()
        self._stores()
        self._releases()
        self._processes()

    def _requests(self) -> None:
        self.requests = self._counter("requests", "Requests, by route and status.", "route", "method", "status")
        self.request_seconds = self._histogram("request_seconds", "From head to answer.", _SECONDS, "route")
        self.in_flight = self._gauge("requests_in_flight", "Requests that are being answered.", "livesum")
        self.shed = self._counter("shed", "Requests refused because there was no time for them.", "work", "reason")
        for work in ("interactive", "batch", "similar"):
            self.shed.labels(work, "time")

    def _answers(self) -> None:
        self.stage_seconds = self._histogram(
            "stage_seconds",
            "Where the time of an answer went; those answered together share it.",
            _STAGE_SECONDS,
            "stage",
        )
        self.answers = self._counter("answers", "Recommendations, by the effort that was made.", "effort")
        start_at_zero(self.answers, *_MADE)
        self.degraded = self._counter("degraded", "Recommendations by less than the full method, by cause.", "cause")
        self.slots = self._counter("slots", "Candidates that were asked for.")
        self.empty_slots = self._counter("empty_slots", "Candidates that were asked for and not found.")
        self.candidates = self._counter("candidates", "Candidates, by the kind of vector that brought them.", "source")
        start_at_zero(self.candidates, "unconditioned", "implicit", "explicit", "popular")
        self.overlapping = self._counter(
            "overlapping_candidates", "Candidates found by an implicit and by an explicit interest."
        )
        self.interest_candidates = self._histogram(
            "interest_candidates", "Candidates that an interest brought to an answer.", _CANDIDATES, "kind"
        )
        self.unknown_items = self._counter("unknown_items", "Items of histories that the release does not know.")
        self.unknown_topics = self._counter("unknown_topics", "Topics of requests that the release does not know.")
        self.unlogged = self._counter("unlogged", "Answers that could not be written to the log.")

    def _engine(self) -> None:
        self.queue_length = self._gauge("queue_length", "Requests that wait for the engine.", "livesum")
        self.queue_seconds = self._gauge("queue_seconds", "Expected wait before the next request begins.", "livemax")
        self.cost_seconds = self._gauge("cost_seconds", "Measured cost of one request, by effort.", "livemax", "effort")
        self.loop_lag_seconds = self._gauge("loop_lag_seconds", "How late the event loop is.", "livemax")
        self.setbacks = self._counter(
            "setbacks",
            "Requests that were late or failed and got popular items, or that nobody waited for any more.",
            "kind",
        )
        start_at_zero(self.setbacks, "late", "failed", "cancelled")
        self.remembered = self._gauge("remembered_users", "Users whose last vectors are kept.", "livesum")
        self.recalls = self._counter("recalls", "Looks for the vectors of a user's last answer.", "outcome")
        start_at_zero(self.recalls, "hit", "miss")

    def _stores(self) -> None:
        self.state_seconds = self._histogram("state_seconds", "Calls of the user states.", _STAGE_SECONDS, "call")
        self.state_errors = self._counter("state_errors", "Calls of the user states that failed.", "call")
        start_at_zero(self.state_errors, "append", "read", "follow", "forget", "ping")
        self.breaker_open = self._gauge(
            "state_breaker_open", "1: the user states are not asked for a while.", "livemax"
        )
        self.log_rows = self._counter("log_rows", "Rows appended to a log.", "log")
        self.log_lost_rows = self._counter("log_lost_rows", "Rows that a log did not take.", "log")
        self.log_torn_lines = self._counter("log_torn_lines", "Lines that a killed process left unfinished.", "log")
        self.log_parts = self._counter("log_parts", "Parquet parts made of a log.", "log")
        self.log_failures = self._counter("log_failures", "Attempts to make a part that failed.", "log")
        for family in (self.log_rows, self.log_lost_rows, self.log_torn_lines, self.log_parts, self.log_failures):
            start_at_zero(family, "served", "events")
        self.journal_lost_lines = self._counter("journal_lost_lines", "Lines of the journal that nobody took in time.")

    def _releases(self) -> None:
        self.release_info = self._gauge(
            "release_info", "Processes that serve this release; 0: none does any more.", "livesum", "release"
        )
        self.release_created = self._gauge(
            "release_created_timestamp_seconds", "When the release that serves was published.", "livemin"
        )
        self.release_items = self._gauge("release_items", "Items that can be retrieved.", "livemin")
        self.release_refused = self._gauge(
            "release_refused", "1: what CURRENT names cannot be served, and the release before serves on.", "livemax"
        )
        self.release_switches = self._counter("release_switches", "Changes to another release, of each process.")
        self.shadow = self._counter("shadow_requests", "Requests for the release in the shadow, by outcome.", "outcome")
        start_at_zero(self.shadow, "compared", "dropped", "failed")
        self.shadow_candidates = self._counter("shadow_candidates", "Candidates shown where a shadow was compared.")
        self.shadow_common = self._counter("shadow_common_candidates", "Of these, those that the shadow has too.")
        self.shadow_seconds = self._counter("shadow_seconds", "Time that the shadow took.")

    def _processes(self) -> None:
        self.processes = self._gauge("processes", "Processes that serve.", "livesum")
        self.started = self._gauge(
            "process_start_timestamp_seconds", "When the youngest process began; it changes where one died.", "livemax"
        )
        self.resident_bytes = self._gauge(
            "resident_bytes", "Memory of all processes; pages of the index that they share count for each.", "livesum"
        )
        self.build_info = self._gauge("build_info", "Always 1; the version of multitudes.", "livemax", "version")

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"multitudes_{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, mode: Literal["livesum", "livemax", "livemin"], *labels: str) -> Gauge:
        return Gauge(f"multitudes_{name}", meaning, labels, registry=self._registry, multiprocess_mode=mode)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"multitudes_{name}", meaning, labels, buckets=buckets, registry=self._registry)


def start_at_zero(family: Counter, *values: str) -> None:
    """Begin the series of a family at 0."""
    for value in values:
        family.labels(value)


assert tuple(effort.label for effort in Degradation) == _MADE
