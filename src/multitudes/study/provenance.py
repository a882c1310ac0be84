"""Provenance of a study's figures: the machine, the package versions, and a digest of the code.

The code digest tells whether the same code computed two cells. The package version is part of a cell's digest, but the
code may change between two versions.
"""

import hashlib
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import multitudes
from multitudes.atomic import write_text
from multitudes.run_record import installed_versions

PACKAGES = ("multitudes", "torch", "numpy", "faiss-cpu", "polars", "optuna")
# The code that affects a cell's result, from data to evaluation.
SOURCES = (
    "batches",
    "data",
    "evaluation",
    "index",
    "linear",
    "metrics",
    "nn",
    "pinnersage",
    "retrieval",
    "run_record.py",
    "training",
)
_CODE_FILE = "code"  # beside a training's run: the digest of the code that started it


def machine_info() -> dict[str, Any]:
    """Return the processor, its cores, the memory and the operating system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def package_versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Return the versions of Python and of the packages that affect the figures; None: not installed."""
    return {"python": platform.python_version(), **dict.fromkeys(packages), **installed_versions(*packages)}


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


@cache
def code_digest() -> str:
    """Return the digest of the modules in ``SOURCES``, as they are on disk at the first call."""
    package = Path(multitudes.__file__).parent
    digest = hashlib.sha256()
    for source in SOURCES:
        path = package / source
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            digest.update(f"{file.relative_to(package)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def record_code(training: Path) -> None:
    """Record that the installed code starts a training."""
    write_text(training / _CODE_FILE, code_digest())


def training_code(training: Path) -> str | None:
    """Return the digest of the code that started a training; None: nothing was trained there."""
    file = training / _CODE_FILE
    return file.read_text(encoding="utf-8") if file.exists() else None
