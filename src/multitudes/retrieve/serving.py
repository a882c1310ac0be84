"""One state of a release with all that answers from it; a request is answered from one state alone."""

import logging
from threading import Lock
from time import monotonic
from typing import NamedTuple

from multitudes.errors import ArtefactError
from multitudes.release.release import Release
from multitudes.retrieve.catalogue import Catalogue
from multitudes.retrieve.people import People
from multitudes.retrieve.present import Presenter

_LOOK_EVERY_S = 0.25
_AFTER_ERROR_S = 5.0


class Serving(NamedTuple):
    """What answers from one state of a release."""

    release: Release
    catalogue: Catalogue
    people: People
    presenter: Presenter

    @classmethod
    def of(cls, release: Release) -> "Serving":
        """Make what answers from a release."""
        return cls(release, Catalogue(release.index, release.item_count), People(release), Presenter(release))


class Newest:
    """The newest state of a release; threads may share it."""

    def __init__(self, release: Release) -> None:
        self._serving = Serving.of(release)
        self._looking, self._look_again_s = Lock(), 0.0

    def __call__(self) -> Serving:
        """Return the newest state; looks for another at most a few times a second, and in one thread."""
        if monotonic() >= self._look_again_s and self._looking.acquire(blocking=False):
            try:
                self._look_again_s = monotonic() + _LOOK_EVERY_S
                release = self._serving.release.refreshed()
                if release is not self._serving.release:
                    self._serving = Serving.of(release)
            except ArtefactError as error:  # who serves goes on with what is good; who opens is refused
                self._look_again_s = monotonic() + _AFTER_ERROR_S
                logging.getLogger(__name__).error("%s; serving without its changes", error)
            finally:
                self._looking.release()
        return self._serving
