"""The files of an index: arrays, the engine's file, and ``index.json`` with a checksum of each of them.

FAISS loads most damaged files without an error, so every checksum is verified before a file is opened. Checksums
protect against accidents, not against an attacker, who could also change ``index.json``. So they are xxh3, which reads
10 GB a second, not SHA-256, which reads one.
"""

import json
import mmap
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from multitudes.atomic import open_file, read_json, write_text
from multitudes.errors import ArtefactError
from multitudes.index.item_table import ItemTable, Postings
from multitudes.memory_map import open_array

FORMAT = "multitudes-index"
FORMAT_VERSION = 4
DESCRIPTION = "index.json"
ITEM_TABLE_FILES = ("ids.npy", "vectors.npy", "topics.npy", "topic_offset.npy", "topic_row.npy")
_REPAIR = "publish the run again, or roll back to an older release"


def save_segment(folder: Path, table: ItemTable, info: dict[str, Any]) -> None:
    """Write ids, vectors and posting lists, and the description of all files in ``folder``."""
    postings = table.postings
    arrays: tuple[NDArray[Any], ...] = (table.ids, table.vectors_nD, postings.topic_T, postings.offset, postings.row_M)
    for name, array in zip(ITEM_TABLE_FILES, arrays, strict=True):
        np.save(folder / name, array, allow_pickle=False)
    write_description(folder, info)


def load_item_table(folder: Path) -> ItemTable:
    """Open ids, vectors and posting lists of a verified folder, memory-mapped.

    Raises:
        ArtefactError: an array has another type or shape, ids or posting lists do not ascend, or these name other rows.
    """
    id_n = _open(folder / "ids.npy", np.int64, 1)
    vectors_nD = _open(folder / "vectors.npy", np.float32, 2)
    if len(id_n) != len(vectors_nD) or vectors_nD.size == 0:
        raise ArtefactError(f"{folder}: {len(id_n):,} ids, vectors of shape {vectors_nD.shape}; {_REPAIR}")
    if (id_n[1:] <= id_n[:-1]).any():
        raise ArtefactError(f"{folder / 'ids.npy'}: ids do not ascend; {_REPAIR}")
    return ItemTable(id_n, vectors_nD, _load_postings(folder, len(id_n)))


def _load_postings(folder: Path, n: int) -> Postings:
    """Open posting lists of ``n`` rows."""
    topic_T = _open(folder / "topics.npy", np.int64, 1)
    offset = _open(folder / "topic_offset.npy", np.int64, 1)
    row_M = _open(folder / "topic_row.npy", np.int32, 1)
    ascends = len(offset) == len(topic_T) + 1 and offset[0] == 0 and not (offset[1:] < offset[:-1]).any()
    if not ascends or offset[-1] != len(row_M) or (topic_T[1:] <= topic_T[:-1]).any():
        raise ArtefactError(f"{folder / 'topic_offset.npy'}: topics or offsets do not ascend, or do not fit; {_REPAIR}")
    if len(row_M) and not 0 <= row_M.min() <= row_M.max() < n:
        raise ArtefactError(f"{folder / 'topic_row.npy'}: names rows that are not there; {_REPAIR}")
    return Postings(np.array(topic_T), np.array(offset), row_M)


def _open(file: Path, dtype: type[np.generic], dimensions: int) -> NDArray[Any]:
    """Open an array; a slice of a plain one over the memory map costs a microsecond less than one of np.memmap."""
    return open_array(file, dtype, _REPAIR, dimensions).view(np.ndarray)


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
    record = read_json(path, FORMAT, FORMAT_VERSION, _REPAIR)
    is_intact = record.pop("xxh3", "") == record_checksum(record)
    if not is_intact or not isinstance(record.get("kind"), str) or not _are_entries(record.get("files")):
        raise ArtefactError(f"{path}: damaged; {_REPAIR}")
    return record


def _are_entries(files: object) -> bool:
    """Return whether ``files`` has size and checksum of each file, by names that lie in the folder."""
    return isinstance(files, dict) and all(
        "/" not in name
        and isinstance(entry, dict)
        and isinstance(entry.get("xxh3"), str)
        and isinstance(entry.get("bytes"), int)
        for name, entry in files.items()
    )


def verify_all(folder: Path, entries: Mapping[str, Any], required: Iterable[str], description: str) -> None:
    """Check every file of a folder against size and checksum by name, from the file ``description``.

    Raises:
        ArtefactError: a ``required`` file is not listed, or a file is missing, truncated or changed.
    """
    for name in required:
        if name not in entries:
            raise ArtefactError(f"{folder / description}: has no checksum of {name}, which is read; {_REPAIR}")
    for name, entry in entries.items():
        listed = dict(entry)  # a record or a model
        verify(folder / name, listed["xxh3"], listed["bytes"])


def record_checksum(record: dict[str, Any]) -> str:
    """Return the checksum of a JSON record: a changed number of probes would lower the recall unnoticed."""
    return xxhash.xxh3_128_hexdigest(json.dumps(record).encode())


def checksum(file: Path, repair: str = _REPAIR) -> dict[str, Any]:
    """Return size and checksum (xxh3, 128 bits) of a file; ``repair`` ends the error if it cannot be read."""
    with open_file(file, repair) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size == 0:  # an empty file cannot be memory-mapped
            return {"xxh3": xxhash.xxh3_128_hexdigest(b""), "bytes": 0}
        # Memory-mapped: half the time of reading it into a buffer.
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return {"xxh3": xxhash.xxh3_128_hexdigest(content), "bytes": size}


def verify(file: Path, xxh3: str, size: int, repair: str = _REPAIR) -> None:
    """Check a file against its size and checksum; ``repair`` ends the error message.

    Raises:
        ArtefactError: the file is missing, truncated or changed.
    """
    found = checksum(file, repair)
    if found["bytes"] != size:
        raise ArtefactError(f"{file}: {found['bytes']} bytes; expected {size}. It was truncated or replaced; {repair}")
    if found["xxh3"] != xxh3:
        raise ArtefactError(f"{file}: the checksum differs from the one written; the file is damaged; {repair}")
