"""Calls in a fresh process, so that time and peak memory are those of the call alone.

The child is ``python -m benchmarks.child_process MODULE FUNCTION``. It reads keyword arguments as JSON from stdin and
writes the result as JSON in the last line of stdout.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from benchmarks.machine import ROOT
from benchmarks.process import peak_mib
from benchmarks.timing import cpu_clock


class ChildResult(NamedTuple):
    """The result of a call and its cost, without the start of the interpreter and the imports."""

    value: Any
    seconds: float
    cpu_s: float
    peak_mib: float  # of the whole process, imports included


def run_in_child(function: Callable[..., Any], threads: int | None = None, **arguments: object) -> ChildResult:
    """Call a module's ``function`` in a fresh process; arguments and result are what JSON can hold.

    Raises:
        RuntimeError: the child failed; its error is on stderr.
    """
    environment = dict(os.environ) if threads is None else limited_environment(threads)
    command = [sys.executable, "-m", "benchmarks.child_process", function.__module__, function.__qualname__]
    done = subprocess.run(
        command, input=json.dumps(arguments), stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{function.__module__}.{function.__qualname__} ended with {done.returncode}")
    return ChildResult(**json.loads(done.stdout.splitlines()[-1]))


def limited_environment(threads: int) -> dict[str, str]:
    """Return the environment of this process with a number of threads for its children's libraries."""
    return os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))


def _main(module: str, name: str) -> None:
    function = getattr(import_module(module), name)
    arguments = json.load(sys.stdin)
    began, cpu_began = time.perf_counter(), cpu_clock()
    value = function(**arguments)
    outcome = ChildResult(value, time.perf_counter() - began, cpu_clock() - cpu_began, peak_mib())
    print(json.dumps(outcome._asdict(), allow_nan=False))


if __name__ == "__main__":
    _main(*sys.argv[1:])
