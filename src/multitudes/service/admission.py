"""Admission control: how much work a request gets, from its expected wait and cost and the time that it has.

The expected wait is the queued work times its measured cost, so the queue never grows beyond what can be answered in
time. A request gets the least degraded answer that fits into its time; if none fits, it is rejected at once, which
costs little. Everything is arithmetic: callers pass the time in. Before that, ``load_shedding`` rejects requests whose
body has not been read yet.

::

    full → fewer → cached → popular → rejected           interactive: a person waits, so something is answered
    full → rejected                                      batch: the caller can retry, so batches give way first
"""

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from multitudes.errors import UnavailableError
from multitudes.retrieval.request import Degradation

Priority = Literal["interactive", "batch"]
# in_flight: too many requests are in flight (before the body is read); time: it would miss its deadline; queue: the
# queue is full; closing: the service stops.
RejectionReason = Literal["in_flight", "time", "queue", "closing"]
OVERLOADED: Final = "the service is overloaded and cannot answer in time; try again later"
_QUEUED_LEVELS: Final = (Degradation.NONE, Degradation.FEWER, Degradation.CACHED)  # popular items need no queue
_UNMEASURED_SHARE: Final = 0.5  # cost of a level that was never measured, as a share of the less degraded one


@dataclass(frozen=True)
class AdmissionConfig:
    """Shares of the time of a request, in (0, 1], and how costs are measured; ``reliability/overload.py``."""

    headroom: float = 0.7  # that a request may be expected to take; the rest is a reserve
    load_shedding_share: float = 0.4  # that it may be expected to be in flight; else it is rejected unread
    batch_share: float = 0.5  # in which a batch must be expected to be done
    smoothing: float = 0.1  # weight of a new measurement of costs
    probe_every_s: float = 1.0  # one request is answered in full although it may be late, to measure the cost


class OverloadError(UnavailableError):
    """The service cannot answer this request in time."""

    def __init__(self, message: str, retry_after_s: float, reason: RejectionReason = "time") -> None:
        super().__init__(message)
        self.retry_after_s, self.reason = retry_after_s, reason


class Decision(NamedTuple):
    """The degradation of a request, or its rejection."""

    degradation: Degradation | None  # None: rejected
    retry_after_s: float = 0.0  # when a retry may succeed
    probe: bool = False


@dataclass
class Costs:
    """Seconds of one request at each level, from recent batches; a large batch weighs more than a small one."""

    smoothing: float = 0.1
    _recent: dict[Degradation, tuple[float, float]] = field(default_factory=dict)  # decaying sums: seconds, requests

    def record(self, degradation: Degradation, requests: int, seconds: float, *, reset: bool = False) -> None:
        """Record that ``requests`` were answered together in ``seconds``; ``reset``: drop older measurements."""
        old_s, old_requests = (0.0, 0.0) if reset else self._recent.get(degradation, (0.0, 0.0))
        decay = 1 - self.smoothing
        self._recent[degradation] = decay * old_s + seconds, decay * old_requests + requests

    def cost_s(self, degradation: Degradation) -> float:
        """Return the expected seconds of one request: never more than those of a less degraded level.

        A level that was never measured is estimated from the less degraded one before it. Popular items cost almost
        nothing, so they are not estimated.
        """
        if degradation in (Degradation.NONE, Degradation.POPULAR):
            return self._mean_s(degradation, 0.0)
        less_degraded_s = self.cost_s(Degradation(degradation - 1))
        return min(less_degraded_s, self._mean_s(degradation, _UNMEASURED_SHARE * less_degraded_s))

    def _mean_s(self, degradation: Degradation, unmeasured_s: float) -> float:
        seconds, requests = self._recent.get(degradation, (0.0, 0.0))
        return seconds / requests if requests else unmeasured_s


class Load(NamedTuple):
    """The work before a request, in seconds."""

    backlog_s: float  # of the requests that are answered first, including the running batch
    lag_s: float = 0.0  # of the event loop, which reads requests and writes answers
    queue_full: bool = False


@dataclass
class AdmissionController:
    """Decides how each request is answered, from the load and the measured costs."""

    config: AdmissionConfig
    costs: Costs
    _last_probe_s: float = float("-inf")

    def decide(self, load: Load, left_s: float, priority: Priority, now_s: float, requests: int = 1) -> Decision:
        """Decide about ``requests`` that arrive together, ``left_s`` seconds before they must be answered."""
        cost_s = requests * self.costs.cost_s(Degradation.NONE)
        if priority == "batch":
            fits = not load.queue_full and load.backlog_s + load.lag_s + cost_s <= self.config.batch_share * left_s
            if fits:
                return Decision(Degradation.NONE)
            return self._rejection(load, cost_s, self.config.batch_share * left_s)
        usable_s = self.config.headroom * left_s - load.lag_s
        for degradation in () if load.queue_full else _QUEUED_LEVELS:
            if load.backlog_s + requests * self.costs.cost_s(degradation) <= usable_s:
                return Decision(degradation)
            if degradation == Degradation.NONE and self._should_probe(load, usable_s, now_s):
                return Decision(degradation, probe=True)
        if usable_s > 0:
            return Decision(Degradation.POPULAR)
        return self._rejection(load, cost_s, usable_s)

    def least_degradation(self, degradation: Degradation, left_s: float) -> Degradation:
        """Return the least degraded level, from ``degradation`` on, that is expected to be done in ``left_s``."""
        levels = (level for level in _QUEUED_LEVELS if level >= degradation and self.costs.cost_s(level) <= left_s)
        return next(levels, Degradation.POPULAR)

    def _should_probe(self, load: Load, usable_s: float, now_s: float) -> bool:
        """Return whether to measure the cost of full answers again; else one slow batch would end them for ever."""
        if 2 * load.backlog_s > usable_s or now_s < self._last_probe_s + self.config.probe_every_s:
            return False
        self._last_probe_s = now_s
        return True

    @staticmethod
    def _rejection(load: Load, cost_s: float, usable_s: float) -> Decision:
        return Decision(None, max(0.0, load.backlog_s + load.lag_s + cost_s - max(0.0, usable_s)))
