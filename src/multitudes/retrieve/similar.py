"""The neighbours of an item: those whose vectors have the largest inner product with its own."""

from dataclasses import dataclass

import numpy as np

from multitudes.errors import UsageError
from multitudes.ids import Id
from multitudes.release.release import Release


@dataclass(frozen=True)
class Neighbour:
    """One item near another."""

    item_id: Id
    title: str | None
    score: float
    rank: int  # from 1


def similar(release: Release, item_id: Id, n: int) -> list[Neighbour] | None:
    """Return the ``n`` nearest items, nearest first, without the item itself; None: the release has no such item."""
    number = np.array([release.item_names.number(item_id)])
    try:
        vector_1D = release.index.vectors(number)
    except UsageError:  # unknown, or it has gone
        return None
    hits = release.index.search(vector_1D, n, excluded=[number])
    known = [
        (release.item_names.named(item), score)
        for item, score in zip(hits.ids(0).tolist(), hits.scores(0).tolist(), strict=True)
        if item <= len(release.item_names)  # an index that many processes share may hold items that have come since
    ]
    return [Neighbour(name.id, name.title, score, rank) for rank, (name, score) in enumerate(known, start=1)]
