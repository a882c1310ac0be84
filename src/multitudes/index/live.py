"""The index that changes: an immutable segment, and small exact layers of the items added since.

As in a log-structured store, nothing built is ever changed. A removal, or a new version of an item, leaves the old one
in place and marks it with a tombstone. Each addition is a layer; young layers are compacted before they become many, so
an item is copied only a few times, and the large segment never. A change replaces one tuple of layers. A search reads
the tuple once, so it sees each change completely or not at all.

Legend: Q queries · N results · D dimensions · n items.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import DataError, UsageError
from multitudes.index.exact import ExactIndex
from multitudes.index.item_table import check_ids
from multitudes.index.protocol import Hits, Items, Searchable, Segment, Topics, find_rows, merge_hits

_COMPACTION_RATIO = 4  # each layer is more than this many times larger than the next, so there are few to search
_NO_IDS = np.zeros(0, dtype=np.int64)


class LiveIndex:
    """An ``Index`` over any segment."""

    def __init__(self, segment: Segment) -> None:
        self._layers: tuple[Layer, ...] = (Layer(segment, _NO_IDS),)
        self._dimension: int = segment.info()["dimension"]
        self._write_lock = Lock()
        self._id_cache: tuple[tuple[Layer, ...], dict[int | None, NDArray[np.int64]]] = (self._layers, {})

    @property
    def segment(self) -> Segment:
        """The segment as built, without the changes since."""
        return self._layers[0].segment

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        *,
        excluded: Sequence[NDArray[np.int64]] | None = None,
        topic_Q: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Find the best ids of each query; see ``Searchable.search``."""
        return merge_hits([layer.search(query_QD, limit, excluded, topic_Q) for layer in self._layers], limit)

    def add(self, ids: ArrayLike, vectors: ArrayLike, topics: Topics | None = None) -> None:
        """Add items, or replace those that are held already; see ``Index.add``."""
        if np.size(ids) == np.size(vectors) == 0:
            return
        new = ExactIndex.build(ids, vectors, topics=topics)
        width = new.info()["dimension"]
        if width != self._dimension:
            raise DataError(
                f"the vectors to add have {width} dimensions; the index holds {self._dimension}. Nothing was added"
            )
        with self._write_lock:
            older = [layer.without(new.ids()) for layer in self._layers]
            self._layers = _compact([*older, Layer(new, _NO_IDS)])

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
        """Return the float32 vectors of ``ids``, one row each; see ``Searchable.vectors``."""
        layers = self._layers
        if len(layers) == 1 and len(layers[0].tombstones) == 0:
            return layers[0].segment.vectors(ids)
        id_n = check_ids(ids)
        vectors_nD = np.empty((len(id_n), self._dimension), dtype=np.float32)
        is_missing = np.ones(len(id_n), dtype=np.bool_)
        for layer in layers:
            is_held = layer.holds(id_n)
            vectors_nD[is_held] = layer.segment.vectors(id_n[is_held])
            is_missing &= ~is_held
        if is_missing.any():
            raise UsageError(f"id {id_n[is_missing][0]} is not in the index of {len(self)} items")
        return vectors_nD

    def ids(self) -> NDArray[np.int64]:
        """Return every id, ascending."""
        return self._cached_ids(None, lambda layer: layer.segment.ids())

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; empty for an unknown topic."""
        return self._cached_ids(topic, lambda layer: layer.segment.items_of(topic))

    def have_topics(self, ids: NDArray[np.int64], topic_T: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each topic and id whether the item has the topic (T, n)."""
        has_Tn = np.zeros((len(topic_T), len(ids)), dtype=np.bool_)
        for layer in self._layers:
            is_removed_n = find_rows(layer.tombstones, ids)[1]
            has_Tn |= layer.segment.have_topics(ids, topic_T) & ~is_removed_n
        return has_Tn

    def _cached_ids(self, topic: int | None, ids_of: "Callable[[Layer], NDArray[np.int64]]") -> NDArray[np.int64]:
        """Return the ids of all layers, cached until the next change, because every request needs them."""
        layers, cache = self._layers, self._id_cache
        if cache[0] is not layers:
            self._id_cache = cache = (layers, {})
        if topic not in cache[1]:
            cache[1][topic] = _collect_ids(layers, ids_of)
        return cache[1][topic]

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(len(layer) for layer in self._layers)

    def info(self) -> dict[str, Any]:
        """Describe the segment, and count the items added, replaced and removed since it was built."""
        oldest, *younger = self._layers
        in_younger = sum(len(layer) for layer in younger)
        replaced = sum(int(layer.holds(oldest.tombstones).sum()) for layer in younger)
        changes = {"added": in_younger - replaced, "replaced": replaced, "removed": len(oldest.tombstones) - replaced}
        return {**oldest.segment.info(), "items": len(oldest) + in_younger, **changes}

    def save(self, folder: Path) -> None:
        """Write the segment into ``folder``; see ``Searchable.save``. A release logs the changes since, beside it.

        Raises:
            UsageError: items were added or removed since the segment was built.
        """
        if len(self._layers) > 1 or len(self._layers[0].tombstones):
            raise UsageError(f"an index with changes is not saved: {self.info()}; build one of its items")
        self.segment.save(folder)


