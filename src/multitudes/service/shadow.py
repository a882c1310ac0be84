"""A second release that answers the same requests behind the first: compared and counted, never shown.

It may cost what is left over and nothing else: its thread rests between answers, three times as long as one took, its
queue is short, and what does not fit is dropped and counted. (A lower priority of the system would not help: the thread
would be put aside while it holds the interpreter's lock, and all others with it.)
"""

import logging
from collections.abc import Callable
from dataclasses import astuple, dataclass
from queue import SimpleQueue
from threading import Event, Lock, Thread
from time import monotonic

from multitudes.retrieval.request import Degradation, Request
from multitudes.retrieval.response import Recommendation
from multitudes.retrieval.search import no_timing
from multitudes.service.batch_executor import Recommender

_REST = 3.0  # times the duration of an answer: a quarter of one core at most
_QUEUE = 64


@dataclass(frozen=True)
class Comparison:
    """How the answers of the shadow and of the release that serves differ, in sums over the requests compared."""

    requests: int = 0
    dropped: int = 0  # requests for which there was no time
    errors: int = 0  # requests that the shadow could not answer
    candidates: int = 0  # that were shown
    common: int = 0  # of these, how many the shadow has too
    missing: int = 0  # places of the list that the shadow left empty
    seconds: float = 0.0  # that the shadow took

    def __add__(self, more: "Comparison") -> "Comparison":
        return Comparison(*(mine + other for mine, other in zip(astuple(self), astuple(more), strict=True)))

    @property
    def overlap(self) -> float:
        """Share of what was shown that the shadow would have shown too; 0 before anything was compared."""
        return self.common / self.candidates if self.candidates else 0.0


class Shadow:
    """Answers what it is offered, when there is time; give ``offer`` to an engine as ``after``."""

    def __init__(
        self,
        retriever: Recommender,
        *,
        queue: int = _QUEUE,
        rest: float = _REST,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Set up; ``start`` begins to compare.

        Args:
            retriever: of the release in the shadow, which stays the same.
            queue: requests that may wait; more are dropped.
            rest: how many times the duration of an answer the thread rests after it.
            clock: any steady clock, in seconds.
        """
        self._retriever, self._max_queued, self._rest, self._clock = retriever, queue, rest, clock
        self._offered: SimpleQueue[tuple[Request, Recommendation] | None] = SimpleQueue()
        self._totals, self._lock, self._stop = Comparison(), Lock(), Event()
        self._thread = Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Begin to compare."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what still waits is dropped."""
        self._stop.set()
        self._offered.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def offer(self, ask: Request, shown: Recommendation) -> None:
        """Let a request be compared if there is time; returns at once. Only full answers are worth it."""
        if shown.degradation > Degradation.NONE or self._offered.qsize() >= self._max_queued:
            self._add(Comparison(dropped=1))
        else:
            self._offered.put((ask, shown))

    def totals(self) -> Comparison:
        """Return the sums until now."""
        return self._totals

    def compare(self, ask: Request, shown: Recommendation) -> float:
        """Answer one request in the shadow and count how it differs; return how long that took."""
        began = self._clock()
        try:
            [hidden] = self._retriever.answer([ask], degradation=Degradation.NONE, timer=no_timing)
        except Exception as error:
            logging.getLogger(__name__).warning("the shadow failed", exc_info=error)
            self._add(Comparison(errors=1))
            return self._clock() - began
        took_s = self._clock() - began
        own = {candidate.item_id for candidate in hidden.candidates}
        common = sum(candidate.item_id in own for candidate in shown.candidates)
        missing = max(0, len(shown.candidates) - len(hidden.candidates))
        self._add(
            Comparison(requests=1, candidates=len(shown.candidates), common=common, missing=missing, seconds=took_s)
        )
        return took_s

    def _run(self) -> None:
        while (offered := self._offered.get()) is not None and not self._stop.is_set():
            self._stop.wait(self._rest * self.compare(*offered))

    def _add(self, more: Comparison) -> None:
        with self._lock:
            self._totals += more
