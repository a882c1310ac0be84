"""ONNX towers that are traced once and filled with the weights of each model that has the same structure."""

import hashlib
import os
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import onnx
from torch import Tensor, nn

from multitudes.nn.user_tower_config import UserTowerConfig


class _Program(NamedTuple):
    """What the exporter returns, as far as ``write_onnx`` asks."""

    model: onnx.ModelProto

    def save(self, file: str, external_data: bool = False) -> None:
        assert not external_data
        onnx.save(self.model, file)


class TracedTowers:
    """Stands in for ``torch.onnx.export``: one trace for each structure, shared by the processes of a test run.

    A trace is not optimised: then its weights are those of the module, by name.
    """

    def __init__(self, folder: Path, export: Callable[..., Any]) -> None:
        self.folder, self._export = folder, export

    def export(self, module: nn.Module, example: tuple[Tensor, ...], **settings: Any) -> _Program:
        """Return the program of the module with the module's weights."""
        tensors = _tensors(module)
        tables = {name for name, part in module.named_modules(remove_duplicate=False) if isinstance(part, nn.Embedding)}
        lengths_free = {f"{name}.weight" for name in tables}
        kind = hashlib.sha256(repr((_structure(module), _shapes(example), settings["dynamic_shapes"])).encode())
        for file in self.folder.glob(f"{kind.hexdigest()}-*.onnx"):
            model = onnx.load(file)
            if _fill(model, tensors, lengths_free):
                return _Program(model)
        program = self._export(module, example, optimize=False, **settings)
        done = self.folder / f"{kind.hexdigest()}-{os.getpid()}-{len(list(self.folder.iterdir()))}.onnx"
        program.save(str(done.with_suffix(".part")), external_data=False)
        done.with_suffix(".part").rename(done)
        model = onnx.load(done)
        assert _fill(model, tensors, lengths_free)
        return _Program(model)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, those with two names under both."""
    named = chain(module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    return {name: tensor.detach().cpu() for name, tensor in named}


def _structure(module: nn.Module) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Return the class and the settings of each submodule, but for the lengths of tables, which a trace leaves open."""
    return [
        (
            name,
            type(part).__qualname__,
            [(key, repr(_of_the_tower(value))) for key, value in sorted(vars(part).items()) if _is_setting(key)],
        )
        for name, part in module.named_modules()
    ]


def _is_setting(key: str) -> bool:
    return not key.startswith("_") and key != "num_embeddings"


def _of_the_tower(setting: object) -> object:
    """Return a setting without what is joined to the tower's vectors elsewhere."""
    return setting.model_copy(update={"linear": None}) if isinstance(setting, UserTowerConfig) else setting


def _shapes(tensors: tuple[Tensor, ...]) -> list[tuple[Any, tuple[int, ...]]]:
    return [(tensor.dtype, tuple(tensor.shape)) for tensor in tensors]


def _fill(model: onnx.ModelProto, tensors: dict[str, Tensor], lengths_free: set[str]) -> bool:
    """Write the module's tensors into the program; return False, without a change, if shapes differ.

    Args:
        model: the program.
        tensors: by name.
        lengths_free: the tables, whose rows are looked up: any number of them fits.
    """
    weights = [one for one in model.graph.initializer if one.name in tensors]
    for one in weights:
        begin = int(one.name in lengths_free)
        if tuple(one.dims)[begin:] != tuple(tensors[one.name].shape)[begin:]:
            return False
    for one in weights:
        one.CopyFrom(onnx.numpy_helper.from_array(tensors[one.name].contiguous().numpy(), one.name))
    return True
