"""The releases that the explorer can show beside the one that serves. One of them is open at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from multitudes.errors import ArtefactError, UsageError
from multitudes.explorer.explorer import Explorer
from multitudes.release.store import ReleaseStore
from multitudes.retrieval.release_trial import ReleaseTrial
from multitudes.retrieval.retriever import Retriever


class NamedExplorer(NamedTuple):
    """The explorer of a release, and how the page names the release."""

    name: str
    explorer: Explorer


class OtherReleases:
    """The other versions in the folder of the release that serves, and one that was opened for it; for one thread."""

    def __init__(
        self,
        get_retriever: Callable[[], Retriever],
        beside: NamedExplorer | None = None,
        trial: ReleaseTrial | None = None,
        trust: Path | None = None,
    ) -> None:
        """Use the folder of the release that serves; ``beside`` stays open, others are opened after a trial."""
        self._get_retriever, self._beside = get_retriever, beside
        self._trial, self._trust = trial, trust
        self._opened: NamedExplorer | None = None

    def names(self) -> tuple[str, ...]:
        """Return the names of the releases: the one that stays open, and then the versions, newest first."""
        given = () if self._beside is None else (self._beside.name,)
        return given + tuple(version for version in self._versions() if version not in given)

    def open(self, name: str) -> Explorer:
        """Return the explorer of a release; what was opened before is closed.

        Raises:
            UsageError: there is no such release.
            ArtefactError: it is damaged, cannot answer, or no trusted key signed it.
        """
        if self._beside is not None and name == self._beside.name:
            return self._beside.explorer
        if self._opened is None or self._opened.name != name:
            self.close()
            self._opened = NamedExplorer(name, self._open_version(name))
        return self._opened.explorer

    def close(self) -> None:
        """Free the version that is open."""
        self._opened = None

    def _open_version(self, name: str) -> Explorer:
        if name not in self._versions():
            known = ", ".join(self.names()) or "none"
            raise UsageError(f"no release {name!r:.80} to show beside the one that serves; there are: {known}")
        folder = self._get_retriever().release.path.parent / name
        try:
            if self._trial is not None:
                self._trial.run(folder)
            retriever = Retriever.open(folder, trust=self._trust)
        except ArtefactError as error:  # clients must not see paths of this machine
            raise ArtefactError(str(error).replace(str(folder), name)) from None
        return Explorer(lambda: retriever)

    def _versions(self) -> list[str]:
        """Return the versions in the folder of the one that serves, without it, newest first."""
        serving = self._get_retriever().release.path
        try:
            versions = ReleaseStore(serving.parent.parent).versions()
        except ArtefactError:  # it is in no folder of releases
            return []
        return [version for version in reversed(versions) if version != serving.name]
