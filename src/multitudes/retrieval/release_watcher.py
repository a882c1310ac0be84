"""Follow the current release of a folder of releases and switch to a new one without an interruption.

A new release is tried in a child process (``release_trial``), opened and warmed up while the old one answers. Then one
assignment switches to it: requests that have begun with the old release finish with it, and it is freed with the last
of them. A damaged release is rejected, and the old one stays. A rollback works the same way, but a release that served
in this process needs no other trial.
"""

import logging
from pathlib import Path
from typing import NamedTuple

from multitudes.errors import MultitudesError
from multitudes.periodic import FileWatch, PeriodicTask
from multitudes.release.delta_log import release_identity
from multitudes.release.manifest import MANIFEST
from multitudes.release.store import CURRENT, ReleaseStore
from multitudes.retrieval.config import RetrieveConfig
from multitudes.retrieval.release_trial import ReleaseTrial
from multitudes.retrieval.retriever import Retriever, warm_up

_POLL_INTERVAL_S = 0.5
_POLLS_UNTIL_RETRY = 60  # of a rejected release: damage stays, but another failure may be over by then


class WatcherState(NamedTuple):
    """The state of a watcher."""

    version: str  # of the release that answers
    switches: int  # to another release since the start
    rejections: int  # of another release, each counted once
    problem: str  # why the release that CURRENT names was rejected, or its item updates are missing; or empty


class ReleaseWatcher:
    """Provides the retriever of the current release; safe for use by several threads.

    ::

        watcher = ReleaseWatcher("RELEASES")
        watcher.start()
        retriever = watcher()  # one call for each request, which uses this retriever until it is answered
    """

    def __init__(
        self,
        folder: str | Path,
        config: RetrieveConfig | None = None,
        *,
        cached_users: int = 0,
        trial: ReleaseTrial | None = None,
        trust: Path | None = None,
    ) -> None:
        """Open the current release and warm it up; ``start`` begins to watch.

        Args:
            folder: a folder of releases; or the folder of one version, which never changes.
            config: settings of retrieval; by default those that were published with each release.
            cached_users: see ``Retriever``.
            trial: tries each release that has not served here before it is opened; None: none is tried.
            trust: see ``Release.open``; every release is checked, also after a rollback.

        Raises:
            ArtefactError: nothing is released there, or the release is damaged or of another format version.
        """
        folder = Path(folder)
        self._store = None if (folder / MANIFEST).exists() else ReleaseStore(folder)
        self._config, self._cached_users, self._trial, self._trust = config, cached_users, trial, trust
        self._watch = None if self._store is None else FileWatch(self._store.root / CURRENT)
        if self._watch is not None:
            self._watch.poll()  # before the release is opened, so that a later change is noticed
        self._served = set[str]()  # identities of releases
        self._retriever = self._open(folder if self._store is None else self._store.folder())
        self._switches = self._rejections = 0
        self._problem, self._polls_until_retry = "", 0
        self._poller = PeriodicTask(_POLL_INTERVAL_S, self.poll, "releases")

    def __call__(self) -> Retriever:
        """Return the retriever of the current release."""
        return self._retriever

    def start(self) -> None:
        """Begin to watch, in a background thread."""
        if self._store is not None:
            self._poller.start()

    def close(self) -> None:
        """Stop watching, and end a trial that is running; the retriever stays usable."""
        if self._trial is not None:
            self._trial.cancel()
        self._poller.close()

    def state(self) -> WatcherState:
        """Return the state of the watcher."""
        retriever = self._retriever
        problem = self._problem or retriever.problem
        return WatcherState(retriever.release.version, self._switches, self._rejections, problem)

    def poll(self) -> bool:
        """Check once whether another release is current, switch to it, and return whether it switched."""
        try:
            self._polls_until_retry -= 1
            has_changed = self._watch is not None and self._watch.poll()
            if not has_changed and not (self._problem and self._polls_until_retry <= 0):
                return False
            self._polls_until_retry = _POLLS_UNTIL_RETRY
            return self._switch()
        except (MultitudesError, OSError) as error:
            self._reject(str(error))
        except Exception as error:  # an unexpected error must end neither the watching nor the answers
            logging.getLogger(__name__).exception("following the releases failed")
            self._reject(str(error))
        return False

    def _switch(self) -> bool:
        assert self._store is not None
        store, folder = self._store, self._store.folder()
        if folder == self._retriever.release.path:
            self._problem = ""
            return False
        has_served = (folder / MANIFEST).is_file() and release_identity(folder) in self._served
        trial = None if has_served else self._trial  # which also meets what is no file, such as a pipe
        if trial is not None and not trial.run(folder, lambda: store.folder() != folder):
            return False  # the next poll finds the other one
        retriever = self._open(folder)
        self._retriever = retriever  # one assignment: every thread sees the old one or the new one
        self._switches, self._problem = self._switches + 1, ""
        logging.getLogger(__name__).info("release %s serves", retriever.release.version)
        return True

    def _open(self, folder: Path) -> Retriever:
        retriever = Retriever.open(folder, self._config, cached_users=self._cached_users, trust=self._trust)
        warm_up(retriever)
        self._served.add(retriever.release.identity)
        return retriever

    def _reject(self, problem: str) -> None:
        if problem != self._problem:
            self._rejections, self._problem = self._rejections + 1, problem
            logging.getLogger(__name__).error("%s; %s still serves", problem, self._retriever.release.version)
