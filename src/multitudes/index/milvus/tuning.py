"""How hard the server has to search, found on queries of users against exact search.

A graph search keeps ``ef`` candidates; the fewest that reach the asked recall are taken. A filter that keeps less than
7 % of the items makes the server compute every score, so its recall is 1; under one that keeps more, the graph is the
weaker the less is kept (measured at 100,000 items of a factor model: ef 200 finds 0.97 of the best 100 of all, ef 400
finds 0.93 of those of a topic of 10 %). Such a topic is searched in a few pieces below that share, or, where there
would be many of them, with candidates of its own.

Legend: Q queries · D dimensions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.index.milvus.collection import Collection
from multitudes.index.milvus.search import Effort, TopicEffort, search_topic
from multitudes.index.protocol import ANY_TOPIC
from multitudes.index.request import Request
from multitudes.index.rows import Rows, as_float32
from multitudes.index.scan import scan
from multitudes.seeding import generator

_SCANNED = 0.05  # share below which the server computes every score, with room for shares that grow
_MOST_PIECES = 3
_MOST_EF = 32_768  # a limit of the server
_QUERIES = 128


def tuned(
    collection: Collection, rows: Rows, queries: NDArray[np.float32] | None, recall: float, depth: int
) -> dict[str, Any]:
    """Return the effort that reaches ``recall`` on half of the queries, and what it reaches on the other half."""
    query_QD, tuned_on = _drawn(rows, queries)
    depth = min(depth, len(rows))
    half = max(1, len(query_QD) // 2)
    trial = _Trial(collection, rows, query_QD[:half], depth)
    ef = _least(trial, ANY_TOPIC, depth, recall)
    topics = {topic: _for_topic(trial, topic, share, ef, recall) for topic, share in _common(rows)}
    topics = {topic: effort for topic, effort in topics.items() if effort != TopicEffort(1, ef)}
    check = _Trial(collection, rows, query_QD[-half:], depth)
    return {
        "recall": round(check.recall(ANY_TOPIC, Effort(ef, depth, {})), 4),
        "recall_asked": recall,
        "tuned_on": tuned_on,
        "tuning_queries": half,
        **as_json(Effort(ef, depth, topics)),
    }


def as_json(effort: Effort) -> dict[str, Any]:
    """Return an effort as a manifest holds it."""
    topics = {str(topic): each._asdict() for topic, each in effort.topics.items()}
    return {"ef": effort.ef, "depth": effort.depth, "topics": topics}


def from_json(tuning: dict[str, Any]) -> Effort:
    """Return the effort that ``as_json`` wrote."""
    topics = {int(topic): TopicEffort(**each) for topic, each in tuning["topics"].items()}
    return Effort(tuning["ef"], tuning["depth"], topics)


class _Trial:
    """Queries with their exact answers, against which an effort is measured."""

    def __init__(self, collection: Collection, rows: Rows, query_QD: NDArray[np.float32], depth: int) -> None:
        self._collection, self._rows, self._query_QD, self.depth = collection, rows, query_QD, depth
        self._truth: dict[int, list[NDArray[np.int64]]] = {}

    def recall(self, topic: int, effort: Effort) -> float:
        """Return the share of the exact answers that is found."""
        limit_Q = np.full(len(self._query_QD), self.depth)
        found = search_topic(self._collection, effort, topic, Request(self._query_QD, limit_Q, None, None, False))
        truth = self._exact(topic)
        shared = sum(len(np.intersect1d(found.ids(q), ids)) for q, ids in enumerate(truth))
        return shared / max(1, sum(map(len, truth)))

    def _exact(self, topic: int) -> list[NDArray[np.int64]]:
        if topic not in self._truth:
            row_M = self._rows.postings.rows(topic) if topic != ANY_TOPIC else np.arange(len(self._rows))
            hits = scan(self._query_QD, self._rows.ids[row_M], self._rows.vectors_nD[row_M], self.depth)
            self._truth[topic] = [hits.ids(q) for q in range(len(self._query_QD))]
        return self._truth[topic]


def _least(trial: _Trial, topic: int, ef: int, recall: float) -> int:
    """Return the fewest candidates, from ``ef`` on, that reach the recall; the most there may be, if none do."""
    while ef < _MOST_EF and trial.recall(topic, Effort(ef, trial.depth, {topic: TopicEffort(1, ef)})) < recall:
        ef = min(_MOST_EF, ef * 5 // 4 + 1)
    return ef


def _for_topic(trial: _Trial, topic: int, share: float, ef: int, recall: float) -> TopicEffort:
    """Return how a common topic is searched: as everything is, if that does; in few pieces; or with more candidates."""
    needed = int(np.ceil(share / _SCANNED))
    if needed > _MOST_PIECES or trial.recall(topic, Effort(ef, trial.depth, {})) >= recall:
        return TopicEffort(1, _least(trial, topic, ef, recall))
    return TopicEffort(needed, ef)


def _common(rows: Rows) -> list[tuple[int, float]]:
    """Return the topics that are too common for the server to compute every score, with their shares."""
    share_T = np.diff(rows.postings.offset) / len(rows)
    return [(int(rows.postings.topic_T[t]), float(share_T[t])) for t in np.flatnonzero(share_T > _SCANNED)]


def _drawn(rows: Rows, queries: NDArray[np.float32] | None) -> tuple[NDArray[np.float32], str]:
    """Return some of the queries; where there are none, items moved by noise as long as themselves stand in."""
    if queries is not None and len(queries):
        drawn = generator(0, "index", "tuning queries").permutation(len(queries))[:_QUERIES]
        return as_float32(queries[drawn], "a query"), "queries"
    rng = generator(0, "index", "tune")
    base_QD = rows.vectors_nD[rng.choice(len(rows), min(len(rows), _QUERIES), replace=False)]
    noise_QD = rng.standard_normal(base_QD.shape, dtype=np.float32)
    length_Q1 = np.linalg.norm(base_QD, axis=1, keepdims=True) / np.sqrt(rows.dimension)
    return np.asarray(base_QD + noise_QD * length_Q1, dtype=np.float32), "items with noise"
