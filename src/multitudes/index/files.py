"""How an index lies on disk: arrays, the engine's own file, and ``index.json`` with a checksum for each of them.

FAISS loads most damaged files without a word, so nothing is opened before its checksum is right.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from multitudes.errors import ArtefactError
from multitudes.index.rows import Rows

FORMAT = "multitudes-index"
FORMAT_VERSION = 1
DESCRIPTION = "index.json"
_REPAIR = "publish the run again, or roll back to an older release"


def save_rows(folder: Path, rows: Rows) -> None:
    """Write ids and vectors."""
    np.save(folder / "ids.npy", rows.ids, allow_pickle=False)
    np.save(folder / "vectors.npy", rows.vectors_nD, allow_pickle=False)


def load_rows(folder: Path) -> Rows:
    """Open ids and vectors of a verified folder; the vectors stay on disk until they are read."""
    vectors_nD = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return Rows(np.load(folder / "ids.npy", allow_pickle=False), vectors_nD)


def write_description(folder: Path, info: dict[str, Any]) -> None:
    """Write ``index.json``: format, what the index is, and size and SHA-256 of every other file in ``folder``."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and file.name != DESCRIPTION)
    record = {"format": FORMAT, "version": FORMAT_VERSION, **info, "files": {n: checksum(folder / n) for n in names}}
    (folder / DESCRIPTION).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read_kind(folder: Path) -> str:
    """Return the kind of the index in ``folder``; verifies nothing but ``index.json`` itself.

    Raises:
        ArtefactError: ``index.json`` is missing, damaged, or of another format or version.
    """
    return str(_read(folder / DESCRIPTION)["kind"])


def read_description(folder: Path) -> dict[str, Any]:
    """Read ``index.json`` and verify every file that it names.

    Raises:
        ArtefactError: missing, of another format or version, or a file is missing, changed or cut.
    """
    record = _read(folder / DESCRIPTION)
    for name, entry in record["files"].items():
        verify(folder / name, entry["sha256"], entry["bytes"])
    return record


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = (record["format"], record["version"])
        complete = {"kind", "files"} <= record.keys() and all(
            {"sha256", "bytes"} <= entry.keys() for entry in record["files"].values()
        )
    except FileNotFoundError:
        raise ArtefactError(f"{path}: missing; {_REPAIR}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtefactError(f"{path}: damaged; {_REPAIR}") from None
    if found != (FORMAT, FORMAT_VERSION):
        expected = f"expected {FORMAT} version {FORMAT_VERSION}"
        raise ArtefactError(f"{path}: {found[0]} version {found[1]}; {expected}; {_REPAIR}")
    if not complete:
        raise ArtefactError(f"{path}: damaged; {_REPAIR}")
    return record


def checksum(file: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file."""
    with file.open("rb") as stream:
        return {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "bytes": file.stat().st_size}


def verify(file: Path, sha256: str, size: int) -> None:
    """Refuse a file that is not what was written.

    Raises:
        ArtefactError: missing, cut, or changed.
    """
    try:
        found = checksum(file)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ArtefactError(f"{file}: missing; {_REPAIR}") from None
    if found["bytes"] != size:
        raise ArtefactError(f"{file}: {found['bytes']} bytes; expected {size}. It was cut or replaced; {_REPAIR}")
    if found["sha256"] != sha256:
        raise ArtefactError(f"{file}: the checksum differs from the one written; the file is damaged; {_REPAIR}")
