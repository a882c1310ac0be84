"""What is counted and timed as it happens: a method for each thing that happens."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest

from multitudes.retrieve.ask import Effort
from multitudes.retrieve.recommendation import Candidate, Recommendation
from multitudes.retrieve.shortfall import CAUSES
from multitudes.service import together
from multitudes.service.admission import Shed
from multitudes.service.families import Families, begun

Work = Literal["interactive", "batch", "similar"]  # what a request wants
_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "DELETE"}  # anything else a client makes up has one name
_KINDS: Final = {"implicit", "explicit"}
_ORIGIN: Final = attrgetter("source", "interest", "found_by")


class Measures:
    """The measures of one process; its page is that of all processes that serve together."""

    def __init__(self) -> None:
        self._together = together.folder()
        if self._together is not None:
            together.tidy(self._together)
        self.registry = CollectorRegistry()
        self.families = Families(self.registry)
        begun(self.families.degraded, *CAUSES)
        self._look: Callable[[], None] | None = None

    def began(self) -> None:
        """Count a request that is being answered."""
        self.families.in_flight.inc()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self.families.in_flight.dec()
        self.families.requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
        self.families.request_seconds.labels(route).observe(seconds)

    def shed(self, work: Work, reason: Shed, requests: int = 1) -> None:
        """Count requests that were refused because there was no time for them."""
        self.families.shed.labels(work, reason).inc(requests)

    def stages(self, stage_s: Mapping[str, float]) -> None:
        """Take in where the time of an answer went."""
        for stage, seconds in stage_s.items():
            self.families.stage_seconds.labels(stage).observe(seconds)

    def answered(self, answer: Recommendation, asked: int) -> None:
        """Count what an answer holds.

        Args:
            answer: to one request.
            asked: for how many candidates.
        """
        families, candidates = self.families, answer.candidates
        made = answer.effort if answer.interests else Effort.POPULAR  # no vector spoke for them, whatever was tried
        families.answers.labels(made.label).inc()
        if answer.cause is not None:
            families.degraded.labels(answer.cause).inc()
        families.slots.inc(asked)
        families.empty_slots.inc(max(0, asked - len(candidates)))
        families.unknown_items.inc(answer.unknown_items)
        families.unknown_topics.inc(answer.unknown_topics)
        kinds = {interest.number: interest.kind for interest in answer.interests}
        counted = count(candidates, kinds)
        for source, found in counted.by_source.items():
            families.candidates.labels(source).inc(found)
        families.overlapping.inc(counted.overlapping)
        for number, kind in kinds.items():
            families.interest_candidates.labels(kind).observe(counted.by_interest[number])

    def unlogged(self) -> None:
        """Count an answer that the log does not have."""
        self.families.unlogged.inc()

    def state(self, call: str, seconds: float, *, failed: bool) -> None:
        """Take in a call of the user states."""
        self.families.state_seconds.labels(call).observe(seconds)
        if failed:
            self.families.state_errors.labels(call).inc()

    def before_page(self, look: Callable[[], None]) -> None:
        """Let ``look`` bring the gauges up to date whenever they are asked for."""
        self._look = look

    def page(self) -> bytes:
        """Return all of it as Prometheus reads it; with several processes, files are read."""
        if self._look is not None:
            self._look()
        return generate_latest(self.registry) if self._together is None else together.page(self._together)


class Counted(NamedTuple):
    """How many candidates of an answer came from where."""

    by_source: Counter[str]
    by_interest: Counter[int | None]
    overlapping: int  # found by an implicit and by an explicit interest


def count(candidates: Sequence[Candidate], kinds: Mapping[int, str]) -> Counted:
    """Count the candidates of an answer in one pass: most are like others in all that is asked here.

    Args:
        candidates: of the answer.
        kinds: kind of each interest by its number.
    """
    counted = Counted(Counter(), Counter(), 0)
    overlapping = 0
    for (source, interest, found_by), times in Counter(map(_ORIGIN, candidates)).items():
        counted.by_source[source] += times
        counted.by_interest[interest] += times
        if len(found_by) > 1 and {kinds[k] for k in found_by} >= _KINDS:
            overlapping += times
    return counted._replace(overlapping=overlapping)
