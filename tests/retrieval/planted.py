"""Releases that cannot be mixed up: each has item ids of its own, and every other one turns its space around.

Release k holds the world of ``tests.release.small_release`` under the ids 100 k + 1 … 100 k + 20. In turned ones the
two axes have changed places, in the tower and in the index: both together answer as ever, one alone does not.
"""

from pathlib import Path

import numpy as np
import onnx
import polars as pl
from onnx import numpy_helper

from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.release.release import ITEM_TOWER, USER_TOWER, write_release
from multitudes.release.store import ReleaseStore
from tests.release.small_release import ITEM_VECTORS, TOPIC_VECTORS, TOPICS, arrays, item_tower, manifest, user_tower


def publish_planted(root: Path, k: int, *, turned_tower: bool, turned_index: bool) -> str:
    """Publish release ``k``; a tower and an index that do not agree are the control."""
    axes = {True: [1, 0], False: [0, 1]}
    tower = user_tower()
    for initializer in tower.graph.initializer:
        if initializer.name == "topics":
            initializer.CopyFrom(numpy_helper.from_array(TOPIC_VECTORS[:, axes[turned_tower]], "topics"))
    inputs = {name: array[:, axes[turned_tower]] if name == "item_input" else array for name, array in arrays().items()}
    ids = range(100 * k + 1, 100 * k + 21)
    store = ReleaseStore(root)
    with store.stage() as stage:
        onnx.save(tower, str(stage / USER_TOWER))
        onnx.save(item_tower(), str(stage / ITEM_TOWER))
        write_release(
            stage,
            manifest(),
            inputs,
            LiveIndex(ExactIndex.build(np.arange(1, 21), ITEM_VECTORS[:, axes[turned_index]], TOPICS)),
            pl.Series(["ann", "bob", "eve"]),
            pl.DataFrame({"item_id": ids, "title": [f"Film {i}" for i in ids]}),
            ["", "Drama", "Crime"],
        )
        return store.commit(stage)
