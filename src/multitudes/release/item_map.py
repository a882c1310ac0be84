"""The map of the items that a person looks at: items with near vectors lie near each other.

The most popular items are laid out when a release is published, ``MAX_MAP_ITEMS`` at most: the first two principal
components of their directions, then steps that draw each item to its nearest neighbours and push it from random ones
(as UMAP does, McInnes et al. 2018). Any other item lies between the laid-out items that are nearest to it, so the cost
does not grow with the catalogue.

Legend: S laid-out items · D width · K neighbours · R random items · M items that are asked for.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from multitudes.index.item_table import find_rows, l2_normalize
from multitudes.index.protocol import Index, Topics
from multitudes.release.release import Release
from multitudes.seeding import generator

MAX_MAP_ITEMS: Final = 3_000
_NEIGHBOURS, _RANDOM, _STEPS = 10, 5, 120
_PUSH, _GRAVITY = 3.0, 0.2  # gravity keeps groups without common neighbours from flying apart
_NEAREST: Final = 3  # laid-out items between which another item lies
_CHUNK: Final = 1_024  # items whose similarities are computed at once
_GRID, _MOST_REGIONS, _APART, _CLEAR = 8, 12, (0.25, 0.06), 3.0  # of the names of regions
_MARGIN: Final = 0.005  # quantile that lies at the edge, so that a few outliers do not shrink the rest


class ItemMap(NamedTuple):
    """The places of the laid-out items."""

    item_S: NDArray[np.int64]  # numbers, ascending
    position_S2: NDArray[np.float32]  # in [0, 1]
    direction_SD: NDArray[np.float32]

    def positions(self, index: Index, item_M: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the places of items (M, 2); NaN for items that the index does not hold."""
        position_M2 = np.full((len(item_M), 2), np.nan, dtype=np.float32)
        row_M, is_laid_out_M = find_rows(self.item_S, item_M)
        position_M2[is_laid_out_M] = self.position_S2[row_M[is_laid_out_M]]
        others = np.flatnonzero(~is_laid_out_M & find_rows(index.ids(), item_M)[1])
        if len(others) and len(self.item_S):
            similarity = l2_normalize(index.vectors(item_M[others])) @ self.direction_SD.T
            near = np.argsort(-similarity, axis=1, kind="stable")[:, :_NEAREST]
            weight = np.exp(10 * np.take_along_axis(similarity, near, axis=1))[:, :, None]
            position_M2[others] = (self.position_S2[near] * weight).sum(axis=1) / weight.sum(axis=1)
        return position_M2


def open_item_map(release: Release) -> ItemMap:
    """Return the map of a release: as published, or laid out now for an older release; without items that left."""
    index = release.index
    if release.map_item is None or release.map_position is None:
        item_S, position_S2 = lay_out_items(index, release.item_count)
    else:
        item_S, position_S2 = np.asarray(release.map_item), np.asarray(release.map_position)
    is_there_S = find_rows(index.ids(), item_S)[1]
    item_S, position_S2 = item_S[is_there_S], position_S2[is_there_S]
    return ItemMap(item_S, position_S2, l2_normalize(index.vectors(item_S)))


def name_regions(position_S2: NDArray[np.float32], topics: Topics, n_topics: int) -> list[tuple[int, float, float]]:
    """Return the topics that name parts of the map, and the place (x, y) of each, the clearest first.

    A topic names the square of a grid in which it has most items beyond its share of all, as a z-score.
    """
    cell_S = (position_S2 * _GRID).astype(np.int64).clip(0, _GRID - 1) @ np.array([1, _GRID])
    item_N = np.repeat(np.arange(len(position_S2)), np.diff(topics.offset))
    count_TC, size_C = np.zeros((n_topics + 1, _GRID**2)), np.bincount(cell_S, minlength=_GRID**2)
    np.add.at(count_TC, (topics.topic, cell_S[item_N]), 1)
    share_T1 = count_TC.sum(axis=1, keepdims=True) / max(len(cell_S), 1)
    score_TC = (count_TC - share_T1 * size_C) / np.sqrt(share_T1 * (1 - share_T1) * size_C + 1)
    regions: list[tuple[int, float, float]] = []
    for topic in np.argsort(-score_TC.max(axis=1), kind="stable").tolist():
        cell = int(score_TC[topic].argmax())
        if len(regions) == _MOST_REGIONS or score_TC[topic, cell] < _CLEAR:
            break
        x, y = position_S2[item_N[(topics.topic == topic) & (cell_S[item_N] == cell)]].mean(axis=0).tolist()
        if all(abs(x - other[1]) > _APART[0] or abs(y - other[2]) > _APART[1] for other in regions):
            regions.append((topic, x, y))
    return regions


