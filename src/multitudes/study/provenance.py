"""Where and with what a study was measured.

A digest of the code that decides what a cell gives: tells whether two cells were made by the same program.

The version of the package is part of what a cell is kept under; between two versions the code may have changed.
"""

import ast
import hashlib
import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import multitudes
from multitudes.atomic import write_text
from multitudes.threads import machine_cores

PACKAGES = ("multitudes", "torch", "numpy", "faiss-cpu", "polars", "optuna")


def machine_info() -> dict[str, Any]:
    """Return the processor, its cores, the memory and the operating system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cores": machine_cores(),
        "memory_gib": round(memory / 2**30, 1),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def package_versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Return the versions of Python and of the packages that the figures depend on; None: not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


_CODE_FILE = "code"  # the file, beside a training's run, that says which code began it
_ROOMS = ("batches", "data", "evaluation", "index", "metrics", "nn", "pinnersage", "retrieval", "training")


@cache
def code_digest() -> str:
    """Return the digest of the rooms from data to evaluation, as they lie on the disk when it is first asked."""
    package = Path(multitudes.__file__).parent
    digest = hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((package / room).rglob("*.py")):
            digest.update(
                f"{file.relative_to(package)}\0{canonical_source(file.read_text(encoding='utf-8'))}\0".encode()
            )
    return digest.hexdigest()[:16]


def record_code(training: Path) -> None:
    """Record that the code that is installed now begins a training."""
    write_text(training / _CODE_FILE, code_digest())


def training_code(training: Path) -> str | None:
    """Return the digest of the code that began a training; None: nothing was trained there."""
    file = training / _CODE_FILE
    return file.read_text(encoding="utf-8") if file.exists() else None


def canonical_source(source: str) -> str:
    """Return what a module does, without its comments, layout and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
