"""How long a person waits before anything happens: a fresh interpreter each time."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.timing import clocked, settings, spread
from multitudes.progress import Progress


class Sizes(NamedTuple):
    """How often each is started."""

    repeats: int


FULL = Sizes(repeats=11)
QUICK = Sizes(repeats=2)

_PROGRAMS = {
    "python alone": ("pass",),
    "import multitudes": ("import multitudes",),
    "multitudes --help": ("from multitudes.cli.main import main; main()", "--help"),
    "from multitudes import Retriever": ("from multitudes import Retriever",),
}


def measure(sizes: Sizes, folder: Path, progress: Progress) -> dict[str, Any]:
    """Return the seconds of each program, interpreter included."""
    del folder
    seconds = {}
    for done, (name, program) in enumerate(_PROGRAMS.items()):
        progress(done, len(_PROGRAMS), name)
        seconds[name] = spread(clocked(lambda program=program: _run(program), sizes.repeats))  # type: ignore[misc]
    return {"settings": settings(sizes), "seconds": seconds}


def _run(program: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, "-c", *program], check=True, stdout=subprocess.DEVNULL)
