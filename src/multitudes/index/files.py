"""The files of an index: arrays, the engine's file, and ``index.json`` with a checksum of each of them.

FAISS loads most damaged files without an error, so every checksum is verified before a file is opened. Checksums
protect against accidents, not against an attacker, who could also change ``index.json``. So they are xxh3, which reads
10 GB a second, not SHA-256, which reads one.
"""

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from multitudes.atomic import write_text
from multitudes.errors import ArtefactError
from multitudes.index.item_table import ItemTable, Postings

FORMAT = "multitudes-index"
FORMAT_VERSION = 2
DESCRIPTION = "index.json"
_REPAIR = "publish the run again, or roll back to an older release"


def save_item_table(folder: Path, table: ItemTable) -> None:
    """Write ids, vectors and posting lists."""
    np.save(folder / "ids.npy", table.ids, allow_pickle=False)
    np.save(folder / "vectors.npy", table.vectors_nD, allow_pickle=False)
    save_postings(folder, table.postings)


def load_item_table(folder: Path) -> ItemTable:
    """Open ids, vectors and posting lists of a verified folder, memory-mapped."""
    id_n, vectors_nD = (
        np.load(folder / name, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        for name in ("ids.npy", "vectors.npy")
    )
    return ItemTable(id_n, vectors_nD, load_postings(folder))


def save_postings(folder: Path, postings: Postings) -> None:
    """Write posting lists."""
    np.save(folder / "topics.npy", postings.topic_T, allow_pickle=False)
    np.save(folder / "topic_offset.npy", postings.offset, allow_pickle=False)
    np.save(folder / "topic_row.npy", postings.row_M, allow_pickle=False)


def load_postings(folder: Path) -> Postings:
    """Open posting lists; their rows are memory-mapped."""
    return Postings(
        np.load(folder / "topics.npy", allow_pickle=False),
        np.load(folder / "topic_offset.npy", allow_pickle=False),
        np.load(folder / "topic_row.npy", mmap_mode="r", allow_pickle=False).view(np.ndarray),
    )


def write_description(folder: Path, info: dict[str, Any]) -> None:
    """Write ``index.json``: format, ``info``, and size and checksum of every other file in ``folder``."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and file.name != DESCRIPTION)
    record = {"format": FORMAT, "version": FORMAT_VERSION, **info, "files": {n: checksum(folder / n) for n in names}}
    write_text(folder / DESCRIPTION, json.dumps({**record, "xxh3": record_checksum(record)}, indent=2) + "\n")


def read_description(folder: Path) -> dict[str, Any]:
    """Read ``index.json``: format, ``info()``, and the sizes and checksums of the files, which are not yet verified.

    Raises:
        ArtefactError: ``index.json`` is missing, damaged, or of another format or version.
    """
    path = folder / DESCRIPTION
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = (record["format"], record["version"])
        is_intact = record.pop("xxh3", "") == record_checksum(record)
    except FileNotFoundError:
        raise ArtefactError(f"{path}: missing; {_REPAIR}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtefactError(f"{path}: damaged; {_REPAIR}") from None
    if found != (FORMAT, FORMAT_VERSION):
        expected = f"expected {FORMAT} version {FORMAT_VERSION}"
        raise ArtefactError(f"{path}: {found[0]} version {found[1]}; {expected}; {_REPAIR}")
    if not is_intact:
        raise ArtefactError(f"{path}: damaged; {_REPAIR}")
    return record


def verify_all(folder: Path, record: dict[str, Any]) -> None:
    """Check every file of a folder against ``record``, its description.

    Raises:
        ArtefactError: a file is missing, truncated or changed.
    """
    for name, entry in record["files"].items():
        verify(folder / name, entry["xxh3"], entry["bytes"])


def record_checksum(record: dict[str, Any]) -> str:
    """Return the checksum of a JSON record: a changed number of probes would lower the recall unnoticed."""
    return xxhash.xxh3_128_hexdigest(json.dumps(record).encode())


def checksum(file: Path) -> dict[str, Any]:
    """Return size and checksum (xxh3, 128 bits) of a file."""
    size = file.stat().st_size
    if size == 0:  # an empty file cannot be memory-mapped
        return {"xxh3": xxhash.xxh3_128_hexdigest(b""), "bytes": 0}
    # Memory-mapped: half the time of reading it into a buffer.
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return {"xxh3": xxhash.xxh3_128_hexdigest(content), "bytes": size}


def verify(file: Path, xxh3: str, size: int, repair: str = _REPAIR) -> None:
    """Check a file against its size and checksum; ``repair`` ends the error message.

    Raises:
        ArtefactError: the file is missing, truncated or changed.
    """
    try:
        found = checksum(file)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ArtefactError(f"{file}: missing; {repair}") from None
    if found["bytes"] != size:
        raise ArtefactError(f"{file}: {found['bytes']} bytes; expected {size}. It was truncated or replaced; {repair}")
    if found["xxh3"] != xxh3:
        raise ArtefactError(f"{file}: the checksum differs from the one written; the file is damaged; {repair}")
