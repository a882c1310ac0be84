"""Where and with what the figures were measured."""

import os
import subprocess
from pathlib import Path

from multitudes.study import machine as measured

machine = measured.machine
ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("multitudes", "numpy", "torch", "faiss-cpu", "onnxruntime", "duckdb", "polars")


def versions() -> dict[str, str | None]:
    """Return the versions of Python, of the packages that the figures depend on, and of the code itself."""
    return measured.versions(_PACKAGES) | {"commit": _commit()}


def load() -> float | None:
    """Return how many processes wanted a core in the last minute: above the number of cores, times are not clean."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _commit() -> str | None:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None
