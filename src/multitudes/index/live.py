"""An immutable segment and what has gone from it since: the stone that ``Live`` is built of.

Legend: Q queries · N results · M results of all layers · D dimensions · n items.

How the changes of a live index lie on disk, beside the files of the segment that it was built with.

``layer-0-gone.npy`` names what has gone from that segment; each younger layer has its items as well. A folder without
changes has none of them. They are named in ``index.json`` with their checksums, as every file of an index is.

An index whose items come and go: an immutable segment, and small exact ones of what was added since.

As in a log-structured store, nothing that was built is ever changed. A removal, or a new version of an item, leaves the
old one where it is and names it among what has gone. Each addition is a layer of its own; the youngest are folded
together before they become many, so that an item is copied a few times in all, however many follow it, and never the
large segment. A change replaces one tuple: whoever searches reads it once, and sees each change whole or not at all.

Legend: Q queries · N results · D dimensions.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from multitudes.errors import DataError, UsageError
from multitudes.index.exact import ExactIndex
from multitudes.index.hits import merge_hits
from multitudes.index.item_table import check_ids, find_rows
from multitudes.index.protocol import ANY_TOPIC, Hits, Items, Searchable, Segment, Topics
from multitudes.index.scan import inner_products, log_sum_exp

_ROW_BATCH = 65_536
_CANCELLATION_FACTOR = (
    1_000  # a difference of float32 sums counts while it is this many times larger than their rounding
)


@dataclass(frozen=True)
class Layer:
    """A segment, and those of its ids that were removed or that a later layer holds anew (ascending)."""

    segment: Segment
    tombstones: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of items that are left."""
        return len(self.segment) - len(self.tombstones)

    def live_ids(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of the segment's ``ids`` that have not gone."""
        return ids[~find_rows(self.tombstones, ids)[1]] if len(self.tombstones) else ids

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say of each id whether it is here and has not gone."""
        here: NDArray[np.bool_] = find_rows(self.segment.ids(), ids)[1] & ~find_rows(self.tombstones, ids)[1]
        return here

    def without(self, ids: NDArray[np.int64]) -> "Layer":
        """Return the layer after the removal of ``ids``; those that it does not hold are ignored."""
        here = self.holds(ids)
        return Layer(self.segment, np.union1d(self.tombstones, ids[here])) if here.any() else self

    def search(
        self,
        query_QD: NDArray[np.float32],
        limit: int | NDArray[np.int64],
        excluded: Sequence[NDArray[np.int64]] | None,
        topic_Q: NDArray[np.int64] | None,
        log_sums: bool,
    ) -> Hits:
        """Find what is left here; see ``Index.search``."""
        hits = self._live_segment.search(query_QD, limit, excluded=excluded, topic_Q=topic_Q, log_sums=log_sums)
        if hits.log_sum_Q is None or len(self.tombstones) == 0:
            return hits
        topic_Q = np.full(len(query_QD), ANY_TOPIC) if topic_Q is None else np.asarray(topic_Q)
        return hits._replace(log_sum_Q=self._log_sums(np.asarray(query_QD, np.float32), topic_Q, hits.log_sum_Q))

    @cached_property
    def _live_segment(self) -> Searchable:
        """The segment without what has gone: made once for each change, however many searches follow."""
        return self.segment.without(self.tombstones) if len(self.tombstones) else self.segment

    def _log_sums(
        self, query_QD: NDArray[np.float32], topic_Q: NDArray[np.int64], total_Q: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Take what has gone from the sums over the whole segment; what the segment does not know stays NaN."""
        left_Q = total_Q.astype(np.float64)
        for topic in np.unique(topic_Q[np.isfinite(total_Q)]).tolist():
            ids = self.segment.ids() if topic == ANY_TOPIC else self.segment.items_of(topic)
            gone = ids[find_rows(self.tombstones, ids)[1]]
            if len(gone) == 0:
                continue
            where = np.flatnonzero((topic_Q == topic) & np.isfinite(total_Q))
            total, minus = left_Q[where], self._log_sum_over(gone, query_QD[where])
            share = -np.expm1(np.minimum(minus - total, 0))  # of the sum that is left
            rounding = np.finfo(np.float32).eps * np.maximum(1, np.abs(total))
            exact = (
                share <= _CANCELLATION_FACTOR * rounding
            )  # next to nothing is left: the difference would be rounding alone
            with np.errstate(divide="ignore"):
                left_Q[where] = total + np.log(share)
            if exact.any():
                left_Q[where[exact]] = self._log_sum_over(self.live_ids(ids), query_QD[where[exact]])
        return left_Q.astype(np.float32)

    def _log_sum_over(self, ids: NDArray[np.int64], query_QD: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return log Σ exp(score) over some items of the segment."""
        sum_Q = np.full(len(query_QD), -np.inf)
        for start in range(0, len(ids), _ROW_BATCH):
            vectors_nD = self.segment.vectors(ids[start : start + _ROW_BATCH])
            sum_Q = np.logaddexp(sum_Q, log_sum_exp(inner_products(query_QD, vectors_nD)))
        return sum_Q

    def live_items(self) -> Items:
        """Return what is left."""
        ids, topics = self.segment.ids(), self.segment.topics()
        here = ~find_rows(self.tombstones, ids)[1]
        length_n = np.diff(topics.offset)
        kept = Topics.from_counts(length_n[here], topics.topic[np.repeat(here, length_n)])
        return Items(ids[here], self.segment.vectors(ids[here]), kept)


def concatenate_items(parts: Sequence[Items]) -> Items:
    """Return the items of several parts, one after the other."""
    length_n = np.concatenate([np.diff(part.topics.offset) for part in parts])
    topic = np.concatenate([part.topics.topic for part in parts])
    return Items(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.vectors_nD for part in parts]),
        Topics.from_counts(length_n, topic),
    )


def collect_ids(layers: Sequence[Layer], of: Callable[[Layer], NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the ids that every layer has ``of`` something, ascending; no id is in two layers."""
    ids = [layer.live_ids(of(layer)) for layer in layers]
    # Runs that are sorted already are merged by the stable kind, and sorted anew by the other.
    return ids[0] if len(ids) == 1 else np.sort(np.concatenate(ids), kind="stable")


_NO_IDS = np.zeros(0, dtype=np.int64)


def save_layers(folder: Path, layers: Sequence[Layer]) -> None:
    """Write what the layers add to the files of the oldest segment, in place of what was written before."""
    for stale in folder.glob("layer-*.npy"):
        stale.unlink()
    oldest, *younger = layers
    if not younger and len(oldest.tombstones) == 0:
        return
    _write_array(folder, "gone", 0, oldest.tombstones)
    for number, layer in enumerate(younger, start=1):
        ids, topics = layer.segment.ids(), layer.segment.topics()
        _write_array(folder, "gone", number, layer.tombstones)
        _write_array(folder, "ids", number, ids)
        _write_array(folder, "vectors", number, layer.segment.vectors(ids))
        _write_array(folder, "topic-offset", number, topics.offset)
        _write_array(folder, "topic", number, topics.topic)


def load_layers(folder: Path, segment: Segment, names: Container[str]) -> tuple[Layer, ...]:
    """Return the layers of a verified folder, whose oldest segment is open already; ``names`` are its files."""
    if _array_file("gone", 0) not in names:
        return (Layer(segment, _NO_IDS),)
    layers = [Layer(segment, _read_array(folder, "gone", 0))]
    while _array_file("gone", len(layers)) in names:
        layers.append(_load_delta(folder, len(layers)))
    return tuple(layers)


def _load_delta(folder: Path, number: int) -> Layer:
    ids, vectors_nD, offset, topic, gone = (
        _read_array(folder, what, number) for what in ("ids", "vectors", "topic-offset", "topic", "gone")
    )
    return Layer(ExactIndex.build(ids, vectors_nD, topics=Topics(offset, topic)), gone)


def _write_array(folder: Path, what: str, number: int, array: NDArray[Any]) -> None:
    np.save(folder / _array_file(what, number), array, allow_pickle=False)


def _read_array(folder: Path, what: str, number: int) -> NDArray[Any]:
    return np.asarray(np.load(folder / _array_file(what, number), allow_pickle=False))


def _array_file(what: str, number: int) -> str:
    return f"layer-{number}-{what}.npy"


_COMPACTION_RATIO = 4  # layers shrink by more than this from one to the next, so there are few to search
_NOTHING = np.zeros(0, dtype=np.int64)


class LiveIndex:
    """The whole ``Index`` over any segment."""

    def __init__(self, segment: Segment) -> None:
        self._layers: tuple[Layer, ...] = (Layer(segment, _NOTHING),)
        self._dimension: int = segment.info()["dimension"]
        self._write_lock = Lock()
        self._id_cache: tuple[tuple[Layer, ...], dict[int | None, NDArray[np.int64]]] = (self._layers, {})

    @classmethod
    def from_layers(cls, layers: tuple[Layer, ...]) -> "LiveIndex":
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
        return merge_hits(parts, limit)

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
            self._layers = _compact([*older, Layer(new, _NOTHING)])

    def remove(self, ids: ArrayLike) -> None:
        """Remove items; see ``Index.remove``."""
        if np.size(ids) == 0:
            return
        id_n = np.unique(check_ids(ids))
        with self._write_lock:
            held = np.any([layer.holds(id_n) for layer in self._layers], axis=0)
            if not held.all():
                raise UsageError(f"id {id_n[~held][0]} is not in the index of {len(self)} items. Nothing was removed")
            self._layers = _compact([layer.without(id_n) for layer in self._layers])

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the float32 vectors of ``ids``, one row each; see ``Index.vectors``."""
        layers = self._layers
        if len(layers) == 1 and len(layers[0].tombstones) == 0:
            return layers[0].segment.vectors(ids)
        id_n = check_ids(ids)
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
        return self._collect_ids(None, lambda layer: layer.segment.ids())

    def items_of(self, topic: int) -> NDArray[np.int64]:
        """Return the ids of a topic, ascending; none where the topic is not known."""
        return self._collect_ids(topic, lambda layer: layer.segment.items_of(topic))

    def _collect_ids(self, topic: int | None, of: Callable[[Layer], NDArray[np.int64]]) -> NDArray[np.int64]:
        """Return the ids of all layers, and keep them until the next change: they are asked for at every request."""
        layers, kept = self._layers, self._id_cache
        if kept[0] is not layers:
            self._id_cache = kept = (layers, {})
        if topic not in kept[1]:
            kept[1][topic] = collect_ids(layers, of)
        return kept[1][topic]

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(len(layer) for layer in self._layers)

    def info(self) -> dict[str, Any]:
        """Describe the segment, and say how many items were added, replaced and removed since it was built."""
        oldest, *younger = self._layers
        came = sum(len(layer) for layer in younger)
        replaced = sum(int(layer.holds(oldest.tombstones).sum()) for layer in younger)
        changes = {"added": came - replaced, "replaced": replaced, "removed": len(oldest.tombstones) - replaced}
        return {**oldest.segment.info(), "items": len(oldest) + came, **changes}

    def live_items(self) -> Items:
        """Return the items that are held now, in no order: what a rebuild starts from."""
        return concatenate_items([layer.live_items() for layer in self._layers])

    def save(self, folder: Path) -> None:
        """Write the segment and the changes since into ``folder``, which must exist; see ``Index.save``."""
        layers = self._layers
        save_layers(folder, layers)
        layers[0].segment.save(folder)  # last: its description names every file in the folder


def _compact(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Drop the younger layers of which nothing is left, and fold the youngest into those that are not much larger."""
    oldest, *younger = layers
    younger = [layer for layer in younger if len(layer)]
    while len(younger) > 1 and len(younger[-2].segment) <= _COMPACTION_RATIO * len(younger[-1].segment):
        ids, vectors_nD, topics = concatenate_items([layer.live_items() for layer in younger[-2:]])
        younger[-2:] = [Layer(ExactIndex.build(ids, vectors_nD, topics=topics), _NOTHING)]
    return (oldest, *younger)
