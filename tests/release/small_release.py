"""A release of a world that one can hold in the head, with a user tower made by hand.

Items 1..10 are films of topic 1, nearest to the first axis first; items 11..20 of topic 2, along the second axis.
Item ids are 101..120, users are "ann" (has seen the four best of topic 1 and, last, the best of topic 2; follows
topic 2), "bob" (has seen item 11 only, follows both topics) and "eve" (one hidden item, follows nothing).

The user tower: the unconditioned vector is the mean of the valid history items, the implicit one the newest of them if
valid, explicit ones stand in a table of topics. The item tower: a new item's vector is its embedding, and one unit more
along the axis of each of its topics; a history sees three times that.
"""

from pathlib import Path

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper, numpy_helper

from multitudes.index.exact import ExactIndex
from multitudes.index.live import LiveIndex
from multitudes.index.protocol import Topics
from multitudes.release.manifest import Manifest
from multitudes.release.release import ITEM_TOWER, USER_TOWER, write_release
from multitudes.release.store import ReleaseStore

LENGTH, CONDITIONS, DAY = 4, 2, 86_400
STRENGTH = np.linspace(1.0, 0.1, 10)
ITEM_VECTORS = np.concatenate([np.outer(STRENGTH, [1, 0]), np.outer(STRENGTH, [0, 1])]).astype(np.float32)
TOPIC_VECTORS = np.array([[0, 0], [5, 0], [0, 5]], dtype=np.float32)
KINDS = ("unconditioned", "implicit", "explicit", "explicit")
TOPICS = Topics(np.arange(21), np.repeat([1, 2], 10))  # the first ten items are of topic 1


