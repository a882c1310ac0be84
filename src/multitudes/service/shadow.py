"""A shadow release answers the same requests in the background: its answers are compared and counted, never shown.

It uses only spare time: its thread pauses after each answer for three times as long as the answer took, its queue is
short, and requests that do not fit are dropped and counted. (A lower priority of the thread would not help: the system
would suspend it while it holds the interpreter's lock, and all other threads with it.)
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

_PAUSE = 3.0  # in durations of an answer: the thread uses a quarter of one core at most
_QUEUE = 64


@dataclass(frozen=True)
class Comparison:
    """Differences between the answers of the shadow and those that were shown, as sums over the compared requests."""

    requests: int = 0
    dropped: int = 0  # requests without time for a comparison
    errors: int = 0  # requests that the shadow could not answer
    candidates: int = 0  # shown
    common: int = 0  # of these, those that the shadow has too
    missing: int = 0  # positions of the list that the shadow left empty
    seconds: float = 0.0  # of the shadow

    def __add__(self, more: "Comparison") -> "Comparison":
        return Comparison(*(mine + other for mine, other in zip(astuple(self), astuple(more), strict=True)))

    @property
    def overlap(self) -> float:
        """Share of the shown candidates that the shadow has too; 0 without any."""
        return self.common / self.candidates if self.candidates else 0.0


class Shadow:
    """Compares offered answers with its own, when there is time; pass ``offer`` to an engine as ``on_answer``."""

    def __init__(
        self,
        retriever: Recommender,
        *,
        queue: int = _QUEUE,
        pause: float = _PAUSE,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Create a shadow; ``start`` starts its thread.

        Args:
            retriever: of the shadow release; it stays the same.
            queue: requests that may wait; further ones are dropped.
            pause: of the thread after each answer, in durations of that answer.
            clock: any steady clock, in seconds.
        """
        self._retriever, self._max_queued, self._pause, self._clock = retriever, queue, pause, clock
        self._offered: SimpleQueue[tuple[Request, Recommendation] | None] = SimpleQueue()
        self._totals, self._lock, self._stop = Comparison(), Lock(), Event()
        self._thread = Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop; requests that wait are dropped."""
        self._stop.set()
        self._offered.put(None)
        if self._thread.is_alive():
            self._thread.join()

    def offer(self, request: Request, shown: Recommendation) -> None:
        """Queue a request for comparison, if there is time; return at once. Only full answers are compared."""
        if shown.degradation > Degradation.NONE or self._offered.qsize() >= self._max_queued:
            self._add(Comparison(dropped=1))
        else:
            self._offered.put((request, shown))

    def totals(self) -> Comparison:
        """Return the sums since the start."""
        return self._totals

    def compare(self, request: Request, shown: Recommendation) -> float:
        """Answer a request with the shadow and count the differences; return the seconds that this took."""
        start_s = self._clock()
        try:
            [own] = self._retriever.answer([request], degradation=Degradation.NONE, timer=no_timing)
        except Exception as error:
            logging.getLogger(__name__).warning("the shadow failed", exc_info=error)
            self._add(Comparison(errors=1))
            return self._clock() - start_s
        took_s = self._clock() - start_s
        own_items = {candidate.item_id for candidate in own.candidates}
        common = sum(candidate.item_id in own_items for candidate in shown.candidates)
        missing = max(0, len(shown.candidates) - len(own.candidates))
        self._add(
            Comparison(requests=1, candidates=len(shown.candidates), common=common, missing=missing, seconds=took_s)
        )
        return took_s

    def _run(self) -> None:
        while (offered := self._offered.get()) is not None and not self._stop.is_set():
            self._stop.wait(self._pause * self.compare(*offered))

    def _add(self, more: Comparison) -> None:
        with self._lock:
            self._totals += more
