"""A release is warmed before it serves: everything that is loaded or computed when first used is used once.

From then on the release needs nothing more of its folder, which may be removed while it serves.
"""

import numpy as np

from multitudes.batches.histories import MAX_FOLLOWS
from multitudes.retrieve.ask import Ask
from multitudes.retrieve.retriever import Retriever
from multitudes.retrieve.shortfall import in_time

_USERS = 8
_CANDIDATES = 100
_TOPICS = 64  # more are not kept ready anyway


def warm(retriever: Retriever) -> None:
    """Answer a few requests of users, and of people who follow one topic or another.

    Raises:
        ArtefactError: the release cannot answer: it is damaged, or its parts do not fit each other.
    """
    release = retriever.release
    _ = release.identity, release.user_numbers, release.item_names.number(0)
    users = np.unique(np.linspace(0, max(0, release.n_users - 1), _USERS).astype(np.int64))[: release.n_users]
    asks = [Ask(release.user_ids[int(number)], n=_CANDIDATES, stateless="warming") for number in users]
    for ask in asks:
        retriever.popular(ask, in_time("popular items"))
        retriever.answer([ask])
    topics, step = release.topics[1:_TOPICS], max(1, min(MAX_FOLLOWS, retriever.config.topics_per_request))
    for start in range(0, len(topics), step):
        retriever.recommend(follows=topics[start : start + step], n=_CANDIDATES)
