"""The metrics of the service: all of them by name, and a method for each thing that happens.

Names and units are those of Prometheus: seconds and bytes, ``_total`` for what only grows, times in seconds since 1970.
No label is an id or anything else that a client chooses. If several processes serve together, counters and histograms
are summed, and the ``multiprocess_mode`` of a gauge says how those of the processes are combined
(``service.multiprocess_metrics``).
"""

from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from multitudes.api import Candidate
from multitudes.retrieval.request import CAUSES, Degradation
from multitudes.retrieval.response import Recommendation
from multitudes.service import multiprocess_metrics
from multitudes.service.admission import RejectionReason

disable_created_metrics()  # type: ignore[no-untyped-call]  # the start time of each series would double the size of the page

Work = Literal["interactive", "batch", "similar", "events", "explore"]  # the kind of a request
KeyRejection = Literal["missing", "unknown", "expired", "wrong_scope"]
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "DELETE"}  # all other methods share one label: clients choose them
_INTEREST_KINDS: Final = {"implicit", "explicit"}
_ORIGIN: Final = attrgetter("source", "interest", "found_by")
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_STAGE_SECONDS: Final = (0.0001, 0.00025, 0.0005, *_SECONDS[:-1])
_CANDIDATES: Final = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)


class MetricFamilies:
    """All metrics. Series whose labels are known start at 0, so that the first failure is an increase."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._add_requests()
        self._add_answers()
        self._add_engine()
        self._add_stores()
        self._add_releases()
        self._add_processes()

    def _add_requests(self) -> None:
        self.requests = self._counter("requests", "Requests, by route and status.", "route", "method", "status")
        self.request_seconds = self._histogram("request_seconds", "From head to answer.", _SECONDS, "route")
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
        self.answers = self._counter("answers", "Recommendations, by how much was done for them.", "effort")
        start_at_zero(self.answers, *(level.label for level in Degradation))
        self.degraded = self._counter("degraded", "Recommendations with less than the full method, by cause.", "cause")
        self.slots = self._counter("slots", "Candidates that were asked for.")
        self.empty_slots = self._counter("empty_slots", "Candidates that were asked for and not found.")
        self.candidates = self._counter(
            "candidates", "Candidates, by the kind of interest that they are for.", "source"
        )
        start_at_zero(self.candidates, "unconditioned", "implicit", "explicit", "repeat", "popular")
        self.overlapping = self._counter(
            "overlapping_candidates", "Candidates found by an implicit and by an explicit interest."
        )
        self.interest_candidates = self._histogram(
            "interest_candidates", "Candidates of an answer that are for one interest.", _CANDIDATES, "kind"
        )
        self.unknown_items = self._counter("unknown_items", "Items of histories that the release does not know.")
        self.unknown_topics = self._counter("unknown_topics", "Topics of requests that the release does not know.")
        self.unlogged = self._counter("unlogged", "Answers that could not be written to the log.")

    def _add_engine(self) -> None:
        self.queue_length = self._gauge("queue_length", "Requests that wait for the engine.", "livesum")
        self.queue_seconds = self._gauge("queue_seconds", "Expected wait of the next request.", "livemax")
        self.cost_seconds = self._gauge(
            "cost_seconds", "Measured cost of one request, by how much is done for it.", "livemax", "effort"
        )
        self.loop_lag_seconds = self._gauge("loop_lag_seconds", "Lag of the event loop; 0 without requests.", "livemax")
        self.setbacks = self._counter(
            "setbacks",
            "Requests that were late or failed and got popular items, or whose caller disconnected.",
            "kind",
        )
        start_at_zero(self.setbacks, "late", "failed", "cancelled")
        self.cached_users = self._gauge("remembered_users", "Users whose last vectors are cached.", "livesum")
        self.cache_lookups = self._counter("recalls", "Lookups of a user's last vectors.", "outcome")
        start_at_zero(self.cache_lookups, "hit", "miss")

    def _add_stores(self) -> None:
        self.state_seconds = self._histogram("state_seconds", "Calls of the user states.", _STAGE_SECONDS, "call")
        self.state_errors = self._counter("state_errors", "Calls of the user states that failed.", "call")
        start_at_zero(self.state_errors, "append", "read", "follow", "forget", "ping")
        self.breaker_open = self._gauge(
            "state_breaker_open", "1: the circuit breaker is open, the user states are not read.", "livemax"
        )
        self.state_damaged = self._gauge("state_damaged", "1: the store of user states is damaged.", "livemax")
        self.log_rows = self._counter("log_rows", "Rows appended to a log.", "log")
        self.log_lost_rows = self._counter("log_lost_rows", "Rows that could not be appended to a log.", "log")
        self.log_torn_lines = self._counter("log_torn_lines", "Lines that a killed process left unfinished.", "log")
        self.log_segments = self._counter("log_parts", "Parquet segments made of a log.", "log")
        self.log_failures = self._counter("log_failures", "Attempts to make a segment that failed.", "log")
        self.log_damaged = self._gauge(
            "log_damaged_segments", "Segments of a log that cannot be read and were set aside.", "livemax", "log"
        )
        for family in (self.log_rows, self.log_lost_rows, self.log_torn_lines, self.log_segments, self.log_failures):
            start_at_zero(family, "served", "events")

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

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"multitudes_{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, mode: Literal["livesum", "livemax", "livemin"], *labels: str) -> Gauge:
        return Gauge(f"multitudes_{name}", meaning, labels, registry=self._registry, multiprocess_mode=mode)

    def _histogram(self, name: str, meaning: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"multitudes_{name}", meaning, labels, buckets=buckets, registry=self._registry)


def start_at_zero(family: Counter, *values: str) -> None:
    """Create a series at 0 for each value of the only label of a family."""
    for value in values:
        family.labels(value)


class Metrics:
    """Counts what happens in one process; ``render`` covers all processes that serve together."""

    def __init__(self) -> None:
        self._folder = multiprocess_metrics.shared_folder()
        if self._folder is not None:
            multiprocess_metrics.fold_dead_processes(self._folder)
        self.registry = CollectorRegistry()
        self.families = MetricFamilies(self.registry)
        start_at_zero(self.families.degraded, *CAUSES)
        self._refresh: Callable[[], None] | None = None

    def reject_key(self, key: str, reason: KeyRejection) -> None:
        """Count a request that was rejected for its key; ``key`` is the name of the key, empty if it has none."""
        self.families.rejected_keys.labels(key, reason).inc()

    def start_request(self) -> None:
        """Count a request in flight."""
        self.families.in_flight.inc()

    def finish_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self.families.in_flight.dec()
        self.families.requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self.families.request_seconds.labels(route).observe(seconds)

    def unread_counter(self, route: str, work: Work) -> Callable[[], None]:
        """Return a function that counts a recommendation request rejected unread; it looks up no series."""
        families = self.families
        counters = families.shed.labels(work, "in_flight"), families.requests.labels(route, "POST", "429")
        seconds = families.request_seconds.labels(route)

        def count() -> None:
            for counter in counters:
                counter.inc()
            seconds.observe(0.0)

        return count

    def count_shed(self, work: Work, reason: RejectionReason, requests: int = 1) -> None:
        """Count requests that were rejected because there was no time for them."""
        self.families.shed.labels(work, reason).inc(requests)

    def record_stages(self, stage_s: Mapping[str, float]) -> None:
        """Record the seconds of an answer by stage."""
        for stage, seconds in stage_s.items():
            self.families.stage_seconds.labels(stage).observe(seconds)

    def record_answer(self, answer: Recommendation, n: int) -> None:
        """Count an answer and its candidates.

        Args:
            answer: to one request.
            n: how many candidates the request asked for.
        """
        families, candidates = self.families, answer.candidates
        level = (
            answer.degradation if answer.interests else Degradation.POPULAR
        )  # without a vector, the items are popular ones
        families.answers.labels(level.label).inc()
        if answer.cause is not None:
            families.degraded.labels(answer.cause).inc()
        families.slots.inc(n)
        families.empty_slots.inc(max(0, n - len(candidates)))
        families.unknown_items.inc(answer.unknown_items)
        families.unknown_topics.inc(answer.unknown_topics)
        kinds = {interest.number: interest.kind for interest in answer.interests}
        counts = count_candidates(candidates, kinds)
        for source, count in counts.by_source.items():
            families.candidates.labels(source).inc(count)
        families.overlapping.inc(counts.overlapping)
        for number, kind in kinds.items():
            families.interest_candidates.labels(kind).observe(counts.by_interest[number])

    def count_unlogged(self) -> None:
        """Count an answer that could not be logged."""
        self.families.unlogged.inc()

    def record_state_call(self, call: str, seconds: float, *, failed: bool) -> None:
        """Record a call of the user states."""
        self.families.state_seconds.labels(call).observe(seconds)
        if failed:
            self.families.state_errors.labels(call).inc()

    def refresh_with(self, refresh: Callable[[], None]) -> None:
        """Call ``refresh`` before each page, to bring the gauges up to date."""
        self._refresh = refresh

    def render(self) -> bytes:
        """Return the page for Prometheus; with several processes, this reads their files."""
        if self._refresh is not None:
            self._refresh()
        if self._folder is None:
            return generate_latest(self.registry)
        return multiprocess_metrics.render(self._folder)


class CandidateCounts(NamedTuple):
    """The candidates of an answer, by what brought them."""

    by_source: Tally[str]
    by_interest: Tally[int | None]
    overlapping: int  # found by an implicit and by an explicit interest


def count_candidates(candidates: Sequence[Candidate], kinds: Mapping[int, str]) -> CandidateCounts:
    """Count the candidates of an answer; many have the same source and interests, so these combinations are counted.

    Args:
        candidates: of the answer.
        kinds: kind of each interest by its number.
    """
    counts = CandidateCounts(Tally(), Tally(), 0)
    overlapping = 0
    for (source, interest, found_by), times in Tally(map(_ORIGIN, candidates)).items():
        counts.by_source[source] += times
        counts.by_interest[interest] += times
        if len(found_by) > 1 and {kinds[k] for k in found_by} >= _INTEREST_KINDS:
            overlapping += times
    return counts._replace(overlapping=overlapping)
