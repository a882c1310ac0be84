"""The machine, the package versions and the load under which figures are measured."""

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
    """Time, machine, versions and load of a measurement. Create it before the measurement, call ``head`` after it."""

    def __init__(self) -> None:
        self._began_s, self._load = time.time(), load_average()

    def head(self, packages: tuple[str, ...] = _PACKAGES) -> dict[str, Any]:
        """Return the first fields of every record, with the versions of ``packages`` and the seconds until now."""
        return {
            "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self._began_s)),
            "machine": machine(),
            "load": {"before": self._load, "after": load_average()},
            "versions": versions(packages),
            "seconds": round(time.time() - self._began_s, 1),
        }


def versions(packages: tuple[str, ...] = _PACKAGES) -> dict[str, str | None]:
    """Return the versions of Python and of the packages, and the commit of the code."""
    return measured.package_versions(packages) | {"commit": _commit()}


def load_average() -> float | None:
    """Return the load average of the last minute; above the number of cores, times are distorted."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _commit() -> str | None:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None
