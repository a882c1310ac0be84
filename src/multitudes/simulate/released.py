"""A release as the policy of an arm: the retriever of the service, with what users did since as their state.

Legend: B visitors · N candidates.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.retrieve.ask import Ask
from multitudes.retrieve.recommendation import Recommendation
from multitudes.retrieve.retriever import Retriever
from multitudes.simulate.diary import Diary
from multitudes.simulate.feed import ACTIONS
from multitudes.simulate.slates import EXPLICIT, NONE, SOURCES, Slates
from multitudes.state.records import Event, Person

_AT_ONCE = 256  # requests that are answered together
_CODE = {name: code for code, name in enumerate(SOURCES)}


class Released:
    """Answers from one release."""

    def __init__(self, retriever: Retriever, n: int, topics: Sequence[str], since_s: int) -> None:
        """Answer from a release.

        Args:
            retriever: opened on it.
            n: candidates for a visit.
            topics: names of the world's topics, by number.
            since_s: the release knows what was done before; the rest is told with each request.
        """
        self.name = retriever.release.path.name
        self._retriever, self._n, self._since_s = retriever, n, since_s
        self._topic = {name: number for number, name in enumerate(topics)}

    def look(self) -> None:
        """See the items that were let in until now; a service sees them within a second, which may be days here."""
        self._retriever = Retriever(self._retriever.release.refreshed())

    def slates(self, day: int, user_B: NDArray[np.int64], time_B: NDArray[np.int64], diary: Diary) -> Slates:
        """Return what is retrieved for each of B visitors, of which nothing is in their past."""
        slates = Slates.empty(len(user_B), self._n)
        for start in range(0, len(user_B), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            visits = zip(user_B[some].tolist(), time_B[some].tolist(), strict=True)
            asks = [self._ask(day, user, time_s, diary) for user, time_s in visits]
            for b, answer in enumerate(self._retriever.answer(asks), start=start):
                self._write(slates, b, answer)
        return slates

    def _ask(self, day: int, user: int, time_s: int, diary: Diary) -> Ask:
        since = diary.of(user, time_s, self._since_s)
        rows = zip(since.item_E.tolist(), since.time_E.tolist(), since.action_E.tolist(), strict=True)
        events = tuple(Event("", user, item, at, ACTIONS[action]) for item, at, action in rows)
        return Ask(user, Person(user, events), n=self._n, request=f"{day}-{user}", time_s=time_s)

    def _write(self, slates: Slates, b: int, answer: Recommendation) -> None:
        found = answer.candidates
        kind = {interest.number: interest.kind for interest in answer.interests}
        n = len(found)
        slates.item_BN[b, :n] = [candidate.item_id for candidate in found]
        slates.score_BN[b, :n] = [candidate.score for candidate in found]
        slates.source_BN[b, :n] = [_CODE[candidate.source] for candidate in found]
        slates.interest_BN[b, :n] = [NONE if c.interest is None else c.interest for c in found]
        slates.topic_BN[b, :n] = [
            self._topic[c.interest_name or ""] if c.source == SOURCES[EXPLICIT] else NONE for c in found
        ]
        slates.both_BN[b, :n] = [len({kind[i] for i in c.found_by} & {"implicit", "explicit"}) == 2 for c in found]
        slates.degraded_B[b] = answer.degraded
