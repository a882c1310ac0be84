"""The code now, and the code before: a control of an attack is the same attack on what stood when it was first made.

The code before is commit 181f960 of this repository's history. It runs with the packages of today.
"""

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.machine import ROOT

from multitudes.progress import Progress
from reliability.claims import SkippedError, TrialResult, at_most
from reliability.server import MAIN, Server, Settings, serving
from reliability.world import World

COMMIT = "181f960"
BEFORE = "the code before"  # how a control is named that is the attack on commit 181f960
_NEEDED = ("src", "reliability", "benchmarks", "tests/__init__.py", "tests/release")
_RENAMED: Mapping[str, Mapping[str, str | None]] = {
    "releases": {"trial_s": None},
    "logs": {"segment_s": "part_s"},
    "state": {"read_s": None, "write_s": None},
}
# The checksums of a release are made anew, as by somebody who changes it on purpose.
_SIGN = """
import json, sys
from pathlib import Path
from multitudes.index import files
from multitudes.release import manifest
folder = Path(sys.argv[1])
index = json.loads((folder / "index" / "index.json").read_text())
info = {name: value for name, value in index.items() if name not in {"xxh3", "format", "version", "files"}}
files.write_description(folder / "index", info)
read = getattr(manifest, "read_manifest", None) or manifest.read
(getattr(manifest, "write_manifest", None) or manifest.write)(folder, read(folder))
"""
Outcome = TypeVar("Outcome")
Trial = Callable[[float, Path, Progress], TrialResult]  # with its scale and its folder


@dataclass(frozen=True)
class Code:
    """One state of the code, and a folder for what it writes."""

    root: Path  # of the sources
    folder: Path
    is_now: bool

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a process that runs this code."""
        return {**os.environ, "PYTHONPATH": f"{self.root / 'src'}{os.pathsep}{self.root}"}

    def run(self, script: str, *arguments: object) -> str:
        """Run a script, and return what it prints.

        Raises:
            RuntimeError: it failed.
        """
        call = [sys.executable, "-c", script, *map(str, arguments)]
        done = subprocess.run(
            call, cwd=self.root, env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            raise RuntimeError(f"a script of {self.root} failed: {done.stderr[-1_000:]}")
        return done.stdout

    def command(self, *words: object) -> "subprocess.CompletedProcess[str]":
        """Run a command of ``multitudes`` to its end."""
        call = [sys.executable, "-c", MAIN, *map(str, words)]
        return subprocess.run(call, env=self.environment, capture_output=True, text=True, check=False, timeout=300)

    def publish(self, world: World, seed: int = 0) -> Path:
        """Publish a release of a world, make it current, and return its folder."""
        script = "import sys; from pathlib import Path; from reliability.world import World, publish_world\n"
        script += f"print(publish_world(Path(sys.argv[1]), {seed}, World{tuple(world)!r}))"
        return self.releases / "versions" / self.run(script, self.releases).strip()

    def sign(self, release: Path) -> None:
        """Make the checksums of a changed release anew."""
        self.run(_SIGN, release)

    @property
    def releases(self) -> Path:
        """The folder of its releases."""
        return self.folder / "releases"

    def serving(
        self, settings: Settings | None = None, *, launcher: tuple[str, ...] = (), before: str = ""
    ) -> AbstractContextManager[Server]:
        """Serve its releases.

        Args:
            settings: by the names of today; those that the code does not know are left out.
            launcher: command that starts the process.
            before: Python that runs in the process before anything is imported.
        """
        own = settings or {}
        if not self.is_now:
            own = {section: self._old_names(section, dict(values)) for section, values in own.items()}
        return serving(
            self.releases,
            self.folder / "service",
            own,
            environment=self.environment,
            launcher=launcher,
            before=before,
        )

    @staticmethod
    def _old_names(section: str, values: Mapping[str, object]) -> dict[str, object]:
        renamed = _RENAMED.get(section, {})
        named = {renamed.get(name, name): value for name, value in values.items()}
        return {name: value for name, value in named.items() if name is not None}


def compare(
    folder: Path,
    attack: Callable[[Code], dict[str, Any]],
    progress: Progress,
    most: Mapping[str, tuple[float, str]],
    **figures: object,
) -> TrialResult:
    """Make an attack on the code now and on the code before, and claim how large its figures are.

    Args:
        folder: for what both write.
        attack: returns its figures by name.
        progress: told which code is attacked.
        most: what a figure may be at most, and what is claimed so, by the name of the figure.
        figures: more for the record.

    Raises:
        SkippedError: the history of the repository is not here.
    """
    now, before = both(folder, attack, progress)
    claims = [at_most(bound, text, now[name], BEFORE, before[name]) for name, (bound, text) in most.items()]
    return TrialResult(claims, {**figures, "now": now, "before": before})


def without_effect(attack: Callable[[Code], dict[str, Any]], **claims: str) -> Trial:
    """Return a trial that claims that these figures of an attack are 0; it is the same at every scale."""

    def trial(scale: float, folder: Path, progress: Progress) -> TrialResult:
        del scale
        return compare(folder, attack, progress, {name: (0, text) for name, text in claims.items()})

    return trial


def both(
    folder: Path, attack: Callable[[Code], Outcome], progress: Progress, commit: str | None = None
) -> tuple[Outcome, Outcome]:
    """Return what an attack does to the code now, and to the code before, or of another commit.

    Raises:
        SkippedError: the history of the repository is not here.
    """
    source = folder / "code"
    _extract(source, commit or COMMIT)
    now, before = (Code(root, folder / name, root == ROOT) for root, name in ((ROOT, "now"), (source, "before")))
    found = []
    for number, code in enumerate((now, before)):
        progress(number, 2, "the code now" if code.is_now else BEFORE)
        code.folder.mkdir()
        found.append(attack(code))
    return found[0], found[1]


def _extract(folder: Path, commit: str) -> None:
    command = ["git", "archive", commit, *_NEEDED]
    try:
        archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        raise SkippedError(f"the control needs commit {commit} of the history, which is not here") from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")
