"""A release as the policy of an arm: the retriever of the service, with what users did since as their state.

Legend: B visitors · N candidates.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from multitudes.retrieval.request import Request
from multitudes.retrieval.response import IdList
from multitudes.retrieval.retriever import Retriever
from multitudes.simulation.day_log import ACTIONS
from multitudes.simulation.history import History
from multitudes.simulation.policy import NONE, POPULAR, SOURCES, CandidateLists
from multitudes.state.protocol import Event, UserState

_BATCH_SIZE = 256  # requests that are answered together
_SOURCE_CODE = {name: code for code, name in enumerate(SOURCES)}


class ReleasePolicy:
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

    def refresh(self) -> None:
        """See the items that were let in until now; a service sees them within a second, which may be days here."""
        self._retriever = Retriever(self._retriever.release.latest())

    def retrieve(
        self, day: int, user_B: NDArray[np.int64], time_B: NDArray[np.int64], history: History
    ) -> CandidateLists:
        """Return what is retrieved for each of B visitors, of which nothing is in their past."""
        slates = CandidateLists.empty(len(user_B), self._n)
        for start in range(0, len(user_B), _BATCH_SIZE):
            some = slice(start, start + _BATCH_SIZE)
            visits = zip(user_B[some].tolist(), time_B[some].tolist(), strict=True)
            asks = [self._build_request(day, user, time_s, history) for user, time_s in visits]
            for b, answer in enumerate(self._retriever.id_lists(asks), start=start):
                self._fill(slates, b, answer)
        return slates

    def _build_request(self, day: int, user: int, time_s: int, history: History) -> Request:
        since = history.user_actions(user, time_s, self._since_s)
        rows = zip(since.item_E.tolist(), since.time_E.tolist(), since.action_E.tolist(), strict=True)
        events = tuple(Event("", user, item, at, ACTIONS[action]) for item, at, action in rows)
        return Request(user, UserState(user, events), n=self._n, request_id=f"{day}-{user}", time_s=time_s)

    def _fill(self, slates: CandidateLists, b: int, answer: IdList) -> None:
        found, n = answer.candidates, len(answer.item_ids)
        explicit_K, implicit_K = (
            np.array([kind == name for kind in found.kinds], dtype=np.bool_) for name in ("explicit", "implicit")
        )
        # The number of a popular item's interest is -1, which is the last place here.
        code_K = np.array([*(_SOURCE_CODE[kind] for kind in found.kinds), POPULAR])
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
