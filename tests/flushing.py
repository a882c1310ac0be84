"""What is on the disk when a file or a folder takes its place: flushes and renames, in their order."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest


class _Rename(NamedTuple):
    at: int  # how many flushes came before
    place: Path
    unflushed: list[str]  # what was renamed, and was not on the disk


class Flushing:
    """Watches ``os.fsync``, ``os.replace`` and ``os.rename``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._flushed: list[tuple[int, int]] = []  # see `_state`
        self._renames: list[_Rename] = []
        monkeypatch.setattr("os.fsync", lambda descriptor: self._flushed.append(_state(os.fstat(descriptor))))
        for name in ("replace", "rename"):
            monkeypatch.setattr(f"os.{name}", self._watched(getattr(os, name)))

    def _watched(self, rename):
        def renamed(source, place, **named):
            inside = [Path(source), *sorted(Path(source).rglob("*"))]
            unflushed = [file.name for file in inside if _state(file.stat()) not in self._flushed]
            self._renames.append(_Rename(len(self._flushed), Path(place), unflushed))
            return rename(source, place, **named)

        return renamed

    def missing(self, place: Path) -> list[str]:
        """Return what was not flushed in its turn: what was renamed to ``place`` before that, its folder after it."""
        *_, last = (rename for rename in self._renames if rename.place == place)
        folder_flushed = place.parent.stat().st_ino in [node for node, _ in self._flushed[last.at :]]
        return last.unflushed + ([] if folder_flushed else [f"{place.parent.name}/ afterwards"])


def _state(file: os.stat_result) -> tuple[int, int]:
    """Return what a rename leaves as it is, and a change does not."""
    return file.st_ino, file.st_mtime_ns
