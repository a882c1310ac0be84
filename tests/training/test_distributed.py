"""Ranks with a part of the batch each give the gradient of one process with the whole; and so do parts of a batch."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multitudes.batches.examples import Examples
from multitudes.cli.main import _print_error
from multitudes.data.prepared import PreparedData
from multitudes.errors import INTERRUPTED_EXIT_CODE, StoppedError
from multitudes.nn.methods import Method
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.distributed import ITEM_TABLE, Ranks, report_error_once
from multitudes.training.step import compute_gradients, initial_state, optimizer_step
from tests.training.ranks import WITHOUT_GRADIENT, alone, of_ranks
from tests.worlds import planted

STEPS = 3


def config(method: Method) -> RunConfig:
    """Return settings without dropout, whose masks depend on who shares a batch; first seeds are fixed in `learn`."""
    model = UserTowerConfig.model_validate({"width": 8, "history": 10, "dropout": 0, "crossing": {"hidden": 16}})
    train = TrainConfig(batch_size=16, window=3, in_batch=40, uniform=21, learning_rate=0.01)
    return RunConfig(method=method, model=model, train=train)


def learn(
    ranks: Ranks, folder: str, method: Method, parts: int = 1, rows: slice = slice(None), steps: int = STEPS
) -> dict[str, Tensor]:
    """Return losses and gradients of some steps, and the weights after them; the table and its gradient in one piece.

    ``rows``: those of each batch that are taken for the whole.
    """
    settings, prepared = config(method), PreparedData.open(folder)
    made = Examples(prepared, history=10, window=3, condition="match")
    state = initial_state(prepared, settings, ranks)
    user = state.model.user.eval()
    user.train = lambda *_: user  # type: ignore[method-assign]
    table = state.model.items.id_embedding
    found: dict[str, Tensor] = {}
    for step, windows in enumerate(made.windows.epoch_batches(16, seed=0, epoch=0, max_batches=steps), start=1):
        state.position.step = step
        chosen = windows._replace(start_B=windows.start_B[rows], stop_B=windows.stop_B[rows])
        losses = compute_gradients(state, made, chosen, settings, ranks, parts)
        found |= {f"loss {step} {kind}": loss for kind, loss in losses.items()}
        for name, weight in state.model.named_parameters():
            if weight.grad is not None and name != ITEM_TABLE:
                found[f"gradient {step} {name}"] = weight.grad.clone()
        assert table.weight.grad is not None
        assert table.weight.grad.is_sparse
        rows_of_table = ranks.gather_to_first(table.weight.grad.to_dense(), table.num_embeddings)
        if rows_of_table is not None:
            found[f"gradient {step} table"] = rows_of_table
        optimizer_step(state)
    whole = ranks.gather_to_first(table.weight.detach(), table.num_embeddings)
    return found | ({} if whole is None else {"table": whole})


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return the largest difference, relative to the largest entry."""
    assert one.keys() == other.keys()
    compared = [name for name in one if WITHOUT_GRADIENT not in name]
    return max(float((one[name] - other[name]).abs().max() / one[name].abs().max()) for name in compared)


@pytest.mark.parametrize("method", ["single", "joint"])
def test_micro_batches_give_the_gradient_of_the_whole_batch(method: Method) -> None:
    folder = str(planted()[1].path)
    whole = alone(learn, folder, method)
    assert {"loss 1 single", "gradient 1 table", "table"} <= whole.keys()
    for parts in (3, 20):  # 20: four parts have no row
        assert apart(whole, alone(learn, folder, method, parts)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_give_the_gradient_of_one_with_the_whole_batch(tmp_path: Path, size: int) -> None:
    folder = str(planted()[1].path)
    whole = alone(learn, folder, "joint")
    first, *others = of_ranks(size, learn, tmp_path, folder, "joint")
    assert apart(whole, first) < 1e-4
    for other in others:
        assert apart({name: whole[name] for name in other}, other) < 1e-4


def asked(ranks: Ranks, folder: str) -> Tensor:
    """Return the rows of items in no order, with repeats, that each rank asks for on its own."""
    state = initial_state(PreparedData.open(folder), config("single"), ranks)
    items = torch.tensor([40, 1, 40, 0, 77, 3, 2 + ranks.rank])
    rows: Tensor = state.model.items.id_embedding(items)
    return rows.detach()


@pytest.mark.slow
def test_rows_arrive_in_the_requested_order(tmp_path: Path) -> None:
    folder = str(planted()[1].path)
    whole = alone(asked, folder)
    first, second = of_ranks(2, asked, tmp_path, folder)
    assert torch.equal(first, whole)
    assert torch.equal(second[:-1], whole[:-1])
    assert torch.equal(second[-1], whole[-2]), "item 3"


def test_halves_with_separate_negatives_give_another_gradient() -> None:
    """Control: the mean of what two find without hearing of each other's negatives."""
    folder = str(planted()[1].path)
    whole = alone(learn, folder, "single", 1, slice(None), 1)
    halves = [alone(learn, folder, "single", 1, slice(first, None, 2), 1) for first in range(2)]
    mean = {name: (halves[0][name] + halves[1][name]) / 2 for name in whole if name.startswith("gradient")}
    assert apart({name: whole[name] for name in mean}, mean) > 0.05


@pytest.fixture
def sigint() -> Iterator[None]:
    earlier = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize("size", [1, 2])
def test_the_first_rank_reports_an_interrupt(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", str(size))
    with pytest.raises(KeyboardInterrupt), report_error_once():
        raise KeyboardInterrupt


@pytest.mark.usefixtures("sigint")
def test_the_others_end_with_the_same_exit_code_and_no_message(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StoppedError) as found, report_error_once():
        raise KeyboardInterrupt
    assert found.value.exit_code == INTERRUPTED_EXIT_CODE
    assert _print_error(str(found.value), found.value.exit_code) == INTERRUPTED_EXIT_CODE
    assert capsys.readouterr().err == ""
    signal.raise_signal(signal.SIGINT)  # forwarded once more by torchrun: ignored
