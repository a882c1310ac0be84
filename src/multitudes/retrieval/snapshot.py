"""A release with its item updates until some moment, and the objects that answer from it. A request uses one."""

import logging
from threading import Lock
from time import monotonic
from typing import NamedTuple

from multitudes.errors import ArtefactError
from multitudes.release.release import Release
from multitudes.retrieval.catalogue import Catalogue
from multitudes.retrieval.repeats import RepeatSource
from multitudes.retrieval.response import RecommendationBuilder
from multitudes.retrieval.user_context import UserContextBuilder

_REFRESH_INTERVAL_S = 0.25
_RETRY_AFTER_ERROR_S = 5.0


class Snapshot(NamedTuple):
    """A release, its catalogue, the builders of user contexts and recommendations, and its source of repeats."""

    release: Release
    catalogue: Catalogue
    contexts: UserContextBuilder
    recommendations: RecommendationBuilder
    repeats: RepeatSource | None

    @classmethod
    def from_release(cls, release: Release) -> "Snapshot":
        """Return the snapshot of a release."""
        catalogue = Catalogue(release.index, release.item_count, release.item_taste)
        builders = UserContextBuilder(release), RecommendationBuilder(release)
        return cls(release, catalogue, *builders, RepeatSource.from_release(release))


class LatestSnapshot:
    """Provides the latest snapshot of a release; safe for use by several threads."""

    def __init__(self, release: Release) -> None:
        self._snapshot = Snapshot.from_release(release)
        self._refreshing, self._next_refresh_s = Lock(), 0.0

    def __call__(self) -> Snapshot:
        """Return the latest snapshot; one thread looks for item updates, at most four times a second."""
        if monotonic() >= self._next_refresh_s and self._refreshing.acquire(blocking=False):
            try:
                self._next_refresh_s = monotonic() + _REFRESH_INTERVAL_S
                release = self._snapshot.release.latest()
                if release is not self._snapshot.release:
                    self._snapshot = Snapshot.from_release(release)
            except ArtefactError as error:  # the snapshot stays usable; only opening a release raises this
                self._next_refresh_s = monotonic() + _RETRY_AFTER_ERROR_S
                logging.getLogger(__name__).error("%s; serving without its changes", error)
            finally:
                self._refreshing.release()
        return self._snapshot
