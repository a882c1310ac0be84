"""Where and with what the figures were measured."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from multitudes.study import provenance as measured

machine = measured.machine_info
ROOT = Path(__file__).resolve().parent.parent
_PACKAGES = ("multitudes", "numpy", "torch", "faiss-cpu", "onnxruntime", "duckdb", "polars")


class MeasurementContext:
    """When, where, with what and under which load something is measured: made before it, asked for after it."""

    def __init__(self) -> None:
        self._began_s, self._load = time.time(), load_average()

    def head(self, packages: tuple[str, ...] = _PACKAGES) -> dict[str, Any]:
        """Return what every record begins with: the versions of ``packages`` too, and the seconds until now."""
        return {
            "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self._began_s)),
            "machine": machine(),
            "load": {"before": self._load, "after": load_average()},
            "versions": versions(packages),
            "seconds": round(time.time() - self._began_s, 1),
        }


def versions(packages: tuple[str, ...] = _PACKAGES) -> dict[str, str | None]:
    """Return the versions of Python, of the packages that the figures depend on, and of the code itself."""
    return measured.package_versions(packages) | {"commit": _commit()}


def load_average() -> float | None:
    """Return how many processes wanted a core in the last minute: above the number of cores, times are not clean."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _commit() -> str | None:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None
