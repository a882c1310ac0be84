"""Requests that a release must answer before it serves."""

import numpy as np

from multitudes.batches.histories import MAX_TOWER_TOPICS
from multitudes.errors import ArtefactError, MissingError, UnavailableError
from multitudes.retrieval.request import Request, time_shortfall
from multitudes.retrieval.retriever import Retriever

_USERS = 8
_CANDIDATES = 100
_TOPICS = 64  # more load nothing else


def warm_up(retriever: Retriever) -> None:
    """Answer a few requests, so that everything that is loaded or computed on first use is ready.

    Afterwards the release does not read its folder any more: the folder may be deleted while the release serves.

    Raises:
        ArtefactError: the release cannot answer: it is damaged, or its files do not fit together.
        UnavailableError: the server of its index does not answer.
    """
    try:
        _answer_requests(retriever)
    except (ArtefactError, MissingError, UnavailableError):
        raise
    except Exception as error:  # whatever a damaged release raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        path = retriever.release.path
        raise ArtefactError(f"{path}: cannot answer a request ({reason}); publish the run again") from error


def _answer_requests(retriever: Retriever) -> None:
    release = retriever.release
    _ = release.identity, release.user_numbers, release.item_names.number(0)
    users = np.unique(np.linspace(0, max(0, release.n_users - 1), _USERS).astype(np.int64))[: release.n_users]
    for number in users.tolist():
        request = Request(release.user_ids[number], n=_CANDIDATES, state_error="warming")
        retriever.recommend_popular(request, time_shortfall("popular items"))
        retriever.answer([request])
    topics = release.topics[1:_TOPICS]
    step = max(1, min(MAX_TOWER_TOPICS, retriever.config.topics_per_request))
    for start in range(0, len(topics), step):
        retriever.recommend(followed_topics=topics[start : start + step], n=_CANDIDATES)
