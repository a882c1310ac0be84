"""The release that serves now: whatever ``CURRENT`` names, opened beside the one that serves until then.

A new release is opened, checked and warmed while the old one answers, and then takes its place at once; whoever began
with the old one ends with it, and it is freed when the last of them ends. A release that is damaged is refused, and
the old one stays. Going back is no other thing: ``CURRENT`` names an earlier version.

A release is warmed before it serves: everything that is loaded or computed when first used is used once.

From then on the release needs nothing more of its folder, which may be removed while it serves.
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from multitudes.batches.histories import MAX_FOLLOWED_TOPICS
from multitudes.errors import MultitudesError
from multitudes.periodic import FileWatch, PeriodicTask
from multitudes.release import manifest as manifests
from multitudes.release.store import CURRENT, ReleaseStore
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.request import Request, time_shortfall
from multitudes.retrieval.retriever import Retriever

_POLL_INTERVAL_S = 0.5
_POLLS_UNTIL_RETRY = (
    60  # of something that was refused: what is damaged stays so, what failed for another reason may not
)


class WatcherState(NamedTuple):
    """How the following goes."""

    version: str  # that serves
    switches: int  # to another release since the start
    rejections: int  # of another release, each counted once
    problem: str  # why what CURRENT names does not serve, or empty


class ReleaseWatcher:
    """Follows the current release of a folder of releases; threads may share it."""

    def __init__(self, folder: str | Path, config: RetrieveConfig | None = None, *, cached_users: int = 0) -> None:
        """Open and warm what serves now; ``start`` begins to follow.

        Args:
            folder: of releases; or one version's own folder, which never changes.
            config: how to retrieve, in place of what was published with each release.
            cached_users: see ``Retriever``.

        Raises:
            ArtefactError: nothing is released there, or the release is damaged or of another version.
        """
        folder = Path(folder)
        self._store = None if (folder / manifests.MANIFEST).exists() else ReleaseStore(folder)
        self._config, self._cached_users = config, cached_users
        self._watch = None if self._store is None else FileWatch(self._store.root / CURRENT)
        self._has_changed()  # before the release is opened, so that a later change is noticed
        self._retriever = self._open(folder if self._store is None else self._store.folder())
        self._switches = self._rejections = 0
        self._problem, self._polls_until_retry = "", 0
        self._poller = PeriodicTask(_POLL_INTERVAL_S, self.poll, "releases")

    def __call__(self) -> Retriever:
        """Return what serves now; a request asks once, and keeps it until it is answered."""
        return self._retriever

    def start(self) -> None:
        """Begin to follow, in a thread of its own."""
        if self._store is not None:
            self._poller.start()

    def close(self) -> None:
        """End the following; what serves goes on."""
        self._poller.close()

    def state(self) -> WatcherState:
        """Describe how it goes."""
        return WatcherState(self._retriever.release.version, self._switches, self._rejections, self._problem)

    def poll(self) -> bool:
        """Look once whether another release is current, and switch to it; return whether that was so."""
        try:
            if not self._has_changed() and not self._should_retry():
                return False
            self._polls_until_retry = _POLLS_UNTIL_RETRY
            return self._switch()
        except (MultitudesError, OSError) as error:
            self._reject(str(error))
        except Exception as error:  # a defect while opening: what serves must go on, and be followed on
            logging.getLogger(__name__).exception("following the releases failed")
            self._reject(str(error))
        return False

    def _switch(self) -> bool:
        assert self._store is not None
        folder = self._store.folder()
        if folder == self._retriever.release.path:
            self._problem = ""
            return False
        fresh = self._open(folder)
        self._retriever = fresh  # one assignment: everybody sees the old one or the new one
        self._switches, self._problem = self._switches + 1, ""
        logging.getLogger(__name__).info("release %s serves", fresh.release.version)
        return True

    def _open(self, folder: Path) -> Retriever:
        retriever = Retriever.open(folder, self._config, cached_users=self._cached_users)
        warm_up(retriever)
        return retriever

    def _reject(self, problem: str) -> None:
        if problem != self._problem:
            self._rejections, self._problem = self._rejections + 1, problem
            logging.getLogger(__name__).error("%s; %s serves on", problem, self._retriever.release.version)

    def _should_retry(self) -> bool:
        self._polls_until_retry -= 1
        return bool(self._problem) and self._polls_until_retry <= 0

    def _has_changed(self) -> bool:
        return self._watch is not None and self._watch.poll()


_WARM_UP_USERS = 8
_WARM_UP_CANDIDATES = 100
_WARM_UP_TOPICS = 64  # more are not kept ready anyway


def warm_up(retriever: Retriever) -> None:
    """Answer a few requests of users, and of people who follow one topic or another.

    Raises:
        ArtefactError: the release cannot answer: it is damaged, or its parts do not fit each other.
    """
    release = retriever.release
    _ = release.identity, release.user_numbers, release.item_names.number(0)
    users = np.unique(np.linspace(0, max(0, release.n_users - 1), _WARM_UP_USERS).astype(np.int64))[: release.n_users]
    asks = [Request(release.user_ids[int(number)], n=_WARM_UP_CANDIDATES, state_error="warming") for number in users]
    for ask in asks:
        retriever.recommend_popular(ask, time_shortfall("popular items"))
        retriever.answer([ask])
    topics, step = (
        release.topics[1:_WARM_UP_TOPICS],
        max(1, min(MAX_FOLLOWED_TOPICS, retriever.config.topics_per_request)),
    )
    for start in range(0, len(topics), step):
        retriever.recommend(followed_topics=topics[start : start + step], n=_WARM_UP_CANDIDATES)
