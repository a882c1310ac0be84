"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_text(file: Path, text: str) -> None:
    """Write ``text`` beside its place and rename it, so that no half of it is ever seen, whoever else writes there."""
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
