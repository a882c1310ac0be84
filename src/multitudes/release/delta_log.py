"""The delta log of a release: the items that were added and removed since it was published, in an append-only file.

::

    RELEASES/changes/0007.log     one line:  multitudes-changes 1 <SHA-256 of the release's manifest.json>
                                  then records:  length, checksum of the payload, checksum of these two · payload

A payload is a line of JSON (kind, time, sizes of the sections) and the sections: the items as given (Arrow) and, of
added items, their vectors (NumPy). An Ed25519 signature of these, the release and the place in the log may follow. A
record counts when it is complete, and is acknowledged when it is on the disk. A crash leaves a record that is too short
or ends in zeros: the next writer cuts it off. Any other record that does not match its checksum is damaged, and the log
is rejected.
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

from multitudes.atomic import fsync, open_file, replace_file
from multitudes.errors import ArtefactError, one_line
from multitudes.index.item_table import are_valid_vectors
from multitudes.release.signature import PrivateKey, Trust, is_signed, read_public_keys

FORMAT: Final = "multitudes-changes"
FORMAT_VERSION: Final = 1
_FRAME = struct.Struct("<QII")
_MAX_BYTES: Final = 1 << 30  # of a log, which is read into memory
_TYPES: Final = {"title": pl.String, "topics": pl.List(pl.String)}  # of the columns that every added item has
REPAIR = "publish again, or delete the file and add its items again"


class Delta(NamedTuple):
    """The N items that one command added or removed."""

    kind: Literal["add", "remove"]
    at_s: int
    items: pl.DataFrame  # added: the rows as given, in canonical types; removed: their item_id
    input_ND: NDArray[np.float32] | None = None  # added: inputs of the user tower
    vector_ND: NDArray[np.float32] | None = None  # added: vectors of the index


class DeltaBatch(NamedTuple):
    """The deltas of a log from some byte on."""

    deltas: list[Delta]
    end: int  # of the last complete record, in bytes from the start of the file
    torn_bytes: int  # bytes after it, of a record that is being written, or was when its writer died


def delta_log_file(release: Path) -> Path | None:
    """Return the delta log of a release by its folder; None if it is not in a folder of releases."""
    if release.parent.name != "versions":
        return None
    return release.parent.parent / "changes" / f"{release.name}.log"


def release_identity(release: Path) -> str:
    """Return the digest that identifies a release among releases with the same version."""
    return hashlib.sha256((release / "manifest.json").read_bytes()).hexdigest()


def append_delta(file: Path, owner: str, delta: Delta, key: PrivateKey | None = None) -> int:
    """Append a delta to a log and return when it is on the disk. The caller must hold the lock of the store.

    The log is created if it does not exist; ``owner`` is the ``release_identity`` of its release, and ``key`` signs the
    record. Returns the number of bytes of an unfinished record that were cut off before.

    Raises:
        ArtefactError: the log is damaged, or of another release or format version.
        OSError: the disk is full or broken; an incomplete record is removed.
    """
    if not file.exists():
        with replace_file(file) as partial:
            partial.write_text(f"{FORMAT} {FORMAT_VERSION} {owner}\n", encoding="utf-8")
        fsync(file.parent.parent)
    content = _encode(delta)
    _, end, torn_bytes = _complete_records(file, owner, 0)
    signature = b"" if key is None else key.sign(_message(owner, end, content))
    # The last byte is not zero, so that _next_payload recognizes a record that a crash cut off.
    payload = content + signature + b"."
    if end + len(payload) > _MAX_BYTES:
        raise ArtefactError(f"{file}: would be larger than {_MAX_BYTES >> 30} GiB; publish again, with these items")
    with file.open("r+b", buffering=0) as stream:
        stream.truncate(end)
        stream.seek(end)
        unwritten = memoryview(_frame(payload))
        try:
            while unwritten:
                unwritten = unwritten[stream.write(unwritten) :]
        except OSError as error:
            # A full disk gets its space back. The record is incomplete, so no reader has used it.
            stream.truncate(end)
            raise OSError(error.errno, error.strerror, str(file)) from error
        os.fsync(stream.fileno())
    return torn_bytes


def read_deltas(file: Path, owner: str, start: int = 0, trust: Trust | None = None) -> DeltaBatch:
    """Read the deltas of a log from the byte ``start`` on: 0, or the ``end`` of an earlier call; no log has none.

    ``owner`` is the ``release_identity`` of its release. A key of ``trust`` must have signed each record; None: none.

    Raises:
        ArtefactError: the log is damaged, of another release or format version, or not signed by a trusted key.
        UsageError, MissingError: ``trust`` holds no public key.
    """
    payloads, end, torn_bytes = _complete_records(file, owner, start)
    keys = read_public_keys(trust) if payloads and trust is not None else None
    deltas = list[Delta]()
    for position, payload in payloads:
        content, signature = payload[:-65], payload[-65:-1]  # of 64 bytes
        if keys is not None and not is_signed(_message(owner, position, content), bytes(signature), keys):
            raise ArtefactError(f"{file}: no trusted key signed the record at byte {position}; {REPAIR} with --sign")
        try:
            deltas.append(_decode(payload))
        except (Exception, pl.exceptions.PanicException) as error:  # whatever wrong content raises
            number, reason = len(deltas) + 1, one_line(error)[:200]
            raise ArtefactError(f"{file}: record {number} cannot be used ({reason}); {REPAIR}") from None
    return DeltaBatch(deltas, end, torn_bytes)


def _complete_records(file: Path, owner: str, start: int) -> tuple[list[tuple[int, memoryview]], int, int]:
    """Return places and payloads from ``start`` on, the end of the last complete record, and how many bytes follow."""
    if not os.path.lexists(file):
        return [], 0, 0
    with open_file(file, REPAIR) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > _MAX_BYTES:
            raise ArtefactError(f"{file}: larger than {_MAX_BYTES >> 30} GiB; {REPAIR}")
        start = max(start, _check_header(file, stream, owner))
        stream.seek(start)
        data = memoryview(stream.read(max(0, size - start)))  # without an end, it is read in pieces and joined
    payloads, position = [], 0
    while (payload := _next_payload(file, data, position, start)) is not None:
        payloads.append((start + position, payload))
        position += _FRAME.size + len(payload)
    return payloads, start + position, len(data) - position


def _check_header(file: Path, stream: io.BufferedReader, owner: str) -> int:
    """Check the first line, and return where the first record begins."""
    line = stream.readline(1_000)
    words = line.decode(errors="replace").split()
    if len(words) != 3 or words[0] != FORMAT or not line.endswith(b"\n"):
        raise ArtefactError(f"{file}: damaged, or not a delta log; {REPAIR}")
    if words[1] != str(FORMAT_VERSION):
        raise ArtefactError(f"{file}: {FORMAT} version {words[1]}; expected version {FORMAT_VERSION}; {REPAIR}")
    if words[2] != owner:
        raise ArtefactError(f"{file}: belongs to another release; {REPAIR}")
    return len(line)


def _frame(payload: bytes) -> bytes:
    first = struct.pack("<QI", len(payload), zlib.crc32(payload))
    return first + struct.pack("<I", zlib.crc32(first)) + payload


def _next_payload(file: Path, data: memoryview, position: int, start: int) -> memoryview | None:
    """Return the payload of the record at ``position``; None if no complete record is left."""
    remaining = len(data) - position
    if remaining < _FRAME.size:
        return None
    length, checksum, frame_checksum = _FRAME.unpack_from(data, position)
    valid_frame = zlib.crc32(data[position : position + _FRAME.size - 4]) == frame_checksum
    if valid_frame and remaining < _FRAME.size + length:
        return None
    payload = data[position + _FRAME.size : position + _FRAME.size + length]
    if valid_frame and zlib.crc32(payload) == checksum:
        return payload
    # Zeros at the end of the last record are bytes that were not yet on the disk when the machine crashed.
    is_last = remaining == _FRAME.size + length if valid_frame else not any(data[position : position + _FRAME.size])
    if is_last and data[-1] == 0:
        return None
    raise ArtefactError(f"{file}: the record at byte {start + position} is damaged; {REPAIR}")


def _encode(delta: Delta) -> bytes:
    arrays = {"input": delta.input_ND, "vector": delta.vector_ND}
    streams = {name: io.BytesIO() for name in ("items", *(name for name, array in arrays.items() if array is not None))}
    delta.items.write_ipc(streams["items"])
    for name, array in arrays.items():
        if array is not None:
            np.save(streams[name], array, allow_pickle=False)
    sections = {name: stream.getvalue() for name, stream in streams.items()}
    sizes = {name: len(section) for name, section in sections.items()}
    head = {"kind": delta.kind, "at_s": delta.at_s, "parts": sizes}
    return json.dumps(head).encode() + b"\n" + b"".join(sections.values())


def _message(owner: str, position: int, content: bytes | memoryview) -> bytes:
    """Return what is signed of a record."""
    return f"{FORMAT} {FORMAT_VERSION} {owner} {position} {hashlib.sha256(content).hexdigest()}".encode()


def _decode(payload: memoryview) -> Delta:
    """Decode a payload whose checksum is right."""
    line = bytes(payload[: bytes(payload[:1_000]).index(b"\n")])
    head, position, sections = json.loads(line), len(line) + 1, {}
    for name, size in head["parts"].items():
        sections[name] = io.BytesIO(payload[position : position + size])
        position += size
    items = pl.read_ipc(sections.pop("items"))
    arrays = {f"{name}_ND": np.load(section, allow_pickle=False) for name, section in sections.items()}
    delta = Delta(head["kind"], int(head["at_s"]), items, **arrays)
    _check_content(delta)
    return delta


def _check_content(delta: Delta) -> None:
    """Raise ``ValueError`` unless ids are distinct, columns have their types, and every item has a finite vector."""
    ids = delta.items["item_id"]
    if delta.kind not in {"add", "remove"}:
        raise ValueError(f"{delta.kind!r:.80} is neither add nor remove")
    if ids.null_count() or ids.n_unique() < len(ids):
        raise ValueError("an id is missing or occurs twice")
    if delta.kind == "remove":
        return
    for name, dtype in _TYPES.items():
        if delta.items.schema.get(name) != dtype:
            raise ValueError(f"column {name} is {delta.items.schema.get(name)}; expected {dtype}")
    topics = delta.items["topics"]
    if topics.null_count() or (topics.list.len() != topics.list.drop_nulls().list.len()).any():
        raise ValueError("a topic is missing")
    for array in (delta.input_ND, delta.vector_ND):
        if array is not None and (array.dtype != np.float32 or array.ndim != 2 or len(array) != len(ids)):
            raise ValueError(f"vectors of shape {array.shape} and type {array.dtype} for {len(ids):,} items")
        if array is not None and not are_valid_vectors(array).all():
            raise ValueError("a vector is not finite or longer than 1e19")
