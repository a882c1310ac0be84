"""A release as the policy of an arm: the retriever of the service, with the users' actions since the release as state.

Legend: B visitors · N candidates · M items to choose N from · D width · K interests.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.evaluation import reranked
from multitudes.retrieval.allocation import proposals_to_divide
from multitudes.retrieval.request import Request
from multitudes.retrieval.response import IdList
from multitudes.retrieval.retriever import Retriever
from multitudes.state.protocol import Event, UserState
from multitudes_lab.simulation.day_log import ACTIONS
from multitudes_lab.simulation.history import History
from multitudes_lab.simulation.policy import NONE, POPULAR, REPEAT, SOURCES, CandidateLists

_BATCH_SIZE = 256  # requests answered together


class Reranker(NamedTuple):
    """A reference that chooses each list of N from as many items as a calibrated list has proposals."""

    name: str  # mmr or dpp
    weight: float  # λ


class ReleasePolicy:
    """Retrieves from one release."""

    def __init__(
        self, retriever: Retriever, n: int, topics: Sequence[str], since_s: int, reranker: Reranker | None = None
    ) -> None:
        """Retrieve ``n`` candidates for a visit; ``topics`` are the names of the world's topics, by number.

        The release knows the actions before ``since_s`` (seconds since 1970); later ones go with each request. A
        ``reranker`` chooses each list from a longer one; without it, the list is that of the release.
        """
        self.name = retriever.release.path.name
        self._retriever, self._n, self._since_s, self._reranker = retriever, n, since_s, reranker
        self._topic = {name: number for number, name in enumerate(topics)}

    def refresh(self) -> None:
        """Load items added since; a service does so within a second, which can be days here."""
        self._retriever = Retriever(self._retriever.release.latest())

    def retrieve(
        self, day: int, user_B: NDArray[np.int64], time_B: NDArray[np.int64], history: History
    ) -> CandidateLists:
        """Return candidates for each visitor, without items of the visitor's past; see ``Policy``."""
        candidates = CandidateLists.empty(len(user_B), self._n)
        for start in range(0, len(user_B), _BATCH_SIZE):
            batch = slice(start, start + _BATCH_SIZE)
            visits = zip(user_B[batch].tolist(), time_B[batch].tolist(), strict=True)
            requests = [self._build_request(day, user, time_s, history) for user, time_s in visits]
            lists = self._retriever.id_lists(requests)
            if self._reranker is not None:
                lists = self._rerank(lists, self._reranker)
            for b, response in enumerate(lists, start=start):
                self._fill(candidates, b, response)
        return candidates

    def _rerank(self, lists: Sequence[IdList], reranker: Reranker) -> list[IdList]:
        """Return the N items that the reference chooses of each list."""
        item_BM = np.zeros((len(lists), proposals_to_divide(self._n)), dtype=np.int64)  # 0: no item
        for item_M, one in zip(item_BM, lists, strict=True):
            item_M[: len(one.item_ids)] = one.candidates.item_N
        has_item_BM = item_BM > 0
        vectors_nD = self._retriever.catalogue.index.vectors(item_BM[has_item_BM])
        vectors_BMD = np.zeros((*item_BM.shape, vectors_nD.shape[1]), dtype=np.float32)
        vectors_BMD[has_item_BM] = vectors_nD
        relevance_BM, cosine_BMM = reranked.relevance(item_BM), reranked.cosines(vectors_BMD)
        column_BN = reranked.DIVERSIFIERS[reranker.name](relevance_BM, cosine_BMM, self._n, reranker.weight)
        chosen = [column_N[: len(one.item_ids)] for column_N, one in zip(column_BN, lists, strict=True)]
        return [
            one._replace(item_ids=[one.item_ids[m] for m in of_it], candidates=one.candidates.select(of_it))
            for one, of_it in zip(lists, chosen, strict=True)
        ]

    def _build_request(self, day: int, user: int, time_s: int, history: History) -> Request:
        since = history.user_actions(user, time_s, self._since_s)
        rows = zip(since.item_E.tolist(), since.time_E.tolist(), since.action_E.tolist(), strict=True)
        events = tuple(Event("", user, item, at, ACTIONS[action]) for item, at, action in rows)
        n = self._n if self._reranker is None else proposals_to_divide(self._n)
        return Request(user, user_state=UserState(user, events), n=n, request_id=f"{day}-{user}", time_s=time_s)

    def _fill(self, candidates: CandidateLists, b: int, response: IdList) -> None:
        found, n = response.candidates, len(response.item_ids)
        explicit_K, implicit_K = (
            np.array([kind == name for kind in found.kinds], dtype=np.bool_) for name in ("explicit", "implicit")
        )
        # A popular item has interest -1, which indexes the last entry; a repeat has -2.
        code_K = np.array([*map(SOURCES.index, found.kinds), REPEAT, POPULAR])
        topic_K = np.array([*(self._topic.get(topic, NONE) for topic in response.topics), NONE, NONE])
        topic_K[:-2][~explicit_K] = NONE
        by_explicit_N, by_implicit_N = (found.found_by_NK[:, kind_K].any(axis=1) for kind_K in (explicit_K, implicit_K))
        candidates.item_BN[b, :n] = response.item_ids
        candidates.score_BN[b, :n] = found.score_N
        candidates.source_BN[b, :n] = code_K[found.interest_N]
        candidates.interest_BN[b, :n] = found.interest_N
        candidates.topic_BN[b, :n] = topic_K[found.interest_N]
        candidates.both_BN[b, :n] = by_explicit_N & by_implicit_N
        candidates.degraded_B[b] = response.degraded
