"""The canary of ``publish --service``: a running service answers with the new release, or the old one returns.

The gate asks the release; the canary asks the service that takes it up, over the network, with its state, limits and
deadlines. The same requests are sent before and after the switch, so that what failed already is not held against the
release.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

from pydantic import Field

from multitudes.api import RecommendRequest, RecommendResponse
from multitudes.config import Config
from multitudes.errors import ArtefactError, MultitudesError, UnavailableError, UsageError
from multitudes.progress import Progress, silent
from multitudes.publishing.gate import GateConfig, held_out_requests, users_of_gate
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.request import Request
from multitudes.retrieval.rollback import rollback
from multitudes.training.runs import open_run

_PAUSE_S = 0.2  # between two looks at which release serves


class CanaryConfig(Config):
    """What a service must hold once it has taken up a release."""

    requests: int = Field(200, ge=20, description="Requests, sent before and after the switch.")
    max_failed: float = Field(
        0.01, ge=0, lt=1, description="Share of the requests that may fail or be degraded, more than before the switch."
    )
    wait_s: float = Field(120.0, gt=0, description="Seconds until the service must answer with the new release.")


class CanaryResult(NamedTuple):
    """What the service answered to the requests of the canary."""

    requests: int
    failed: int  # without an answer, or without a candidate
    degraded: int  # with less than the full method
    p50_ms: float
    p99_ms: float
    reason: str  # of the first that failed; empty if none did

    @property
    def bad(self) -> float:
        """The share that failed or was degraded."""
        return (self.failed + self.degraded) / self.requests


@dataclass
class Canary:
    """Asks a service the same requests before and after a release is published.

    Raises ``ArtefactError`` if nothing serves yet, so that no service can be asked.
    """

    ask: Callable[[RecommendRequest], RecommendResponse]  # raises UnavailableError or UsageError without an answer
    requests: Sequence[RecommendRequest]
    releases: Path  # the folder that the service follows
    config: CanaryConfig
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep  # between two looks at which release answers
    progress: Progress = silent
    _before: CanaryResult | None = None

    def __post_init__(self) -> None:
        """Check that a release serves."""
        ReleaseStore(self.releases).current()

    def ask_before(self) -> CanaryResult:
        """Ask the service while the old release serves.

        Raises:
            UnavailableError: the service does not answer.
            UsageError: it rejects the key.
        """
        self.ask(self.requests[0])  # its error is the user's: nothing is published yet
        self._before = self._measure(self.ask)
        return self._before

    def ask_after(self, version: str, former: str | None) -> CanaryResult:
        """Ask the service once it answers with ``version``, and return to the ``former`` one if it fails.

        Raises:
            ArtefactError: the service did not take the release up in time, or fails more often than before. The former
                release is current again, unless another one was published meanwhile, which stays.
        """
        assert self._before is not None, "ask_before comes first"
        try:
            ask = partial(self._ask_version, version, self.clock() + self.config.wait_s)
            with suppress(UnavailableError):  # counted below; the first may only wait for the switch
                ask(self.requests[0])
            after = self._measure(ask)
            if after.bad > self._before.bad + self.config.max_failed:
                raise ArtefactError(
                    f"{after.failed} of {after.requests} requests failed and {after.degraded} were degraded"
                    f" ({self._before.failed} and {self._before.degraded} before)"
                    + (f"; the first: {after.reason}" if after.reason else "")
                )
        except ArtefactError as error:
            self._return_from(version, former, str(error))
        return after

    def _return_from(self, version: str, former: str | None, why: str) -> NoReturn:
        """Make the release before it current again, and say so by an error."""
        try:
            rollback(self.releases, former, serving=version)
        except MultitudesError as error:
            raise ArtefactError(f"version {version}: {why}. Version {former} does not return: {error}") from None
        raise ArtefactError(f"version {version}: {why}. Version {former} serves again")

    def _ask_version(self, version: str, until_s: float, request: RecommendRequest) -> RecommendResponse:
        """Ask until the answer is of ``version``: processes of a service switch one by one."""
        while (answer := self.ask(request)).release != version:
            if (current := ReleaseStore(self.releases).current()) != version:
                raise ArtefactError(f"version {current} was made current meanwhile")
            if self.clock() >= until_s:
                raise ArtefactError(
                    f"the service still answers with version {answer.release} after {self.config.wait_s:g} s"
                )
            self.sleep(_PAUSE_S)
        return answer

    def _measure(self, ask: Callable[[RecommendRequest], RecommendResponse]) -> CanaryResult:
        failed, degraded, reason, seconds = 0, 0, "", list[float]()
        for done, request in enumerate(self.requests, 1):
            start_s = self.clock()
            try:
                answer = ask(request)
            except (UnavailableError, UsageError) as error:
                failed, reason = failed + 1, reason or str(error)
            else:
                if answer.candidates:
                    degraded += answer.degraded
                else:
                    failed, reason = failed + 1, reason or "no candidates"
            seconds.append(self.clock() - start_s)
            self.progress(done, len(self.requests), "canary")
        seconds.sort()
        p50_ms, p99_ms = (1e3 * seconds[int(q * (len(seconds) - 1))] for q in (0.5, 0.99))
        return CanaryResult(len(seconds), failed, degraded, p50_ms, p99_ms, reason)


def canary_requests(run: str | Path, gate: GateConfig, n_requests: int) -> list[Request]:
    """Return requests of held-out users of a run's data, the first of those of the gate.

    Raises:
        ArtefactError: too few users have a history and a new target.
    """
    prepared = open_run(run).prepared
    return held_out_requests(prepared, users_of_gate(prepared, gate), gate.n)[:n_requests]
