"""How an index lies on disk: arrays, the engine's own file, and ``index.json`` with a checksum for each of them.

FAISS loads most damaged files without a word, so nothing is opened before its checksum is right. The checksum is meant
for accidents, not for an adversary, who could write ``index.json`` as well: xxh3 reads 10 GB a second, SHA-256 one.
"""

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from multitudes.atomic import write_text
from multitudes.errors import ArtefactError
from multitudes.index import item_table
from multitudes.index.item_table import ItemTable

FORMAT = "multitudes-index"
FORMAT_VERSION = 2
DESCRIPTION = "index.json"
_REPAIR = "publish the run again, or roll back to an older release"


def save_item_table(folder: Path, rows: ItemTable) -> None:
    """Write ids, vectors and posting lists."""
    np.save(folder / "ids.npy", rows.ids, allow_pickle=False)
    np.save(folder / "vectors.npy", rows.vectors_nD, allow_pickle=False)
    item_table.save_postings(folder, rows.postings)


def load_item_table(folder: Path) -> ItemTable:
    """Open ids, vectors and posting lists of a verified folder; they stay on disk until they are read."""
    id_n, vectors_nD = (
        np.load(folder / name, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        for name in ("ids.npy", "vectors.npy")
    )
    return ItemTable(id_n, vectors_nD, item_table.load_postings(folder))


def write_description(folder: Path, info: dict[str, Any]) -> None:
    """Write ``index.json``: format, what the index is, and size and checksum of every other file in ``folder``."""
    names = sorted(file.name for file in folder.iterdir() if file.is_file() and file.name != DESCRIPTION)
    record = {"format": FORMAT, "version": FORMAT_VERSION, **info, "files": {n: checksum(folder / n) for n in names}}
    write_text(folder / DESCRIPTION, json.dumps({**record, "xxh3": _own_checksum(record)}, indent=2) + "\n")


def read_description(folder: Path) -> dict[str, Any]:
    """Read ``index.json``: kind, what ``info()`` said, and size and checksum of each other file, not yet verified.

    Raises:
        ArtefactError: ``index.json`` is missing, damaged, or of another format or version.
    """
    path = folder / DESCRIPTION
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = (record["format"], record["version"])
        whole = record.pop("xxh3", "") == _own_checksum(record)
    except FileNotFoundError:
        raise ArtefactError(f"{path}: missing; {_REPAIR}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ArtefactError(f"{path}: damaged; {_REPAIR}") from None
    if found != (FORMAT, FORMAT_VERSION):
        expected = f"expected {FORMAT} version {FORMAT_VERSION}"
        raise ArtefactError(f"{path}: {found[0]} version {found[1]}; {expected}; {_REPAIR}")
    if not whole:
        raise ArtefactError(f"{path}: damaged; {_REPAIR}")
    return record


def verify_all(folder: Path, record: dict[str, Any]) -> None:
    """Refuse a folder of which a file is not what ``record``, its description, says.

    Raises:
        ArtefactError: a file is missing, cut, or changed.
    """
    for name, entry in record["files"].items():
        verify(folder / name, entry["xxh3"], entry["bytes"])


def _own_checksum(record: dict[str, Any]) -> str:
    """Return the checksum of what ``index.json`` says: a changed number of probes would cost recall without a word."""
    return xxhash.xxh3_128_hexdigest(json.dumps(record).encode())


def checksum(file: Path) -> dict[str, Any]:
    """Return size and checksum (xxh3, 128 bits) of a file."""
    size = file.stat().st_size
    if size == 0:  # the system maps no empty file
        return {"xxh3": xxhash.xxh3_128_hexdigest(b""), "bytes": 0}
    # Read where the system keeps it: half the time of reading it into memory of our own.
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return {"xxh3": xxhash.xxh3_128_hexdigest(content), "bytes": size}


def verify(file: Path, xxh3: str, size: int, repair: str = _REPAIR) -> None:
    """Refuse a file that is not what was written; ``repair`` says what to do then.

    Raises:
        ArtefactError: missing, cut, or changed.
    """
    try:
        found = checksum(file)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise ArtefactError(f"{file}: missing; {repair}") from None
    if found["bytes"] != size:
        raise ArtefactError(f"{file}: {found['bytes']} bytes; expected {size}. It was cut or replaced; {repair}")
    if found["xxh3"] != xxh3:
        raise ArtefactError(f"{file}: the checksum differs from the one written; the file is damaged; {repair}")
