"""What is counted and timed as it happens: a method for each thing that happens."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest

from multitudes.retrieval.request import CAUSES, Degradation
from multitudes.retrieval.response import Candidate, Recommendation
from multitudes.service import multiprocess_metrics
from multitudes.service.admission import RejectionReason
from multitudes.service.metric_families import MetricFamilies, start_at_zero

Work = Literal["interactive", "batch", "similar"]  # what a request wants
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "DELETE"}  # anything else a client makes up has one name
_KINDS: Final = {"implicit", "explicit"}
_ORIGIN: Final = attrgetter("source", "interest", "found_by")


class Metrics:
    """The measures of one process; its page is that of all processes that serve together."""

    def __init__(self) -> None:
        self._folder = multiprocess_metrics.shared_folder()
        if self._folder is not None:
            multiprocess_metrics.fold_dead_processes(self._folder)
        self.registry = CollectorRegistry()
        self.families = MetricFamilies(self.registry)
        start_at_zero(self.families.degraded, *CAUSES)
        self._refresh: Callable[[], None] | None = None

    def start_request(self) -> None:
        """Count a request that is being answered."""
        self.families.in_flight.inc()

    def finish_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self.families.in_flight.dec()
        self.families.requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self.families.request_seconds.labels(route).observe(seconds)

    def count_shed(self, work: Work, reason: RejectionReason, requests: int = 1) -> None:
        """Count requests that were refused because there was no time for them."""
        self.families.shed.labels(work, reason).inc(requests)

    def record_stages(self, stage_s: Mapping[str, float]) -> None:
        """Take in where the time of an answer went."""
        for stage, seconds in stage_s.items():
            self.families.stage_seconds.labels(stage).observe(seconds)

    def record_answer(self, answer: Recommendation, asked: int) -> None:
        """Count what an answer holds.

        Args:
            answer: to one request.
            asked: for how many candidates.
        """
        families, candidates = self.families, answer.candidates
        made = (
            answer.degradation if answer.interests else Degradation.POPULAR
        )  # no vector spoke for them, whatever was tried
        families.answers.labels(made.label).inc()
        if answer.cause is not None:
            families.degraded.labels(answer.cause).inc()
        families.slots.inc(asked)
        families.empty_slots.inc(max(0, asked - len(candidates)))
        families.unknown_items.inc(answer.unknown_items)
        families.unknown_topics.inc(answer.unknown_topics)
        kinds = {interest.number: interest.kind for interest in answer.interests}
        counted = count_candidates(candidates, kinds)
        for source, found in counted.by_source.items():
            families.candidates.labels(source).inc(found)
        families.overlapping.inc(counted.overlapping)
        for number, kind in kinds.items():
            families.interest_candidates.labels(kind).observe(counted.by_interest[number])

    def count_unlogged(self) -> None:
        """Count an answer that the log does not have."""
        self.families.unlogged.inc()

    def record_state_call(self, call: str, seconds: float, *, failed: bool) -> None:
        """Take in a call of the user states."""
        self.families.state_seconds.labels(call).observe(seconds)
        if failed:
            self.families.state_errors.labels(call).inc()

    def refresh_with(self, refresh: Callable[[], None]) -> None:
        """Let ``refresh`` bring the gauges up to date whenever they are asked for."""
        self._refresh = refresh

    def render(self) -> bytes:
        """Return all of it as Prometheus reads it; with several processes, files are read."""
        if self._refresh is not None:
            self._refresh()
        return generate_latest(self.registry) if self._folder is None else multiprocess_metrics.render(self._folder)


class CandidateCounts(NamedTuple):
    """How many candidates of an answer came from where."""

    by_source: Counter[str]
    by_interest: Counter[int | None]
    overlapping: int  # found by an implicit and by an explicit interest


def count_candidates(candidates: Sequence[Candidate], kinds: Mapping[int, str]) -> CandidateCounts:
    """Count the candidates of an answer in one pass: most are like others in all that is asked here.

    Args:
        candidates: of the answer.
        kinds: kind of each interest by its number.
    """
    counted = CandidateCounts(Counter(), Counter(), 0)
    overlapping = 0
    for (source, interest, found_by), times in Counter(map(_ORIGIN, candidates)).items():
        counted.by_source[source] += times
        counted.by_interest[interest] += times
        if len(found_by) > 1 and {kinds[k] for k in found_by} >= _KINDS:
            overlapping += times
    return counted._replace(overlapping=overlapping)
