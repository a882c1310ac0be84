"""Releases that cannot be mixed up: each has item ids of its own, and every other one turns its space around.

Release k holds the world of ``tests.release.small_release`` under the ids 100 k + 1 … 100 k + 20. In turned ones the
two axes have changed places, in the tower and in the index: both together answer as ever, one alone does not.
"""

from pathlib import Path

from onnx import numpy_helper

from tests.release.small_release import ITEM_VECTORS, TOPIC_VECTORS, arrays, publish_small, user_tower


def publish_planted(root: Path, k: int, *, turned_tower: bool, turned_index: bool) -> str:
    """Publish release ``k``; a tower and an index that do not agree are the control."""
    axes = {True: [1, 0], False: [0, 1]}
    tower = user_tower()
    for initializer in tower.graph.initializer:
        if initializer.name == "topics":
            initializer.CopyFrom(numpy_helper.from_array(TOPIC_VECTORS[:, axes[turned_tower]], "topics"))
    inputs = {"item_input": arrays()["item_input"][:, axes[turned_tower]]}
    vectors = ITEM_VECTORS[:, axes[turned_index]]
    return publish_small(root, tower=tower, data=inputs, vectors=vectors, first_id=100 * k + 1)
