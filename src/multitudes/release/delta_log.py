"""What came and went since a release was published: a write-ahead file beside it, which only ever grows.

::

    RELEASES/changes/0007.log     one line:  multitudes-changes 1 <SHA-256 of the release's manifest.json>
                                  then records:  length, checksum of the payload, checksum of these two · payload

A payload is a line of JSON (what happened, when, the parts) and the parts: the items as they were given (Arrow) and, of
added ones, what the towers see of them (NumPy). A record counts once it is whole, and is acknowledged once it is on the
disk. What a crash leaves is short, or ends in the zeros of bytes that never arrived: the next writer cuts it off.
Anything else that does not fit its checksum is damage, and refused.
"""

import hashlib
import io
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from multitudes.atomic import fsync, replace_file
from multitudes.errors import ArtefactError

FORMAT: Final = "multitudes-changes"
FORMAT_VERSION: Final = 1
_FRAME = struct.Struct("<QII")
_REPAIR = "publish again, or remove the file and give its items anew"


class Delta(NamedTuple):
    """One command: N items that were added, or removed."""

    kind: Literal["add", "remove"]
    at_s: int
    items: pl.DataFrame  # added: the rows as they were given, in canonical types; removed: their item_id
    input_ND: NDArray[np.float32] | None = None  # added: what the user tower sees of each in a history
    vector_ND: NDArray[np.float32] | None = None  # added: what the index holds of each


class DeltaRead(NamedTuple):
    """What a file holds from some place on."""

    deltas: list[Delta]
    end: int  # where the last whole record ends
    torn_bytes: int  # bytes behind it: a record that is being written, or was when its writer died


def delta_log_file(release: Path) -> Path | None:
    """Return where the changes of a release lie, by the release's folder; None: it lies in no folder of releases."""
    if release.parent.name != "versions":
        return None
    return release.parent.parent / "changes" / f"{release.name}.log"


def release_identity(release: Path) -> str:
    """Return what tells a release from another of the same name."""
    return hashlib.sha256((release / "manifest.json").read_bytes()).hexdigest()


def append_delta(file: Path, owner: str, delta: Delta) -> int:
    """Write a change behind the others and wait until it is on the disk; one writer at a time, by the store's lock.

    Args:
        file: made when missing.
        owner: the ``release_identity`` of the release.
        delta: what is added or removed.

    Returns:
        How many bytes of a record that a crash had left were cut off before.

    Raises:
        ArtefactError: the file is damaged, or of another release or version.
        OSError: the disk is full or broken. Of a record that was not written to its end nothing is left.
    """
    if not file.exists():
        _create_log(file, owner)
    payload = _encode(delta)
    _, end, torn = _whole_records(file, owner, 0)
    with file.open("r+b", buffering=0) as stream:
        stream.truncate(end)
        stream.seek(end)
        left = memoryview(_frame(payload))
        try:
            while left:
                left = left[stream.write(left) :]
        except OSError as error:
            # A full disk gets its room back. A whole record would have to stay: somebody may have read it.
            stream.truncate(end)
            raise OSError(error.errno, error.strerror, str(file)) from error
        os.fsync(stream.fileno())
    return torn


def read_deltas(file: Path, owner: str, start: int = 0) -> DeltaRead:
    """Read the changes from ``start`` on: 0, or the end of an earlier reading.

    Raises:
        ArtefactError: damaged, or of another release or version.
    """
    payloads, end, torn = _whole_records(file, owner, start)
    return DeltaRead([_decode(payload) for payload in payloads], end, torn)


def _whole_records(file: Path, owner: str, start: int) -> tuple[list[memoryview], int, int]:
    """Return the payloads from ``start`` on, where the last whole record ends, and how many bytes are behind it."""
    try:
        with file.open("rb") as stream:
            start = max(start, _check_header(file, stream, owner))
            stream.seek(start)
            data = memoryview(stream.read())
    except FileNotFoundError:
        return [], 0, 0
    payloads, place = [], 0
    while (payload := _next_payload(file, data, place, start)) is not None:
        payloads.append(payload)
        place += _FRAME.size + len(payload)
    return payloads, start + place, len(data) - place


def _create_log(file: Path, owner: str) -> None:
    """Let the file appear with its first line, so that there is never half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(file) as partial:
        partial.write_bytes(_header(owner))
    fsync(file.parent.parent)


def _header(owner: str) -> bytes:
    return f"{FORMAT} {FORMAT_VERSION} {owner}\n".encode()


def _check_header(file: Path, stream: io.BufferedReader, owner: str) -> int:
    """Return where the first record begins."""
    line = stream.readline(1_000)
    found = line.decode(errors="replace").split()
    if len(found) != 3 or found[0] != FORMAT or not line.endswith(b"\n"):
        raise ArtefactError(f"{file}: damaged, or no file of changes; {_REPAIR}")
    if found[1] != str(FORMAT_VERSION):
        raise ArtefactError(f"{file}: {FORMAT} version {found[1]}; expected version {FORMAT_VERSION}; {_REPAIR}")
    if found[2] != owner:
        raise ArtefactError(f"{file}: holds the changes of another release; {_REPAIR}")
    return len(line)


def _frame(payload: bytes) -> bytes:
    first = struct.pack("<QI", len(payload), zlib.crc32(payload))
    return first + struct.pack("<I", zlib.crc32(first)) + payload


def _next_payload(file: Path, data: memoryview, place: int, start: int) -> memoryview | None:
    """Return the payload of the record at ``place``; None: no whole one is left."""
    left = len(data) - place
    if left < _FRAME.size:
        return None
    length, checksum, own_checksum = _FRAME.unpack_from(data, place)
    sound = zlib.crc32(data[place : place + _FRAME.size - 4]) == own_checksum
    if sound and left < _FRAME.size + length:
        return None
    payload = data[place + _FRAME.size : place + _FRAME.size + length]
    if sound and zlib.crc32(payload) == checksum:
        return payload
    last = left == _FRAME.size + length if sound else not any(data[place : place + _FRAME.size])
    if last and data[-1] == 0:
        return None
    raise ArtefactError(f"{file}: the record at byte {start + place} is damaged; {_REPAIR}")


def _encode(delta: Delta) -> bytes:
    arrays = {"input": delta.input_ND, "vector": delta.vector_ND}
    parts = {"items": _to_arrow(delta.items)} | {
        name: _to_npy(array) for name, array in arrays.items() if array is not None
    }
    head = {"kind": delta.kind, "at_s": delta.at_s, "parts": {name: len(part) for name, part in parts.items()}}
    # It ends in a byte that is not zero: see _next.
    return json.dumps(head).encode() + b"\n" + b"".join(parts.values()) + b"."


def _decode(payload: memoryview) -> Delta:
    """Read a payload, whose checksum is right."""
    line = bytes(payload[: bytes(payload[:1_000]).index(b"\n")])
    head, place, parts = json.loads(line), len(line) + 1, {}
    for name, size in head["parts"].items():
        parts[name] = io.BytesIO(payload[place : place + size])
        place += size
    items = pl.read_ipc(parts.pop("items"))
    arrays = {f"{name}_ND": np.load(part, allow_pickle=False) for name, part in parts.items()}
    return Delta(head["kind"], head["at_s"], items, **arrays)


def _to_arrow(frame: pl.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.write_ipc(stream)
    return stream.getvalue()


def _to_npy(array: NDArray[np.float32]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
