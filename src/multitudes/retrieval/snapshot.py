"""One state of a release with all that answers from it; a request is answered from one state alone."""

import logging
from threading import Lock
from time import monotonic
from typing import NamedTuple

from multitudes.errors import ArtefactError
from multitudes.release.release import Release
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.response import RecommendationBuilder
from multitudes.retrieval.user_context import UserContextBuilder

_REFRESH_INTERVAL_S = 0.25
_RETRY_AFTER_ERROR_S = 5.0


class Snapshot(NamedTuple):
    """What answers from one state of a release."""

    release: Release
    catalogue: Catalogue
    contexts: UserContextBuilder
    recommendations: RecommendationBuilder

    @classmethod
    def of(cls, release: Release) -> "Snapshot":
        """Make what answers from a release."""
        return cls(
            release,
            Catalogue(release.index, release.item_count),
            UserContextBuilder(release),
            RecommendationBuilder(release),
        )


class LatestSnapshot:
    """The newest state of a release; threads may share it."""

    def __init__(self, release: Release) -> None:
        self._snapshot = Snapshot.of(release)
        self._refreshing, self._next_refresh_s = Lock(), 0.0

    def __call__(self) -> Snapshot:
        """Return the newest state; looks for another at most a few times a second, and in one thread."""
        if monotonic() >= self._next_refresh_s and self._refreshing.acquire(blocking=False):
            try:
                self._next_refresh_s = monotonic() + _REFRESH_INTERVAL_S
                release = self._snapshot.release.latest()
                if release is not self._snapshot.release:
                    self._snapshot = Snapshot.of(release)
            except ArtefactError as error:  # who serves goes on with what is good; who opens is refused
                self._next_refresh_s = monotonic() + _RETRY_AFTER_ERROR_S
                logging.getLogger(__name__).error("%s; serving without its changes", error)
            finally:
                self._refreshing.release()
        return self._snapshot