@dataclass(frozen=True)
class Layer:
    """A segment, with tombstones of its ids that were removed or that a later layer replaces (ascending)."""

    segment: Segment
    tombstones: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of live items."""
        return len(self.segment) - len(self.tombstones)

    def live_ids(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of the segment's ``ids`` that have no tombstone."""
        return ids[~find_rows(self.tombstones, ids)[1]] if len(self.tombstones) else ids

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return for each id whether it is in the segment and has no tombstone."""
        is_live: NDArray[np.bool_] = find_rows(self.segment.ids(), ids)[1] & ~find_rows(self.tombstones, ids)[1]
        return is_live

    def without(self, ids: NDArray[np.int64]) -> "Layer":
        """Return the layer with tombstones for ``ids``; ids that it does not hold are ignored."""
        is_held = self.holds(ids)
        return Layer(self.segment, np.union1d(self.tombstones, ids[is_held])) if is_held.any() else self

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        excluded: Sequence[NDArray[np.int64]] | None,
        topic_Q: NDArray[np.int64] | None,
    ) -> Hits:
        """Find the best live items; see ``Searchable.search``."""
        return self._live_segment.search(query_QD, limit, excluded=excluded, topic_Q=topic_Q)

    @cached_property
    def _live_segment(self) -> Searchable:
        """The segment without the tombstones: made once for each change, not for each search."""
        return self.segment.without(self.tombstones) if len(self.tombstones) else self.segment

    def live_items(self) -> Items:
        """Return the live items."""
        ids, topics = self.segment.ids(), self.segment.topics()
        is_live = ~find_rows(self.tombstones, ids)[1]
        count_n = np.diff(topics.offset)
        live_topics = Topics.from_counts(count_n[is_live], topics.topic[np.repeat(is_live, count_n)])
        return Items(ids[is_live], self.segment.vectors(ids[is_live]), live_topics)


def _compact(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Drop empty younger layers, and merge the youngest into its neighbour while that is not much larger."""
    oldest, *younger = layers
    younger = [layer for layer in younger if len(layer)]
    while len(younger) > 1 and len(younger[-2].segment) <= _COMPACTION_RATIO * len(younger[-1].segment):
        ids, vectors_nD, topics = _concatenate_items([layer.live_items() for layer in younger[-2:]])
        younger[-2:] = [Layer(ExactIndex.build(ids, vectors_nD, topics=topics), _NO_IDS)]
    return (oldest, *younger)


def _concatenate_items(chunks: Sequence[Items]) -> Items:
    """Return the items of several chunks, one after the other."""
    count_n = np.concatenate([np.diff(chunk.topics.offset) for chunk in chunks])
    topic = np.concatenate([chunk.topics.topic for chunk in chunks])
    return Items(
        np.concatenate([chunk.ids for chunk in chunks]),
        np.concatenate([chunk.vectors_nD for chunk in chunks]),
        Topics.from_counts(count_n, topic),
    )


def _collect_ids(layers: Sequence[Layer], ids_of: Callable[[Layer], NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the live ids of all layers, ascending; no id is live in two layers."""
    ids = [layer.live_ids(ids_of(layer)) for layer in layers]
    # The stable sort merges sorted runs; the default would sort them again.
    return ids[0] if len(ids) == 1 else np.sort(np.concatenate(ids), kind="stable")