def lay_out_items(index: Index, item_count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Lay out the most popular items of an index: return their numbers, ascending (S), and their places (S, 2).

    ``item_count`` has the users of each item, by number; items beyond it, which came later, are not laid out.
    """
    ids = index.ids()
    ids = ids[ids < len(item_count)]
    item_S = np.sort(ids[np.argsort(-item_count[ids], kind="stable")[:MAX_MAP_ITEMS]])
    return item_S, lay_out_vectors(index.vectors(item_S))


def lay_out_vectors(vector_SD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return places in [0, 1] for vectors (S, 2): near each other where the vectors have near directions."""
    direction_SD = l2_normalize(vector_SD)
    position_S2 = _principal_components(direction_SD)
    if len(direction_SD) > _NEIGHBOURS:
        position_S2 = _draw_to_neighbours(position_S2, _nearest(direction_SD, _NEIGHBOURS))
    low, high = np.quantile(position_S2, [_MARGIN, 1 - _MARGIN], axis=0) if len(position_S2) else (0.0, 1.0)
    scale = max(float(np.max(high - low)), 1e-12)
    return np.clip(0.5 + (position_S2 - (low + high) / 2) / scale, 0, 1).astype(np.float32)


def _principal_components(direction_SD: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the first two principal components (S, 2), each with a standard deviation of at most 10."""
    if not direction_SD.size:
        return np.zeros((len(direction_SD), 2))
    centred_SD = (direction_SD - direction_SD.mean(axis=0, keepdims=True)).astype(np.float64)
    _, axis_DD = np.linalg.eigh(centred_SD.T @ centred_SD)
    axis_DD *= np.where(axis_DD[np.abs(axis_DD).argmax(axis=0), np.arange(axis_DD.shape[1])] < 0, -1, 1)
    component_S2 = np.zeros((len(direction_SD), 2))
    width = min(2, axis_DD.shape[1])
    component_S2[:, :width] = centred_SD @ axis_DD[:, ::-1][:, :width]
    return np.asarray(10 * component_S2 / max(float(component_S2.std(axis=0).max()), 1e-12))


def _nearest(direction_SD: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the rows of the nearest directions of each row, without itself (S, K)."""
    near = []
    for start in range(0, len(direction_SD), _CHUNK):
        similarity = direction_SD[start : start + _CHUNK] @ direction_SD.T
        similarity[np.arange(len(similarity)), np.arange(start, start + len(similarity))] = -np.inf
        near.append(np.argpartition(-similarity, count - 1, axis=1)[:, :count])
    return np.concatenate(near)


def _draw_to_neighbours(position_S2: NDArray[np.float64], near_SK: NDArray[np.int64]) -> NDArray[np.float64]:
    """Draw each item to its neighbours and push it from random items, in steps that become smaller."""
    rng, position_S2 = generator(0, "item map"), position_S2.copy()
    for step in range(_STEPS):
        rate = 1 - step / _STEPS
        to_near = position_S2[near_SK] - position_S2[:, None]
        pull = to_near / (1 + (to_near**2).sum(axis=2, keepdims=True))
        random_SR = rng.integers(0, len(position_S2), (len(position_S2), _RANDOM))
        to_random = position_S2[random_SR] - position_S2[:, None]
        distance = (to_random**2).sum(axis=2, keepdims=True)
        push = _PUSH * to_random / (0.01 + distance)
        step_S2 = pull.sum(axis=1) - push.sum(axis=1) - _GRAVITY * position_S2
        position_S2 += rate * np.clip(step_S2, -2, 2)
    return position_S2
