"""The towers of a release in ONNX Runtime, and a check of their files: each must hold all of its weights.

A tensor of an ONNX file may name another file, with any path, where its values are. No checksum of the release covers
that file, and ONNX Runtime before 1.24.1 reads it wherever it is. Towers are published without such tensors.

Only what leads to a tensor is decoded (https://protobuf.dev/programming-guides/encoding): the values themselves are
skipped, so the check reads little of a large file.
"""

import mmap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from numpy.typing import NDArray

from multitudes.errors import ArtefactError

Session: TypeAlias = Any  # onnxruntime has no types
# It makes towers slower: the fused layer takes four times as long as the layers, and a tower 0.39 ms instead of 0.32.
DISABLED_OPTIMIZER = "SkipLayerNormFusion"


def open_tower(file: Path) -> Session:
    """Open a tower for one thread of the CPU.

    Args:
        file: the ONNX file of a tower.

    Returns:
        The session.

    Raises:
        ArtefactError: the file does not hold all of its weights, or this ONNX Runtime cannot load it.
    """
    reject_external_data(file)
    import onnxruntime  # noqa: PLC0415 (it takes 0.1 s, which listing releases need not spend)

    options = onnxruntime.SessionOptions()
    # Errors only: what the runtime cannot optimise in a tower is nothing that a user can mend.
    options.log_severity_level = 3
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=[DISABLED_OPTIMIZER]
        )
    except Exception as error:  # the exceptions of ONNX Runtime have no common base
        raise ArtefactError(
            f"{file}: ONNX Runtime cannot load it ({_first_line(error)}); publish the run again"
        ) from error


def run_tower(
    session: Session, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str], file: str | Path
) -> list[Any]:
    """Run a tower.

    Args:
        session: the tower.
        inputs: arrays by name; those that the tower has no input for are ignored, for example features.
        outputs: names of the outputs.
        file: the tower's file, for the message of an error.

    Returns:
        The outputs, in order.

    Raises:
        ArtefactError: the tower does not have these inputs or outputs.
    """
    names = [entry.name for entry in session.get_inputs()]
    try:
        arrays: list[Any] = session.run(outputs, {name: inputs[name] for name in names})
    except Exception as error:  # the exceptions of ONNX Runtime have no common base
        raise ArtefactError(f"{file}: does not accept this input ({_first_line(error)}); publish again") from error
    return arrays


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


_VARINT, _I64, _LENGTH, _I32 = 0, 1, 2, 5
_MAX_TAG: Final = 2**32 - 1
# Messages of onnx.proto3: the fields that lead to a tensor, by number.
_FIELDS: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}


def reject_external_data(file: Path) -> None:
    """Raise unless an ONNX file holds all of its tensors itself.

    Raises:
        ArtefactError: a tensor names another file, or this is not an ONNX file, or it cannot be read.
    """
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            is_external = _has_external_data(content)
    except OSError as error:
        raise ArtefactError(f"{file}: cannot be read ({error.strerror}); publish the run again") from None
    except (ValueError, IndexError):
        raise ArtefactError(f"{file}: not an ONNX file; publish the run again") from None
    if is_external:
        raise ArtefactError(
            f"{file}: its weights are in another file, which no checksum covers; expected all of them in this one;"
            " publish the run again"
        )


def _has_external_data(content: mmap.mmap) -> bool:
    unread = [("model", 0, len(content))]
    while unread:
        message, start, end = unread.pop()
        if message == "external":
            return True
        fields = _FIELDS[message]
        submessages = _submessages(content, start, end)
        unread += [(fields[number], first, last) for number, first, last in submessages if number in fields]
    return False


def _submessages(content: mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, start and end of every field of a message that has a length."""
    while position < end:
        tag, position = _read_varint(content, position)
        number, wire_type = tag >> 3, tag & 7
        if number == 0 or tag > _MAX_TAG:
            raise ValueError("not a field")
        start = position
        if wire_type == _VARINT:
            _, position = _read_varint(content, position)
        elif wire_type in {_I32, _I64}:
            position += 4 if wire_type == _I32 else 8
        elif wire_type == _LENGTH:
            length, start = _read_varint(content, position)
            position = start + length
        else:
            raise ValueError("not a type of a field")
        if position > end:
            raise ValueError("a field ends after its message")
        if wire_type == _LENGTH:
            yield number, start, position


def _read_varint(content: mmap.mmap, position: int) -> tuple[int, int]:
    """Return the integer at a position, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("an integer of more than 10 bytes")
