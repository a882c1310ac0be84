"""An index whose items come and go: an immutable segment, and small exact ones of what was added since.

As in a log-structured store, nothing that was built is ever changed. A removal, or a new version of an item, leaves the
old one where it is and names it among what has gone. Each addition is a layer of its own; the youngest are folded
together before they become many, so that an item is copied a few times in all, however many follow it, and never the
large segment. A change replaces one tuple: whoever searches reads it once, and sees each change whole or not at all.

Legend: Q queries · N results · D dimensions.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import DataError, UsageError
from multitudes.index import layer_files
from multitudes.index.exact import Exact
from multitudes.index.layers import Items, Layer, Segment, gathered, joined, merged
from multitudes.index.protocol import Hits, Topics
from multitudes.index.rows import checked_ids

_FOLD = 4  # layers shrink by more than this from one to the next, so there are few to search
_NOTHING = np.zeros(0, dtype=np.int64)


class Live:
    """The whole ``Index`` over any segment."""

    def __init__(self, segment: Segment) -> None:
        self._layers: tuple[Layer, ...] = (Layer(segment, _NOTHING),)
        self._dimension: int = segment.info()["dimension"]
        self._writing = Lock()
        self._kept: tuple[tuple[Layer, ...], dict[int | None, NDArray[np.int64]]] = (self._layers, {})

    @classmethod
    def of(cls, layers: tuple[Layer, ...]) -> "Live":
        """Return the index of a segment with its changes, the oldest layer first."""
        live = cls(layers[0].segment)
        live._layers = layers
        return live

    @property
    def segment(self) -> Segment:
        """What was built, without the changes since."""
        return self._layers[0].segment

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
        log_sums: bool = False,
    ) -> Hits:
        """Find the best ids of each query; see ``Index.search``."""
        parts = [layer.search(query_QD, limit, excluded, topic_Q, log_sums) for layer in self._layers]
        return merged(parts, limit)

    def add(self, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None) -> None:
        """Add items, or replace those that are held already; see ``Index.add``."""
        if np.size(ids) == np.size(vectors) == 0:
            return
        new = Exact.build(ids, vectors, topics=topics)
        width = new.info()["dimension"]
        if width != self._dimension:
            raise DataError(
                f"the vectors to add have {width} dimensions; the index holds {self._dimension}. Nothing was added"
            )
        with self._writing:
            older = [layer.without(new.ids()) for layer in self._layers]
            self._layers = _folded([*older, Layer(new, _NOTHING)])

    def remove(self, ids: ArrayLike) -> None:
        """Remove items; see ``Index.remove``."""
        if np.size(ids) == 0:
            return
        id_n = np.unique(checked_ids(ids))
        with self._writing:
            held = np.any([layer.holds(id_n) for layer in self._layers], axis=0)
            if not held.all():
                raise UsageError(f"id {id_n[~held][0]} is not in the index of {len(self)} items. Nothing was removed")
            self._layers = _folded([layer.without(id_n) for layer in self._layers])

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each; see ``Index.vectors``."""
        layers = self._layers
        if len(layers) == 1 and len(layers[0].gone) == 0:
            return layers[0].segment.vectors(ids)
        id_n = checked_ids(ids)
        vectors_nD = np.empty((len(id_n), self._dimension), dtype=np.float32)
        missing = np.ones(len(id_n), dtype=np.bool_)
        for layer in layers:
            here = layer.holds(id_n)
            vectors_nD[here] = layer.segment.vectors(id_n[here])
            missing &= ~here
        if missing.any():
            raise UsageError(f"id {id_n[missing][0]} is not in the index of {len(self)} items")
        return vectors_nD

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return self._gathered(None, lambda layer: layer.segment.ids())

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; none where the topic is not known."""
        return self._gathered(topic, lambda layer: layer.segment.items_of(topic))

    def _gathered(self, topic: int | None, of: Callable[[Layer], NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the ids of all layers, and keep them until the next change: they are asked for at every request."""
        layers, kept = self._layers, self._kept
        if kept[0] is not layers:
            self._kept = kept = (layers, {})
        if topic not in kept[1]:
            kept[1][topic] = gathered(layers, of)
        return kept[1][topic]

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(len(layer) for layer in self._layers)

    def info(self) -> dict[str, Any]:
        """Describe the segment, and say how many items were added, replaced and removed since it was built."""
        oldest, *younger = self._layers
        came = sum(len(layer) for layer in younger)
        replaced = sum(int(layer.holds(oldest.gone).sum()) for layer in younger)
        changes = {"added": came - replaced, "replaced": replaced, "removed": len(oldest.gone) - replaced}
        return {**oldest.segment.info(), "items": len(oldest) + came, **changes}

    def items(self) -> Items:
        """Return the items that are held now, in no order: what a rebuild starts from."""
        return joined([layer.items() for layer in self._layers])

    def save(self, folder: Path) -> None:
        """Write the segment and the changes since into ``folder``, which must exist; see ``Index.save``."""
        layers = self._layers
        layer_files.save(folder, layers)
        layers[0].segment.save(folder)  # last: its description names every file in the folder


def _folded(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Drop the younger layers of which nothing is left, and fold the youngest into those that are not much larger."""
    oldest, *younger = layers
    younger = [layer for layer in younger if len(layer)]
    while len(younger) > 1 and len(younger[-2].segment) <= _FOLD * len(younger[-1].segment):
        ids, vectors_nD, topics = joined([layer.items() for layer in younger[-2:]])
        younger[-2:] = [Layer(Exact.build(ids, vectors_nD, topics=topics), _NOTHING)]
    return (oldest, *younger)
