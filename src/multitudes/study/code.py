"""A digest of the code that decides what a cell gives: tells whether two cells were made by the same program.

The version of the package is part of what a cell is kept under; between two versions the code may have changed.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

import multitudes
from multitudes.disk import write_text

_BESIDE = "code"  # the file, beside a training's run, that says which code began it
_ROOMS = ("batches", "data", "evaluate", "index", "metrics", "nn", "retrieve", "train")


@cache
def code_digest() -> str:
    """Return the digest of the rooms from data to evaluation, as they lie on the disk when it is first asked."""
    package = Path(multitudes.__file__).parent
    digest = hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((package / room).rglob("*.py")):
            digest.update(f"{file.relative_to(package)}\0{essence(file.read_text(encoding='utf-8'))}\0".encode())
    return digest.hexdigest()[:16]


def begin(training: Path) -> None:
    """Record that the code that is installed now begins a training."""
    write_text(training / _BESIDE, code_digest())


def code_of(training: Path) -> str | None:
    """Return the digest of the code that began a training; None: nothing was trained there."""
    file = training / _BESIDE
    return file.read_text(encoding="utf-8") if file.exists() else None


def essence(source: str) -> str:
    """Return what a module does, without its comments, layout and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
