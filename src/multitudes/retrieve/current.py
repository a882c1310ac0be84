"""The release that serves now: whatever ``CURRENT`` names, opened beside the one that serves until then.

A new release is opened, checked and warmed while the old one answers, and then takes its place at once; whoever began
with the old one ends with it, and it is freed when the last of them ends. A release that is damaged is refused, and
the old one stays. Going back is no other thing: ``CURRENT`` names an earlier version.
"""

import logging
from pathlib import Path
from typing import NamedTuple

from multitudes.errors import MultitudesError
from multitudes.every import Every
from multitudes.release import manifest as manifests
from multitudes.release.changes import Signature, signature
from multitudes.release.store import CURRENT, ReleaseStore
from multitudes.retrieve.plan import RetrieveConfig
from multitudes.retrieve.retriever import Retriever
from multitudes.retrieve.warming import warm

_LOOK_EVERY_S = 0.5
_LOOKS_UNTIL_RETRY = (
    60  # of something that was refused: what is damaged stays so, what failed for another reason may not
)


class Followed(NamedTuple):
    """How the following goes."""

    version: str  # that serves
    switches: int  # to another release since the start
    refusals: int  # of another release, each counted once
    problem: str  # why what CURRENT names does not serve, or empty


class Current:
    """Follows the current release of a folder of releases; threads may share it."""

    def __init__(self, folder: str | Path, config: RetrieveConfig | None = None, *, remember: int = 0) -> None:
        """Open and warm what serves now; ``start`` begins to follow.

        Args:
            folder: of releases; or one version's own folder, which never changes.
            config: how to retrieve, in place of what was published with each release.
            remember: see ``Retriever``.

        Raises:
            ArtefactError: nothing is released there, or the release is damaged or of another version.
        """
        folder = Path(folder)
        self._store = None if (folder / manifests.MANIFEST).exists() else ReleaseStore(folder)
        self._config, self._remember = config, remember
        self._signature = self._signature_now()
        self._retriever = self._opened(folder if self._store is None else self._store.folder())
        self._switches = self._refusals = 0
        self._problem, self._looks_left = "", 0
        self._following = Every(_LOOK_EVERY_S, self.look, "releases")

    def __call__(self) -> Retriever:
        """Return what serves now; a request asks once, and keeps it until it is answered."""
        return self._retriever

    def start(self) -> None:
        """Begin to follow, in a thread of its own."""
        if self._store is not None:
            self._following.start()

    def close(self) -> None:
        """End the following; what serves goes on."""
        self._following.close()

    def state(self) -> Followed:
        """Describe how it goes."""
        return Followed(self._retriever.release.version, self._switches, self._refusals, self._problem)

    def look(self) -> bool:
        """Look once whether another release is current, and switch to it; return whether that was so."""
        try:
            found = self._signature_now()
            if found == self._signature and not self._retry():
                return False
            self._signature, self._looks_left = found, _LOOKS_UNTIL_RETRY
            return self._switched()
        except (MultitudesError, OSError) as error:
            self._refuse(str(error))
        except Exception as error:  # a defect while opening: what serves must go on, and be followed on
            logging.getLogger(__name__).exception("following the releases failed")
            self._refuse(str(error))
        return False

    def _switched(self) -> bool:
        assert self._store is not None
        folder = self._store.folder()
        if folder == self._retriever.release.path:
            self._problem = ""
            return False
        fresh = self._opened(folder)
        self._retriever = fresh  # one assignment: everybody sees the old one or the new one
        self._switches, self._problem = self._switches + 1, ""
        logging.getLogger(__name__).info("release %s serves", fresh.release.version)
        return True

    def _opened(self, folder: Path) -> Retriever:
        retriever = Retriever.open(folder, self._config, remember=self._remember)
        warm(retriever)
        return retriever

    def _refuse(self, problem: str) -> None:
        if problem != self._problem:
            self._refusals, self._problem = self._refusals + 1, problem
            logging.getLogger(__name__).error("%s; %s serves on", problem, self._retriever.release.version)

    def _retry(self) -> bool:
        self._looks_left -= 1
        return bool(self._problem) and self._looks_left <= 0

    def _signature_now(self) -> Signature | None:
        return None if self._store is None else signature(self._store.root / CURRENT)
