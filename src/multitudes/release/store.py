"""Where releases lie, and how one becomes visible: all at once, or not at all.

::

    RELEASES/
      CURRENT             the name of the version that serves, for example 0007
      versions/0007/…     one complete release each; never changed after it appeared
      .stage-…            a release being written, invisible to readers
      changes/0007.log    items that came and went since that version was published; see ``release.changes``
      .lock               held by whoever publishes, rolls back or changes items

A version appears by one rename of a folder whose files are already on the disk, and serves from one replacement of
``CURRENT``. A crash before the first leaves the old release, between the two a complete version that does not serve
yet, after the second the new release: never a mixture. (Needs a local POSIX file system.)
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from multitudes.atomic import move_folder_into_place, write_text
from multitudes.errors import ArtefactError, UsageError
from multitudes.locks import lock
from multitudes.release.manifest import MANIFEST

CURRENT = "CURRENT"
_VERSIONS = "versions"
_STAGE = ".stage-"
_NAME = re.compile(r"\d{4,}")


class ReleaseStore:
    """The releases under one folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """Give a hidden folder to write a release into; removed at the end unless ``commit`` took it.

        Raises:
            UsageError: another process publishes here, or the path is a file.
        """
        try:
            (self.root / _VERSIONS).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{self.root}: is a file; give a folder for the releases") from None
        with self.lock():
            self._remove_abandoned_stages()
            folder = Path(tempfile.mkdtemp(prefix=_STAGE, dir=self.root))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def commit(self, stage: Path) -> str:
        """Make a staged release the current one and return its version.

        Raises:
            OSError: the disk is full or broken; the release that served before still does.
        """
        stage.chmod(0o755)  # mkdtemp's folders are for their owner alone; a release is read by services
        version = f"{self._newest_number() + 1:04d}"
        move_folder_into_place(stage, self._folder(version))
        self._switch(version)
        return version

    def versions(self) -> list[str]:
        """Return the complete versions, oldest first.

        Raises:
            ArtefactError: no store here.
        """
        if (self.root / MANIFEST).exists():
            raise ArtefactError(
                f"{self.root}: is the folder of one version; give the folder of releases in which it lies"
            )
        if not (self.root / _VERSIONS).is_dir():
            raise ArtefactError(
                f"{self.root}: no releases here; write one with: multitudes publish RUN --to {self.root}"
            )
        return sorted((p.name for p in (self.root / _VERSIONS).iterdir() if _NAME.fullmatch(p.name)), key=int)

    def current(self) -> str:
        """Return the version that serves.

        Raises:
            ArtefactError: nothing was released yet, or ``CURRENT`` is damaged.
        """
        versions = self.versions()
        try:
            version = (self.root / CURRENT).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise ArtefactError(f"{self.root}/{CURRENT}: missing; publish a run, or roll back to a version") from None
        except OSError as error:
            raise ArtefactError(f"{self.root}/{CURRENT}: cannot be read ({error.strerror}); it is a file") from None
        except UnicodeDecodeError:
            version = "?"
        if version not in versions:
            raise ArtefactError(
                f"{self.root}/{CURRENT}: names '{version}', which is not a version here; roll back --to one"
            )
        return version

    def folder(self, version: str | None = None) -> Path:
        """Return the folder of ``version``, by default of the current one.

        Raises:
            ArtefactError: nothing was released yet.
            UsageError: no such version.
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
            ArtefactError: nothing was released yet, or ``CURRENT`` is damaged.
        """
        versions, current = self.versions(), self.current()
        earlier = versions[: versions.index(current)]
        if not earlier:
            raise UsageError(f"{self.root}: {current} is the oldest version; there is none to go back to")
        return earlier[-1]

    def rollback(self, to: str | None = None) -> str:
        """Let ``to`` serve, by default the version before the current one; return it.

        Raises:
            UsageError: no such version, nothing before the current one, or another process publishes here.
            ArtefactError: nothing was released yet.
        """
        self.versions()
        with self.lock():
            version = to or self.previous()
            self.folder(version)
            self._switch(version)
        return version

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only one who writes into the folder.

        Raises:
            UsageError: another process does.
        """
        with lock(self.root / ".lock", wait=False) as mine:
            if not mine:
                raise UsageError(
                    f"{self.root}: another process publishes here or changes items; try again when it is done"
                )
            yield

    def _folder(self, version: str) -> Path:
        return self.root / _VERSIONS / version

    def _newest_number(self) -> int:
        versions = self.versions()
        return int(versions[-1]) if versions else 0

    def _switch(self, version: str) -> None:
        write_text(self.root / CURRENT, version + "\n")

    def _remove_abandoned_stages(self) -> None:
        # Under the lock no other publisher lives, so whatever is staged was left by one that died.
        for folder in self.root.glob(f"{_STAGE}*"):
            shutil.rmtree(folder)
