"""The index that changes: an immutable segment, and small exact layers of the items added since.

As in a log-structured store, nothing built is ever changed. A removal, or a new version of an item, leaves the old one
in place and marks it with a tombstone. Each addition is a layer; young layers are compacted before they become many, so
an item is copied only a few times, and the large segment never. A change replaces one tuple of layers. A search reads
the tuple once, so it sees each change completely or not at all.

Legend: Q queries · D dimensions · n items.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import UsageError
from multitudes.index.exact import ExactIndex
from multitudes.index.hits import merge_hits
from multitudes.index.item_table import check_ids, make_item_table
from multitudes.index.protocol import Hits, Index, Topics
from multitudes.index.segment import Segment

_COMPACTION_RATIO = 4  # each layer is more than this many times larger than the next, so there are few to search


class LiveIndex(Index):
    """An ``Index`` over any segment."""

    def __init__(self, segment: Segment) -> None:
        self._layers: tuple[Segment, ...] = (segment,)
        self._write_lock = Lock()
        self._id_cache: tuple[tuple[Segment, ...], dict[int | None, NDArray[np.int64]]] = (self._layers, {})

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Find the best ids of each query; see ``Index.search``."""
        found = [layer.search(query_QD, limit, excluded=excluded, topic_Q=topic_Q) for layer in self._layers]
        return found[0] if len(found) == 1 else merge_hits(found, limit)

    def add(
        self, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None, names: pl.DataFrame | None = None
    ) -> None:
        """Add items, or replace those that are held already; see ``Index.add``."""
        del names  # the release has them
        if np.size(ids) == np.size(vectors) == 0:
            return
        new = ExactIndex(make_item_table(ids, vectors, topics, width=self._layers[0].dimension))
        with self._write_lock:
            self._layers = _compact([*(layer.without(new.ids()) for layer in self._layers), new])

    def remove(self, ids: ArrayLike) -> None:
        """Remove items; see ``Index.remove``."""
        if np.size(ids) == 0:
            return
        id_n = np.unique(check_ids(ids))
        with self._write_lock:
            is_held = np.any([layer.holds(id_n) for layer in self._layers], axis=0)
            if not is_held.all():
                missing = id_n[~is_held][0]
                raise UsageError(f"id {missing} is not in the index of {len(self)} items. Nothing was removed")
            self._layers = _compact([layer.without(id_n) for layer in self._layers])

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each; see ``Index.vectors``."""
        layers = self._layers
        if len(layers) == 1:
            return layers[0].vectors(ids)
        id_n = check_ids(ids)
        vectors_nD = np.empty((len(id_n), layers[0].dimension), dtype=np.float32)
        is_missing = np.ones(len(id_n), dtype=np.bool_)
        for layer in layers:
            is_held = layer.holds(id_n)
            vectors_nD[is_held] = layer.vectors(id_n[is_held])
            is_missing &= ~is_held
        if is_missing.any():
            raise UsageError(f"id {id_n[is_missing][0]} is not in the index of {len(self)} items")
        return vectors_nD

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return self._cached_ids(None, lambda layer: layer.ids())

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; empty for an unknown topic."""
        return self._cached_ids(topic, lambda layer: layer.items_of(topic))

    def _cached_ids(self, topic: int | None, ids_of: Callable[[Segment], NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the ids of all layers, ascending, cached until the next change, because every request needs them."""
        layers, cache = self._layers, self._id_cache
        if cache[0] is not layers:
            self._id_cache = cache = (layers, {})
        if topic not in cache[1]:
            ids = [ids_of(layer) for layer in layers]  # no id is in two layers
            # The stable sort merges sorted runs; the default would sort them again.
            cache[1][topic] = ids[0] if len(ids) == 1 else np.sort(np.concatenate(ids), kind="stable")
        return cache[1][topic]

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(len(layer) for layer in self._layers)

    def info(self) -> dict[str, Any]:
        """Describe the segment, and count the items added, replaced and removed since it was built."""
        oldest, *younger = self._layers
        removed, in_younger = oldest.removed_ids(), sum(len(layer) for layer in younger)
        replaced = sum(int(layer.holds(removed).sum()) for layer in younger)
        changes = {"added": in_younger - replaced, "replaced": replaced, "removed": len(removed) - replaced}
        return {**oldest.info(), "items": len(oldest) + in_younger, **changes}

    def save(self, folder: Path) -> None:
        """Write the segment into ``folder``; see ``Index.save``. A release logs the changes since, beside it.

        Raises:
            UsageError: items were added or removed since the segment was built.
        """
        if len(self._layers) > 1 or len(self._layers[0].removed_ids()):
            raise UsageError(f"an index with changes is not saved: {self.info()}; build one of its items")
        self._layers[0].save(folder)


def _compact(layers: Sequence[Segment]) -> tuple[Segment, ...]:
    """Drop empty younger layers, and merge the youngest into its neighbour while that is not much larger."""
    oldest, *younger = layers
    younger = [layer for layer in younger if len(layer)]
    while len(younger) > 1 and len(younger[-2]) <= _COMPACTION_RATIO * len(younger[-1]):
        younger[-2:] = [_merge(younger[-2:])]
    return (oldest, *younger)


def _merge(layers: Sequence[Segment]) -> ExactIndex:
    """Return a layer of the items of several."""
    ids, topics = [layer.ids() for layer in layers], [layer.topics() for layer in layers]
    return ExactIndex.build(
        np.concatenate(ids),
        np.concatenate([layer.vectors(own) for layer, own in zip(layers, ids, strict=True)]),
        Topics.from_counts(
            np.concatenate([np.diff(own.offset) for own in topics]), np.concatenate([own.topic for own in topics])
        ),
    )
