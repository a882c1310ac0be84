"""A folder of releases: versions that appear complete or not at all, and the one that serves.

::

    RELEASES/
      CURRENT             the name of the version that serves, for example 0007
      versions/0007/…     complete releases; never changed after they appear
      .stage-…            a release that is being written, invisible to readers
      changes/0007.log    items that were added and removed since that version was published; see ``delta_log``
      audit.log           who published, rolled back or changed items, and when: a line of JSON for each
      .lock               held by a process that publishes, rolls back or updates items

A version appears by one rename of a folder whose files are on the disk, and serves after one replacement of
``CURRENT``. A crash before the rename leaves the old release; between the two, the old release and a complete version
that does not serve yet; after the replacement, the new release. Needs a local POSIX file system.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from multitudes.atomic import make_folder, move_folder_into_place, note_path, open_file, write_text
from multitudes.audit import AUDIT_LOG, append_audit, system_user
from multitudes.data.location import display_location, is_url
from multitudes.errors import ArtefactError, UsageError
from multitudes.locks import lock
from multitudes.release.manifest import MANIFEST

CURRENT = "CURRENT"
VERSIONS = "versions"
_STAGE = ".stage-"
_NAME = re.compile(r"\d{4,}")
_REPAIR = "publish a run again, or write the name of a version into that file"


def service_folder(releases: Path) -> Path:
    """Return the folder that a service of these releases writes into, unless its settings name another."""
    root = releases.resolve()
    return root.with_name(f"{root.name}.service")


class ReleaseStore:
    """A folder of releases."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """Yield a hidden folder for a new release, which is deleted at the end unless ``commit`` has moved it.

        Raises:
            UsageError: another process publishes to this folder, or the path is a file.
        """
        if self.root.is_file():
            raise UsageError(f"{self.root}: is a file; give a folder for the releases")
        with make_folder(self.root / VERSIONS), self.lock():
            for abandoned in self.root.glob(f"{_STAGE}*"):  # by a process that died, since this one has the lock
                shutil.rmtree(abandoned)
            folder = Path(tempfile.mkdtemp(prefix=_STAGE, dir=self.root))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def commit(self, stage: Path) -> str:
        """Make a staged release the current one and return its version.

        Raises:
            OSError: the disk is full or broken; the release that served before still serves.
        """
        stage.chmod(0o755)  # mkdtemp makes a folder that only its owner can read; services read releases
        newest = self.versions()[-1:] or ["0"]
        version = f"{int(newest[0]) + 1:04d}"
        move_folder_into_place(stage, self._folder(version))
        self._switch(version)
        self.record(f"publish {version}")
        return version

    def versions(self) -> list[str]:
        """Return the complete versions, oldest first.

        Raises:
            ArtefactError: this is not a folder of releases.
            UsageError: it is a URL.
        """
        if is_url(self.root):
            url = display_location(self.root)
            raise UsageError(f"{url}: expected a folder of releases; if it is a service: multitudes doctor --url {url}")
        if (self.root / MANIFEST).exists():
            raise ArtefactError(
                f"{self.root}: is the folder of one version; give the folder of releases that contains it"
            )
        if not (self.root / VERSIONS).is_dir():
            near = self.root / "releases"
            advice = f"write one with: multitudes publish RUN --to {self.root}"
            if (near / VERSIONS).is_dir():
                advice = f"did you mean {near}?"
            raise ArtefactError(f"{self.root}: no releases here; {advice}")
        return sorted((p.name for p in (self.root / VERSIONS).iterdir() if _NAME.fullmatch(p.name)), key=int)

    def current(self) -> str:
        """Return the version that serves.

        Raises:
            ArtefactError: nothing is released, or ``CURRENT`` is damaged.
        """
        versions = self.versions()
        with open_file(self.root / CURRENT, _REPAIR) as stream:
            version = stream.read(300).decode("utf-8", "replace").strip()
        if version not in versions:
            raise ArtefactError(f"{self.root}/{CURRENT}: names '{version}', which is not a version here; {_REPAIR}")
        return version

    def folder(self, version: str | None = None) -> Path:
        """Return the folder of a version, by default of the current one.

        Raises:
            ArtefactError: nothing is released.
            UsageError: the version does not exist.
        """
        if version is None:
            return self._folder(self.current())
        if version not in self.versions():
            raise UsageError(f"{self.root}: no version '{version}'; known: {', '.join(self.versions()) or 'none'}")
        return self._folder(version)

    def previous(self) -> str:
        """Return the version before the current one.

        Raises:
            UsageError: the current version is the oldest.
            ArtefactError: nothing is released, or ``CURRENT`` is damaged.
        """
        versions, current = self.versions(), self.current()
        earlier = versions[: versions.index(current)]
        if not earlier:
            raise UsageError(f"{self.root}: {current} is the oldest version; there is no earlier one")
        return earlier[-1]

    def rollback(self, to: str | None = None, prepare: Callable[[], None] = lambda: None) -> str:
        """Make a version, by default the one before, the current one after ``prepare`` under the lock; return it.

        Raises:
            UsageError: the version does not exist, the current one is the oldest, or another process publishes here.
            ArtefactError: nothing is released.
        """
        self.versions()
        with self.lock():
            version = to or self.previous()
            self.folder(version)
            prepare()
            self._switch(version)
            self.record(f"rollback {version}")
        return version

    def record(self, what: str) -> None:
        """Append to the audit log what the user of this process did."""
        append_audit(self.root / AUDIT_LOG, user=system_user(), what=what)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the folder while the block runs.

        Raises:
            UsageError: another process holds it.
        """
        with note_path(self.root), lock(self.root / ".lock", wait=False, remove=True) as acquired:
            if not acquired:
                raise UsageError(f"{self.root}: another process publishes here or changes items; try again later")
            yield

    def _folder(self, version: str) -> Path:
        return self.root / VERSIONS / version

    def _switch(self, version: str) -> None:
        write_text(self.root / CURRENT, version + "\n")


def release_folder(path: Path) -> Path:
    """Return the folder of the current release in a folder of releases; ``path`` itself if it is that of one version.

    Raises:
        ArtefactError: nothing is released there.
    """
    return path if (path / MANIFEST).exists() else ReleaseStore(path).folder()
