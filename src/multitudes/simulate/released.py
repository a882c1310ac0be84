"""A release as the policy of an arm: the retriever of the service, with what users did since as their state.

Legend: B visitors · N candidates.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.retrieve.ask import Ask
from multitudes.retrieve.listed import Listed
from multitudes.retrieve.retriever import Retriever
from multitudes.simulate.diary import Diary
from multitudes.simulate.feed import ACTIONS
from multitudes.simulate.slates import NONE, POPULAR, SOURCES, Slates
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
            for b, answer in enumerate(self._retriever.listed(asks), start=start):
                self._write(slates, b, answer)
        return slates

    def _ask(self, day: int, user: int, time_s: int, diary: Diary) -> Ask:
        since = diary.of(user, time_s, self._since_s)
        rows = zip(since.item_E.tolist(), since.time_E.tolist(), since.action_E.tolist(), strict=True)
        events = tuple(Event("", user, item, at, ACTIONS[action]) for item, at, action in rows)
        return Ask(user, Person(user, events), n=self._n, request=f"{day}-{user}", time_s=time_s)

    def _write(self, slates: Slates, b: int, answer: Listed) -> None:
        found, n = answer.found, len(answer.item_ids)
        explicit_K, implicit_K = (
            np.array([kind == name for kind in found.kinds], dtype=np.bool_) for name in ("explicit", "implicit")
        )
        # The number of a popular item's interest is -1, which is the last place here.
        code_K = np.array([*(_CODE[kind] for kind in found.kinds), POPULAR])
        topic_K = np.array([*(self._topic.get(topic, NONE) for topic in answer.topics), NONE])
        topic_K[:-1][~explicit_K] = NONE
        slates.item_BN[b, :n] = answer.item_ids
        slates.score_BN[b, :n] = found.score_N
        slates.source_BN[b, :n] = code_K[found.interest_N]
        slates.interest_BN[b, :n] = found.interest_N
        slates.topic_BN[b, :n] = topic_K[found.interest_N]
        slates.both_BN[b, :n] = found.found_by_NK[:, explicit_K].any(axis=1) & found.found_by_NK[:, implicit_K].any(
            axis=1
        )
        slates.degraded_B[b] = answer.degraded