def user_tower(width: int = 2, topic_vectors: np.ndarray = TOPIC_VECTORS) -> onnx.ModelProto:
    """Make the tower with ONNX's own building blocks."""
    node = helper.make_node
    nodes = [
        node("Cast", ["valid_BL"], ["valid_float"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["valid_float", "two"], ["valid_BL1"]),
        node("Mul", ["input_BLD", "valid_BL1"], ["item_BLD"]),
        node("ReduceSum", ["item_BLD", "one"], ["sum_B1D"], keepdims=1),
        node("ReduceSum", ["valid_BL1", "one"], ["count_B11"], keepdims=1),
        node("Max", ["count_B11", "one_float"], ["at_least_one"]),
        node("Div", ["sum_B1D", "at_least_one"], ["mean_B1D"]),
        node("Slice", ["item_BLD", "zero", "one", "one"], ["newest_B1D"]),
        node("Gather", ["topics", "topic_BC"], ["explicit_BCD"], axis=0),
        node("Concat", ["mean_B1D", "newest_B1D", "explicit_BCD"], ["vectors_BKD"], axis=1),
        node("Squeeze", ["count_B11", "two"], ["count_B1"]),
        node("Slice", ["valid_float", "zero", "one", "one"], ["newest_B1"]),
        node("Cast", ["topic_BC"], ["topic_float"], to=TensorProto.FLOAT),
        node("Concat", ["count_B1", "newest_B1", "topic_float"], ["evidence_BK"], axis=1),
        node("Greater", ["evidence_BK", "zero_float"], ["mask_BK"]),
        node("Cast", ["mask_BK"], ["weight_BK"], to=TensorProto.FLOAT),
        node("Where", ["valid_BL", "one", "minus_one"], ["cluster_BL"]),
    ]
    numbers = {"zero": [0], "one": [1], "two": [2], "minus_one": [-1]}
    constants = {name: np.array(value, np.int64) for name, value in numbers.items()}
    floats = {"zero_float": np.zeros(1, np.float32), "one_float": np.ones(1, np.float32), "topics": topic_vectors}
    return tower_of(nodes, constants | floats, width=width)


def tower_of(
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    kinds: tuple[str, ...] = KINDS,
    length: int = LENGTH,
    width: int = 2,
) -> onnx.ModelProto:
    """Make a user tower of these nodes; its kinds end in those of the conditions."""
    value = helper.make_tensor_value_info
    inputs = [
        value("input_BLD", TensorProto.FLOAT, ["B", length, width]),
        value("valid_BL", TensorProto.BOOL, ["B", length]),
        value("topic_BC", TensorProto.INT64, ["B", kinds.count("explicit")]),
    ]
    outputs = [
        value("vectors_BKD", TensorProto.FLOAT, ["B", len(kinds), width]),
        value("weight_BK", TensorProto.FLOAT, ["B", len(kinds)]),
        value("mask_BK", TensorProto.BOOL, ["B", len(kinds)]),
        value("cluster_BL", TensorProto.INT64, ["B", length]),
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "user_tower", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def item_tower() -> onnx.ModelProto:
    axes = numpy_helper.from_array(np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32), "axes")
    one, three = (
        numpy_helper.from_array(value, name)
        for value, name in ((np.array([1]), "one"), (np.array(3, dtype=np.float32), "three"))
    )
    nodes = [
        helper.make_node("Gather", ["axes", "topic_NG"], ["axis_NGD"], axis=0),
        helper.make_node("ReduceSum", ["axis_NGD", "one"], ["axis_ND"], keepdims=0),
        helper.make_node("Add", ["axis_ND", "content_NE"], ["vector_ND"]),
        helper.make_node("Mul", ["vector_ND", "three"], ["input_ND"]),
    ]
    value = helper.make_tensor_value_info
    inputs = [value("topic_NG", TensorProto.INT64, ["N", "G"]), value("content_NE", TensorProto.FLOAT, ["N", 2])]
    outputs = [value(name, TensorProto.FLOAT, ["N", 2]) for name in ("input_ND", "vector_ND")]
    graph = helper.make_graph(nodes, "item_tower", inputs, outputs, [axes, one, three])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def arrays() -> dict[str, np.ndarray]:
    return {
        "item_input": np.concatenate([np.zeros((1, 2)), 3 * ITEM_VECTORS]),
        "item_topic_offset": np.concatenate([[0], TOPICS.offset]),
        "item_topic": TOPICS.topic,
        "item_count": np.array([0, *range(20, 0, -1)]),
        "item_usable": (np.arange(21) > 0) & (np.arange(21) != 20),  # item 20 has no feature to speak of
        "item_taste": np.array([-1, *[0] * 10, *[1] * 10]),
        "taste_centre": np.eye(2),
        "event_offset": np.array([0, 4, 5, 6]),  # the most recent four
        "event_item": np.array([2, 3, 4, 11, 11, 5]),
        "event_time": DAY * np.array([2, 3, 4, 10, 9, 1]),
        "event_action": np.array([1, 1, 1, 1, 1, 2]),
        "event_valid": np.array([True] * 5 + [False]),
        "seen_offset": np.array([0, 5, 6, 7]),
        "seen_item": np.array([1, 2, 3, 4, 11, 11, 5]),
        "follow_offset": np.array([0, 1, 3, 3]),
        "follow_topic": np.array([2, 1, 2]),
        "user_feature": np.zeros((3, 0)),
        # ann chose 1, 2, 3, 2, 4, 2 and 11; bob 11; eve nothing.
        "own_offset": np.array([0, 5, 6, 6]),
        "own_item": np.array([1, 2, 3, 4, 11, 11]),
        "own_count": np.array([1, 3, 1, 1, 1, 1]),
        "own_newest": np.array([0, 5, 2, 4, 6, 0]),
        "own_oldest": np.array([0, 1, 2, 4, 6, 0]),
        "item_repeat_rate": np.zeros(21),
    }


def manifest(**changes) -> Manifest:
    record = {
        "method": "joint",
        "kinds": KINDS,
        "history_length": LENGTH,
        "actions": ("view", "hide"),
        "default_action": 1,
        "ordered_only": False,
        "counts": {"users": 3, "items": 20, "topics": 2},
        "retrieval": {"topics_per_request": CONDITIONS},
        "index": {},
        "new_items": {"vectors": "tower", "content_width": 2},
    }
    return Manifest.model_validate(record | changes)


def put_before_vectors(tower: onnx.ModelProto, *nodes: onnx.NodeProto, constants: dict[str, np.ndarray]) -> None:
    """Put nodes before the vectors of a tower, from ``raw`` to ``vectors_BKD``."""
    (last,) = (node for node in tower.graph.node if node.output[0] == "vectors_BKD")
    last.output[0] = "raw"
    tower.graph.node.extend(nodes)
    tower.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())


def endless_loop() -> onnx.NodeProto:
    """Make a node for ``put_before_vectors`` that never ends; it reads the constant ``always``, which is true."""
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["old"], ["new"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("old", TensorProto.FLOAT, None)],
        [value("go_on", TensorProto.BOOL, []), value("new", TensorProto.FLOAT, None)],
    )
    return helper.make_node("Loop", ["", "always", "raw"], ["vectors_BKD"], body=body)


def publish_small(
    root: Path,
    *,
    tower: onnx.ModelProto | None = None,
    data: dict[str, np.ndarray] | None = None,
    vectors: np.ndarray = ITEM_VECTORS,
    topics: Topics = TOPICS,
    names: tuple[str, ...] = ("", "Drama", "Crime"),
    first_id: int = 101,
    **changes,
) -> str:
    """Publish the world, or one with another tower and other arrays, and return its version."""
    store, number = ReleaseStore(root), np.arange(1, len(vectors) + 1)
    with store.stage() as stage:
        onnx.save(tower or user_tower(), str(stage / USER_TOWER))
        onnx.save(item_tower(), str(stage / ITEM_TOWER))
        ids = first_id - 1 + number
        write_release(
            stage,
            manifest(**changes),
            arrays() | (data or {}),
            LiveIndex(ExactIndex.build(number, vectors, topics)),
            pl.Series(["ann", "bob", "eve"]),
            pl.DataFrame({"item_id": ids, "title": [f"Film {i}" for i in ids]}),
            list(names),
        )
        return store.commit(stage)
