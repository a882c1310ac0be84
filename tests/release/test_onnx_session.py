"""A tower that keeps weights in another file is refused, wherever that file is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from multitudes.errors import ArtefactError
from multitudes.release.onnx_session import open_tower
from tests.release.small_release import item_tower, user_tower

VALUES = np.arange(4, dtype=np.float32)


def external(location: str) -> TensorProto:
    tensor = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


def graph(nodes: list[onnx.NodeProto], *initializers: TensorProto, y: int = TensorProto.FLOAT) -> onnx.GraphProto:
    return helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("y", y, [4])], initializers)


def model(of: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(of, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def initializer(tensor: TensorProto) -> onnx.ModelProto:
    return model(graph([helper.make_node("Identity", ["w"], ["y"])], tensor))


def attribute(tensor: TensorProto) -> onnx.ModelProto:
    return model(graph([helper.make_node("Constant", [], ["y"], value=tensor)]))


def subgraph(tensor: TensorProto) -> onnx.ModelProto:
    inner = graph([helper.make_node("Constant", [], ["y"], value=tensor)])
    always = numpy_helper.from_array(np.array(True), "always")
    return model(graph([helper.make_node("If", ["always"], ["y"], then_branch=inner, else_branch=inner)], always))


def function(tensor: TensorProto) -> onnx.ModelProto:
    made = model(graph([helper.make_node("F", [], ["y"], domain="own")]))
    opsets = [helper.make_opsetid("", 18)]
    constant = helper.make_node("Constant", [], ["y"], value=tensor)
    made.functions.append(helper.make_function("own", "F", [], ["y"], [constant], opsets))
    made.opset_import.append(helper.make_opsetid("own", 1))
    return made


@pytest.mark.parametrize("location", ["beside.bin", "../outside.bin", "/etc/hostname"])
@pytest.mark.parametrize("make", [initializer, attribute, subgraph, function])
def test_weights_in_another_file_are_refused(
    make: Callable[[TensorProto], onnx.ModelProto], location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "release" / "user_tower.onnx"
    file.parent.mkdir()
    for name in ("release/beside.bin", "outside.bin"):
        (tmp_path / name).write_bytes(VALUES.tobytes())
    file.write_bytes(make(numpy_helper.from_array(VALUES, "w")).SerializeToString())
    assert open_tower(file).run(None, {})[0].tolist() == VALUES.tolist(), "control: weights within the file"
    file.write_bytes(make(external(location)).SerializeToString())
    monkeypatch.chdir(file.parent)
    with pytest.raises(ArtefactError, match=r"user_tower.onnx: ONNX Runtime cannot load it"):
        open_tower(file)


def test_a_file_that_is_no_onnx_is_refused_and_never_a_defect(tmp_path: Path):
    file, random = tmp_path / "tower.onnx", np.random.default_rng(0)
    whole = user_tower().SerializeToString()
    for size in range(0, len(whole), 7):
        file.write_bytes(whole[:size])
        with pytest.raises(ArtefactError, match=r"tower.onnx: "):
            open_tower(file)
    for _ in range(200):
        file.write_bytes(random.integers(0, 256, 64, dtype=np.uint8).tobytes())
        with pytest.raises(ArtefactError, match=r"tower.onnx: "):
            open_tower(file)
    for tower in (user_tower(), item_tower()):
        file.write_bytes(tower.SerializeToString())
        open_tower(file)  # the control
