"""Start-up time: imports and ``--help``, each in a fresh interpreter."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.timing import settings, time_calls, wall_and_cpu
from multitudes.progress import Progress


class Sizes(NamedTuple):
    """Number of repeats."""

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
    """Return the milliseconds of each program, interpreter included."""
    del folder
    ms = {}
    for done, (name, program) in enumerate(_PROGRAMS.items()):
        progress(done, len(_PROGRAMS), name)
        ms[name] = wall_and_cpu(time_calls(lambda program=program: _run(program), sizes.repeats), 1000)  # type: ignore[misc]
    return {"settings": settings(sizes), "ms": ms}


def _run(program: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, "-c", *program], check=True, stdout=subprocess.DEVNULL)
