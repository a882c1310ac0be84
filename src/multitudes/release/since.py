"""What came and went since a release was published, laid over what was published without changing or copying that.

Legend: m items that changed, ascending by number · I items · D width.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multitudes.ids import Id
from multitudes.index.live import Live
from multitudes.index.protocol import Index
from multitudes.index.rows import find_rows
from multitudes.release.arrivals import Outcome, described, grown, outcome, ragged_with, topic_numbers
from multitudes.release.changes import Change, Signature
from multitudes.release.item_names import Named

if TYPE_CHECKING:
    from multitudes.release.release import Release


@dataclass(frozen=True)
class Overlay:
    """Rows that are laid over a large matrix, which is not copied for them."""

    number_m: NDArray[np.int64]
    row_mD: NDArray[np.float32]

    @classmethod
    def empty(cls, width: int) -> "Overlay":
        """Return an overlay without rows."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros((0, width), dtype=np.float32))

    def with_rows(self, number_m: NDArray[np.int64], row_mD: NDArray[np.float32]) -> "Overlay":
        """Return an overlay with these rows over those that it has."""
        number = np.concatenate([number_m, self.number_m])
        distinct, first = np.unique(number, return_index=True)
        return Overlay(distinct, np.concatenate([row_mD, self.row_mD])[first])

    def rows(self, matrix_ID: NDArray[np.float32], number: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the rows with these numbers (any shape, then D)."""
        if len(self.number_m) == 0:
            return matrix_ID[number]
        place, laid_over = find_rows(self.number_m, number)
        rows = matrix_ID[np.where(laid_over, 0, number)]
        rows[laid_over] = self.row_mD[place[laid_over]]
        return rows


@dataclass(frozen=True)
class Since:
    """What is laid over a release, and how far its file of changes was read for that."""

    inputs: Overlay
    end: int = 0
    signature: Signature | None = None

    @classmethod
    def nothing(cls, width: int) -> "Since":
        """Return the state of a release as it was published."""
        return cls(Overlay.empty(width))


def laid_over(release: "Release", made: Sequence[Change]) -> dict[str, Any]:
    """Return the attributes of ``release`` that are others once these changes are made."""
    net = outcome(made)
    number = _numbers(release, net)
    index = release.index
    if isinstance(index, Live):  # of this process alone; one that all share was changed by whoever changed the file
        index = copy(index)  # it replaces what it is made of and never changes it: a copy is a state of its own
        bring(index, release, net, number)
    if not net.last:
        return {"index": index}
    ids = sorted(net.last, key=number.__getitem__)
    number_m, row_m = np.array([number[item_id] for item_id in ids]), net.rows(ids)
    items = net.items()[row_m]
    topics, _ = topic_numbers(items["topics"].to_list(), release.topic_number)
    offset, flat = ragged_with(release.item_topic_offset, release.item_topic, number_m, topics)
    usable_I = grown(release.item_usable, number_m)
    how = release.manifest.new_items
    usable_I[number_m] = described(items, topics, how.content_width if how else 0)
    named = {n: Named(*row) for n, row in zip(number_m.tolist(), items.select("item_id", "title").rows(), strict=True)}
    return {
        "index": index,
        "item_topic_offset": offset,
        "item_topic": flat,
        "item_count": grown(release.item_count, number_m),
        "item_usable": usable_I,
        "item_names": release.item_names.with_later(named),
        "since": Since(release.since.inputs.with_rows(number_m, net.inputs()[row_m])),
    }


def bring(index: Index, release: "Release", net: Outcome, number: Mapping[Id, int]) -> None:
    """Change an index so that it holds what came and not what went; what is so already may be done again."""
    gone = np.array([number[item_id] for item_id in net.removed_s], dtype=np.int64)
    if len(gone):
        index.remove(gone[find_rows(index.ids(), gone)[1]])
    if net.added:
        row_m, names = net.rows(net.added), release.topic_number
        topics, _ = topic_numbers(net.items()[row_m]["topics"].to_list(), names)
        number_m = np.array([number[item_id] for item_id in net.added])
        index.add(number_m, net.vectors()[row_m], topics if names else None)


def _numbers(release: "Release", net: Outcome) -> dict[Id, int]:
    """Return the number of every item that came or went; new ones are numbered in the order in which they came."""
    names, last = release.item_names, len(release.item_names)
    ids = (*net.last, *net.removed_s)
    known = dict(zip(ids, names.numbers(ids).tolist(), strict=True))
    new = [item_id for item_id in net.last if not known[item_id]]
    return known | {item_id: last + i for i, item_id in enumerate(new, start=1)}
