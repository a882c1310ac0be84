"""With any fixed number of threads, equal trainings end with identical weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from multitudes.errors import MachineWarning
from multitudes.nn.methods import METHODS, Method
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.run_record import read_record, write_record
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.loop import training_examples
from multitudes.training.run_folder import create_run_folder, needs_training
from multitudes.training.step import compute_gradients, initial_state, optimizer_step
from tests.worlds import planted

# Several threads add the gradient of `values[rows]` to the same row in any order, once it is large enough to be divided
# among them. Repeats of a small training hardly ever show it; that the operator runs at all shows it always.
_UNORDERED = {"aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index_put"}


class _UnorderedSums(TorchDispatchMode):
    """Collects the shapes of sums into indexed rows whose order is that of the threads."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in _UNORDERED and len(args) > 3 and args[3]:  # accumulate
            self.shapes.append(f"{tuple(args[2].shape)} into {tuple(args[0].shape)}")
        return func(*args, **(kwargs or {}))


def unordered_sums(method: Method, **train_settings: object) -> list[str]:
    """Return the unordered sums of one training step."""
    model = UserTowerConfig.model_validate({"width": 16, "history": 20, "crossing": {"hidden": 16}})
    settings = TrainConfig.model_validate({"batch_size": 16, "in_batch": 32, "uniform": 16} | train_settings)
    config, prepared = RunConfig(method=method, model=model, train=settings), planted()[1]
    examples, state = training_examples(prepared, config), initial_state(prepared, config)
    state.position.step = 1
    found = _UnorderedSums()
    with found:
        compute_gradients(state, examples, next(iter(examples.windows.epoch_batches(16, seed=0, epoch=0))), config)
        optimizer_step(state)
    return found.shapes


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient_depends_on_the_order_of_threads(method: Method) -> None:
    assert unordered_sums(method) == [], "index with index_select, gather or embedding where a gradient flows"


@pytest.mark.parametrize(
    "settings",
    [{"association": "argmax"}, {"association": "gumbel"}, {"dense": False}],
    ids=str,
)
def test_no_gradient_depends_on_it_with_other_losses(settings: dict[str, object]) -> None:
    assert unordered_sums("joint", **settings) == []


def test_resuming_with_another_number_of_threads_warns(tmp_path: Path) -> None:
    prepared, config = planted()[1], RunConfig(train=TrainConfig(epochs=1))
    create_run_folder(prepared, config, tmp_path, overwrite=False)
    record = read_record(tmp_path)
    assert record["threads"] == torch.get_num_threads()
    assert needs_training(prepared, config, tmp_path, resume=True, overwrite=False), "and no warning"
    write_record(tmp_path, record | {"threads": torch.get_num_threads() + 1})
    with pytest.warns(MachineWarning, match=r"was started with \d+ threads and goes on with"):
        needs_training(prepared, config, tmp_path, resume=True, overwrite=False)


def test_the_control_is_found() -> None:
    values, rows = torch.zeros(3, 2, requires_grad=True), torch.tensor([0, 0, 1])
    with _UnorderedSums() as found:
        values[rows].sum().backward()
    assert found.shapes == ["(3, 2) into (3, 2)"]
