"""An answer for a program that asks for thousands: ids and numbers, and nothing that only a person reads.

Titles, names and examples of interests cost a third of an answer.
"""

from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from multitudes.batches.vectors import UserVectors
from multitudes.ids import Id
from multitudes.release.release import Release
from multitudes.retrieve.cases import Case
from multitudes.retrieve.find import Candidates, popular_alone

T_co = TypeVar("T_co", covariant=True)


class Form(Protocol[T_co]):
    """What is made of what was found for a request: a recommendation to be read, or a list."""

    def recommendation(self, case: Case, b: int, vectors: UserVectors, found: Candidates, unknown: int) -> T_co:
        """Return the answer to the request whose vectors are in row ``b``."""
        ...

    def popular(self, case: Case, item_N: NDArray[np.int64], events_N: NDArray[np.int64], unknown: int) -> T_co:
        """Return popular items as an answer, with how often each was liked."""
        ...


class Listed(NamedTuple):
    """What one request gets: the candidates, whose items have these ids."""

    item_ids: list[Id]
    found: Candidates
    topics: list[str]  # of each vector: what an explicit one is conditioned on
    degraded: bool
    unknown_topics: int  # of the follows and the wishes, which this release does not know


class Lister:
    """Makes lists of what was found in one release."""

    def __init__(self, release: Release) -> None:
        self._names, self._topics = release.item_names, release.topics

    def recommendation(self, case: Case, b: int, vectors: UserVectors, found: Candidates, unknown: int) -> Listed:
        """Return what the retriever found."""
        topics = [self._topics[topic] for topic in vectors.topic_BK[b].tolist()]
        return self._listed(case, found, topics, unknown)

    def popular(self, case: Case, item_N: NDArray[np.int64], events_N: NDArray[np.int64], unknown: int) -> Listed:
        """Return popular items."""
        return self._listed(case, popular_alone(item_N, events_N), [], unknown)

    def _listed(self, case: Case, found: Candidates, topics: list[str], unknown: int) -> Listed:
        degraded = bool(case.shortfalls or found.shortfalls)
        unknown_topics = case.asked.unknown_topics_B[0] + unknown
        return Listed(self._names.ids(found.item_N), found, topics, degraded, unknown_topics)
