"""How the changes of a live index lie on disk, beside the files of the segment that it was built with.

``layer-0-gone.npy`` names what has gone from that segment; each younger layer has its items as well. A folder without
changes has none of them. They are named in ``index.json`` with their checksums, as every file of an index is.
"""

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multitudes.index.exact import Exact
from multitudes.index.layers import Layer, Segment
from multitudes.index.protocol import Topics

_NOTHING = np.zeros(0, dtype=np.int64)


def save(folder: Path, layers: Sequence[Layer]) -> None:
    """Write what the layers add to the files of the oldest segment, in place of what was written before."""
    for stale in folder.glob("layer-*.npy"):
        stale.unlink()
    oldest, *younger = layers
    if not younger and len(oldest.gone) == 0:
        return
    _write(folder, "gone", 0, oldest.gone)
    for number, layer in enumerate(younger, start=1):
        ids, topics = layer.segment.ids(), layer.segment.topics()
        _write(folder, "gone", number, layer.gone)
        _write(folder, "ids", number, ids)
        _write(folder, "vectors", number, layer.segment.vectors(ids))
        _write(folder, "topic-offset", number, topics.offset)
        _write(folder, "topic", number, topics.topic)


def load(folder: Path, segment: Segment, names: Container[str]) -> tuple[Layer, ...]:
    """Return the layers of a verified folder, whose oldest segment is open already; ``names`` are its files."""
    if _name("gone", 0) not in names:
        return (Layer(segment, _NOTHING),)
    layers = [Layer(segment, _read(folder, "gone", 0))]
    while _name("gone", len(layers)) in names:
        layers.append(_younger(folder, len(layers)))
    return tuple(layers)


def _younger(folder: Path, number: int) -> Layer:
    ids, vectors_nD, offset, topic, gone = (
        _read(folder, what, number) for what in ("ids", "vectors", "topic-offset", "topic", "gone")
    )
    return Layer(Exact.build(ids, vectors_nD, topics=Topics(offset, topic)), gone)


def _write(folder: Path, what: str, number: int, array: NDArray[Any]) -> None:
    np.save(folder / _name(what, number), array, allow_pickle=False)


def _read(folder: Path, what: str, number: int) -> NDArray[Any]:
    return np.asarray(np.load(folder / _name(what, number), allow_pickle=False))


def _name(what: str, number: int) -> str:
    return f"layer-{number}-{what}.npy"
