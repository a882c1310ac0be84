"""A checkpoint is there at every moment, whatever happens while the next one is written."""

from pathlib import Path

import pytest

from multitudes.nn.user_config import UserTowerConfig
from multitudes.train import checkpoint
from multitudes.train.checkpoint import State
from multitudes.train.config import RunConfig, TrainConfig
from multitudes.train.step import fresh_state
from tests.worlds import planted


def state() -> State:
    model = UserTowerConfig.model_validate({"width": 8, "history": 5, "crossing": {"hidden": 8}})
    return fresh_state(planted()[1], RunConfig(method="single", seed=0, model=model, train=TrainConfig()))


def no_space(*_: object) -> None:
    raise OSError("no space left")


def test_a_crash_between_the_renames_and_one_in_the_next_save_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first = tmp_path / "checkpoint", state()
    first.position.step = 7
    checkpoint.save(first, folder)
    folder.rename(tmp_path / "checkpoint.old")  # killed when the new one was about to take its place
    checkpoint.load(first, folder)
    monkeypatch.setattr(checkpoint, "save_file", no_space)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(first, folder)
    again = state()
    checkpoint.load(again, folder)
    assert again.position.step == 7


def test_without_a_checkpoint_the_state_stays_as_it_is(tmp_path: Path) -> None:
    fresh = state()
    checkpoint.load(fresh, tmp_path / "checkpoint")
    assert fresh.position.step == 0
