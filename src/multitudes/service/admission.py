"""Whether a request is taken, and with how much effort: what it would wait and cost, against the time that it has.

Work that waits, times what a unit of it was measured to cost, is the wait; so a queue never grows beyond what can still
be answered in time. A request takes the greatest effort that fits; where none does, it is refused at once, which costs
little. All of it is arithmetic: the time is passed in. Before it stands ``crowd``, where too many are refused unread.

::

    full → fewer → cached → popular → refused            interactive: somebody waits, so something is answered
    full → refused                                       batch: who asks can come again, so it gives way first
"""

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from pydantic import Field

from multitudes.config import Config
from multitudes.errors import UnavailableError
from multitudes.retrieval.request import Degradation

Priority = Literal["interactive", "batch"]
RejectionReason = Literal[
    "in_flight", "time", "queue", "closing"
]  # why a request is refused: unread, no time, no place, the end
OVERLOADED: Final = "more is asked than can be answered in time; ask again later, or with a longer deadline"
_QUEUED_LEVELS: Final = (Degradation.NONE, Degradation.FEWER, Degradation.CACHED)  # popular items need no queue
_UNMEASURED_SHARE: Final = 0.5  # of the effort above it


class AdmissionConfig(Config):
    """Section [admission] of the service."""

    headroom: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Share of its time that a request may be expected to take; the rest is for surprise.",
    )
    load_shedding_share: float = Field(
        0.4,
        gt=0,
        le=1,
        description="Share of its time that a request may be expected to be inside; beyond, it is refused unread.",
    )
    batch_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Batch work is taken only while it is expected to be done in this share of its time.",
    )
    smoothing: float = Field(
        0.1, gt=0, le=1, description="How fast older measurements of costs fade: this share with each new one."
    )
    probe_every_s: float = Field(
        1.0,
        ge=0,
        description="So often one request is answered in full although that seems too dear, to measure again.",
    )


class OverloadError(UnavailableError):
    """More is asked than can be answered in time."""

    def __init__(self, message: str, retry_after_s: float, reason: RejectionReason = "time") -> None:
        super().__init__(message)
        self.retry_after_s, self.reason = retry_after_s, reason


class Decision(NamedTuple):
    """What becomes of a request."""

    degradation: Degradation | None  # None: refused
    retry_after_s: float = 0.0  # when it may be worth to come again
    probe: bool = False


@dataclass
class Costs:
    """Seconds of one request at each effort, of what was measured lately: a large batch says more than a small one."""

    smoothing: float = 0.1
    _recent: dict[Degradation, tuple[float, float]] = field(default_factory=dict)  # seconds and requests, fading

    def record(self, degradation: Degradation, requests: int, seconds: float, *, reset: bool = False) -> None:
        """Take in that so many requests were answered together in so much time; ``reset``: what was before is over."""
        before_s, before = (0.0, 0.0) if reset else self._recent.get(degradation, (0.0, 0.0))
        fading = 1 - self.smoothing
        self._recent[degradation] = fading * before_s + seconds, fading * before + requests

    def cost_s(self, degradation: Degradation) -> float:
        """Return what one request costs: never more than with more effort, however old the measurement.

        An effort that was never made is guessed from the one above it. Popular items cost next to nothing.
        """
        if degradation in (Degradation.NONE, Degradation.POPULAR):
            return self._mean_s(degradation, 0.0)
        above_s = self.cost_s(Degradation(degradation - 1))
        return min(above_s, self._mean_s(degradation, _UNMEASURED_SHARE * above_s))

    def _mean_s(self, effort: Degradation, unmeasured_s: float) -> float:
        seconds, requests = self._recent.get(effort, (0.0, 0.0))
        return seconds / requests if requests else unmeasured_s


class Load(NamedTuple):
    """What stands before a request, in seconds."""

    backlog_s: float  # work that is done first, what runs now among it
    lag_s: float = 0.0  # how late the door itself is: it passes on what arrives, and writes what goes out
    queue_full: bool = False  # no more requests may wait


@dataclass
class AdmissionController:
    """Decides about one request after another; remembers when it last probed."""

    config: AdmissionConfig
    costs: Costs
    _probed_s: float = float("-inf")

    def decide(self, load: Load, left_s: float, priority: Priority, now_s: float, requests: int = 1) -> Decision:
        """Decide about ``requests`` that come together.

        Args:
            load: what stands before them.
            left_s: time until they must be answered.
            priority: who gives way.
            now_s: the time by any steady clock.
            requests: how many.
        """
        cost_s = requests * self.costs.cost_s(Degradation.NONE)
        if priority == "batch":
            fits = not load.queue_full and load.backlog_s + load.lag_s + cost_s <= self.config.batch_share * left_s
            return (
                Decision(Degradation.NONE) if fits else self._rejection(load, cost_s, self.config.batch_share * left_s)
            )
        usable_s = self.config.headroom * left_s - load.lag_s
        for effort in () if load.queue_full else _QUEUED_LEVELS:
            if load.backlog_s + requests * self.costs.cost_s(effort) <= usable_s:
                return Decision(effort)
            if effort == Degradation.NONE and self._should_probe(load, usable_s, now_s):
                return Decision(effort, probe=True)
        if usable_s > 0:
            return Decision(Degradation.POPULAR)
        return self._rejection(load, cost_s, usable_s)

    def least_degradation(self, degradation: Degradation, left_s: float) -> Degradation:
        """Return the greatest effort up to ``degradation`` that is expected to be done in the time that is left."""
        return next(
            (e for e in _QUEUED_LEVELS if e >= degradation and self.costs.cost_s(e) <= left_s), Degradation.POPULAR
        )

    def _should_probe(self, load: Load, usable_s: float, now_s: float) -> bool:
        """Tell whether to look if full answers are still too dear: else one hiccup would end them for good."""
        if 2 * load.backlog_s > usable_s or now_s < self._probed_s + self.config.probe_every_s:
            return False
        self._probed_s = now_s
        return True

    @staticmethod
    def _rejection(load: Load, cost_s: float, usable_s: float) -> Decision:
        return Decision(None, max(0.0, load.backlog_s + load.lag_s + cost_s - max(0.0, usable_s)))


def expected_remaining_s(expected_s: float, elapsed_s: float) -> float:
    """Return how much longer running work is expected to take.

    Work that is late already is expected to be as late again: what hangs is soon known to hang.
    """
    return abs(expected_s - elapsed_s)
