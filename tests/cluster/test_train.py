"""A run by several ranks: gone on with by another number of them, lost ranks, and one line where they end."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import distributed_c10d

from multitudes.data.prepared import PreparedData
from multitudes.errors import UnavailableError
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.seeding import generator
from multitudes.training import optimizer_state
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.distributed import ITEM_TABLE, Ranks
from multitudes.training.loop import fit
from multitudes.training.trained_run import TrainedRun
from tests.cluster.ranks import (
    checkpoint_step,
    kill_at,
    same_weights,
    start_ranks,
    wait_for_ranks,
    workers,
    write_world_and_settings,
)
from tests.training.ranks import alone, of_ranks, with_gradient
from tests.worlds import planted

pytestmark = pytest.mark.slow


def work(ranks: Ranks, folder: str, out: str, stop_after: int) -> bool:
    """Train until a person interrupts after some steps; 0: to the end. Return whether it was interrupted."""
    model = UserTowerConfig.model_validate({"width": 8, "history": 10, "dropout": 0, "crossing": {"hidden": 16}})
    train = TrainConfig(epochs=2, epoch_batches=6, batch_size=16, window=3, in_batch=40, uniform=21, validate_users=40)
    calls = 0

    def press(done: int, total: int, note: str = "") -> None:
        nonlocal calls
        calls += 1
        if calls == stop_after and ranks.is_first:
            signal.raise_signal(signal.SIGINT)

    config = RunConfig(method="single", model=model, train=train)
    try:
        fit(PreparedData.open(folder), config, out, resume=True, ranks=ranks, progress=press)
    except KeyboardInterrupt:
        return True
    return False


def by(size: int, scratch: Path, call: Callable[..., Any], *arguments: object) -> list[Any]:
    return [alone(call, *arguments)] if size == 1 else of_ranks(size, call, scratch, *arguments)


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2), (2, 3)])
def test_another_number_of_ranks_goes_on_and_ends_with_the_same_weights(tmp_path: Path, first: int, then: int) -> None:
    folder = str(planted()[1].path)
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    assert by(1, tmp_path, work, folder, whole, 0) == [False]
    assert all(by(first, tmp_path / "first", work, folder, cut, 4)), "one was interrupted, and all stopped"
    assert not any(by(then, tmp_path / "then", work, folder, cut, 0))
    one, other = (with_gradient(load_file(Path(out) / "weights.safetensors")) for out in (whole, cut))
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=2e-4, rtol=1e-3)
    assert TrainedRun.open(cut).item_vectors().shape == TrainedRun.open(whole).item_vectors().shape


def go_on(ranks: Ranks, folder: str, out: str, before: str) -> None:
    """Go on for an epoch from a run, or begin one; without dropout, which each rank draws for itself."""
    model = UserTowerConfig.model_validate({"width": 8, "history": 10, "dropout": 0, "crossing": {"hidden": 16}})
    train = TrainConfig(epochs=1, epoch_batches=6, batch_size=16, window=3, in_batch=40, uniform=21)
    config = RunConfig(method="single", model=model, train=train, final=True, continues=before)
    fit(PreparedData.open(folder), config, out, ranks=ranks)


def test_two_ranks_keep_and_take_over_the_state_that_one_does(tmp_path: Path) -> None:
    folder, ends = str(planted()[1].path), {}
    for first, then in ((1, 1), (2, 2), (2, 1)):
        before, after = (str(tmp_path / f"{name}-{first}-{then}") for name in ("before", "after"))
        by(first, tmp_path / f"b{first}{then}", go_on, folder, before, "")
        by(then, tmp_path / f"a{first}{then}", go_on, folder, after, before)
        ends[first, then] = with_gradient(load_file(Path(after) / "weights.safetensors"))
    files = [load_file(tmp_path / f"before-{ranks}" / optimizer_state.STATE_FILE) for ranks in ("1-1", "2-2")]
    assert {name: tensor.shape for name, tensor in files[0].items()} == {n: t.shape for n, t in files[1].items()}
    forgetful = shutil.copytree(tmp_path / "before-1-1", tmp_path / "forgetful")
    (forgetful / optimizer_state.STATE_FILE).unlink()
    go_on(Ranks(), folder, str(tmp_path / "control"), str(forgetful))
    control = with_gradient(load_file(tmp_path / "control" / "weights.safetensors"))
    assert not torch.allclose(control[ITEM_TABLE], ends[1, 1][ITEM_TABLE], atol=2e-4, rtol=1e-3), "the control"
    for name in control:
        torch.testing.assert_close(ends[2, 2][name], ends[1, 1][name], atol=2e-4, rtol=1e-3)
        torch.testing.assert_close(ends[2, 1][name], ends[1, 1][name], atol=2e-4, rtol=1e-3)


def silent_rank(ranks: Ranks, said: str) -> str:
    """Wait for each other, but for the second rank, which answers nothing until the first has said something."""
    if not ranks.is_first:
        end = time.monotonic() + 60
        while not Path(said).exists() and time.monotonic() < end:
            time.sleep(0.05)
        return "late"
    distributed_c10d._set_pg_timeout(timedelta(seconds=2))  # only now: on a busy machine they take longer to join
    try:
        ranks.barrier()
    except UnavailableError as error:
        return str(error)
    finally:
        Path(said).touch()
    return "nothing amiss"


def test_a_rank_that_does_not_answer_ends_the_others_with_one_line(tmp_path: Path) -> None:
    first, _ = of_ranks(2, silent_rank, tmp_path / "silent", str(tmp_path / "said"))
    assert first.startswith("rank 0 of 2: another rank ended or does not respond")
    assert "\n" not in first


def test_ranks_that_are_killed_end_with_the_weights_of_an_unbroken_run(tmp_path: Path) -> None:
    write_world_and_settings(tmp_path, epochs=4)
    wait_for_ranks(start_ranks(tmp_path, "whole", ranks=2), tmp_path, "whole")
    launcher = start_ranks(tmp_path, "killed", ranks=2, restarts=3)
    assert kill_at(launcher, tmp_path / "killed", [4, 20], generator(0, "kills")) == 2
    wait_for_ranks(launcher, tmp_path, "killed")
    assert same_weights(tmp_path, "whole", "killed")


def test_of_several_ranks_one_says_what_is_wrong(tmp_path: Path) -> None:
    write_world_and_settings(tmp_path, epochs=1)
    launcher = start_ranks(
        tmp_path, "run", ranks=2, options=["--method", "joint", "--config", str(tmp_path / "none.toml")]
    )
    assert launcher.wait() != 0
    said = [line for line in (tmp_path / "run.log").read_text().splitlines() if line.startswith("multitudes:")]
    assert len(said) == 1
    assert "none.toml" in said[0]


def test_ctrl_c_is_said_once_and_the_run_can_be_gone_on_with(tmp_path: Path) -> None:
    """A terminal interrupts torchrun and all ranks alike, and torchrun hands it on to them once more."""
    write_world_and_settings(tmp_path, epochs=40)
    launcher = start_ranks(tmp_path, "run", ranks=2)
    while checkpoint_step(tmp_path / "run") < 4:
        assert launcher.poll() is None, (tmp_path / "run.log").read_text()
        time.sleep(0.02)
    ranks = workers(launcher.pid)
    assert len(ranks) == 2
    for process in (*ranks, launcher.pid):
        os.kill(process, signal.SIGINT)
    assert launcher.wait() == 1
    said = [line for line in (tmp_path / "run.log").read_text().splitlines() if line.startswith("multitudes:")]
    assert said == ["multitudes: interrupted; continue with the same torchrun command and --resume"]
    assert checkpoint_step(tmp_path / "run") >= 4
    assert not (tmp_path / "run" / "weights.safetensors").exists()
